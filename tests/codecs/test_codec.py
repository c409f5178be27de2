"""Raw patches: bit-exact round trips, the order of pixels, rounding, and sizes that are refused."""

import numpy as np
import pytest
import torch

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.system.errors import RawmmError


def pictures(count, height, width, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    )


def test_all_256_values_survive():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    codec = RawPatches(4)
    values = codec.encode(levels)
    assert values.min() == -1 and values.max() == 1
    assert torch.equal(codec.decode(values, 4), levels)


@pytest.mark.parametrize(
    "patch,height,width", [(1, 3, 5), (2, 8, 8), (2, 4, 10), (4, 12, 8), (8, 8, 24), (7, 21, 14)]
)
def test_round_trip_is_exact(patch, height, width):
    codec, images = RawPatches(patch), pictures(4, height, width)
    rows, columns = codec.grid(height, width)
    patches = codec.encode(images)
    assert (rows, columns) == (height // patch, width // patch)
    assert patches.shape == (4, rows * columns, codec.values) and codec.values == 3 * patch**2
    assert patches.dtype == torch.float32 and patches.abs().max() <= 1
    assert torch.equal(codec.decode(patches, rows), images)


@pytest.mark.parametrize("patch,height,width", [(2, 4, 6), (3, 9, 6)])
def test_patches_are_squares_in_reading_order(patch, height, width):
    images = pictures(2, height, width)
    patches = RawPatches(patch).encode(images)
    for n in range(patches.shape[1]):
        top, left = patch * (n // (width // patch)), patch * (n % (width // patch))
        square = images[:, :, top : top + patch, left : left + patch].permute(0, 2, 3, 1).flatten(1)
        torch.testing.assert_close(patches[:, n], square / 127.5 - 1)


def test_decode_rounds_to_the_nearest_level_and_clips():
    codec = RawPatches(1)
    patches = torch.tensor([[[-7.0, 7.0, 0.6 / 127.5 - 1]]])
    assert codec.decode(patches, 1).flatten().tolist() == [0, 255, 1]
    images = pictures(3, 4, 4)
    assert torch.equal(codec.decode(codec.encode(images) + 0.49 / 127.5, 4), images)


@pytest.mark.parametrize("height,width", [(7, 8), (8, 7), (3, 3)])
def test_a_picture_that_does_not_divide_is_refused(height, width):
    with pytest.raises((ValueError, RawmmError), match=f"{height}x{width}.*patches of 2"):
        RawPatches(2).grid(height, width)
