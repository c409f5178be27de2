"""Captions that are too long with learned pieces: an error before the first step and after each restart,
until `data.long` says what to do; then the run goes on."""

import json

import numpy as np
import pytest
import torch
from training_runs import go, settings

from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row
from rawmm_cli.evaluation.losses import picture_losses
from rawmm_cli.runs import models
from rawmm_cli.system.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = ("text_tokenizer=bpe", "text_tokenizer.vocabulary=264", "train.length=40", "train.documents=32")


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)

    def row(name: str, caption: str) -> dict:
        return picture_row(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8), [caption], source=name)

    digits = "".join(str(number) for number in generator.integers(0, 10, 200))
    train = [row(f"{n}.png", f"picture {n}") for n in range(12)] + [row("long.png", digits)]
    held_out = [row("a.png", "picture a"), row("b.png", digits)]
    prepared.write(
        tmp_path / "digits", {"train": train, "held_out": held_out}, {"name": "digits", "labels": []}
    )
    return tmp_path


def test_a_run_is_checked_before_its_first_step(data, tmp_path):
    for _ in range(2):  # again after the first try
        with pytest.raises(
            DataError, match="^picture long.png and its caption need [0-9]+ positions; .* 1 of 13 pic"
        ):
            go(settings(*WORDS), data, tmp_path / "run")
    assert not (tmp_path / "run" / "records.jsonl").exists()
    lines = []
    go(settings(*WORDS, "data.long=cut"), data, tmp_path / "run", notify=lines.append)
    assert any(
        line.startswith("1 of 13 pictures with their captions of 'digits' do not fit") for line in lines
    )
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) > 0


def test_a_run_that_is_stuck_can_go_on(data, tmp_path):
    """data.long may change: a run begun without it would else end at the same caption for ever."""
    go(settings(*WORDS, "data.long=cut", "train.documents=16"), data, tmp_path / "run")
    lines = []
    go(settings(*WORDS, "data.long=leave out"), data, tmp_path / "run", notify=lines.append)
    assert any("resuming" in line for line in lines) and any("left out" in line for line in lines)


@pytest.mark.parametrize("long", ["cut", "leave out"])
def test_a_held_out_caption_does_not_end_the_evaluation(long, data, tmp_path):
    go(settings(*WORDS, f"data.long={long}"), data, tmp_path / "run")
    loaded = models.load(tmp_path / "run", torch.device("cpu"))
    losses = picture_losses(loaded.model, loaded.config, prepared.load(data / "digits", "held_out"), 0)
    assert losses.count == (2 if long == "cut" else 1) and losses.bits_per_byte > 0
    report = json.dumps(losses.caption)
    assert float(report) > 0


def test_a_long_held_out_caption_is_named_too(data, tmp_path):
    rows = prepared.load(data / "digits", "train")
    short = [picture_row(rows.image(0).permute(1, 2, 0).numpy(), ["x"], source="s.png")] * 3
    generator = np.random.default_rng(1)
    digits = "".join(str(number) for number in generator.integers(0, 10, 200))
    late = [picture_row(rows.image(1).permute(1, 2, 0).numpy(), [digits], source="late.png")]
    prepared.write(data / "digits", {"train": short, "held_out": late}, {"name": "digits", "labels": []})
    with pytest.raises(DataError, match="^picture late.png and its caption need"):
        go(settings(*WORDS), data, tmp_path / "run")
