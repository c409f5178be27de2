"""Rates of what is marked: the lists, what counts as foreign, and shares that are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import as_loaded

from rawmm_cli.config import build, presets
from rawmm_cli.data import sets
from rawmm_cli.evaluation import foreign
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.runs import familiar, models
from rawmm_cli.runs.familiar import Word
from rawmm_cli.sampling.request import Request


def test_the_list_of_foreign_prompts():
    texts = [text for kind in foreign.foreign_prompts().values() for text in kind]
    assert len(texts) >= 200 and len(set(texts)) == len(texts)
    assert all(isinstance(text, str) and text.strip() == text and "\n" not in text for text in texts)
    assert {"a red bicycle", "a cat", "a portrait of a dog", "a portrait of a bicycle"} <= set(texts)


def test_own_captions_with_another_noun():
    own = ["a small red cup", "a hat"] * 60
    changed = foreign.near(own)
    assert len(changed) == foreign.NEAR and changed == foreign.near(own)
    for text in changed:
        words = text.split()
        assert len(words) in (2, 4)
        assert len(set(words) - {"a", "small", "red", "cup", "hat"}) == 1 and set(words) & set(foreign.NOUNS)
    assert foreign.near([]) == []


def test_beginnings_are_cut_at_a_word():
    assert foreign.beginnings(["one two three"] * 4) == ["one", "one two", "one two three", "one"]


def test_foreign_pictures_have_the_size_and_are_not_of_the_own_source():
    kinds = dict(foreign.foreign_pictures(16, "scikit-learn load_digits (UCI optdigits test set)"))
    assert kinds["digits"] == [] and len(kinds["noise"]) == len(kinds["portraits"]) == foreign.EACH
    for pictures in kinds.values():
        assert all(one.shape == (3, 16, 16) and one.dtype == torch.uint8 for one in pictures)
    colours = torch.stack(kinds["single colours"])
    assert (colours.flatten(2).amax(2) == colours.flatten(2).amin(2)).all()
    assert len(np.unique(torch.stack(kinds["noise"]).numpy())) == 256
    assert len(dict(foreign.foreign_pictures(8))["digits"]) == foreign.EACH


def test_shares_are_those_of_the_bits(monkeypatch):
    """A word costs as many bits as it has letters, and more than 6 are outside."""
    monkeypatch.setattr(
        familiar,
        "word_bits",
        lambda model, texts: [[Word(word, float(len(word))) for word in text.split()] for text in texts],
    )
    config = presets.load("tiny")
    loaded = replace(as_loaded(build.model(config), config), seen={"words": {"threshold": 6.0}})
    own = ["red cup", "blue cup", "aubergine cup", "red hat"]
    marked = foreign.of_prompts(loaded, own, foreign.words_of(own) | {"a", "cat", "on", "mat"})
    assert (marked.own, marked.own_count, marked.threshold) == (0.25, 4, 6.0)
    assert marked.beginnings == 0.25  # "red", "blue cup", "aubergine", "red hat"
    texts = foreign.foreign_prompts()
    animals = [text for text in texts["animals"] if text not in ("a cat", "a cat on a mat")]
    long = [any(len(word) > 6 for word in text.split()) for text in animals]
    assert marked.by_kind["animals"] == pytest.approx(np.mean(long), abs=1e-4), "the cats are known here"
    assert marked.foreign_count < sum(map(len, texts.values())) + 4


def test_a_trained_run_marks_what_is_foreign_and_not_its_own(tiny_run, prepared_digits, tmp_path):
    loaded = models.load(tiny_run, torch.device("cpu"))
    data, held_out = sets.load(loaded.config, prepared_digits)
    results = foreign.measure(Subject(loaded, Request(), data[0], held_out, tmp_path))
    words, pictures = results["foreign_prompts"], results["foreign_pictures"]
    assert words.own == words.beginnings == 0 and words.own_count == 120
    assert words.foreign >= 0.95 and words.foreign_count >= 200
    assert pictures.own <= 4 / 120, "two in 100 are allowed, and there are 120"
    assert pictures.by_kind["noise"] == 1 and "digits" not in pictures.by_kind
    assert foreign.measure(Subject(replace(loaded, seen={}), Request(), data[0], held_out, tmp_path)) == {}
