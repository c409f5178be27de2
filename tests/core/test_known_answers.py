"""Answers that are known of other systems, where no test of a part gives them: the Pixel Transformer, DiT,
masked codes, pixels one by one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from code_models import Pixels
from code_models import made as writing
from combinations import made, packed
from einops import rearrange
from helpers import randomised, tiny_backbone, tiny_head, tiny_masked

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, VOCABULARY, encode

pytestmark = pytest.mark.usefixtures("one_thread")


def levels(height, width, seed=0, below=256):
    values = np.random.default_rng(seed).integers(0, below, (3, height, width), dtype=np.uint8)
    return torch.from_numpy(values)


# ---------------------------------------------------------------------------------------- Pixel Transformer


@pytest.mark.parametrize("backbone", ["gau", "transformer"])
@pytest.mark.parametrize("draw", [False, True])
def test_pixels_and_their_places_permuted_together_permute_the_output(backbone, draw):
    """No other thing says which pixels are neighbours, and all else stays as it was."""
    codec = RawPatches(1)
    head = tiny_head(values=codec.values)
    model = randomised(RawModel(codec, head, tiny_backbone(backbone), dense, VOCABULARY, 32), 0.2)
    document = [BOS, *encode("a"), IMAGE, Picture(levels(4, 5), draw, 1), END_IMAGE, *encode("b")]
    batch = pack([document], 64, model.blocks)
    if draw:  # the noised picture stands first, its clean copy behind it stays as it is
        assert len(batch.patch_at) == 40 and batch.pictures.draws == (True, False)
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    order = torch.arange(len(batch.patch_at))
    order[:20] = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    moved = torch.arange(batch.tokens.numel())
    moved[batch.patch_at] = batch.patch_at[order]
    position = batch.position.view(-1, 3)[moved].view_as(batch.position)
    before = model(batch, seen.inputs, seen.time)
    after = model(replace(batch, position=position), seen.inputs[order], seen.time)
    torch.testing.assert_close(after, before[moved], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(batch, seen.inputs[order], seen.time), before[moved], atol=1e-3)


def test_patches_of_2_are_the_patches_of_1_put_together():
    """Bit for bit, there and back."""
    images = torch.stack([levels(6, 8, seed) for seed in range(3)])
    one, two = RawPatches(1), RawPatches(2)
    pixels = rearrange(one.encode(images), "m (h p w q) c -> m (h w) (p q c)", h=3, p=2, w=4, q=2)
    assert torch.equal(pixels, two.encode(images))
    assert torch.equal(one.decode(one.encode(images), 6), two.decode(two.encode(images), 3))


# ------------------------------------------------------------------------------------------------------ DiT


@pytest.mark.parametrize("head", ["modulating", "clean", "time token", "unet"])
def test_a_fresh_model_says_0_of_every_pixel(head):
    model = made((head, "modulated" if head == "modulating" else "transformer", "raw"), std=0)
    batch = packed(model)
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    hidden = model(batch, seen.inputs, seen.time)
    assert (hidden != 0).any()
    said = model.predictions(hidden, batch)
    if head == "unet":
        inputs = torch.randn(sum(h * w for h, w in batch.pictures.grids), model.codec.values)
        said = model.head.predicted(said, inputs, seen.time, batch.pictures)
    assert not said.any() and len(said)


# -------------------------------------------------------------------------------------------------- sources


def learned(model, sample, steps, rate, count=64, length=24):
    """Train on pictures sample(n), each of them new -> the losses of the last half."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), rate), []
    for step in range(steps):
        pictures = [Picture(sample(n), True, n) for n in range(step * count, (step + 1) * count)]
        loss = joint_loss(
            model, pack([[BOS, IMAGE, one, END_IMAGE] for one in pictures], length, model.blocks)
        )
        optimizer.zero_grad()
        loss.image.backward()
        optimizer.step()
        losses.append(loss.image.item())
    return np.array(losses[steps // 2 :])


@pytest.mark.parametrize("loss", ["maskgit", "bound"])
def test_independent_uniform_codes_are_not_learned_by_a_masked_head(loss):
    """The loss stays at ln V; below it a masked position sees its own code."""
    codec = Pixels(4)
    head = tiny_masked(codec, 32, loss=loss)
    model = RawModel(codec, head, tiny_backbone("transformer"), dense, VOCABULARY, 32)
    losses = learned(model, lambda n: levels(2, 3, n, 4), 100, 1e-3)
    spread = losses.std() / len(losses) ** 0.5
    assert math.log(4) - 3 * spread - 1e-3 < losses.mean() < math.log(4) + 3 * spread + 0.03


@pytest.mark.parametrize("kind", ["in order", "masked"])
def test_a_histogram_of_independent_values_is_learned_to_its_entropy(kind):
    chances = np.array([0.5, 0.25, 0.125, 0.125])
    codec = Pixels(4)
    model = writing(codec, std=0.02)
    if kind == "masked":
        head = tiny_masked(codec, 32, schedule="linear")
        model = RawModel(codec, head, tiny_backbone("transformer"), dense, VOCABULARY, 32)

    def sample(n):
        values = np.random.default_rng(n).choice(4, (1, 2, 3), p=chances).astype(np.uint8)
        return torch.from_numpy(values).expand(3, -1, -1).contiguous()

    losses = learned(model, sample, 160, 3e-3)
    entropy, spread = -(chances * np.log(chances)).sum(), losses.std() / len(losses) ** 0.5
    assert entropy - 3 * spread < losses.mean() < entropy + 3 * spread + 0.03
