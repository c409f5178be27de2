"""Runs by time, and a clock that is set back."""

import itertools
import json
import math
import signal
import time
from itertools import count
from types import SimpleNamespace

import codec_runs
import pytest
from training_runs import CPU, command, go, settings

from rawmm_cli.commands.common import seconds_of as seconds
from rawmm_cli.config import build
from rawmm_cli.runs import checkpoint, loading, records
from rawmm_cli.system.distributed import ALONE
from rawmm_cli.system.errors import Stopped
from rawmm_cli.training import clock, codec_preview, optimizer
from rawmm_cli.training.codec_state import pictures
from rawmm_cli.training.state import Run
from rawmm_cli.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread", "quick")


# -------------------------------------------------------------------------------------------------- 26: clock


def test_a_clock_that_is_set_back(few_digits, tmp_path, monkeypatch):
    """A clock that loses an hour at every reading; the run is stopped and goes on."""
    real, hours, run = time.time, itertools.count(1), tmp_path / "run"
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * next(hours))
    first, second = (go(settings("train.log_every=16"), few_digits, run, end) for end in (96, math.inf))
    assert next(hours) > 1
    for part in (first, second):
        assert all(later["seconds"] > earlier["seconds"] >= 0 for earlier, later in itertools.pairwise(part))
        assert all(record.get("eta", 0) >= 0 and record["documents_per_second"] > 0 for record in part)
    assert second[0]["seconds"] > first[4]["seconds"] and "eta" in second[-1]
    stored = records.read(run / "records.jsonl")
    assert [record["step"] for record in stored] == list(range(1, 11)) and stored == first[:5] + second


def plan(*words, **costs):
    """A plan of a run of 16 documents a step, with what each thing is expected to cost."""
    every = {"checkpoint": 320, "sheet": 160}
    return clock.Plan(settings("train.batch=16", *words).train, costs, every)


def test_what_remains():
    """1,600 documents, 480 seen: 70 steps of 2 s, 4 checkpoints of 5 s, 7 sheets of 3 s, and the end."""
    run = plan("train.documents=1600", checkpoint=(0.0, 5.0), sheet=(1.5, 0.0), end=(0.0, 1.0))
    for step in (40.0, 2.0, 2.0):  # the first one compiles
        assert run.outlook(480, 60.0) == {}
        run.step(step)
    run.step(2.0)
    assert run.left(480, 60.0) == 70 * 2 + 4 * 5 + 7 * 3 + 1
    for slow in (30.0, 5.0):  # compiled anew, for another shape; something else ran
        run.step(slow)
    assert run.step_seconds() == 2.0
    with run.timed("sheet", "drawing"):
        pass
    assert run.seconds("sheet") < 1
    assert run.left(1600, 500.0) == 0 == plan().left(170, 12.5)


def test_the_last_half_minute_tells_how_long_a_step_takes():
    run = plan()
    for step in [0.1] * 300 + [0.2] * 150:
        run.step(step)
    assert run.step_seconds() == pytest.approx(0.2)
    for _ in range(20):
        run.step(10.0)
    assert len(run.steps) == 20 and run.step_seconds() == 10.0


def test_what_remains_of_a_run_by_time():
    run = plan("train.time=20", checkpoint=(0.0, 1.0))
    assert run.left(0, 12.5) == 7.5 and run.left(0, 21.0) == 0


def test_what_is_kept_for_the_end():
    """What follows the last step and half a step; a fifth of the time at most."""
    run = plan("train.time=60", checkpoint=(0.0, 1.0), sheet=(4.0, 0.5))
    run.step(0.5)
    assert run.reserve() == 1.0 + 4 * 0.5 + 0.5 + 0.25
    for _ in range(9):
        run.step(4.0)
    assert run.reserve() == 12.0 + 2.0
    assert plan(sheet=(4.0, 0.5)).reserve() == 0


def test_between_steps_a_tenth_of_the_time_is_spent():
    run = plan("train.time=600", sheet=(0.0, 3.0))
    assert not run.affords("sheet", 29.0) and run.affords("sheet", 30.0)
    run.spent = 3.0
    assert not run.affords("sheet", 59.0) and run.affords("sheet", 60.0)
    assert plan(sheet=(0.0, 3.0)).affords("sheet", 0.0)


# ----------------------------------------------------------------------------------- a run of so many seconds


@pytest.fixture
def ticking(monkeypatch):
    """The clock of training goes on by an eighth of a second each time that it is looked at: once a step. A
    quarter of a second is kept for the end."""
    now = iter(count(0, 0.125))
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    monkeypatch.setattr(clock.Plan, "reserve", lambda plan: 0.25)
    return now


def test_a_run_by_time(ticking, few_digits, tmp_path):
    """Steps that end on time, the learning rate with them; stopped and resumed, its clock goes on."""
    run = tmp_path / "run"
    chosen = settings(
        "train.time=1.75",
        "train.save_every=1000000",
        "train.sample_every=1000000",
        "train.warmup=32",
        "train.compile=no",
    )
    loop, first = train(chosen, few_digits, run, CPU, lambda message: None), []
    with pytest.raises(Stopped):
        for record in loop:
            first.append(record)
            if record["seconds"] > 0.65:
                signal.raise_signal(signal.SIGTERM)
                first += list(loop)
    saved = checkpoint.state(checkpoint.latest(run))
    assert saved["seconds"] == 0.875 and saved["documents"] == first[-1]["documents"] + 16
    for _ in range(80):  # ten seconds between two commands
        next(ticking)
    second = go(chosen, few_digits, run)
    assert second[0]["documents"] == saved["documents"] + 16
    assert second[0]["seconds"] == 1 and second[-2]["seconds"] == 1.375 and second[-1]["documents"] == 12 * 16
    for earlier, later in itertools.chain(itertools.pairwise(first[1:]), itertools.pairwise(second[1:])):
        share = optimizer.rate(chosen.train, earlier["documents"], 1 - earlier["seconds"] / 1.5)
        assert later["learning_rate"] == pytest.approx(2e-3 * share, rel=1e-12)
    assert max(record["learning_rate"] for record in first) == 2e-3 and second[-1]["learning_rate"] < 5e-4
    assert all(record["eta"] == pytest.approx(1.75 - record["seconds"]) for record in second)
    assert checkpoint.state(checkpoint.latest(run))["seconds"] == 1.75 == second[-1]["seconds"]
    assert go(chosen, few_digits, run) == []


def test_the_option_of_time(few_digits, tmp_path, rawmm):
    """By the clock of this machine: the command takes its time, and no more, where nothing else runs."""
    words = command(few_digits, tmp_path / "run", "--time", "3s", "train.compile=no")
    started = time.perf_counter()
    code, out, _ = rawmm(*words)
    assert time.perf_counter() - started > 2.2
    assert code == 0 and 1.8 <= json.loads(out)["seconds"]
    assert loading.run_config(tmp_path / "run").train.time == 3
    assert json.loads(rawmm(*words)[1])["status"] == "was trained already"


def test_a_time_too_short_for_a_step(few_digits, tmp_path, rawmm):
    code, out, err = rawmm(*command(few_digits, tmp_path / "run", "--time", "0.01s"))
    assert (code, out) == (2, "") and checkpoint.latest(tmp_path / "run") is None
    assert "error: train.time = 0.01 s is too short to train: a step takes " in err
    assert err.endswith("give at least --time 1m\n")


def test_lengths_of_time():
    texts = ("90s", "90", "10m", "2h30m", "1d", "1.5h", "1h0m1s", "0.25")
    assert [seconds(text) for text in texts] == [90, 90, 600, 9000, 86_400, 5400, 3601, 0.25]


@pytest.mark.parametrize(
    "text", ["0", "0s", "-5", "5 parsecs", "s", "1e3", "nan", "10 m", "m10", "1,5h", "3mm", ""]
)
def test_what_is_no_length_of_time(text, tmp_path, rawmm):
    code, out, err = rawmm("train", "--preset", "tiny", "--runs-dir", tmp_path / "runs", "--time", text)
    assert (code, out) == (2, "") and err == (
        f"error: --time '{text}' is not a time; allowed: as in 90s, 10m, 2h30m or 1d\n"
    )
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------------------------------------ of a codec


def test_a_codec_is_measured_on_as_many_pictures_as_there_is_time_for(few_pictures, tmp_path, monkeypatch):
    """The sheet's 12 pictures took 3 s. All that is measured is 6 held-out pictures, and 24 coded at half of
    the time: as much as 18 pictures, 4.5 s."""
    chosen = codec_runs.settings(*codec_runs.KINDS["fsq"], "train.time=60")
    data, held_out = pictures(chosen, few_pictures)
    run = Run(chosen, tmp_path, CPU, ALONE, [data], held_out, print)
    state = SimpleNamespace(model=build.codec(chosen, CPU), averages=[0])
    costs = codec_preview.costs(run, state)
    assert costs["sheet"][0] == 12 / 4 / 2 and costs["measuring"][0] == (6 / 2 + 24 / 4) / 4
    plan = clock.Plan(chosen.train, costs, {"checkpoint": 20, "sheet": 20})
    plan.measured |= {"sheet": 3.0, "leaving": 1.0}

    def share(now):
        return codec_preview.share_to_measure(run, state, plan, SimpleNamespace(seconds=lambda: now))

    assert share(50.0) == share(54.5) == 1.0
    assert share(56.75) == pytest.approx(0.5) and share(70.0) == pytest.approx(1 / 30)


def test_a_codec_by_time(few_pictures, tmp_path):
    """It ends, is measured, and does not go on afterwards."""
    chosen = codec_runs.settings(*codec_runs.KINDS["fsq"], "train.time=2")
    lines = codec_runs.go(chosen, few_pictures, tmp_path / "run")
    assert lines[-2]["seconds"] < 2 <= lines[-1]["seconds"] and lines[-1]["learning_rate"] < 1e-4
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["held_out"]["pictures"] >= 1
    assert codec_runs.go(chosen, few_pictures, tmp_path / "run") == []
