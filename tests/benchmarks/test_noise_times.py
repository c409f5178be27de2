"""The benchmark of training times: its runs, its lines, and all of it in small."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import noise_plot, noise_results, noise_sets, noise_times
from rawmm_cli.config import presets


def test_every_line_of_the_grid_is_run_on_every_set_before_the_next():
    options = SimpleNamespace(tiny=False, grid="coarse", seeds=2)
    jobs = noise_times.runs(options, ["a", "b"])
    assert len(jobs) == 2 * 2 * len(noise_times.COARSE) and len(set(jobs)) == len(jobs)
    assert [job.set for job in jobs[:4]] == ["a", "b", "a", "b"] and jobs[0][1:4] == jobs[1][1:4]
    assert {job.seed for job in jobs[: len(jobs) // 2]} == {0}


def test_the_fine_grid_begins_with_the_star_of_the_default_in_three_seeds():
    jobs = noise_times.runs(SimpleNamespace(tiny=False, grid="fine", seeds=None), ["a"])
    assert len(jobs) == len(set(jobs)) == 3 * 3**3
    default = presets.resolve({})
    assert jobs[0][1:4] == (default.head.time_mean, default.head.time_spread, default.loss.image)
    assert [job.seed for job in jobs[:21]] == 7 * [0] + 7 * [1] + 7 * [2]
    for job in jobs[:21]:
        assert sum(one != other for one, other in zip(job[1:4], jobs[0][1:4])) <= 1
    both = noise_times.runs(SimpleNamespace(tiny=False, grid="fine", seeds=None), ["a", "photos128"])
    assert [job.set for job in both[:14]] == 7 * ["a"] + 7 * ["photos128"] and both[14].seed == 1
    own = noise_times.runs(SimpleNamespace(tiny=False, grid="0.4:0.6:2", seeds=None), ["a"])
    assert own == [noise_times.Run("a", 0.4, 0.6, 2.0, 0)]


@pytest.mark.parametrize("name", noise_sets.NAMES)
def test_settings_of_every_set_are_settings(name):
    run = noise_times.Run(name, 0.8, 1.4, 4.0, seed=3)
    config = presets.load(*noise_times.settings({"tiny": False, "documents": 0.5}, run))
    assert (config.head.time_mean, config.head.time_spread, config.loss.image) == run[1:4]
    assert (config.data.set, config.train.seed) == (name, 3)
    assert config.data.size == int("".join(filter(str.isdigit, name)))
    assert config.train.length > config.codec.tokens(config.data.size, config.data.size) + 8
    assert config.train.documents == noise_times.SETUPS[name].documents / 2


def test_a_word_is_inside_its_picture():
    random = np.random.default_rng(0)
    for word in noise_sets.WORDS:
        picture = noise_sets.word_picture(word, 64, random).astype(int)
        ink = (np.abs(picture - picture[0, 0]).sum(-1) > 60).nonzero()
        assert len(ink[0]) > 40, word
        assert min(map(min, ink)) > 0 and max(map(max, ink)) < 63, word


RUN = {"number": 0, "set": "a", "mean": 0.5, "spread": 1.0, "weight": 4.0, "seed": 0, "read": 0.9, "kid": 1.0}


def test_a_table_of_what_is_there(tmp_path):
    lines = [RUN | {"right": 0.5}, RUN | {"number": 1, "right": 0.75}, RUN | {"number": 2, "error": "bad"}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    noise_results.write_table(tmp_path, 9, 12.0)
    table = (tmp_path / "table.md").read_text()
    assert "3 of 9 runs in 12 s" in table and "a: bad" in table
    assert "| 0.5 | 1 | 4 | 62.5 / 90.0 | 1.0 |" in table
    assert table.index("| 0.75 |") < table.index("| 0 |  | 0.5 |")
    assert noise_results.one_line(lines[2], 9) == "3/9 a N(0.5, 1) x 4: bad"


def test_times_are_ranked_where_every_set_has_them_and_chosen_without_each():
    """Of three times, that every set has, a prefers the first and b the second; c has a fourth besides."""
    figures = {  # right, read, KID
        "a": [(0.9, 0.9, 0.1), (0.8, 0.8, 0.2), (0.1, 0.8, 0.3)],
        "b": [(0.5, 0.5, 0.1), (0.6, 0.7, 0.1), (0.1, 0.1, 0.2)],
        "c": [(0.5, 0.5, 0.2), (0.6, 0.6, 0.1), (0.1, 0.1, 0.3), (1.0, 1.0, 0.0)],
    }
    lines = [
        RUN | {"set": name, "mean": float(n), "right": right, "read": read, "kid": kid}
        for name, rows in figures.items()
        for n, (right, read, kid) in enumerate(rows)
    ]
    ranks = noise_results.ranks(noise_results.cells_of(lines))
    assert set(ranks) == {(n, 1.0, 4.0) for n in (0.0, 1.0, 2.0)}
    assert ranks[0.0, 1.0, 4.0] == pytest.approx({"a": 1, "b": (2 + 2 + 1.5) / 3, "c": 2})
    assert ranks[1.0, 1.0, 4.0] == pytest.approx({"a": (2 + 2.5 + 2) / 3, "b": (1 + 1 + 1.5) / 3, "c": 1})
    text = noise_results.by_times(lines)
    assert "Chosen without a: N(1, 1) x 4, in it number 2 of 3." in text
    assert "Chosen without c: N(0, 1) x 4, in it number 2 of 3." in text
    assert any(line.startswith("| 3 | 1 | 4 |  |  | 100.0 / 100.0 |") for line in text)


def test_the_picture_has_the_colour_of_each_spread_that_was_run(tmp_path):
    lines = [
        RUN | {"set": name, "mean": mean, "spread": spread, "right": spread / 2}
        for name in ("digits8", "words64")
        for mean in (0.0, 0.8)
        for spread in (0.8, 1.4)
    ]
    noise_plot.plot(noise_results.cells_of(lines), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        colours = np.unique(np.array(image.convert("RGB")).reshape(-1, 3), axis=0).astype(int)
    near = [
        abs(colours - [int(colour[n : n + 2], 16) for n in (1, 3, 5)]).max(1).min()
        for colour in noise_plot.COLOURS
    ]
    assert max(near[:2]) < 12 and min(near[2:]) > 40


@pytest.mark.process
def test_all_of_it_in_small(tmp_path):
    words = ["--device", "cpu", "--tiny", "--processes", "1", "--grid", "0.8:0.8:4", "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmarks.noise_times", *words], check=True, capture_output=True)
    lines = noise_results.results(tmp_path)
    assert [line["set"] for line in lines] == ["digits8", "mnist28"]
    for line in lines:
        assert "error" not in line, line
        assert {"right", "read", "judge kid", "held out image"} <= set(line) and 0 <= line["right"] <= 1
        assert all(isinstance(line[name], float) for name in ("mean", "spread", "weight"))


@pytest.mark.process
def test_help():
    words = [sys.executable, "-m", "benchmarks.noise_times", "--help"]
    assert "--prepare" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
