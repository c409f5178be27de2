"""What a codec leaves of held-out pictures, as files for the page."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from toy_codec import Squares

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.comparison.codec_pictures import COUNT, keep
from rawmm_cli.config import presets
from rawmm_cli.data import prepared
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.pages.gallery import cells
from rawmm_cli.sampling.request import Request


def subject(few_digits, codec):
    model = torch.nn.Linear(1, 1)
    model.codec = codec
    splits = [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]
    return Subject(SimpleNamespace(model=model, config=presets.load("tiny")), Request(), *splits, few_digits)


def test_the_pictures_and_what_came_back_with_their_psnr(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(Subject, "settings", SimpleNamespace(size=(8, 8)))
    of = subject(few_digits, Squares(4))
    keep(of, tmp_path)
    quality = json.loads((tmp_path / "kept.json").read_text())["psnr"]
    count = len(quality)
    shown = [np.asarray(one, float) for one in cells(Image.open(tmp_path / "kept.png"), count, 2 * count)]
    assert count == min(COUNT, len(of.held_out)) and shown[0].shape == (64, 64, 3)
    for original, back, psnr in zip(shown[:count], shown[count:], quality):
        assert psnr == pytest.approx(10 * np.log10(255**2 / ((original - back) ** 2).mean()), abs=0.006)
        assert (back[:32, :32] == back[0, 0]).all()  # a square of four pixels has one grey


def test_a_codec_that_is_exact_leaves_nothing_to_show(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(Subject, "settings", SimpleNamespace(size=(8, 8)))
    keep(subject(few_digits, RawPatches(2)), tmp_path)
    assert list(tmp_path.iterdir()) == []
