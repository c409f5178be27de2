"""The bound of a model that says masked codes: against all masks, and against laws that are known."""

import itertools
import math

import pytest
import torch
from helpers import as_loaded, tiny_backbone, tiny_masked
from toy_parts import Levels

from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.config import presets
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, IMAGE, VOCABULARY
from rawmm_cli.information import image_bits, masked_bits
from rawmm_cli.system.errors import ConfigError


class Few(SubPixels):
    """Four levels a channel."""

    vocabulary = 4


def made(codec=None, std=0.3, seed=0, **settings):
    codec = codec or SubPixels()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = tiny_masked(codec, 32, **settings)
        model = RawModel(codec, head, tiny_backbone("transformer"), dense, VOCABULARY, 32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += std * torch.randn_like(parameter)
    return model.eval()


def test_a_fresh_model_has_exactly_8_bits_a_value():
    images = torch.randint(0, 256, (3, 3, 2, 4), dtype=torch.uint8)
    for settings in ({}, {"loss": "bound", "time": "added"}):
        bits = masked_bits.of_pictures(made(std=0, **settings), images, ["", "a", "abc"], [1, 2, 3])
        torch.testing.assert_close(bits / 24, torch.full((3,), 8.0, dtype=torch.float64), rtol=1e-6, atol=0)


def of_all_masks(model, image, caption):
    """The bound without chance: every mask of a picture of three codes."""
    document = [BOS, *model.tokenizer.encode(caption), IMAGE, Picture(image, True)]
    batch, total = pack([document], 16, model.blocks), 0.0
    codes = model.encode(batch)
    for count in (1, 2, 3):
        masks = list(itertools.combinations(range(3), count))
        for mask in masks:
            inputs, at = codes.clone(), list(mask)
            inputs[0, at] = model.head.vocabulary
            logits = model.predictions(model(batch, inputs, torch.tensor([count / 3])), batch)
            nats = -logits.log_softmax(-1)[0, range(3), codes[0]][at].sum().item()
            total += nats * 3 / count / 3 / len(masks)
    return total / math.log(2)


@torch.no_grad()
def test_the_estimate_is_that_of_all_masks():
    model = made(Few(), time="added")
    image = torch.tensor([3, 0, 2], dtype=torch.uint8).view(3, 1, 1)
    bits = masked_bits.of_pictures(model, image.expand(400, 3, 1, 1), ["x"] * 400, list(range(400)))
    assert bits.mean().item() == pytest.approx(of_all_masks(model, image, "x"), rel=0.01)
    assert bits.std() / bits.mean() < 0.15


@torch.no_grad()
def test_probabilities_of_all_pictures_sum_to_less_than_1():
    """One pixel whose channels have 4 levels each: 64 pictures; the rest to 1 is what a bound loses."""
    model = made(Few(), std=0.2)
    pixels = torch.tensor(list(itertools.product(range(4), repeat=3)), dtype=torch.uint8).view(64, 3, 1, 1)
    bits = torch.tensor([of_all_masks(model, one, "") for one in pixels])
    assert 0.3 < (-bits * math.log(2)).exp().sum().item() < 1


def test_of_independent_codes_the_bound_is_exact():
    model, law = made(Few(), std=0), torch.tensor([0.5, 0.25, 0.125, 0.125])
    with torch.no_grad():
        model.head.out.bias.copy_(law.log().repeat(3))
    same = torch.full((2, 3, 3, 3), 1, dtype=torch.uint8)
    bits = masked_bits.of_pictures(model, same, ["", "b"], [5, 6])
    torch.testing.assert_close(bits, torch.full((2,), 2.0 * 27, dtype=torch.float64), rtol=1e-6, atol=0)
    mixed = torch.arange(27, dtype=torch.uint8).view(1, 3, 3, 3) % 4
    bits = masked_bits.of_pictures(model, mixed.expand(100, 3, 3, 3), [""] * 100, list(range(100)))
    exact = -law.log2()[mixed.long().flatten()].sum().item()
    assert bits.mean().item() == pytest.approx(exact, rel=0.005)


def test_masks_follow_from_the_key_and_pictures_do_not_mix():
    model, images = made(), torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    together = masked_bits.of_pictures(model, images, ["a", "", "bc", ""], [1, 2, 3, 4])
    alone = masked_bits.of_pictures(model, images[2:3], ["bc"], [3])
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=0)
    assert masked_bits.is_bound(model)


# ------------------------------------------------------------------------------------------- in the commands


def loaded(model, *words):
    words = ("codec.kind=subpixels", "head.kind=masked", "head.loss=bound", "train.length=128", *words)
    return as_loaded(model, presets.load("digits", words))


def test_it_is_called_a_bound():
    model = loaded(made(std=0))
    colour = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    bits = image_bits.of_pictures(model, colour, ["", "a"], 1)
    assert bits.best is bits.bound and bits.exact is None is bits.uniform
    assert bits.bound.bits_per_byte == pytest.approx(8, rel=1e-6)
    grey = colour[:, :1].expand(2, 3, 8, 8)
    assert image_bits.of_pictures(model, grey, ["", "a"], 1).bound.bits_per_byte == pytest.approx(
        24, rel=1e-6
    )


def test_codes_that_lose_something_have_no_bits_of_pixels():
    model = loaded(made())
    model.model.codec = Levels()
    with pytest.raises(ConfigError, match="the likelihood of pictures needs a codec that loses nothing"):
        image_bits.of_pictures(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [""], 1)
