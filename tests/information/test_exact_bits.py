"""Exact bits of pictures: of the uniform model 8 a value, of any model those of
probabilities that sum to 1."""

import itertools

import pytest
import torch
from code_models import Pixels, made, picture
from helpers import as_loaded

from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.config import presets
from rawmm_cli.core.heads.autoregressive import AutoregressiveHead
from rawmm_cli.information import exact_bits, image_bits
from rawmm_cli.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")


def loaded(model):
    config = presets.load("digits", ["codec.kind=subpixels", "head.kind=autoregressive", "train.length=256"])
    return as_loaded(model.eval(), config)


def images(count=3, height=4, width=6):
    return torch.stack([picture(height, width, 256, seed).pixels for seed in range(count)])


def test_the_uniform_model_has_exactly_8_bits_a_value():
    """A fresh model: all its logits are 0."""
    bits = exact_bits.of_pictures(made(SubPixels(), std=0), images(), ["", "a", "abc"])
    torch.testing.assert_close(
        bits / (3 * 4 * 6), torch.full((3,), 8.0, dtype=torch.float64), rtol=1e-7, atol=0
    )
    result = image_bits.of_pictures(loaded(made(SubPixels(), std=0)), images(), [""] * 3, 1)
    assert result.best.bits_per_byte == pytest.approx(8, rel=1e-7) and result.best is result.exact


def test_probabilities_of_all_pictures_sum_to_1():
    """One pixel whose channels have 4 levels each: 64 pictures."""

    class Few(SubPixels):
        vocabulary = 4

    model = made(Few(), std=0.5).eval()
    pixels = torch.tensor(list(itertools.product(range(4), repeat=3)), dtype=torch.uint8).view(64, 3, 1, 1)
    bits = exact_bits.of_pictures(model, pixels, ["x"] * 64)
    assert (-bits * torch.log(torch.tensor(2.0))).exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert bits.std() > 0.1


def test_bits_are_those_of_the_loss_and_do_not_count_the_z_loss():
    model = made(SubPixels(), z_loss=1.0).eval()
    one = images(1)
    loss = exact_bits.of_pictures(model, one, [""]) / (3 * 4 * 6)
    assert image_bits.of_pictures(loaded(model), one, [""], 1).best.bits_per_byte == pytest.approx(
        loss.item()
    )
    assert exact_bits.of_pictures(made(SubPixels()), one, [""]).item() == pytest.approx(loss.item() * 72)


def test_grey_pictures_have_one_byte_a_pixel():
    model, one = made(SubPixels()), images(1)
    grey = one[:, :1].expand(-1, 3, -1, -1).contiguous()
    bits = exact_bits.of_pictures(model, grey, [""]).item()
    result = image_bits.of_pictures(loaded(model), grey, [""], 1)
    assert result.exact.bits_per_byte == pytest.approx(bits / 24) and result.exact.standard_error is None


def test_codes_that_lose_something_give_no_bits_of_pictures():
    model = made(Pixels(4))
    assert isinstance(model.head, AutoregressiveHead) and not exact_bits.is_exact(model)
    with pytest.raises(ConfigError, match="^the likelihood of pictures needs a codec that loses nothing"):
        image_bits.of_pictures(loaded(model), images(1), [""], 1)
