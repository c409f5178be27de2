"""Runs by time, and a clock that is set back."""

import itertools
import json
import math
import signal
import time
from itertools import count
from types import SimpleNamespace

import pytest
from training_runs import CPU, command, go, settings

from rawmm_cli.commands.train import _seconds as seconds
from rawmm_cli.runs import checkpoint, loading, records
from rawmm_cli.system.errors import Stopped
from rawmm_cli.training import clock, optimizer
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
        assert all(record["eta"] >= 0 and record["documents_per_second"] > 0 for record in part)
    assert second[0]["seconds"] > first[4]["seconds"] and second[-1]["eta"] == 0
    stored = records.read(run / "records.jsonl")
    assert [record["step"] for record in stored] == list(range(1, 11)) and stored == first[:5] + second


def test_what_remains_is_never_negative():
    def remaining(*words):
        return clock.remaining(settings(*words).train, 170, 12.5, 3.0)

    assert remaining() == 0 == remaining("train.time=12")
    assert remaining("train.documents=200") == 10
    assert remaining("train.time=20") == 7.5


# ----------------------------------------------------------------------------------- a run of so many seconds


@pytest.fixture
def ticking(monkeypatch):
    """The clock of training goes on by an eighth of a second each time that it is looked at: once a step."""
    now = iter(count(0, 0.125))
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    return now


def test_a_run_by_time(ticking, few_digits, tmp_path):
    """A run that ends on time, the learning rate with it; stopped and resumed, its clock goes on."""
    run = tmp_path / "run"
    chosen = settings(
        "train.time=1.5", "train.save_every=1000000", "train.sample_every=1000000", "train.warmup=32"
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
    for _ in range(80):  # ten seconds that are not training
        next(ticking)
    second = go(chosen, few_digits, run)
    assert second[0]["documents"] == saved["documents"] + 16
    assert second[0]["seconds"] == 1 and second[-1]["seconds"] == 1.5 and second[-1]["documents"] == 12 * 16
    for earlier, later in itertools.chain(itertools.pairwise(first), itertools.pairwise(second)):
        share = optimizer.rate(chosen.train, earlier["documents"], 1 - earlier["seconds"] / 1.5)
        assert later["learning_rate"] == pytest.approx(2e-3 * share, rel=1e-12)
    assert max(record["learning_rate"] for record in first) == 2e-3 and second[-1]["learning_rate"] < 5e-4
    assert all(record["eta"] == pytest.approx(max(0, 1.5 - record["seconds"])) for record in second)
    assert go(chosen, few_digits, run) == []


def test_the_option_of_time(ticking, few_digits, tmp_path, rawmm):
    code, out, _ = rawmm(*command(few_digits, tmp_path / "run", "--time", "0.5s"))
    assert code == 0 and json.loads(out)["seconds"] == 0.5
    assert loading.run_config(tmp_path / "run").train.time == 0.5


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
