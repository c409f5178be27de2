"""Bits/dim of a diffusion model are those of the bound, which has tests of its own; others have none here."""

import numpy as np
import pytest
import torch
from evaluated import means_agree
from helpers import as_loaded, randomised

from rawmm_cli.config import build, presets
from rawmm_cli.data import prepared
from rawmm_cli.evaluation import bits
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.information import image_bits
from rawmm_cli.sampling.request import Request

pytestmark = pytest.mark.usefixtures("one_thread")


def subject_of(config, folder):
    model = randomised(build.model(config), std=0.1).eval()
    splits = [prepared.load(folder / "digits", split) for split in prepared.SPLITS]
    return Subject(as_loaded(model, config), Request(seed=3), *splits, folder)


def test_bits_are_those_of_the_bound(few_digits):
    of = subject_of(presets.load("tiny"), few_digits)
    results = bits.measure(of)
    assert means_agree(results) == {"likelihood.bits_per_dim_bound"}
    images = torch.stack([of.held_out.image(row) for row in range(7)])
    captions = [of.held_out.captions[row][0] for row in range(7)]
    known = image_bits.of_pictures(of.loaded, images, captions, 4, seed=3, ode=False).bound
    result = results["likelihood"]  # a grey picture has a byte a pixel there, and three values here
    assert 3 * result.bits_per_dim_bound == pytest.approx(known.bits_per_byte)
    assert 3 * result.standard_error == pytest.approx(known.standard_error) and result.count == 7
    assert np.isfinite(result.bits_per_dim_bound)


@pytest.mark.parametrize(
    "words",
    [["codec.kind=subpixels", "head.kind=masked"], ["codec={kind: shrunk, factor: 2, patch: 2}"]],
)
def test_other_heads_and_codecs_that_lose_something_have_none(words, few_digits):
    assert bits.measure(subject_of(presets.load("tiny", [*words, "train.length=300"]), few_digits)) == {}
