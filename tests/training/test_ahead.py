"""Steps that begin before the numbers of the one before are read, as on a GPU: the run is the same."""

import os
import signal

import pytest
from training_runs import CPU, assert_equal_runs, go, settings, spoiled, step_of

from rawmm_cli.runs import checkpoint, records
from rawmm_cli.system.errors import DivergedError, Stopped
from rawmm_cli.training import step
from rawmm_cli.training import train as module
from rawmm_cli.training.clock import Clock, Plan
from rawmm_cli.training.posthoc import snapshots

pytestmark = pytest.mark.usefixtures("one_thread", "quick")
WORDS = {
    "as it is": (),
    "often": ("train.save_every=48", "train.sample_every=64", "train.log_every=16"),
    "snapshots": ("train.ema.kind=power", "train.ema.snapshots=3", "train.log_every=16"),
    "micro-batches": ("train.accumulate=2", "train.log_every=16"),
}


@pytest.fixture
def halves(monkeypatch):
    """The order in which steps begin and finish: ("begin" or "finish", documents before the step). The CPU
    judges steps, as a GPU does."""
    monkeypatch.setattr(step.optimizer, "judges", lambda optimizers: True)
    order, begin, finish = [], module.begin_step, module.finish_step

    def begin_step(run, state, micro):
        order.append(("begin", state.documents))
        return begin(run, state, micro)

    def finish_step(run, state, one, *rest):
        order.append(("finish", one.before))
        return finish(run, state, one, *rest)

    monkeypatch.setattr(module, "begin_step", begin_step)
    monkeypatch.setattr(module, "finish_step", finish_step)
    return order


@pytest.mark.parametrize("name", WORDS)
def test_begun_ahead_the_run_is_the_same(name, halves, few_digits, tmp_path, monkeypatch):
    """Records, weights, averages, optimizer, sheets and snapshots, and each record in its turn."""
    ahead = go(settings(*WORDS[name]), few_digits, tmp_path / "ahead")
    begun = [halves.index(("begin", n)) < halves.index(("finish", n - 16)) for n in range(16, 160, 16)]
    monkeypatch.setattr(module, "AHEAD", False)
    one_by_one = go(settings(*WORDS[name]), few_digits, tmp_path / "one by one")
    assert_equal_runs(tmp_path / "ahead", tmp_path / "one by one")
    numbers = [
        [(line["step"], line["documents"], line["loss"]) for line in lines] for lines in (ahead, one_by_one)
    ]
    assert numbers[0] == numbers[1] and len(ahead) == 10
    assert [n for n, _ in snapshots(tmp_path / "ahead")] == [n for n, _ in snapshots(tmp_path / "one by one")]
    # the first step is waited for, and so is one that a checkpoint, a sheet or a snapshot follows
    after = {
        "as it is": {80},
        "often": {48, 64, 96, 128, 144},
        "snapshots": {64, 80, 112},
        "micro-batches": {80},
    }
    assert begun == [n != 16 and n not in after[name] for n in range(16, 160, 16)]


@pytest.mark.parametrize("until", [80, 112])
def test_killed_and_resumed_it_is_the_same(until, halves, whole, few_digits, tmp_path):
    go(settings(), few_digits, tmp_path / "run", until)
    assert [line["documents"] for line in go(settings(), few_digits, tmp_path / "run")] == list(
        range(96, 161, 16)
    )
    assert_equal_runs(tmp_path / "run", whole())


def test_a_signal_ends_the_run_after_the_step_that_has_begun(halves, whole, few_digits, tmp_path):
    """It comes while step 5 is under way and step 6 has begun: both are taken, recorded and saved."""
    run, lines = tmp_path / "run", []
    with pytest.raises(Stopped, match="stopped at 112 documents, saved"):
        for line in module.train(settings("train.log_every=16"), few_digits, run, CPU, lambda message: None):
            lines.append(line["documents"])
            if line["documents"] == 96 - 16:
                os.kill(os.getpid(), signal.SIGTERM)
    assert lines == [line["documents"] for line in records.read(run / "records.jsonl")]
    assert checkpoint.state(checkpoint.latest(run))["documents"] == lines[-1] == 112
    go(settings("train.log_every=16"), few_digits, run)
    assert_equal_runs(run, whole("train.log_every=16"))


def test_a_step_that_is_not_finite_ends_the_run_one_step_later(halves, few_digits, tmp_path, monkeypatch):
    """Step 8 is bad and not taken; step 9 has begun by then and is lost with it. The checkpoint is that after
    step 5."""
    spoiled(monkeypatch, "gradient", 7)
    with pytest.raises(
        DivergedError, match="^gradient_norm not finite at document 112; the step was not taken"
    ):
        go(settings(), few_digits, tmp_path / "run")
    assert halves[-3:] == [("finish", 96), ("begin", 128), ("finish", 112)]
    assert step_of(tmp_path / "run") == 5


def test_a_step_that_is_skipped_counts_no_step(halves, few_digits, tmp_path, monkeypatch):
    """The rate, the averages and the documents go on as if each step were waited for."""
    words = ("train.skip_nonfinite=1", "train.log_every=16")
    with monkeypatch.context() as patch:
        spoiled(patch, "image", 3)
        ahead = go(settings(*words), few_digits, tmp_path / "ahead")
    monkeypatch.setattr(module, "AHEAD", False)
    spoiled(monkeypatch, "image", 3)
    go(settings(*words), few_digits, tmp_path / "one by one")
    assert_equal_runs(tmp_path / "ahead", tmp_path / "one by one")
    assert [(line["step"], line["documents"]) for line in ahead[2:5]] == [(3, 48), (4, 80), (5, 96)]


@pytest.mark.parametrize("ahead", [True, False])
def test_a_run_by_time_ends_in_time(ahead, halves, few_digits, tmp_path, monkeypatch):
    """Of a device that takes a second a step, 20 seconds are 20 steps: one that has begun is inside them."""
    monkeypatch.setattr(module, "AHEAD", ahead)
    monkeypatch.setattr(Clock, "seconds", lambda clock: float([what for what, _ in halves].count("finish")))
    monkeypatch.setattr(Plan, "step_seconds", lambda plan: 1.0)
    monkeypatch.setattr(Plan, "seconds", lambda plan, name: 0.0)
    lines = go(settings("train.time=20", "train.compile=no", "train.decay=0.5"), few_digits, tmp_path / "run")
    assert len(lines) == 20 and lines[-1]["seconds"] == 20.0
    assert lines[-1]["learning_rate"] < lines[-3]["learning_rate"] < lines[-5]["learning_rate"]
    assert lines[-1]["learning_rate"] < 0.25 * lines[0]["learning_rate"]
