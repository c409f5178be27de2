"""The driver of sampling beside the peer, without the peer: equal sizes, turns, ratios; and our side with few
tokens."""

import json
import subprocess
import sys

import pytest

from benchmarks.peers import clocks, sampling, sampling_ours, settings

PEER = settings.PEER


def turn(ours=1.0, theirs=3.0, parameters=100, patches=64):
    """What the two sides say."""
    mine, others = {pair[0] for pair in sampling.AGAINST}, {pair[1] for pair in sampling.AGAINST}
    return {
        "rawmm": {"parameters": 100, "patches": 64, "seconds": dict.fromkeys(sorted(mine), ours)},
        PEER: {
            "parameters": parameters,
            "patches": patches,
            "seconds": dict.fromkeys(sorted(others), theirs),
        },
    }


def test_ratios_are_taken_inside_a_round():
    found = sampling.ratios([turn(1, 3), turn(2, 10), turn(10, 20)])
    assert len(found) == len(sampling.AGAINST)
    assert set(map(json.dumps, found.values())) == {
        json.dumps({"median": 3.0, "lowest": 2.0, "highest": 5.0})
    }


def test_ways_that_the_hardware_lacks_are_left_out():
    one = turn(1, 3)
    one["rawmm"]["seconds"] = {
        what: taken for what, taken in one["rawmm"]["seconds"].items() if "bf16" not in what
    }
    assert len(sampling.ratios([one])) == len(sampling.AGAINST) - len(settings.PICTURES)


@pytest.mark.parametrize(
    "other, told", [({"parameters": 110}, "parameters"), ({"patches": 63}, "64 patches here and 63 there")]
)
def test_sides_of_different_sizes_are_not_compared(other, told):
    with pytest.raises(ValueError, match=told):
        sampling.check_same(turn(**other))


def test_sides_take_turns_and_everything_is_told(monkeypatch, tmp_path, capsys):
    asked = []

    def process(words, **how):
        asked.append((words, how["env"]["OMP_NUM_THREADS"]))
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
    modules = [words[2].rpartition(".")[2] for words, _ in asked]
    assert modules == ["sampling_ours", "sampling_peer"] * 2 * len(settings.SAMPLED) and {
        one for _, one in asked
    } == {"1"}
    assert {words[0] for words, _ in asked} == {sys.executable, "/peer/python"}
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


def test_the_middle_one_counts_and_the_first_does_not(monkeypatch):
    clock = iter([0, 5, 10, 11, 20, 29])
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: next(clock))
    done = []
    assert clocks.middle(lambda: done.append(1), 3) == 5 and len(done) == 4


@pytest.mark.parametrize("setting", settings.SAMPLED)
def test_our_side_writes_and_draws_what_is_timed(setting, monkeypatch, capsys, one_thread):
    """In a small way: 4 tokens, 2 evaluations."""
    from rawmm_cli.core import generate
    from rawmm_cli.system import machine

    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    before, drawn = generate.choose, []
    draw = generate.draw
    monkeypatch.setattr(sampling_ours, "TEXT", 4)
    monkeypatch.setattr(sampling_ours, "EVALUATIONS", 2)
    monkeypatch.setattr(sampling_ours, "PICTURES", (1, 2))
    monkeypatch.setattr(
        generate,
        "draw",
        lambda *words: drawn.append((len(words[2]), words[3].steps, words[3].guidance)) or draw(*words),
    )
    sampling_ours.main(setting, 1)
    found = json.loads(capsys.readouterr().out)
    assert set(found["seconds"]) == {
        "text",
        "text after a picture",
        "text after 3 pictures",
        "pictures: 1",
        "pictures: 2",
        "pictures in bf16: 1",
        "pictures in bf16: 2",
    }
    assert found["patches"] == settings.SAMPLED[setting]["peer"]["patches"] and generate.choose is before
    assert drawn == [(1, 2, 1.0)] * 4 + [(2, 2, 1.0)] * 4
