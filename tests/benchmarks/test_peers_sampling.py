"""The driver that compares sampling, without the peer: equal sizes, turns, ratios; rawmm's side with few
tokens."""

import json
import subprocess
import sys

import pytest

from benchmarks.peers import clocks, sampling, sampling_ours, settings

PEER = settings.PEER


def turn(ours=1.0, theirs=3.0, parameters=100, patches=64):
    """Results of both sides in a round."""
    rawmm, peer = {pair[0] for pair in sampling.AGAINST}, {pair[1] for pair in sampling.AGAINST}
    return {
        "rawmm": {"parameters": 100, "patches": 64, "seconds": dict.fromkeys(sorted(rawmm), ours)},
        PEER: {
            "parameters": parameters,
            "patches": patches,
            "seconds": dict.fromkeys(sorted(peer), theirs),
        },
    }


def test_ratios_are_taken_inside_a_round():
    ratios = sampling.ratios([turn(1, 3), turn(2, 10), turn(10, 20)])
    assert len(ratios) == len(sampling.AGAINST)
    assert all(ratio == {"median": 3.0, "lowest": 2.0, "highest": 5.0} for ratio in ratios.values())


def test_precisions_that_the_hardware_lacks_are_left_out():
    one = turn(1, 3)
    one["rawmm"]["seconds"] = {
        what: taken for what, taken in one["rawmm"]["seconds"].items() if "bf16" not in what
    }
    assert len(sampling.ratios([one])) == len(sampling.AGAINST) - len(settings.PICTURES)


@pytest.mark.parametrize(
    "other, message",
    [({"parameters": 110}, "parameters"), ({"patches": 63}, "64 patches for rawmm and 63 for the peer")],
)
def test_sides_of_different_sizes_are_not_compared(other, message):
    with pytest.raises(ValueError, match=message):
        sampling.check_same(turn(**other))


def test_sides_take_turns_and_all_results_are_written(monkeypatch, tmp_path, capsys):
    calls = []

    def process(words, **how):
        calls.append((words, how["env"]["OMP_NUM_THREADS"]))
        side = "rawmm" if words[2].endswith("ours") else PEER
        return subprocess.CompletedProcess(words, 0, "noise\n" + json.dumps(turn()[side]) + "\n", "")

    monkeypatch.setattr(sampling.subprocess, "run", process)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "sampling",
            "--peer-python",
            "/peer/python",
            "--rounds",
            "2",
            "--threads",
            "1",
            "--json",
            str(tmp_path / "a" / "out.json"),
        ],
    )
    sampling.main()
    modules = [words[2].rpartition(".")[2] for words, _ in calls]
    assert modules == ["sampling_ours", "sampling_peer"] * 2 * len(settings.SAMPLED)
    assert {threads for _, threads in calls} == {"1"}
    assert {words[0] for words, _ in calls} == {sys.executable, "/peer/python"}
    out = capsys.readouterr().out
    stored = json.loads((tmp_path / "a" / "out.json").read_text())
    assert out.count("3.00 x (3.00 to 3.00)") == len(sampling.AGAINST) * len(settings.SAMPLED) and set(
        stored["settings"]
    ) == set(settings.SAMPLED)


def test_a_side_that_fails_is_an_error(monkeypatch):
    monkeypatch.setattr(
        sampling.subprocess,
        "run",
        lambda words, **_: subprocess.CompletedProcess(words, 1, "", "a\nlast words\n"),
    )
    monkeypatch.setattr(sys, "argv", ["sampling", "--peer-python", "/peer/python"])
    with pytest.raises(RuntimeError, match="last words"):
        sampling.main()


def test_the_median_counts_and_the_first_call_does_not(monkeypatch):
    clock = iter([0, 5, 10, 11, 20, 29])
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: next(clock))
    done = []
    assert clocks.middle(lambda: done.append(1), 3) == 5 and len(done) == 4


@pytest.mark.parametrize("setting", settings.SAMPLED)
def test_rawmms_side_writes_and_draws(setting, monkeypatch, capsys, one_thread):
    """With 4 tokens and 2 evaluations."""
    from rawmm_cli.core import generate
    from rawmm_cli.system import machine

    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    before, drawn = generate.choose, []
    draw = generate.draw
    monkeypatch.setattr(sampling_ours, "TEXT", 4)
    monkeypatch.setattr(sampling_ours, "EVALUATIONS", 2)
    monkeypatch.setattr(sampling_ours, "PICTURES", (1, 2))

    def watched(model, documents, keys, sampling):
        drawn.append((len(keys), sampling.drawing.steps, sampling.guidance))
        return draw(model, documents, keys, sampling)

    monkeypatch.setattr(generate, "draw", watched)
    sampling_ours.main(setting, 1)
    result = json.loads(capsys.readouterr().out)
    assert set(result["seconds"]) == {
        "text",
        "text after a picture",
        "text after 3 pictures",
        "pictures: 1",
        "pictures: 2",
        "pictures in bf16: 1",
        "pictures in bf16: 2",
    }
    assert result["patches"] == settings.SAMPLED[setting]["peer"]["patches"] and generate.choose is before
    assert drawn == [(1, 2, 1.0)] * 4 + [(2, 2, 1.0)] * 4
