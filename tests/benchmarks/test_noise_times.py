"""The benchmark of training times: its runs, its lines, and all of it in small."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import noise_sets, noise_times
from rawmm_cli.config import presets


def test_every_line_of_the_grid_is_run_on_every_set_before_the_next():
    options = SimpleNamespace(tiny=False, grid=None, seeds=2)
    jobs = noise_times.runs(options, ["a", "b"])
    assert len(jobs) == 2 * 2 * len(noise_times.GRID) and len(set(jobs)) == len(jobs)
    assert [job.set for job in jobs[:4]] == ["a", "b", "a", "b"] and jobs[0][1:4] == jobs[1][1:4]
    assert {job.seed for job in jobs[: len(jobs) // 2]} == {0}


@pytest.mark.parametrize("name", noise_sets.NAMES)
def test_settings_of_every_set_are_settings(name):
    for numbers in ((0.8, 1.4, 4.0), (None, None, None)):
        options = {"tiny": False, "documents": 0.5}
        config = presets.load(*noise_times.settings(options, noise_times.Run(name, *numbers, seed=3)))
        said = (config.head.time_mean, config.head.time_spread, config.loss.image)
        assert said == ("auto",) * 3 if numbers[0] is None else said == numbers
        assert (
            config.data.set == name
            and config.train.seed == 3
            and config.data.size == int(name[-2:].strip("s"))
        )
        assert config.train.documents == noise_times.SETUPS[name].documents / 2


def test_a_word_is_inside_its_picture():
    random = np.random.default_rng(0)
    for word in noise_sets.WORDS:
        picture = noise_sets.word_picture(word, 64, random).astype(int)
        ink = (np.abs(picture - picture[0, 0]).sum(-1) > 60).nonzero()
        assert len(ink[0]) > 40, word
        assert min(map(min, ink)) > 0 and max(map(max, ink)) < 63, word


def test_a_table_of_what_is_there(tmp_path):
    line = {"number": 0, "set": "a", "mean": 0.5, "spread": 1.0, "weight": 4.0, "seed": 0}
    lines = [line | {"right": 0.5}, line | {"number": 1, "right": 0.75}, line | {"number": 2, "error": "bad"}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    noise_times.write_table(tmp_path, 9, 12.0)
    table = (tmp_path / "table.md").read_text()
    assert "3 of 9 runs in 12 s" in table and "a: bad" in table
    assert table.index("| 0.75 |") < table.index("| 0 |  | 0.5 |")
    assert noise_times.one_line(lines[2], 9) == "3/9 a N(0.5, 1) x 4: bad"


@pytest.mark.process
def test_all_of_it_in_small(tmp_path):
    words = ["--device", "cpu", "--tiny", "--processes", "1", "--grid", "auto", "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmarks.noise_times", *words], check=True, capture_output=True)
    lines = noise_times.results(tmp_path)
    assert [line["set"] for line in lines] == ["digits8", "mnist28"]
    for line in lines:
        assert "error" not in line, line
        assert {"right", "read", "judge kid", "held out image"} <= set(line) and 0 <= line["right"] <= 1
        assert all(isinstance(line[name], float) for name in ("mean", "spread", "weight"))


@pytest.mark.process
def test_help():
    words = [sys.executable, "-m", "benchmarks.noise_times", "--help"]
    assert "--prepare" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
