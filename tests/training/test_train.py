"""The loop: resuming bit for bit however it was stopped, divergence, changed settings and data, golden
losses."""

import importlib.metadata
import itertools
import json
import shutil

import pytest
import torch
from training_runs import CPU, assert_equal_runs, everything, go, settings, spoiled

from rawmm_cli import __version__
from rawmm_cli.config import build
from rawmm_cli.data import prepared
from rawmm_cli.data.loader import Steps
from rawmm_cli.data.rows import picture_row
from rawmm_cli.data.stream import picture_of
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system.distributed import ALONE
from rawmm_cli.system.errors import CheckpointError, DivergedError
from rawmm_cli.training import optimizer
from rawmm_cli.training import train as module
from rawmm_cli.training.clock import Clock
from rawmm_cli.training.signals import Signals
from rawmm_cli.training.state import Run, fresh

pytestmark = pytest.mark.usefixtures("one_thread")


# ----------------------------------------------------------------------------------------------- stop, resume

VARIANTS = [
    f"{kind} {backbone}" for kind, backbone in itertools.product(("adamw", "muon"), ("gau", "transformer"))
]


def variant(name):
    kind, backbone = name.split()
    return f"train.optimizer={kind}", f"backbone.kind={backbone}"


# 80: right after a checkpoint; 112: two steps later
@pytest.mark.parametrize("name, until", [(VARIANTS[0], 80), *((name, 112) for name in VARIANTS)])
def test_stop_and_resume_is_the_same_as_never_stopped(name, until, whole, few_digits, tmp_path):
    chosen, run = settings(*variant(name)), tmp_path / "run"
    assert go(chosen, few_digits, run, until)[-1]["documents"] == until
    resumed = go(chosen, few_digits, run)
    assert [record["documents"] for record in resumed] == list(range(96, 161, 16))
    assert_equal_runs(run, whole(*variant(name)))


def test_two_runs_are_the_same_and_another_seed_is_not(whole, few_digits, tmp_path):
    for seed in (0, 1):
        go(settings(f"train.seed={seed}"), few_digits, tmp_path / str(seed))
    assert_equal_runs(tmp_path / "0", whole())
    one, other = (everything(tmp_path / seed)[0] for seed in "01")
    assert not torch.equal(one["model/head.into.weight"], other["model/head.into.weight"])


def test_a_run_needs_no_installed_package(few_digits, tmp_path, monkeypatch):
    """From a folder of sources, `importlib.metadata` knows no rawmm."""
    known = importlib.metadata.Distribution.from_name

    def from_name(name):
        if name == "rawmm":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", from_name)
    go(settings(), few_digits, tmp_path / "run", until=16)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["rawmm"] == __version__


def test_all_stops_at_once(whole, few_digits, tmp_path):
    """A damaged checkpoint, one half written and a torn record: the run goes on from what is whole."""
    chosen, run = settings(), tmp_path / "run"
    go(settings("train.save_every=32"), few_digits, run, 112)
    damaged = run / "checkpoints" / "step_00000006" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    shutil.copytree(damaged.parent, run / "checkpoints" / ".step_00000008.partial")
    with open(run / "records.jsonl", "a") as file:
        file.write('{"loss": 1')
    messages = []
    assert go(chosen, few_digits, run, notify=messages.append)[0]["documents"] == 80
    assert any("damaged" in line for line in messages) and any(
        "resuming run at 64 of 160" in line for line in messages
    )
    assert_equal_runs(run, whole())
    assert not list((run / "checkpoints").glob(".*"))


def test_a_run_that_is_done_is_left_alone(whole, few_digits, tmp_path):
    run, messages = shutil.copytree(whole(), tmp_path / "run"), []
    assert go(settings(), few_digits, run, notify=messages.append) == []
    assert "nothing to do" in messages[-1]
    assert_equal_runs(run, whole())


def test_more_documents_may_be_trained(whole, few_digits, tmp_path):
    run = shutil.copytree(whole(), tmp_path / "run")
    more = go(settings("train.documents=208", "train.keep=1", "sample.guidance=3"), few_digits, run)
    assert [record["documents"] for record in more] == [176, 192, 208]
    assert loading.run_config(run).train.documents == 208
    assert len(list((run / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("train.learning_rate=1e-3", "train.learning_rate was 0.002, now 0.001"),
        ("train.batch=32", "train.batch was 16, now 32"),
        ("backbone.width=64", "backbone.width was 32, now 64"),
        ("data.read=0.25", "data.read was 0.5, now 0.25"),
        ("head.loss=clean", "head.loss was velocity, now clean"),
        ("train.seed=1", "train.seed was 0, now 1"),
        ("train.ema.ramp=0.1", "train.ema"),
        ("backbone.kind=transformer", "backbone.kind was gau, now transformer"),
    ],
)
def test_other_settings_are_another_run(assignment, message, whole, few_digits):
    run = whole()
    before = (run / "config.yaml").read_text()
    with pytest.raises(CheckpointError) as caught:
        go(settings(assignment), few_digits, run)
    assert message in str(caught.value) and "--run" in str(caught.value)
    assert (run / "config.yaml").read_text() == before


def test_other_data_is_another_run(whole, few_digits, tmp_path):
    run, data = shutil.copytree(whole(), tmp_path / "run"), tmp_path / "data"
    rows = {split: rows_of(prepared.load(few_digits / "digits", split)) for split in prepared.SPLITS}
    rows["train"][0]["captions"] = ["naught"]
    prepared.write(data / "digits", rows, {"labels": []})
    with pytest.raises(CheckpointError, match="was trained on other data: the set 'digits' has changed"):
        go(settings("train.documents=176"), data, run)


def rows_of(data):
    return [
        picture_row(data.image(i).numpy().transpose(1, 2, 0), data.captions[i], int(data.labels[i]), str(i))
        for i in range(len(data))
    ]


# ------------------------------------------------------------------------------------------------- divergence


def first_step(chosen, data, folder):
    """Take the first step of a run that was never saved -> its state."""
    place = Run(chosen, folder, CPU, ALONE, data, data, lambda message: None)
    folder.mkdir(exist_ok=True)
    state = fresh(chosen, CPU, ALONE)
    micro = Steps(chosen, data, state.model)[0]
    try:
        step = module.begin_step(place, state, micro)
        module.finish_step(place, state, step, Signals(ALONE), Clock(0.0))
    finally:
        first_step.state = state
    return state


@pytest.mark.parametrize(
    "how, named",
    [
        ("text", "loss, text, gradient_norm"),
        ("image", "loss, image, gradient_norm"),
        ("gradient", "gradient_norm"),
    ],
)
def test_a_step_that_is_not_finite_is_not_taken(how, named, few_digits, monkeypatch, tmp_path):
    chosen, data = settings(), prepared.load(few_digits / "digits", "train")
    spoiled(monkeypatch, how, 0)
    with pytest.raises(DivergedError) as caught:
        first_step(chosen, [data], tmp_path)
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        f"{named} not finite at document 0; the step was not taken and its documents are in "
        "bad_batch.json; set a lower train.learning_rate (now 0.002) or train.precision=fp32, "
        "and another --run"
    )
    bad = json.loads((tmp_path / "bad_batch.json").read_text())
    rows = Steps(chosen, data, build.model(chosen, "meta")).rows(0)
    numbers = sorted(number for row in rows for number in row)
    order = [picture_of(number, len(data), 0) for number in numbers]
    assert (bad["documents"], bad["pictures"]) == (numbers, order) and len(order) > 10
    assert bad["sources"] == [data.source(index) for index in order]
    state, other = first_step.state, fresh(chosen, CPU, ALONE)
    assert state.step == 0 and optimizer.state(state.optimizers, state.model) == {}
    for one, new in ((state.model, other.model), (state.averages[0], other.averages[0])):
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), new.parameters()))


def test_divergence_leaves_a_good_checkpoint(whole, few_digits, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoiled(patch, "text", 7)
        with pytest.raises(DivergedError, match="at document 112"):
            go(settings(), few_digits, run)
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 80
    go(settings(), few_digits, run)
    assert_equal_runs(run, whole())


def test_the_advice_of_a_divergence_can_be_followed(few_digits, tmp_path, monkeypatch):
    """Nothing was saved yet, so a lower learning rate under the same name starts anew."""
    with monkeypatch.context() as patch:
        spoiled(patch, "image", 1)
        with pytest.raises(DivergedError, match="set a lower train.learning_rate"):
            go(settings(), few_digits, tmp_path / "run")
    assert go(settings("train.learning_rate=1e-3"), few_digits, tmp_path / "run")[-1]["documents"] == 160
