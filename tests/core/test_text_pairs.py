"""Learned pieces of bytes: every text comes back, special tokens cannot be said, a run keeps what it
learned."""

import json
import os

import numpy as np
import pytest
import torch

from rawmm_cli.config import presets
from rawmm_cli.core.text_tokenizer import (
    BOS,
    END_IMAGE,
    EOS,
    IMAGE,
    VOCABULARY,
    BytePairs,
    Bytes,
    train_pairs,
)
from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row
from rawmm_cli.runs import loading
from rawmm_cli.system.errors import CheckpointError, ConfigError
from rawmm_cli.training.train import train

TEXTS = [
    "a portrait of a smiling woman with long red hair",
    "a portrait of a man with a beard",
    "na\u00efve \u4f60\u597d \U0001f34e",
] * 5
STRANGE = [
    "",
    " ",
    "<image> <bos> </image> <eos>",
    "\u202eabc",
    "\0\x01",
    "\ufeffx",
    "\U0001f469\u200d\U0001f680",
    "a portrait  of\r\n\ta",
    "\u00e9e\u0301",
    "".join(map(chr, range(1, 700))),
    "x" * 5000,
]


@pytest.fixture(scope="module")
def pairs():
    return train_pairs(TEXTS, 300)


@pytest.mark.parametrize("text", TEXTS[:3] + STRANGE)
def test_every_text_comes_back_and_says_no_special_token(pairs, text):
    tokens = pairs.encode(text)
    assert pairs.decode(tokens) == text
    assert not {BOS, EOS, IMAGE, END_IMAGE} & set(tokens) and all(
        0 <= token < pairs.vocabulary for token in tokens
    )
    assert len(tokens) <= len(text.encode())


def test_it_learned_something(pairs):
    assert VOCABULARY < pairs.vocabulary <= 300
    assert len(pairs.encode(TEXTS[0])) < len(TEXTS[0]) / 2
    assert len(set(pairs.ours)) == len(pairs.ours) == pairs.vocabulary - 4


def test_bytes_keep_their_numbers(pairs):
    for byte in range(256):
        assert pairs.pieces[byte] == bytes([byte])
    assert train_pairs(["ab"], VOCABULARY).encode("ab") == Bytes.encode("ab") == [97, 98]


def test_the_same_texts_give_the_same_pieces(pairs):
    assert train_pairs(TEXTS, 300).stored == pairs.stored
    assert BytePairs(pairs.stored).encode(TEXTS[1]) == pairs.encode(TEXTS[1])


def test_bytes_that_are_no_text_become_the_replacement(pairs):
    assert pairs.decode([0xFF, BOS, 97]) == "\ufffda" == Bytes.decode([0xFF, BOS, 97])


def test_a_lone_surrogate_is_refused(pairs):
    with pytest.raises(ConfigError, match="lone surrogate"):
        pairs.encode("a\ud800")


@pytest.mark.parametrize(
    "stored", ["", "{}", "[" * 10000, '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}']
)
def test_what_is_no_tokenizer_is_refused(stored):
    with pytest.raises(CheckpointError, match="tokenizer.json"):
        BytePairs(stored)


# --------------------------------------------------------------------------------------------------- in a run

WORDS = (
    "text_tokenizer=bpe",
    "text_tokenizer.vocabulary=290",
    "train.documents=64",
    "train.save_every=32",
    "train.threads=1",
    "sample.steps=2",
)


def go(data, run, *words):
    return list(
        train(presets.load("tiny", [*WORDS, *words]), data, run, torch.device("cpu"), lambda message: None)
    )


def test_a_run_keeps_its_pieces_and_resumes_with_them(few_digits, tmp_path, one_thread):
    go(few_digits, tmp_path / "whole")
    go(few_digits, tmp_path / "halves", "train.documents=32")
    kept = (tmp_path / "halves" / "tokenizer.json").read_bytes()
    go(few_digits, tmp_path / "halves")
    assert (
        (tmp_path / "halves" / "tokenizer.json").read_bytes()
        == kept
        == (tmp_path / "whole" / "tokenizer.json").read_bytes()
    )
    one, other = (loading.load_model(tmp_path / run, torch.device("cpu"))[0] for run in ("whole", "halves"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))
    assert one.words.weight.shape[0] == 290 and one.tokenizer.decode(one.tokenizer.encode("seven")) == "seven"
    assert len(one.tokenizer.encode("seven")) < 5


@pytest.mark.parametrize(
    "words", [("train", "--dry-run"), ("bench", "train", "--steps", "3"), ("bench", "data", "--steps", "3")]
)
def test_what_measures_learns_its_pieces_too(words, rawmm, tmp_path):
    """A caption of 26 bytes and 4 patches do not fit into 20 positions, its pieces do."""
    rows = [
        picture_row(np.zeros((8, 8, 3), np.uint8), ["abcdefghijklmnopqrstuvwxyz"], -1, None, str(n))
        for n in range(20)
    ]
    prepared.write(tmp_path / "long", {"train": rows, "held_out": rows[:2]}, {"labels": []})
    settings = (
        "--preset",
        "tiny",
        "--data-dir",
        tmp_path,
        "data.set=long",
        "train.length=20",
        "train.documents=64",
    )
    learned = ("text_tokenizer=bpe", "text_tokenizer.vocabulary=300")
    code, out, err = rawmm(*words, *settings, *learned, "--json")
    assert code == 0, err
    assert {"data": "long", "positions_from": "data"}.items() & json.loads(out).items(), (
        "the set itself was measured"
    )


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_other_pieces_are_refused(few_digits, tmp_path, damage, one_thread):
    go(few_digits, tmp_path / "run", "train.documents=32")
    path = tmp_path / "run" / "tokenizer.json"
    os.rename(path, tmp_path / "kept")
    if damage == "other":
        path.write_text(train_pairs(TEXTS, 290).stored)
    for use in (
        lambda: go(few_digits, tmp_path / "run"),
        lambda: loading.load_model(tmp_path / "run", torch.device("cpu")),
    ):
        with pytest.raises(CheckpointError, match="tokenizer.json"):
            use()


def test_settings():
    assert presets.load("tiny", ["text_tokenizer=bpe"]).text_tokenizer.size == 4096
    assert presets.load("tiny", ["text_tokenizer.vocabulary=999"]).text_tokenizer.size == VOCABULARY
    for word in ("text_tokenizer=words", "text_tokenizer.vocabulary=259", "text_tokenizer.kind=word"):
        with pytest.raises(ConfigError, match="text_tokenizer"):
            presets.load("tiny", [word])
    assert json.loads(json.dumps(presets.load("tiny").model_dump()))["text_tokenizer"]["kind"] == "bytes"
