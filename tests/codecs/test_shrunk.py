"""Shrunk pictures: the control `resize@N` as a codec."""

import pytest
import torch

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.codecs.shrunk import ShrunkPatches
from rawmm_cli.config import presets
from rawmm_cli.reconstruction.controls import resized
from rawmm_cli.system.errors import ConfigError


def pictures(height=16, width=24):
    return torch.randint(0, 256, (5, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0))


def test_it_is_the_control_of_reconstruct():
    """Shrunk to 8-bit values by the same filter, and enlarged again."""
    images = pictures(16, 16)
    codec = ShrunkPatches(2, 4)
    tokens = codec.encode(images)
    assert tokens.shape == (5, codec.tokens(16, 16), codec.values) == (5, 4, 48)
    assert torch.equal(codec.decode(tokens, 2), resized(images, 8))


def test_not_shrunk_it_is_raw_patches():
    images, raw = pictures(), RawPatches(4)
    tokens = ShrunkPatches(1, 4).encode(images)
    assert torch.equal(tokens, raw.encode(images))
    assert torch.equal(ShrunkPatches(1, 4).decode(tokens, 4), images)


def test_plain_colours_stay():
    images = torch.arange(0, 256, 5, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    codec = ShrunkPatches(4, 2)
    assert torch.equal(codec.decode(codec.encode(images), 1), images)


def test_what_a_picture_costs():
    codec = ShrunkPatches(2, 4)
    assert codec.length(64, 64) == 32 * 32 * 3 and codec.bits(64, 64) == 8 * 32 * 32 * 3
    with pytest.raises(ValueError, match="16x20 pixels does not divide into patches of 8"):
        codec.grid(16, 20)


def test_settings():
    config = presets.load("portraits32", ["codec={kind: shrunk, factor: 2, patch: 4}"])
    assert config.codec.tokens(32, 32) == 16 and config.positions(32, 32) == 16
    with pytest.raises(ConfigError, match="codec.factor = 3 times codec.patch = 4 does not divide"):
        presets.load("portraits32", ["codec={kind: shrunk, factor: 3}"])
