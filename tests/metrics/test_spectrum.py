"""Power spectra against pictures whose powers are known."""

import numpy as np
import pytest

from rawmm_cli.metrics.spectrum import Spectrum, spectrum

RNG = np.random.default_rng(0)


def flat(count, side, deviation, grey=True):
    """Pictures of one random shade each, of this deviation in pixels from -1 to 1."""
    shades = 127.5 + 127.5 * deviation * RNG.standard_normal((count, 1, 1, 1 if grey else 3))
    return np.broadcast_to(shades, (count, side, side, 3)).round().astype(np.uint8)


def test_one_shade_a_picture_is_one_number_of_the_power_of_all_pixels():
    found = spectrum(flat(2000, 8, 0.2), 8)
    assert found.values == 3 * 64
    power = np.sort(found.power)
    assert power[-1] == pytest.approx(3 * 64 * 0.2**2, rel=0.1) and power[-2] < 1e-3 * power[-1]
    assert found.visible_to(0.5) == pytest.approx(power[-1] ** 0.5, rel=1e-3)  # P = noise^2 hides half
    assert found.hidden(found.visible_to(0.1)) == pytest.approx(0.1, rel=1e-6)


def test_white_noise_has_the_same_power_everywhere():
    pixels = (127.5 + 25.5 * RNG.standard_normal((2000, 8, 8, 3))).round().astype(np.uint8)
    found = spectrum(pixels, 8)
    assert found.power.mean() == pytest.approx(0.04, rel=0.02)
    assert found.visible_to(0.5) == pytest.approx(0.2, rel=0.05)


def test_what_all_pictures_share_tells_none_apart():
    fixed = RNG.integers(60, 200, (8, 8, 3))
    shades = RNG.integers(-50, 50, (500, 1, 1, 1))
    alone, shared = (spectrum((base + shades).astype(np.uint8), 8) for base in (128, fixed))
    np.testing.assert_allclose(np.sort(alone.power), np.sort(shared.power), atol=1e-9)


def test_twice_the_side_shows_itself_through_twice_the_noise():
    small = flat(300, 4, 0.2, grey=False)
    wide = small.repeat(2, 1).repeat(2, 2)
    noise = [spectrum(pictures, side).visible_to(0.5) for pictures, side in ((small, 4), (wide, 8))]
    assert noise[1] / noise[0] == pytest.approx(2, rel=1e-3)


def test_pictures_of_another_size_are_resized():
    whole = RNG.integers(0, 256, (200, 1, 1, 3))
    sizes = [(16, 16), (8, 8), (4, 12), (32, 8)]
    mixed = [np.broadcast_to(colour, (*sizes[n % 4], 3)).astype(np.uint8) for n, colour in enumerate(whole)]
    same = [np.broadcast_to(colour, (8, 8, 3)).astype(np.uint8) for colour in whole]
    np.testing.assert_allclose(spectrum(mixed, 8).power, spectrum(same, 8).power, atol=1e-8)


def test_pictures_that_do_not_differ_have_no_spectrum():
    assert spectrum([], 8) is None
    assert spectrum(flat(1, 8, 0.2), 8) is None
    assert spectrum(np.full((20, 8, 8, 3), 7, np.uint8), 8) is None


def test_a_spectrum_of_one_power_hides_by_wieners_formula():
    assert Spectrum(np.full(10, 4.0), 10).hidden(2.0) == pytest.approx(0.5)
    assert Spectrum(np.array([1.0, 9.0]), 2).hidden(1.0) == pytest.approx((0.5 + 0.9) / 10)
