"""Bits of a tokenizer's codes against known values."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from round_trips import raw, toy

from rawmm_cli.data import pictures
from rawmm_cli.reconstruction import code_bits, code_model
from rawmm_cli.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")


def flat_squares(folder, count, size=16):
    """Write pictures that the toy tokenizer reconstructs exactly: grey squares of its own levels."""
    generator = np.random.default_rng(3)
    for n in range(count):
        levels = (generator.integers(0, 16, (size // 4, size // 4)) * 16 + 8).astype(np.uint8)
        Image.fromarray(levels.repeat(4, 0).repeat(4, 1)).convert("RGB").save(folder / f"{n:03d}.png")


@pytest.mark.process
def test_independent_uniform_codes(tmp_path):
    """Sixteen levels, uniform and independent: four bits a code by every count, and exact reconstructions."""
    flat_squares(tmp_path, 60)
    result = code_bits.measure(toy(), pictures.find([tmp_path], tmp_path), None)
    row, raw = result.codec, result.raw
    assert (row.tokens, row.nominal_bits, row.exact_rate, row.psnr) == (16, 64, 1, math.inf)
    assert row.codes.dead_codes == 0 and 2**row.codes.entropy == pytest.approx(16, abs=0.3)
    assert row.used_bits == pytest.approx(64, abs=0.5) and row.conditional_bits == pytest.approx(64, rel=0.03)
    assert raw.nominal_bits == 8 * 16 * 16 and row.share == pytest.approx(64 / result.bounds.bound.bits)


def test_the_model_learns_a_markov_chain():
    """A code is mostly the one before it plus one: the entropy is known in closed form, the marginals are
    uniform."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 8, (120, 24), generator=generator)
    for n in range(1, 24):
        kept = torch.rand(120, generator=generator) < 0.9
        codes[:, n] = torch.where(kept, (codes[:, n - 1] + 1) % 8, codes[:, n])
    same, other = 0.9 + 0.1 / 8, 0.1 / 8
    exact = (3 + 23 * -(same * math.log2(same) + 7 * other * math.log2(other))) / 24
    bits, reason = code_model.conditional_bits(codes, 8)
    assert reason is None and exact - 0.1 < bits < exact + 0.25
    assert code_model.conditional_bits(codes[:10], 8) == (None, "fewer than 20 pictures of one size")


def test_codes_beyond_the_first_window_count(monkeypatch):
    """1,024 codes whose second half is uniform over 256: at least 4,096 bits a picture, after a short
    training."""
    monkeypatch.setattr(code_model, "STEPS", 50)
    monkeypatch.setattr(code_model, "ROWS", 4)
    generator = torch.Generator().manual_seed(0)
    codes = torch.cat(
        [torch.zeros(24, 512, dtype=torch.long), torch.randint(0, 256, (24, 512), generator=generator)], 1
    )
    bits, reason = code_model.conditional_bits(codes, 256)
    assert reason is None and 4096 <= 1024 * bits < 4800


@pytest.mark.process
def test_pictures_of_several_lengths_have_no_conditional_bits(tmp_path):
    flat_squares(tmp_path, 20)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "small.png")
    row = code_bits.measure(toy(), pictures.find([tmp_path], tmp_path), None).codec
    assert row.conditional_bits is None
    assert row.codes.conditional_missing == "pictures have 2 different numbers of tokens"


@pytest.mark.process
def test_codes_are_kept_and_pixels_are_not(tmp_path, monkeypatch):
    """Few pictures are in memory at a time; progress reports every picture and every step."""
    flat_squares(tmp_path, 150)
    alive, most, done, steps = set(), [], [], []
    read = code_bits.read

    def watched(locations, skipped):
        for one in read(locations, skipped):
            memory = one.pixels.numpy().copy()
            alive.add(one.index)
            weakref.finalize(memory, alive.remove, one.index)
            most.append(len(alive))
            yield replace(one, pixels=torch.from_numpy(memory))
            del one, memory

    monkeypatch.setattr(code_bits, "read", watched)
    monkeypatch.setattr(code_model, "STEPS", 3)
    result = code_bits.measure(toy(), pictures.find([tmp_path], tmp_path), None, done.append, steps.append)
    assert result.bounds.pictures == 150 and done == list(range(1, 151)) and steps == [0, 1, 2, 3]
    assert max(most) <= 2 * 64 + 1  # a batch of 64, and the one before it


def test_continuous_tokens_have_no_codes(folder):
    with pytest.raises(ConfigError, match="has no codes whose bits could be counted"):
        code_bits.measure(raw(), pictures.find([folder / "0.png"], folder), None)
