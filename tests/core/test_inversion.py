"""Pictures to noise and back: lossless in the limit of small steps, whatever the model; and against a known
solution."""

import math

import pytest
import torch
from drawing_models import talkative
from helpers import BACKBONES

from rawmm_cli.core import generate, inversion
from rawmm_cli.metrics import pixels


def pictures(count=3, size=(8, 12)):
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def psnr(back):
    return float(pixels.psnr_of(pixels.mse(back, pictures()).mean()))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_more_steps_lose_less_until_nothing_is_lost(backbone):
    """Heun's error falls with the square of the step: 12 dB each time that the steps are doubled."""
    result = [psnr(inversion.ode(talkative(backbone), pictures(), steps)[0]) for steps in (40, 80, 160)]
    assert result[0] < result[1] < result[2]
    fine = inversion.ode(talkative(backbone), pictures(), 600)[0]
    assert psnr(fine) > 45 and pixels.exact_values(fine, pictures()).mean() > 0.5


def test_noise_of_a_known_distribution(monkeypatch):
    """Pictures ~ N(0.2, 0.3^2) in every value, and a network that knows it: x keeps its place in units of the
    spread."""
    mean, spread, model = 0.2, 0.3, talkative()

    def clean(output, z, time):
        t = time.reshape(-1, 1)
        return mean + (1 - t) * spread**2 / ((1 - t) ** 2 * spread**2 + t**2) * (z - (1 - t) * mean)

    monkeypatch.setattr(model.head, "clean", clean)
    before = pictures()
    back, noise = inversion.ode(model, before, 100)
    t = inversion.BEGIN
    start = (model.codec.encode(before) - (1 - t) * mean) / math.sqrt((1 - t) ** 2 * spread**2 + t**2)
    torch.testing.assert_close(noise, start, rtol=1e-3, atol=1e-3)
    assert torch.equal(back, before)


def test_pictures_of_another_size_take_the_place_of_those_learned(monkeypatch):
    """As they do when they are drawn: the same positions reach the backbone."""
    seen = []
    monkeypatch.setattr(
        generate.Cache, "picture", lambda self, documents: seen.append(documents[0][-1].stretch) or 1 / 0
    )
    for learned in (None, 8, 24):
        with pytest.raises(ZeroDivisionError):
            inversion.ode(talkative(), pictures(), 2, learned=learned)
    assert seen == [(1.0, 1.0), (1.0, 8 / 12), (3.0, 2.0)]
