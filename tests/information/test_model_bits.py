"""Bits a byte of pictures under a model: grey against colour, with and without the ODE."""

import pytest
import torch

from rawmm_cli.data import prepared
from rawmm_cli.information import image_bits
from rawmm_cli.runs import models

pytestmark = pytest.mark.usefixtures("one_thread")


def test_grey_pictures_cost_one_byte_a_pixel(tiny_run, few_digits):
    """A grey picture, and the same with one level of one channel changed, have about as many bits; the grey
    one has a third of the bytes."""
    loaded = models.load(tiny_run, torch.device("cpu"))
    grey = torch.stack([prepared.load(few_digits / "digits", "held_out").image(n) for n in range(3)])
    colour = grey.clone()
    colour[:, 0, 0, 0] ^= 1
    both = [image_bits.of_pictures(loaded, images, [""] * 3, 4) for images in (grey, colour)]
    for way in ("bound", "uniform", "decoded", "difference"):
        one, three = (getattr(result, way) for result in both)
        assert one.bits_per_byte == pytest.approx(3 * three.bits_per_byte, rel=0.02, abs=0.05)
        assert one.standard_error == pytest.approx(3 * three.standard_error, rel=0.1)
    for way, error in both[0].solver_error.items():
        assert error == pytest.approx(3 * both[1].solver_error[way], rel=0.1)


def test_the_bound_alone_is_the_same_bound(tiny_run, few_digits):
    """Without the ODE its figures are None, and the bound does not change."""
    loaded = models.load(tiny_run, torch.device("cpu"))
    images = torch.stack([prepared.load(few_digits / "digits", "held_out").image(n) for n in range(2)])
    alone, full = (image_bits.of_pictures(loaded, images, [""] * 2, 2, ode=ode) for ode in (False, True))
    assert alone.bound == full.bound and (alone.begin, alone.width) == (full.begin, full.width)
    assert alone.uniform is alone.decoded is alone.difference is alone.uniform_begin is None
