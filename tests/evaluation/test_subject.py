"""Drawings that a subject keeps for the evaluators that look at them."""

import torch
from helpers import as_loaded

from rawmm_cli.config import build, presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import END_IMAGE, EOS, IMAGE
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.digits import NAMES
from rawmm_cli.evaluation import seams
from rawmm_cli.evaluation.subject import HELD_OUT, Subject
from rawmm_cli.sampling.request import Request

TINY = presets.load("tiny")


def drawing_model():
    """A `generate` that draws a ramp from level 0, 1, 2 ... on, one after the other."""
    count = iter(range(10_000))

    def generate(model, prompts, keys, settings, *_):
        levels = [next(count) for _ in prompts]
        ramps = [((level + torch.arange(8)) % 256).to(torch.uint8).expand(3, 8, 8) for level in levels]
        return [[*p, IMAGE, Picture(pixels, False), END_IMAGE, EOS] for p, pixels in zip(prompts, ramps)]

    return generate


def test_drawings_are_kept_with_their_captions_unless_drawn_otherwise(few_digits, tmp_path, monkeypatch):
    """One step looks otherwise than ten; at most so many, of all captions alike."""
    monkeypatch.setattr(generator, "generate", drawing_model())
    splits = [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]
    subject = Subject(as_loaded(build.model(TINY).eval(), TINY), Request(), *splits, tmp_path, per_label=2)
    subject.draw(["a", "b"], "first", 2, max_text=4)
    subject.draw(["c"], "second", 2, steps=1)
    names, captions, pixels = zip(*subject.drawings)
    assert names == ("first 0 0", "first 0 1", "first 1 0", "first 1 1") and captions == ("a", "a", "b", "b")
    assert [int(one[0, 0, 0]) for one in pixels] == [0, 1, 2, 3]
    subject.draw(["d", "e"], "third", HELD_OUT)
    assert len(subject.drawings) == HELD_OUT
    assert sum(one.caption == "e" for one in subject.drawings) == (HELD_OUT - 4) / 2


def test_without_drawings_they_are_made_of_each_class(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "generate", drawing_model())
    splits = [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]
    subject = Subject(as_loaded(build.model(TINY).eval(), TINY), Request(), *splits, tmp_path, per_label=2)
    assert [one.caption for one in subject.drawn()] == [name for name in NAMES for _ in range(2)]
    assert len(subject.drawn()) == 20  # not made again
    assert list(seams.measure(subject)) == ["seams", "sharpness"]
