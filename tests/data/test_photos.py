"""Crops of real photographs: training and held-out crops share no pixel, a crop depends on its number
alone."""

import numpy as np
import pytest
from sources import prepare_source

from rawmm_cli.data import prepared
from rawmm_cli.data.datasets import photos as module
from rawmm_cli.data.datasets.photos import NAMES, PHOTOS, crop, held_out_area, overlap, photos
from rawmm_cli.system.errors import ConfigError

pytest.importorskip("skimage")
WHITE = (255, 255, 255)


def test_training_crops_lie_outside_the_held_out_area_and_held_out_crops_inside():
    seen = {
        name: [np.zeros((height, width), bool) for _ in range(2)]
        for name, (_, _, height, width, _) in PHOTOS.items()
    }
    shares = []
    for n in range(20_000):
        name, held_out, top, left, side = crop(n, 64)
        seen[name][held_out][top : top + side, left : left + side] = True
        height, width = seen[name][0].shape
        assert (
            0 <= top <= height - side
            and 0 <= left <= width - side
            and 64 <= side <= 0.45 * min(height, width) + 1
        )
        shares.append(held_out)
    assert not any((train & held).any() for train, held in seen.values())
    assert 0.09 < np.mean(shares) < 0.11
    for name, (train, held) in seen.items():  # and nearly all of it is used
        top, left, bottom, right = held_out_area(name)
        assert held[top:bottom, left:right].mean() > 0.95 and train.mean() > 0.65, name


def test_no_picture_is_in_both_splits(tmp_path):
    """Of these 2,500 crops, three places in the black round the retina are equal, one of them held out; black
    ones with a piece of its edge are alike to a perceptual hash, and not equal."""
    card = prepare_source(tmp_path / "photos", photos(count=2500, size=64))
    assert card["duplicates"]["exact"]["groups"] == card["duplicates"]["exact"]["across_splits"] == 0
    assert module._plain(np.zeros((64, 64, 3), np.uint8)) and module._plain(np.full((20, 20, 3), (9, 7, 8)))
    for n in (1190, 1894, 2424):
        name, _, top, left, side = crop(n, 64)
        pixels = module._photo(name)[top : top + side, left : left + side]
        assert name == "retina" and np.ptp(pixels.astype(int), (0, 1)).max() > 2


def test_overlap_agrees_with_pixels():
    rng = np.random.default_rng(0)
    for _ in range(200):
        boxes = [(*low, *(low + rng.integers(1, 6, 2))) for low in rng.integers(0, 8, (2, 2))]
        masks = [np.zeros((16, 16), bool) for _ in boxes]
        for (top, left, bottom, right), mask in zip(boxes, masks):
            mask[top:bottom, left:right] = True
        assert overlap(*boxes) == (masks[0] & masks[1]).any()


def test_sizes_of_the_photographs_are_those_of_the_files():
    for name, (_, _, height, width, _) in PHOTOS.items():
        assert module._photo(name).shape == (height, width, 3)


def test_a_crop_that_is_not_shrunk_is_the_photograph():
    n = next(n for n in range(100_000) if crop(n, 64)[-1] == 64)
    name, _, top, left, _ = crop(n, 64)
    pixels = photos(count=n + 1).open(n, WHITE)
    assert np.array_equal(pixels, module._photo(name)[top : top + 64, left : left + 64])


def test_prepared(tmp_path):
    card = prepare_source(tmp_path / "photos", photos(count=60, size=16))
    train, held_out = (prepared.load(tmp_path / "photos", split) for split in prepared.SPLITS)
    assert (
        card["count"] == {"train": len(train), "held_out": len(held_out)} and len(train) + len(held_out) == 60
    )
    assert train.image(0).shape == (3, 16, 16) and train.captions[0] == [NAMES[train.labels[0]]]
    assert "CC BY 2.0" in card["licence"] and "CC0" in card["licence"]
    assert len({train.image(n).numpy().tobytes() for n in range(len(train))}) == len(train)


def test_a_larger_set_begins_with_the_smaller_one():
    few, many = (list(photos(count=count).items(0)) for count in (20, 40))
    assert few == many[:20] and list(photos(count=40).items(30)) == many[30:]
    assert photos(count=20).state != photos(count=40).state != photos(count=40, size=32).state


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 7}, "the size of photos is 7; allowed: 8 to 135; choose another --size"),
        ({"size": 136}, "allowed: 8 to 135"),
        ({"count": 1}, "allowed: at least 2"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        photos(**options)


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    real = module.version

    def version(package):
        if package == "scikit-image":
            raise module.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(module, "version", version)
    with pytest.raises(
        ConfigError,
        match=r"photos need 'scikit-image', which is not installed; pip install 'rawmm\[photos\]'",
    ):
        photos()
