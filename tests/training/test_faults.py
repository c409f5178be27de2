"""Faults of training in one process: however it ends, the same command again makes the same run, bit for
bit."""

import itertools
import json
import math
import re
import shutil
import signal

import pytest
import torch
from forking import alive, dying, forked, until
from training_runs import assert_equal_runs, assert_same_bits, command, go, settings, spoiled, step_of

from rawmm_cli.runs import checkpoint, loading, records
from rawmm_cli.system.errors import DivergedError
from rawmm_cli.training import step
from rawmm_cli.training import train as module

pytestmark = pytest.mark.usefixtures("one_thread", "quick")


# ------------------------------------------------------------------------------------------------- 1: kill -9

# {workers: the changes of the disk since its start in front of which one process after the other is killed}
KILLS = {0: (7, 18, 24, 28, 32), 2: (21, 30)}


@pytest.mark.parametrize("workers", KILLS)
@pytest.mark.process
def test_kill_9_in_front_of_a_change_of_the_disk(workers, whole, few_digits, tmp_path):
    """Killed again and again where the disk changes, the run ends as if nothing had happened. No worker
    stays."""
    run, note, changes, helpers = tmp_path / "run", tmp_path / "note", [], set()
    every = ("train.save_every=16", "train.log_every=16")
    words = command(few_digits, run, *every, f"train.workers={workers}")
    for number in KILLS[workers]:
        process = forked(tmp_path, words, dying(run, number, note))
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        change, *started = note.read_text().splitlines()
        changes.append(re.sub(r"\d{8}", "N", change))
        helpers |= set(map(int, started))
    assert len(set(changes)) > len(changes) / 2, changes
    assert 0 < step_of(run) < 10 and len(helpers) == workers * len(KILLS[workers])
    until(lambda: not alive(helpers))
    process = forked(tmp_path, words)
    process.join(60)
    assert process.exitcode == 0 and ": saving to" not in (tmp_path / "out").read_text()
    assert [record["step"] for record in records.read(run / "records.jsonl")] == list(range(1, 11))
    assert_same_bits(run, whole(*every))


# --------------------------------------------------------------------------------------------- 11: not finite


@pytest.mark.parametrize(
    "how, message",
    [
        ("text", "loss, text, gradient_norm"),
        ("image", "loss, image, gradient_norm"),
        ("gradient", "gradient_norm"),
    ],
)
@pytest.mark.parametrize("early", [False, True])
def test_a_poisoned_state_is_never_saved(early, how, message, whole, few_digits, tmp_path, monkeypatch):
    """A fault at step 7, where each step is saved and none logged: what is left is the state after step 6.
    early: as on a GPU, where the optimizer judges the step itself."""
    monkeypatch.setattr(step.optimizer, "judges", lambda optimizers: early)
    run, words = tmp_path / "run", ("train.save_every=16", "train.log_every=1000")
    with monkeypatch.context() as patch:
        spoiled(patch, how, 6)
        with pytest.raises(
            DivergedError, match=f"^{message} not finite at document 96; the step was not taken"
        ):
            go(settings(*words), few_digits, run)
    assert step_of(run) == 6
    go(settings("train.documents=96", *words), few_digits, tmp_path / "six")
    expected = loading.tensors(checkpoint.latest(tmp_path / "six"), "model")
    actual = loading.tensors(checkpoint.latest(run), "model")
    assert go(settings(*words), few_digits, run)[0]["step"] == 7
    assert_same_bits(run, whole(*words))
    assert expected.keys() == actual.keys()


@pytest.mark.parametrize("early", [False, True])
def test_steps_that_are_skipped(early, few_digits, tmp_path, monkeypatch):
    """Two bad steps in a row are allowed, then a good one, then two again. The third ends the run. early: as
    on a GPU, where the optimizer judges the step itself."""
    monkeypatch.setattr(step.optimizer, "judges", lambda optimizers: early)
    real, calls = step.joint_loss, itertools.count()
    bad, messages = {2, 3, 5, 6}, []

    def joint_loss(*arguments):
        losses = real(*arguments)
        return (
            losses._replace(total=losses.total * math.nan, text=losses.text * math.nan)
            if next(calls) in bad
            else losses
        )

    monkeypatch.setattr(step, "joint_loss", joint_loss)
    run = tmp_path / "run"
    lines = go(settings("train.skip_nonfinite=2"), few_digits, run, notify=messages.append)
    assert [(record["step"], record["documents"]) for record in lines] == [
        (1, 16),
        (2, 32),
        (3, 80),
        (4, 128),
        (5, 144),
        (6, 160),
    ]
    assert all(math.isfinite(value) for record in lines for value in record.values())
    assert [line.partition(":")[2] for line in messages if "step skipped" in line] == [
        f" step skipped, {n} in a row; its documents are in bad_batch.json" for n in (1, 2, 1, 2)
    ]
    assert json.loads((run / "bad_batch.json").read_text())["documents"]
    now = next(calls) + 1
    bad |= {now + 4, now + 5, now + 6}
    with pytest.raises(DivergedError, match="at document 96"):
        go(settings("train.skip_nonfinite=2"), few_digits, tmp_path / "other")


# ------------------------------------------------------------------------------------------ 12: out of memory

FULL = {
    "torch's own": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "the CPU's": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
    ),
}


@pytest.mark.parametrize("name", FULL)
def test_out_of_memory_names_the_remedies(name, whole, few_digits, tmp_path, monkeypatch, rawmm):
    run, real, calls = tmp_path / "run", step.joint_loss, itertools.count()

    def joint_loss(*arguments):
        if next(calls) == 7:
            raise FULL[name]
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step, "joint_loss", joint_loss)
        code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (5, "")
    assert err.splitlines()[-1].startswith("error: a micro-batch of ")
    for remedy in (
        "train.accumulate=2",
        "train.recompute=true",
        "train.batch (now 16)",
        "`rawmm train --dry-run`",
        "the last checkpoint is intact",
    ):
        assert remedy in err
    assert step_of(run) == 5
    with monkeypatch.context() as patch:
        patch.setattr(step, "joint_loss", lambda *arguments: (_ for _ in ()).throw(FULL[name]))
        code, _, err = rawmm(*command(few_digits, tmp_path / "new"))
    assert code == 5 and "it has no checkpoint yet" in err and "intact" not in err
    other = shutil.copytree(run, tmp_path / "other")
    go(settings(), few_digits, run)
    assert_equal_runs(run, whole())
    followed = go(settings("train.accumulate=2", "train.recompute=true"), few_digits, other)
    same = records.read(run / "records.jsonl")[-1]
    assert followed[-1]["loss"] == pytest.approx(same["loss"], rel=1e-5)


def test_another_runtime_error_is_not_taken_for_it(few_digits, tmp_path, monkeypatch):
    def joint_loss(*arguments):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(step, "joint_loss", joint_loss)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        go(settings(), few_digits, tmp_path / "run")


LIMIT = """
import resource
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (32 << 20), resource.RLIM_INFINITY))
"""


@pytest.mark.process
def test_a_real_limit_of_memory(few_digits, tmp_path):
    """The address space may grow by 32 MiB, which a batch of 1,024 documents does not find enough."""
    words = ("train.batch=1024", "train.documents=3072", "train.save_every=1024", "train.warmup=0")
    run, unbroken = tmp_path / "run", tmp_path / "unbroken"
    go(settings(*words), few_digits, unbroken)
    go(settings(*words), few_digits, run, until=1024)
    process = forked(tmp_path, command(few_digits, run, *words), LIMIT, 1)
    process.join(60)
    lines = (tmp_path / "err").read_text().splitlines()
    assert process.exitcode == 5 and lines[-1].startswith("error: ") and "train.batch" in lines[-1], lines
    assert step_of(run) == 1
    go(settings(*words), few_digits, run)
    assert_equal_runs(run, unbroken)


# ----------------------------------------------------------------------------------------------- 27: sampling


@pytest.mark.parametrize("error", [ValueError("no picture"), OSError(5, "Input/output error"), MemoryError()])
def test_a_sheet_that_cannot_be_drawn_loses_nothing(error, whole, few_digits, tmp_path, monkeypatch):
    """The step was saved before its sheet is drawn."""

    def preview(*arguments):
        raise error

    run, words = tmp_path / "run", ("train.sample_every=80",)
    with monkeypatch.context() as patch:
        patch.setattr(module, "preview", preview)
        with pytest.raises(type(error)):
            go(settings(*words), few_digits, run)
    assert step_of(run) == 5
    assert go(settings(), few_digits, run)[0]["step"] == 6
    assert_equal_runs(run, whole())


# ---------------------------------------------------------------------------------------------- 28: no reader

CLOSED = "reader, writer = os.pipe()\nos.close(reader)\n"


@pytest.mark.parametrize(
    "closed",
    ["os.dup2(writer, 1)", "os.dup2(writer, 1); os.dup2(writer, 2)"],
    ids=["stdout", "stdout and stderr"],
)
@pytest.mark.process
def test_a_reader_that_leaves_does_not_stop_training(closed, whole, few_digits, tmp_path):
    """A reader as in `rawmm train --json | head -0`, and with 2>&1: the run goes to its end without a
    message."""
    process = forked(tmp_path, command(few_digits, tmp_path / "run"), CLOSED + closed)
    process.join(60)
    assert process.exitcode == 0 and "Traceback" not in (tmp_path / "err").read_text()
    assert (tmp_path / "err").read_text().count("\n") <= 1
    assert_equal_runs(tmp_path / "run", whole())
