"""The driver of `make bench-peers`: clocks, disturbed timings, ratios."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers import clocks, peer_side, rawmm_side, run, settings, table

ROOT = Path(__file__).parents[2]
PEER = settings.PEER


# ----------------------------------------------------------------------------------------------------- clocks


class FakeTime:
    """A clock that only `sleep` advances."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_the_peer_is_timed_after_its_warm_up(monkeypatch):
    fake, taken = FakeTime(), []
    monkeypatch.setattr(peer_side, "time", fake)

    def step():
        taken.append(len(taken))
        fake.sleep(30.0 if len(taken) == 1 else 0.5)  # the first one compiles
        return float(len(taken))

    measured = peer_side.measure(step, 4.0)
    assert measured["seconds"] == pytest.approx(4.0) and measured["documents"] == 8 * settings.BATCH
    assert measured["warm_up_seconds"] == pytest.approx(30 + 4 * 0.5)
    assert (measured["first_loss"], measured["last_loss"]) == (settings.WARM, len(taken)) and len(
        taken
    ) == settings.WARM + 8


STAND_IN = """
import json, os, sys, time
path, last = sys.argv[1] + "/timed/records.jsonl", int(sys.argv[2])
os.mkdir(sys.argv[1] + "/timed")
for step in range(1, last):
    time.sleep(0.5 if step == 1 else 0.02)
    with open(path, "a") as file:
        print(json.dumps({"step": step, "documents": 16 * step, "loss": 1 / step, "fill": 0.8,
                          "documents_per_second": 3.0, "positions_per_second": 30.0}), file=file)
sys.exit(3)
"""


def timed_stand_in(monkeypatch, tmp_path, last):
    """`timed`, with a program in place of `rawmm train` that takes a step of 16 documents every 20 ms."""
    real = subprocess.Popen
    monkeypatch.setattr(
        rawmm_side.subprocess,
        "Popen",
        lambda words, **how: real(
            [sys.executable, "-c", STAND_IN, words[words.index("--runs-dir") + 1], str(last)], **how
        ),
    )
    return rawmm_side.timed("small", "gau", tmp_path, 0.6)


@pytest.mark.process
def test_rawmms_side_is_timed_by_the_growth_of_its_records(monkeypatch, tmp_path):
    measured = timed_stand_in(monkeypatch, tmp_path, 1000)
    steps = measured["documents"] / settings.BATCH
    assert steps == int(steps) and 0.6 <= measured["seconds"] < 5
    assert measured["seconds"] / steps >= 0.0195  # as slow as the stand-in after its first step
    assert measured["positions"] == pytest.approx(8)  # 10 a document, of which a fifth is padding
    assert measured["first_loss"] <= 1 / settings.WARM and measured["last_loss"] < measured["first_loss"]


@pytest.mark.process
def test_a_run_that_ends_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="exit code 3"):
        timed_stand_in(monkeypatch, tmp_path, 9)


def test_own_work_does_not_count_as_that_of_others():
    if clocks.busy() is None:
        pytest.skip("this system has no /proc/stat")
    before, busy, until = clocks.own(), clocks.busy(), time.process_time() + 0.3
    while time.process_time() < until:
        pass
    worked = clocks.own() - before
    assert worked == pytest.approx(0.3, abs=0.05) and clocks.busy() - busy >= worked - 0.05
    window = clocks.Window()
    window.busy -= 0.5  # as if other processes had worked for half a second
    assert 0 <= clocks.Window().others(1.0) <= window.others(1.0) <= 1


@pytest.mark.parametrize(
    "others, again, calls, kept",
    [
        ([0.0], 2, 1, 0),
        ([0.3, 0.2, 0.4], 2, 3, 1),
        ([0.3, 0.01, 0.0], 2, 2, 1),
        ([0.3, 0.1], 0, 1, 0),
        ([None], 2, 1, 0),
    ],
)
def test_a_disturbed_timing_is_repeated_and_the_least_disturbed_counts(others, again, calls, kept):
    timings = []

    def measure():
        timings.append({"documents": 16, "seconds": 1.0, "others": others[len(timings)]})
        return timings[-1]

    assert run.undisturbed(measure, again, "x") is timings[kept] and len(timings) == calls


# ----------------------------------------------------------------------------------------------------- ratios


def timing(documents_per_second, positions=206):
    return {
        "documents": 20 * documents_per_second,
        "seconds": 20.0,
        "others": 0.0,
        "parameters": 100,
        "positions": positions,
        "patches": 196,
        "fingerprint": "same",
    }


def test_ratios_are_taken_inside_a_round():
    """Everything is half as fast in the second round. That does not change the ratio; it would change a ratio
    of medians."""
    speeds = [(600, 100), (300, 50), (500, 125)]
    rounds = [
        {
            "rawmm gau": timing(ours, 200),
            "rawmm transformer": timing(2 * ours, 200),
            f"{PEER} fp32": timing(theirs, 250),
        }
        for ours, theirs in speeds
    ]
    summary = table.summary(rounds, ["fp32"])
    assert summary["medians"]["rawmm gau"] == {"images_per_second": 500, "positions_per_second": 100_000}
    ratio = summary["ratios"][f"rawmm gau / {PEER} fp32"]
    assert ratio["images_per_second"] == {"median": 6.0, "lowest": 4.0, "highest": 6.0}
    assert ratio["positions_per_second"] == pytest.approx({"median": 4.8, "lowest": 3.2, "highest": 4.8})
    assert summary["ratios"][f"rawmm transformer / {PEER} fp32"]["images_per_second"]["median"] == 12.0


def test_a_disturbed_round_counts_only_where_all_are_disturbed():
    """Other processes work while rawmm is timed in the first round, and the peer in the third."""
    rounds = [
        {f"rawmm {name}": timing(ours) | {"others": a} for name in settings.OURS}
        | {f"{PEER} fp32": timing(theirs) | {"others": b}}
        for ours, a, theirs, b in ((100, 0.5, 100, 0.0), (600, 0.05, 100, 0.02), (500, 0.0, 20, 0.6))
    ]
    summary = table.summary(rounds, ["fp32"])
    pair = f"rawmm gau / {PEER} fp32"
    assert summary["ratios"][pair]["images_per_second"] == {"median": 6.0, "lowest": 6.0, "highest": 6.0}
    assert (summary["ratios"][pair]["undisturbed"], summary["ratios"][pair]["rounds"]) == (1, 3)
    assert summary["medians"]["rawmm gau"]["images_per_second"] == 550
    worse = table.summary([rounds[0], rounds[2]], ["fp32"])["ratios"][pair]
    assert worse["undisturbed"] == 0 and worse["images_per_second"]["median"] == (1 + 25) / 2


def measured_by(monkeypatch, tmp_path, speeds, words=()):
    """Run the driver with given speeds in place of training -> (order of turns, JSON)."""
    turns = []

    def ours(setting, backbone, work, seconds):
        turns.append(backbone)
        return timing(speeds[backbone], 201)

    def theirs(setting, mode, options, work, seconds):
        turns.append(mode)
        speed = speeds[mode]
        return timing(speed) if isinstance(speed, int) else {"failed": speed}

    for module, name, stand_in in (
        (rawmm_side, "timed", ours),
        (run, "peer", theirs),
        (run, "write_documents", lambda work: "same"),
        (rawmm_side, "prepare", lambda *a: 101),
    ):
        monkeypatch.setattr(module, name, stand_in)
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "1")  # so that they are restored: the driver sets them
    file = tmp_path / "runs" / "bench.json"
    monkeypatch.setattr(sys, "argv", ["run", "--peer-python", "python", "--json", str(file), *words])
    run.main()
    return turns, json.loads(file.read_text())


def test_sides_take_turns_and_all_results_are_written(monkeypatch, tmp_path, capsys):
    speeds = {
        "gau": 600,
        "transformer": 400,
        "fp32": 100,
        "bf16": 150,
        "fp32 compiled": "no compiler",
        "bf16 compiled": 200,
    }
    turns, result = measured_by(monkeypatch, tmp_path, speeds, ["--settings", "small", "--rounds", "2"])
    assert turns == [*settings.MODES, *["gau", "fp32", "transformer", "bf16 compiled"] * 2]
    small = result["settings"]["small"]
    assert small["ratios"][f"rawmm gau / {PEER} bf16 compiled"]["images_per_second"]["median"] == 3
    assert small["parameters"]["rawmm gau"] == 101 and small["tries"]["fp32 compiled"] == {
        "failed": "no compiler"
    }
    assert result["machine"]["threads"] == 2 and len(small["rounds"]) == 2
    out = capsys.readouterr().out
    assert f"rawmm gau / {PEER} fp32" in out and "5.85 x (5.85 to 5.85), images/s 6.00 x" in out
    assert "fp32 compiled: no compiler" in out and all(len(line) <= 130 for line in out.splitlines())


def test_an_example_that_is_the_fastest_is_timed_once_a_round(monkeypatch, tmp_path):
    speeds = {"gau": 600, "transformer": 400, "fp32": 100, "bf16": 50}
    words = ["--settings", "large", "--rounds", "1", "--modes", "fp32", "bf16"]
    turns, result = measured_by(monkeypatch, tmp_path, speeds, words)
    assert turns == ["fp32", "bf16", "gau", "fp32", "transformer"]
    assert set(result["settings"]["large"]["ratios"]) == {
        f"rawmm {name} / {PEER} fp32" for name in settings.OURS
    }


def test_a_peer_that_does_not_train_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="does not train: no module"):
        measured_by(monkeypatch, tmp_path, {"fp32": "no module", "bf16": 1}, ["--modes", "fp32", "bf16"])


def test_the_peer_is_started_as_described(monkeypatch, tmp_path, capsys):
    """The driver passes the options of `peer_side`, and reads the last line of its output."""
    options = type("Options", (), {"peer_python": Path(sys.executable), "threads": 1})

    def process(words, **how):
        assert words[1:3] == ["-m", "benchmarks.peers.peer_side"] and how["cwd"] == ROOT
        assert (
            words[words.index("--width") + 1] == "160" and words[words.index("--mode") + 1] == "bf16 compiled"
        )
        return subprocess.CompletedProcess(words, 0, 'a note\n{"documents": 16}\n', "")

    monkeypatch.setattr(run.subprocess, "run", process)
    assert run.peer("large", "bf16 compiled", options, tmp_path, 5.0) == {"documents": 16}
    monkeypatch.setattr(
        run.subprocess,
        "run",
        lambda words, **how: subprocess.CompletedProcess(words, 1, "", "x\nNo module\n"),
    )
    assert run.peer("large", "fp32", options, tmp_path, 5.0) == {"failed": "No module"}
