"""The law of noise: exact on spectra whose numbers are known, and what it puts in place of `auto`."""

import math

import numpy as np
import pytest

from rawmm_cli.config import presets
from rawmm_cli.config.noise_law import UNMEASURED, Noise, is_settled, law, linear_loss, settle
from rawmm_cli.metrics.spectrum import Spectrum


def test_auto_is_the_default_and_presets_may_state_numbers():
    config = presets.resolve({})
    assert (config.head.time_mean, config.head.time_spread, config.loss.image) == ("auto",) * 3
    assert not is_settled(config) and is_settled(presets.load("digits")) and is_settled(presets.load("tiny"))


def test_only_auto_is_settled():
    config = presets.resolve({}, ["head.time_spread=0.7"])
    settled = settle(config, Noise(0.5, 1.2, 3.0))
    assert (settled.head.time_mean, settled.head.time_spread, settled.loss.image) == (0.5, 0.7, 3.0)
    assert is_settled(settled) and settle(settled) is settled
    assert settle(config).head.time_mean == UNMEASURED.mean
    assert settled.train == config.train and settled.head.clamp == config.head.clamp


def test_the_middle_of_the_times_is_the_noise_that_hides_half():
    power = np.exp(np.linspace(-3, 3, 601))  # symmetrical in ln P, each P as much energy
    spectrum = Spectrum(np.concatenate([np.full(round(1e3 / p), p) for p in power]), 10**6)
    assert math.log(spectrum.visible_to(0.5)) == pytest.approx(0, abs=0.01)
    assert law(spectrum).mean == pytest.approx(0, abs=0.01)


def test_larger_pictures_get_more_noise():
    small, large = (law(Spectrum(np.array([p, p / 10]), 192)) for p in (1.0, 4.0))
    assert large.mean == pytest.approx(small.mean + math.log(2), abs=0.011) and large.spread == small.spread


def test_linear_loss_of_one_power_is_the_integral():
    """P = 1 on every value, t = 1/2 alone: noise 1 hides half, over t^2."""
    assert linear_loss(Spectrum(np.ones(10), 10), 0.0, 1e-9) == pytest.approx(0.5 / 0.25)
    assert linear_loss(Spectrum(np.ones(10), 20), 0.0, 1e-9) == pytest.approx(0.25 / 0.25)


def test_without_pictures_the_usual_numbers():
    assert law(None) == UNMEASURED and "no pictures" in law(None).reason


def test_a_reason_tells_times():
    assert (
        Noise(0.0, 1.0, 2.0).reason
        == "these pictures show themselves between t = 0.22 and 0.78, half at 0.50"
    )
