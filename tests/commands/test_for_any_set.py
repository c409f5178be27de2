"""`--data NAME`: the set tells the settings, in train, its dry run, presets and bench."""

import json

import numpy as np
import pytest
import torch

from rawmm_cli.commands import common
from rawmm_cli.config import presets
from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row

TINY = (
    *("train.documents=32", "train.batch=16", "train.threads=1", "train.compile='no'", "sample.steps=1"),
    *("backbone.width=32", "backbone.depth=1", "backbone.hidden=32", "backbone.heads=1"),
)


@pytest.fixture
def plain(tmp_path):
    """The set `plain`, of pictures without captions."""
    rows = [picture_row(np.full((8, 8, 3), n, np.uint8), []) for n in range(8)]
    card = {"captions": {"count": 0, "different": 0, "vocabulary": 0, "frequent": [], "bytes": {}}}
    prepared.write(tmp_path / "data" / "plain", {"train": rows[:6], "held_out": rows[6:]}, card)
    return tmp_path


def test_a_dry_run_says_what_follows_and_why(rawmm, digits):
    code, out, err = rawmm("train", "--data", "digits", "train.batch=16", "--dry-run", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["config"]["data"]["size"] == 8 and shown["config"]["train"]["batch"] == 16
    assert shown["reasons"]["codec.patch"] == "16 patches a picture, of 12 values"
    assert "train.batch" not in shown["reasons"]
    assert "codec.patch = 2: 16 patches a picture, of 12 values\n" in err
    assert rawmm("train", "--preset", "digits", "--dry-run", "--json")[2] == ""


@pytest.mark.parametrize("words", [["--data", "digits"], ["--preset", "small", "data.set=digits"]])
def test_three_ways_to_name_a_set_are_one(words, rawmm, digits):
    same = json.loads(rawmm("presets", "small", "--data", "digits", "--json")[1])["config"]
    assert json.loads(rawmm("train", *words, "--dry-run", "--json")[1])["config"] == same


def test_another_set_alone_takes_the_preset_for_any_set(rawmm, digits):
    (digits / "data" / "digits").rename(digits / "data" / "mine")
    shown = json.loads(rawmm("train", "data.set=mine", "--dry-run", "--json")[1])
    assert shown["config"]["data"]["set"] == "mine" and shown["config"]["sample"]["guidance"] == 2
    assert shown["config"]["backbone"]["width"] == 128 and "data.size" in shown["reasons"]


@pytest.mark.parametrize("preset, name", [("small", "digits"), ("medium", "digits-medium")])
def test_the_run_is_called_as_its_set(preset, name, rawmm, digits):
    code, out, _ = rawmm("train", "--preset", preset, "--data", "digits", *TINY, "--json")
    assert code == 0 and json.loads(out)["run"] == name and "codec.patch" in json.loads(out)["reasons"]


@pytest.mark.parametrize(
    "words, line",
    [
        (
            ["train", "--preset", "small"],
            "error: this preset is for any set, and none is named; give --data NAME; prepared in data: plain",
        ),
        (
            ["train", "--data", "./mine"],
            "error: --data ./mine is not the name of a prepared set; prepare it first: `rawmm prepare folder "
            "--path ./mine --name mine`, then --data mine",
        ),
        (
            ["train", "--data", "plane"],
            "error: data set 'plane' is not prepared in data (did you mean plain?); run `rawmm prepare "
            "folder --path DIR --name plane`, or give the folder that holds it with --data-dir",
        ),
        (
            ["train", "--data", "plain", "data.read=0.5"],
            "error: data.read = 0.5, and no picture of 'plain' has a caption: nothing can be read; set "
            "data.read=0, or prepare it again with captions",
        ),
        (
            ["train", "--data", "plain", "codec.patch=16"],
            "error: codec.patch = 16 does not divide data.size = 8; allowed: 1, 2, 4, 8",
        ),
    ],
)
def test_bad_input(words, line, rawmm, plain, monkeypatch):
    monkeypatch.chdir(plain)
    code, out, err = rawmm(*words)
    assert code != 0 and out == "" and err.splitlines()[-1] == line
    assert not (plain / "runs").exists()


def test_without_captions_nothing_is_read(rawmm, plain, monkeypatch):
    monkeypatch.chdir(plain)
    shown = json.loads(rawmm("train", "--data", "plain", "--dry-run", "--json")[1])["config"]
    assert (shown["data"]["read"], shown["sample"]["guidance"]) == (0, 1)


def test_a_preset_for_any_set_is_shown_without_one(rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = rawmm("presets", "small")
    assert code == 0 and "  size: auto\n" in out
    assert err == "what is auto follows from a set: `rawmm presets small --data NAME`\n"


def test_a_run_is_evaluated(rawmm, digits):
    assert rawmm("train", "--data", "digits", *TINY)[0] == 0
    code, out, _ = rawmm("evaluate", "digits", "--per-label", "1", "--json")
    result = json.loads(out)
    assert code == 0 and result["text_to_image"]["count"] == 10 and result["image_to_text"]["count"] == 7
    assert 0 < result["judge"]["held_out_accuracy"] <= 1


def test_held_out_losses_of_text_alone_are_shown(rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    for n in range(12):
        (tmp_path / "texts" / f"{n}.txt").write_text("a story. " * (n + 3))
    assert rawmm("prepare", "text", "--path", "texts", "--name", "stories", "--workers", "0")[0] == 0
    assert rawmm("train", "--data", "stories", *TINY)[0] == 0
    code, out, _ = rawmm("evaluate", "stories")
    assert code == 0 and "\nheld out: text " in f"\n{out}" and " nats/token; report: " in out


def test_speed_of_what_follows(rawmm, digits):
    code, out, _ = rawmm("bench", "data", "--data", "digits", "--steps", "3", *TINY, "--json")
    assert code == 0 and json.loads(out)["preset"] == "small"


def fast_cards(monkeypatch, seconds=0.0005):
    """A machine with GPUs, on which a step takes so many seconds, divided among the ranks."""
    from rawmm_cli.profiling import estimate
    from rawmm_cli.system import machine

    asked = []

    def pace(config, device, data, ranks=1):
        asked.append((str(device), ranks, config.train.compile))
        return {"step_seconds": seconds / ranks}

    monkeypatch.setattr(machine, "device", lambda name, *_: torch.device("cuda"))
    monkeypatch.setattr(estimate, "estimate", pace)
    return asked


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_by_time_on_gpus_follows_from_their_pace(ranks, prepared_digits, monkeypatch):
    """At 0.5 ms a step of 64 documents, 10 minutes are 61 million documents, times ranks: sheets and
    checkpoints are no more frequent than elsewhere, and the warm-up is no longer than it can be."""
    asked = fast_cards(monkeypatch)
    words = ["data.set=digits", "train.time=600"]
    config, reasons = common.settle(presets.load("small", words), prepared_digits, None, "auto", ranks)
    assert set(asked) == {("cuda", ranks, "auto")}
    expected = 0.8 * 600 / 0.0005 * 64 * ranks
    assert config.train.save_every == config.train.sample_every == pytest.approx(expected / 4, rel=0.01)
    assert config.train.warmup == config.train.documents // 5
    assert reasons["train.warmup"] == "a fifth of 40,000 documents: more gain nothing"
    short = presets.load("small", ["data.set=digits", "train.time=60"])
    common.settle(short, prepared_digits, None, "auto", ranks)
    assert asked[-1] == ("cuda", ranks, "no"), "compiling does not pay in a minute"


def test_ranks_take_what_their_launcher_has_settled(prepared_digits, monkeypatch, capsys):
    asked = fast_cards(monkeypatch)
    unsettled = presets.load("small", ["data.set=digits", "train.time=600"])
    config, reasons = common.settle(unsettled, prepared_digits, None, "auto", 2)
    assert asked and capsys.readouterr().err == ""
    values = common.values_of(config, reasons)
    asked.clear()
    for rank, said in ((1, False), (0, True)):
        variables = {"RANK": str(rank), "WORLD_SIZE": "2", "RAWMM_SETTLED": json.dumps(values)}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert common.settle(unsettled, prepared_digits, None, "auto", 1) == (config, reasons)
        assert ("train.warmup = " in capsys.readouterr().err) == said
    assert not asked
    monkeypatch.delenv("RAWMM_SETTLED")
    assert common.settle(unsettled, prepared_digits, None, "auto", 1)[0].train.save_every < 60_000
    assert not asked, "ranks of another launcher would measure different paces"
