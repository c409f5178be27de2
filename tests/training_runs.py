"""Short runs of preset tiny, and everything that they leave."""

import itertools
import math
from contextlib import contextmanager

import torch

from rawmm_cli.config import presets
from rawmm_cli.runs import checkpoint, loading, records
from rawmm_cli.training import step
from rawmm_cli.training.train import train

CPU = torch.device("cpu")
# 10 steps over 3.2 epochs of 50 pictures; the checkpoint at 80 lies inside an epoch and between two records
SHORT = (
    "train.documents=160",
    "train.save_every=80",
    "train.log_every=48",
    "train.threads=1",
    "sample.steps=2",
)
# Trained until it opens a picture after every name of a digit.
TRAINED = (
    "train.documents=3200",
    "train.optimizer=muon",
    "train.learning_rate=1e-2",
    "data.read=0.3",
    "train.save_every=1600",
    "train.sample_every=3200",
    "train.threads=1",
    "sample.max_text=8",
)
TIMES = {"seconds", "documents_per_second", "positions_per_second", "mfu", "data_wait", "memory", "eta"}


@contextmanager
def single_thread():
    """Compute with one thread: equal bits need a fixed number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def command(data, run, *words, short=SHORT):
    """Arguments of `rawmm train` of preset tiny on the CPU."""
    place = ("--run", run.name, "--runs-dir", run.parent, "--data-dir", data)
    return [*map(str, ("train", "--preset", "tiny", *place, "--device", "cpu", "--json", *short, *words))]


def settings(*words):
    return presets.load("tiny", [*SHORT, *words])


def go(chosen, data, run, until=math.inf, notify=lambda message: None):
    """Train, and leave as if killed after the step that reaches `until` documents -> all records."""
    loop, lines = train(chosen, data, run, CPU, notify), []
    with single_thread():
        for record in loop:
            lines.append(record)
            if record["documents"] >= until:
                loop.close()
    return lines


def step_of(run):
    """The step of the newest checkpoint, 0 where there is none."""
    newest = checkpoint.latest(run)
    return checkpoint.state(newest)["step"] if newest else 0


def everything(run):
    """Everything that a run left, but for times: tensors, state, records, sheets."""
    newest = checkpoint.latest(run)
    values = {
        f"{name}/{key}": value
        for name in ("model", "ema", "optimizer")
        for key, value in loading.tensors(newest, name).items()
    }
    lines = [
        {key: value for key, value in record.items() if key not in TIMES}
        for record in records.read(run / "records.jsonl")
    ]
    state = {key: value for key, value in checkpoint.state(newest).items() if key not in TIMES}
    sheets = {path.name: path.read_bytes() for path in (run / "samples").glob("*.png")}
    return values, {
        "state": state,
        "records": lines,
        "sheets": sheets,
        "config": (run / "config.yaml").read_text(),
    }


def assert_equal_runs(one, other):
    (values, rest), (others, other_rest) = everything(one), everything(other)
    assert rest["records"] == other_rest["records"]
    assert values.keys() == others.keys()
    assert [name for name in values if not torch.equal(values[name], others[name])] == []
    assert rest == other_rest


def spoiled(monkeypatch, how, at):
    """Make joint_loss give a loss or a gradient that is not finite, the `at`-th time."""
    real, calls = step.joint_loss, itertools.count()

    def joint_loss(*arguments):
        losses = real(*arguments)
        if next(calls) != at:
            return losses
        if how == "gradient":  # sqrt(0): the loss is finite, its slope is not
            return losses._replace(total=losses.total + (0 * losses.total).sqrt())
        return losses._replace(**{how: losses.text * math.nan, "total": losses.total * math.nan})

    monkeypatch.setattr(step, "joint_loss", joint_loss)


def assert_same_bits(one, other):
    """Check for equal tensors, records and sheets, bit for bit; settings that may change may differ."""
    (values, rest), (others, other_rest) = everything(one), everything(other)
    assert rest["records"] == other_rest["records"]
    assert values.keys() == others.keys()
    assert [name for name in values if not torch.equal(values[name], others[name])] == []
    assert rest["sheets"] == other_rest["sheets"]


def finished(data, run, whole):
    """Run the same command again, without the fault: it ends as if nothing had happened."""
    go(settings("train.workers=2"), data, run)
    assert_same_bits(run, whole())
