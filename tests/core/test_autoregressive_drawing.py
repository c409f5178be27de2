"""The autoregressive head draws: a table of probabilities and sequences that were learned come back, cached
and not."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from code_models import Pixels, batch_of, logits_of, made, picture
from scipy import stats

from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.core import cache, reference
from rawmm_cli.core.batch import pack
from rawmm_cli.core.cache import Cache
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.heads.autoregressive import Drawing
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, encode

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(model, documents, steps, rate=1e-2):
    """The same model after `steps` updates on all documents."""
    batch = pack(documents, 20 if len(documents) == 1 else 24, model.blocks)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        joint_loss(model, batch).total.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def flat(pixels):
    """A picture of red values (height, width); the other channels are 0."""
    values = torch.tensor(pixels, dtype=torch.uint8)
    return torch.stack([values, torch.zeros_like(values), torch.zeros_like(values)])


JOINT = {(0, 0): 3, (0, 1): 1, (1, 0): 2, (1, 1): 10}  # of 16, so neither independent nor uniform


@pytest.fixture(scope="module")
def two_pixels():
    """A model of two binary pixels that were learned as often as JOINT says."""
    documents = [
        [BOS, IMAGE, Picture(flat([values]), True), END_IMAGE]
        for values, count in JOINT.items()
        for _ in range(count)
    ]
    return trained(made(Pixels(2), std=0.02), documents, 150)


def test_a_table_of_probabilities_is_learned_exactly(two_pixels):
    """By the product of both conditionals, and the loss is the entropy of the table."""
    nats = 0.0
    for values, count in JOINT.items():
        batch = batch_of(two_pixels, [Picture(flat([values]), True)])
        logits, codes = logits_of(two_pixels, batch)
        probability = math.exp(-two_pixels.head.nats(logits, codes).sum().item())
        assert probability == pytest.approx(count / 16, abs=2e-3), values
        nats -= count / 16 * math.log(count / 16)
    documents = [
        [BOS, IMAGE, Picture(flat([v]), True), END_IMAGE] for v, n in JOINT.items() for _ in range(n)
    ]
    loss = joint_loss(two_pixels, pack(documents, 24, two_pixels.blocks)).image.item()
    assert loss == pytest.approx(nats / 2, abs=1e-4)


def test_drawn_pictures_have_the_frequencies_of_the_table(two_pixels):
    """Chi-square of 4,000 pictures through the cached sampler; those of the uncached one are the same."""
    sampling = Sampling(size=(1, 2))
    pictures = draw(two_pixels, [[BOS, IMAGE]] * 4000, list(range(4000)), sampling)
    values = [tuple(one.pixels[0, 0].tolist()) for one in pictures]
    counts = [values.count(pair) for pair in JOINT]
    assert stats.chisquare(counts, [4000 * n / 16 for n in JOINT.values()]).pvalue > 1e-3
    uncached = reference.draw(two_pixels, [[BOS, IMAGE]] * 100, list(range(100)), sampling)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(pictures, uncached))


def test_independent_uniform_codes_stay_at_ln_V():
    """A loss below it on codes that were not learned would be a leak."""
    rng = np.random.default_rng(3)
    documents = [[BOS, IMAGE, Picture(flat(rng.integers(0, 4, (2, 2))), True), END_IMAGE] for _ in range(512)]
    model = trained(made(Pixels(4), std=0.02), documents[:256], 20, 3e-3)
    loss = joint_loss(model, pack(documents[256:], 24, model.blocks)).image.item()
    assert math.log(4) - 0.005 < loss < math.log(4) + 0.05


def test_greedy_drawing_gives_back_every_sequence_that_was_learned_by_heart():
    """One caption a picture; temperature 0, cached."""
    rng = np.random.default_rng(1)
    pixels = [flat(rng.integers(0, 4, (3, 3))) for _ in range(8)]
    documents = [
        [BOS, *encode("abcdefgh"[n]), IMAGE, Picture(one, True), END_IMAGE] for n, one in enumerate(pixels)
    ]
    model = trained(made(Pixels(4), std=0.02), documents, 200)
    prompts = [document[:3] for document in documents]
    sampling = Sampling(size=(3, 3), drawing=Drawing(0.0))
    pictures = draw(model, prompts, [0] * 8, sampling)
    for one, drawn in zip(pixels, pictures):
        assert torch.equal(one[0], drawn.pixels[0])


def test_pixels_as_the_codes_of_another_codec_are_sub_pixels():
    """Three codes of 256 values by a codec of its own: the same model, loss and drawing, bit for bit."""

    class Identity(torch.nn.Module):
        discrete, vocabulary, codes = True, 256, 3
        grid, tokens = SubPixels.grid, SubPixels.tokens

        def encode(self, images):
            return images.flatten(2).transpose(1, 2).long()

        def decode(self, tokens, rows):
            return tokens.transpose(1, 2).unflatten(2, (rows, -1)).to(torch.uint8)

    one, other = made(SubPixels()), made(Identity())
    pictures = [picture(4, 3, 256, seed) for seed in range(3)]
    assert torch.equal(
        joint_loss(one, batch_of(one, pictures)).image, joint_loss(other, batch_of(other, pictures)).image
    )
    drawn = [draw(model, [[BOS, IMAGE]] * 2, [1, 2], Sampling(size=(4, 3))) for model in (one, other)]
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(*drawn))


# -------------------------------------------------------------------------------------------------- watched


def test_it_is_shown_while_it_is_drawn():
    model, shown = made(SubPixels()), []

    def watch(step, noised, clean):
        assert torch.equal(noised, clean)
        shown.append((step, noised.clone()))

    (one,) = draw(model, [[BOS, IMAGE]], [0], Sampling(size=(8, 8)), watch)
    assert len(shown) == 32 and [step for step, _ in shown] == list(range(32))
    assert torch.equal(shown[-1][1][0], one.pixels)
    for before, after in pairwise(shown):  # codes stay
        written = before[1] > 0
        assert torch.equal(before[1][written], after[1][written])


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_mask_of_a_large_picture_is_made_part_by_part(guidance, monkeypatch):
    """The same codes, and never a mask of all pairs: of 32 x 32 pixels that would be 40 MB a picture."""
    model, prompts = made(SubPixels()), [[BOS, *encode("ab"), IMAGE], [BOS, IMAGE]]
    sampling = Sampling(size=(3, 4), guidance=guidance)
    kept = draw(model, prompts, [1, 2], sampling)
    monkeypatch.setattr(cache, "MOST", 0)
    parts = draw(model, prompts, [1, 2], sampling)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(kept, parts))
    whole = Cache(model, 2, 6, 36)
    whole.read(prompts)
    blank = Picture(torch.zeros(3, 3, 4, dtype=torch.uint8), True)
    batch = whole.picture([[*prompt, blank] for prompt in prompts])
    whole.part(batch, 2, slice(3, 4))
    assert whole.drawing is None and whole.mask.shape == (2, 1, 1, whole.used)
