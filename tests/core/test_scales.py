"""The head of scales against known answers: ln V, uniform codes, a table of probabilities, leaks, evaluations
and positions, guidance, and settings by scale."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import randomised, tiny_backbone, tiny_multiscale
from scipy import stats
from torch import nn

from rawmm_cli.core import reference
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Canvas, Known, Picture
from rawmm_cli.core.drawing import Sampling, draw, predictor
from rawmm_cli.core.heads.scales import Drawing, ScalesHead
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.parts import Prediction
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, VOCABULARY, encode
from rawmm_cli.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")


class Written(nn.Module):
    """Codes stand in the red channel of the picture. The vector of a code is a row of the identity; what lies
    below a token is the mean of the vectors of the scale before."""

    discrete, codes = True, 1

    def __init__(self, vocabulary=4, sides=(1, 2)):
        super().__init__()
        self.vocabulary = self.dimension = vocabulary
        self.sides = sides

    def grid(self, height, width):
        return height, width

    def shapes(self, rows, columns):
        return tuple((side, side) for side in self.sides)

    def tokens(self, height, width):
        return sum(side**2 for side in self.sides)

    def encode(self, images):
        return images[:, 0].flatten(1)[:, : self.tokens(0, 0), None].long()

    def decode(self, tokens, rows):
        pixels = torch.zeros(len(tokens), 3, rows * rows, dtype=torch.uint8)
        pixels[:, 0, : tokens.shape[1]] = tokens[..., 0]
        return pixels.unflatten(2, (rows, rows))

    def context(self, tokens, rows):
        own = torch.eye(self.vocabulary)[tokens[..., 0].clamp_min(0)] * (tokens >= 0)
        parts = own.split([side**2 for side in self.sides], 1)
        below = [torch.zeros_like(parts[0])]
        for before, part in pairwise(parts):
            below.append(before.mean(1, keepdim=True).expand_as(part))
        return torch.cat(below, 1), own


def made(codec=None, std=0.2, width=32, depth=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = (codec or tiny_multiscale((1, 2, 4))).requires_grad_(False).eval()
        head = ScalesHead(codec, width)
        model = RawModel(codec, head, tiny_backbone("transformer", width, depth), dense, VOCABULARY, width)
        for part in (model.head, model.backbone, model.words, model.norm, model.text_out):
            randomised(part, std)
    return model


def shown(pixels, key=1, draw=True):
    return [BOS, *encode("a"), IMAGE, Picture(pixels, draw, key), END_IMAGE]


def random_pixels(seed, size=8, high=256):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, high, (3, size, size), dtype=np.uint8))


def batch_of(model, count=6, **options):
    return pack([shown(random_pixels(n, **options), n) for n in range(count)], 64, model.blocks)


def test_a_fresh_head_loses_ln_v():
    model = made(std=0)
    losses = joint_loss(model, batch_of(model))
    torch.testing.assert_close(losses.image, torch.tensor(math.log(16)))


def test_the_middle_of_a_position_is_that_of_what_it_covers():
    model = made()
    blocks = model.blocks(8, 8)
    assert blocks.block.tolist() == [0] + [1] * 4 + [2] * 16
    assert blocks.place[:5].tolist() == [[1.5, 1.5], [0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]]
    assert blocks.place[5:].tolist() == [[row, column] for row in range(4) for column in range(4)]


def test_uniform_codes_are_not_learned():
    """The loss stays at ln V; below it something leaks."""
    model = made(Written(4, (1, 2, 3)), std=0)
    optimizer, late = torch.optim.AdamW(model.parameters(), 1e-3), []
    for step in range(120):
        documents = [shown(random_pixels(n, 4, 4), n) for n in range(step * 32, (step + 1) * 32)]
        image = joint_loss(model, pack(documents, 24, model.blocks)).image
        optimizer.zero_grad()
        image.backward()
        optimizer.step()
        if step >= 60:
            late.append(image.item())
    spread = np.std(late) / len(late) ** 0.5
    assert math.log(4) - 3 * spread < np.mean(late) < math.log(4) + 0.05


def test_a_table_of_two_codes_is_learned():
    """Two binary codes, one a scale, drawn through the cache as often as the table says."""
    table = np.array([[0.1, 0.4], [0.35, 0.15]])
    codec = Written(2, (1, 1))
    model = made(codec, std=0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    rng, images = np.random.default_rng(0), []
    for step in range(250):
        pairs = rng.choice(4, 128, p=table.flatten())
        tokens = torch.from_numpy(np.stack([pairs // 2, pairs % 2], 1))[..., None]
        images = codec.decode(tokens, 2)
        documents = [[BOS, IMAGE, Picture(image, True, n), END_IMAGE] for n, image in enumerate(images)]
        image = joint_loss(model, pack(documents, 60, model.blocks)).image
        optimizer.zero_grad()
        image.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 250)
    keys, sampling = list(range(2000)), Sampling(size=(2, 2))
    drawn = torch.stack([one.pixels for one in draw(model, [[BOS, IMAGE]] * 2000, keys, sampling)])
    tokens = codec.encode(drawn)[..., 0]
    counts = torch.bincount(2 * tokens[:, 0] + tokens[:, 1], minlength=4).numpy()
    expected = 2000 * table.flatten()
    assert stats.chisquare(counts, expected).pvalue > 1e-3, counts
    entropy = -(table * np.log(table)).sum() / 2
    assert abs(image.item() - entropy) < 0.08


def test_logits_of_a_scale_have_no_gradient_from_finer_ones():
    model = made()
    batch = batch_of(model, 1)
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    inputs, level = seen.inputs.clone().requires_grad_(), torch.from_numpy(model.blocks(8, 8).block)
    logits = model.predictions(model(batch, inputs, seen.time), batch)
    for at in range(len(level)):
        (gradient,) = torch.autograd.grad(logits[at].sum(), inputs, retain_graph=True)
        moved = gradient.abs().sum(-1) > 0
        assert torch.equal(moved, level <= level[at])


def test_no_code_moves_the_logits_that_predict_it():
    """Any other code at one position: logits of its own scale and of coarser ones are the same to the bit."""
    model = made()
    batch = batch_of(model, 1)
    tokens, level = model.encode(batch), torch.from_numpy(model.blocks(8, 8).block)

    def logits(tokens):
        seen = model.head.corrupt(tokens, batch.pictures)
        return model.predictions(model(batch, seen.inputs, seen.time), batch).detach()

    before = logits(tokens)
    for at in range(len(level)):
        other = tokens.clone()
        other[at] = (other[at] + 1) % 16
        moved = (logits(other) != before).any(-1)
        assert not moved[level <= level[at]].any() and (moved.any() or level[at] == 2)


def test_a_picture_that_is_read_shows_every_code():
    """The same positions and tokens; text behind it depends on each of them."""
    model = made()
    document = [BOS, IMAGE, Picture(random_pixels(0), False), END_IMAGE]
    batch = pack([document], 64, model.blocks)
    tokens = model.encode(batch)

    def text(tokens):
        seen = model.head.corrupt(tokens, batch.pictures)
        assert not seen.weight.any()
        return model(batch, seen.inputs, seen.time)[batch.last].detach()

    before = text(tokens)
    for at in range(len(tokens)):
        other = tokens.clone()
        other[at] = (other[at] + 1) % 16
        assert (text(other) != before).any()


# -------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("shared", [True, False])
def test_cached_is_uncached(guidance, shared):
    model = made(tiny_multiscale((1, 2, 4), shared=shared))
    prompts = [[BOS, *encode("ab"), IMAGE], [BOS, IMAGE], [*shown(random_pixels(3), draw=False), IMAGE]]
    sampling = Sampling(size=(8, 8), guidance=guidance)
    cached = draw(model, prompts, [1, 2, 3], sampling)
    uncached = [reference.draw(model, [prompt], [k], sampling)[0] for prompt, k in zip(prompts, (1, 2, 3))]
    for one, other in zip(cached, uncached):
        assert (one.pixels.int() - other.pixels.int()).abs().max() <= 1


class Spy:
    """predict of fixed logits; keeps what it was asked."""

    def __init__(self, model, keys, scale=1.0):
        self.calls = []
        generator = torch.Generator().manual_seed(0)
        self.logits = scale * torch.randn(1, 21, 16, generator=generator).expand(len(keys), -1, -1)

    def __call__(self, inputs, time=0.0, share=1.0, at=None):
        self.calls.append((share, at, inputs))
        logits = self.logits[:, at]
        return Prediction(logits, logits, logits, 1.0)


def drawn(keys=(1, 2), known=None, **settings):
    model = made()
    spy = Spy(model, keys)
    with torch.no_grad():
        codes = model.head.draw(spy, list(keys), (4, 4), Drawing(**settings), known=known)
    return codes[..., 0], spy


def test_guidance_rises_from_scale_to_scale_or_is_the_same():
    assert [share for share, *_ in drawn()[1].calls] == [0.0, 0.5, 1.0]
    assert [share for share, *_ in drawn(rising=False)[1].calls] == [1.0, 1.0, 1.0]


def test_what_was_drawn_lies_below_the_next_scale():
    codes, spy = drawn()
    model = made()
    below, _ = model.codec.context(codes[..., None], 4)
    for _, at, inputs in spy.calls:
        assert torch.equal(inputs[..., :4], below[:, at]) and not inputs[..., 4:8].any()


def test_the_likeliest_codes():
    for settings in ({"code_temperature": 0.0}, {"code_top_k": 1}, {"code_top_p": 1e-6}):
        codes, spy = drawn(**settings)
        assert torch.equal(codes, spy.logits.argmax(-1))


def test_settings_of_each_scale():
    """The last one given is that of all further scales."""
    codes, spy = drawn(keys=range(40), code_temperature=(1.0, 0.0))
    assert torch.equal(codes[:, 1:], spy.logits.argmax(-1)[:, 1:]) and len(codes[:, 0].unique()) > 1
    codes, _ = drawn(keys=range(40), code_top_k=(0, 2, 1))
    counts = [len(codes[:, at].unique()) for at in range(21)]
    assert counts[0] > 2 and counts[1:5] == [2] * 4 and counts[5:] == [1] * 16


def test_codes_follow_the_probabilities_by_the_key_of_their_picture():
    codes, spy = drawn(keys=range(3000))
    again, _ = drawn(keys=range(1000, 1010))
    assert torch.equal(codes[1000:1010], again)
    for at in (0, 3, 20):
        counts = torch.bincount(codes[:, at], minlength=16).numpy()
        expected = 3000 * spy.logits[0, at].double().softmax(-1).numpy()
        assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_known_codes_stay():
    tokens = torch.randint(0, 16, (21, 1))
    keep = torch.rand(21, 1, generator=torch.Generator().manual_seed(0)) < 0.5
    codes, spy = drawn(known=Known(tokens, keep, 1.0))
    free, _ = drawn()
    assert torch.equal(codes[:, keep[:, 0]], tokens[keep].expand(2, -1))
    assert torch.equal(codes[:, ~keep[:, 0]], free[:, ~keep[:, 0]]), "of fixed logits"
    assert (spy.calls[-1][2] != drawn()[1].calls[-1][2]).any(), "drawn behind what is known"


def test_no_strength_without_noise():
    model = made()
    canvas = Canvas(random_pixels(0), None, 0.5)
    with pytest.raises(ConfigError, match=r"strength = 0\.5 .* head\.kind = scales has none; allowed: 1"):
        draw(model, [[BOS, IMAGE]], [1], Sampling(size=(8, 8)), None, canvas)


def test_watching_ends_at_the_picture():
    model, frames = made(), []
    (picture,) = draw(model, [[BOS, IMAGE]], [1], Sampling(size=(8, 8)), lambda *frame: frames.append(frame))
    assert [step for step, *_ in frames] == [0, 1, 2]
    assert torch.equal(frames[-1][1][0], picture.pixels)
    assert not torch.equal(frames[0][1][0], picture.pixels)


@torch.inference_mode()
def test_a_predictor_says_the_same_for_a_scale_alone_and_behind_all():
    """What a scale sees does not change when finer ones are computed."""
    model = made()
    predict = predictor(model, [[BOS, IMAGE]], replace(Sampling(), size=(8, 8)))
    inputs = torch.randn(1, 21, model.head.into.in_features, generator=torch.Generator().manual_seed(0))
    parts = [predict(inputs[:, at], at=at).guided for at in (slice(0, 1), slice(1, 5), slice(5, 21))]
    whole = predict(inputs).guided
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
