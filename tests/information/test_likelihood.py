"""Bits a byte against known values: a Gaussian, a correlated one, a mixture of two, noise, and a trained
model."""

import math

import numpy as np
import pytest
import torch
from helpers import picture, tiny_model
from scipy.stats import norm

from rawmm_cli.information import likelihood
from rawmm_cli.information.likelihood import BEGINS, STEP, WIDTHS
from rawmm_cli.runs import models

GAUSSIAN = ((1.0,), (0.1,), (0.3,))
MIXTURE = ((0.3, 0.7), (-0.5, 0.4), (0.12, 0.2))
SHAPE, COUNT = (32, 24), 24
KEYS = list(range(COUNT))
LN2 = math.log(2)


def posterior_mean(weights, means, spreads, scale=1.0):
    """E[clean | z] where every value is drawn from a mixture of Gaussians."""

    def denoise(z, t):
        t = t.reshape(-1, 1, 1).to(z)
        logs, each = [], []
        for weight, mean, spread in zip(weights, means, spreads):
            variance, away = (1 - t) ** 2 * spread**2 + (t * scale) ** 2, z - (1 - t) * mean
            logs.append(math.log(weight) - away.square() / (2 * variance) - variance.log() / 2)
            each.append(mean + (1 - t) * spread**2 / variance * away)
        return (torch.softmax(torch.stack(logs), 0) * torch.stack(each)).sum(0)

    return denoise


def samples(weights, means, spreads):
    """Pictures of 8-bit values of a mixture: (clean patches, exact bits a value of each picture)."""
    generator = np.random.default_rng(0)
    component = generator.choice(len(weights), (COUNT, *SHAPE), p=weights)
    values = generator.normal(np.array(means)[component], np.array(spreads)[component])
    x = np.rint((values + 1) * 127.5).clip(0, 255) / 127.5 - 1
    above, below = (
        np.where(x > 1 - STEP / 2, np.inf, x + STEP / 2),
        np.where(x < STEP / 2 - 1, -np.inf, x - STEP / 2),
    )
    mass = sum(
        w * (norm.cdf((above - m) / s) - norm.cdf((below - m) / s))
        for w, m, s in zip(weights, means, spreads)
    )
    return torch.from_numpy(x).float(), torch.from_numpy(-np.log2(mass)).flatten(1).mean(1)


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("known", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_within_a_hundredth_of_the_exact_likelihood(known, scale):
    """The bound, the ODE from uniform noise, and the ODE from the bound's noise, which is not above the
    bound."""
    clean, exact = samples(*known)
    denoise, dims = posterior_mean(*known, scale), clean[0].numel()
    bounds = likelihood.bound(denoise, clean, KEYS, scale, strata=16)
    at, wide = likelihood.choose(bounds)
    bound = likelihood.bound_of(bounds, at, wide, dims)
    uniform = likelihood.uniform(denoise, clean, 0.004, KEYS, scale, steps=12)
    decoded = likelihood.decoded(denoise, clean, BEGINS[at], WIDTHS[wide], KEYS, scale, steps=12)
    for result in (bound, uniform, decoded):
        error = result - exact
        assert abs(error.mean()) < 0.01 + 2 * error.std() / COUNT**0.5 and error.std() / COUNT**0.5 < 0.01
    assert abs((uniform - exact).mean()) < 0.01 and abs((decoded - exact).mean()) < 0.01
    gap = bound - decoded
    assert gap.mean() > -3 * gap.std() / COUNT**0.5


def test_the_trace_of_a_matrix_that_is_not_diagonal():
    """A Gaussian with correlated values: clean = A z with a full matrix A."""
    generator, dims = np.random.default_rng(1), 12
    basis, _ = np.linalg.qr(generator.normal(size=(dims, dims)))
    covariance = basis @ np.diag(np.linspace(0.05, 0.5, dims) ** 2) @ basis.T
    x = (
        torch.from_numpy(generator.multivariate_normal(np.zeros(dims), covariance, 400))
        .double()
        .reshape(400, 1, dims)
    )
    sigma = torch.from_numpy(covariance)

    def denoise(z, t):
        t = t.double()[0]
        return z @ torch.linalg.solve((1 - t) ** 2 * sigma + t**2 * torch.eye(dims).double(), (1 - t) * sigma)

    begin = 0.002
    probes = torch.from_numpy(2.0 * generator.integers(0, 2, x.shape) - 1)
    result = likelihood.ode(denoise, (1 - begin) * x, begin, probes, steps=24)
    here = (1 - begin) ** 2 * sigma + begin**2 * torch.eye(dims).double()
    exact = torch.distributions.MultivariateNormal(torch.zeros(dims).double(), here).log_prob(
        (1 - begin) * x[:, 0]
    )
    assert (result - exact).std() > 0.05  # probes are noisy, not wrong
    assert abs((result - exact).mean()) < 4 * (result - exact).std() / 20


def test_the_solver_is_of_a_high_order():
    clean, _ = samples(*MIXTURE)
    bits = [
        likelihood.uniform(posterior_mean(*MIXTURE), clean[:4], 0.01, KEYS[:4], steps=n).mean()
        for n in (6, 12, 24, 96)
    ]
    errors = [abs(float(one - bits[-1])) for one in bits[:3]]
    assert errors[0] > 6 * errors[1] > 36 * errors[2]


def test_the_discrete_decoder_is_a_distribution():
    """Its 256 probabilities sum to one for any mean and width, and are finite in the tails; in the middle
    they equal scipy's."""
    levels = (torch.arange(256).double() / 127.5 - 1)[:, None]
    for mean, width in ((0.0, 0.01), (0.9, 0.5), (1.7, 0.2), (-1.0, 1e-3)):
        result = likelihood.discrete(levels, torch.full_like(levels, mean), width)
        assert float(result.exp().sum()) == pytest.approx(1) and torch.isfinite(result).all()
    expected = norm.logcdf(0.2 + STEP / 2, 0.1, 0.3) + math.log(
        1 - math.exp(norm.logcdf(0.2 - STEP / 2, 0.1, 0.3) - norm.logcdf(0.2 + STEP / 2, 0.1, 0.3))
    )
    one, mean = (torch.tensor([[value]], dtype=torch.float64) for value in (0.2, 0.1))
    assert float(likelihood.discrete(one, mean, 0.3)) == pytest.approx(expected)


def test_noise_costs_eight_bits_and_no_less():
    """Uniform noise takes 8 bits a value under the exact denoiser of uniform values, and more under a worse
    one."""
    levels = torch.arange(256.0) / 127.5 - 1

    def uniform_denoiser(z, t):
        t = t.reshape(-1, 1, 1, 1).to(z)
        logs = -((z[..., None] - (1 - t) * levels) / t.clamp_min(1e-6)).square() / 2
        return (torch.softmax(logs, -1) * levels).sum(-1)

    generator = np.random.default_rng(2)
    clean = torch.from_numpy(generator.integers(0, 256, (8, 16, 12)) / 127.5 - 1).float()
    bounds = likelihood.bound(uniform_denoiser, clean, KEYS[:8], strata=12)
    at, wide = likelihood.choose(bounds)
    result = likelihood.bound_of(bounds, at, wide, clean[0].numel())
    assert abs(result.mean() - 8) < 0.06
    ode = likelihood.uniform(uniform_denoiser, clean, 0.01, KEYS[:8], steps=16)
    assert abs(ode.mean() - 8) < 0.06
    blind = likelihood.bound(lambda z, t: torch.zeros_like(z), clean, KEYS[:8])
    assert likelihood.bound_of(blind, *likelihood.choose(blind), clean[0].numel()).mean() > 8


def test_the_cost_of_the_choice_is_counted():
    one = likelihood.Bound(torch.zeros(4, len(BEGINS)), torch.full((4, len(BEGINS), len(WIDTHS)), 100 * LN2))
    assert float(likelihood.bound_of(one, 0, 0, 100).mean()) == pytest.approx(
        1 + math.log2(len(BEGINS) * len(WIDTHS)) / 400
    )


def test_the_integral_over_time():
    """For a network that is always wrong by one it is that of (1 - t) / t^3 from b to 1, in closed form."""
    clean = torch.zeros(400, 1, 1)
    result = likelihood.bound(
        lambda z, t: torch.ones_like(z), clean, list(range(400)), strata=8
    ).diffusion.mean(0)
    exact = torch.tensor([1 / (2 * b * b) - 1 / b + 0.5 for b in BEGINS]).double()
    torch.testing.assert_close(result, exact, rtol=0.02, atol=0)


# ------------------------------------------------------------------------------------------------ real models


@pytest.fixture(scope="module")
def portraits():
    return models.load(models.find(None, None, "portraits"), torch.device("cpu"))


@pytest.fixture(scope="module")
def faces():
    from rawmm_cli.data.datasets.portraits.drawing import draw

    drawings = [draw(n, (255, 255, 255), 64).copy() for n in range(10**7, 10**7 + 2)]
    return torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in drawings])


def test_portraits_take_fewer_bits_than_shuffled_ones_and_noise(portraits, faces):
    """Under the packaged model."""
    from rawmm_cli.information import image_bits

    order = torch.randperm(64 * 64, generator=torch.Generator().manual_seed(0))
    scrambled = faces.flatten(2)[:, :, order].view_as(faces)
    noise = torch.randint(0, 256, faces.shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    bits = [
        image_bits.of_pictures(portraits, images, [""] * 2, 2, ode=False).bound.bits_per_byte
        for images in (faces, scrambled, noise)
    ]
    assert bits[0] + 2 < bits[1] and bits[0] < 4 and bits[1] > 6 and bits[2] >= 8


def test_the_denoiser_equals_that_of_the_generator(portraits, faces):
    """The generator without a cache, after a caption and without one."""
    from rawmm_cli.core import reference
    from rawmm_cli.core.drawing import Sampling
    from rawmm_cli.core.text_tokenizer import BOS, IMAGE
    from rawmm_cli.information import image_bits

    model, captions = portraits.model, ["a woman with red hair", ""]
    z = torch.randn(2, 64, 192, generator=torch.Generator().manual_seed(0))
    documents = [[BOS, *model.tokenizer.encode(caption), IMAGE] for caption in captions]
    with torch.inference_mode():
        predict = reference.predictor(model, documents, Sampling(size=tuple(faces.shape[2:])))
        expected = model.head.clean(predict(z, 0.4).guided, z, torch.tensor([0.4]))
        result = image_bits.denoiser(portraits, faces, captions)(z, torch.full((2,), 0.4))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_bits_of_captions_equal_those_token_by_token(portraits, faces):
    """With one forward pass a prefix; the first token is among text tokens only, and the end is counted."""
    from rawmm_cli.core.batch import pack
    from rawmm_cli.core.document import Picture
    from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
    from rawmm_cli.information import text_bits

    model, captions = portraits.model, ["a man", "", "a portrait"]
    images = [faces[0], faces[1], faces[1]]

    @torch.inference_mode()
    def chain(prefix, caption, end):
        total, tokens = 0.0, model.tokenizer.encode(caption)
        for n, token in enumerate([*tokens, end]):
            batch = pack([[*prefix, *tokens[:n]]], 200, model.blocks)
            logits = model.text(
                model(batch, model.encode(batch), torch.zeros(len(batch.pictures.drawn))), batch.last
            )[0].double()
            if n == 0:
                logits[BOS : END_IMAGE + 1] = -math.inf
            total -= float(logits.log_softmax(-1)[token]) / LN2
        return total

    for conditions in (None, images):
        result = text_bits.of_texts(portraits, conditions, captions)
        exact = [
            chain(
                [BOS] if conditions is None else [BOS, IMAGE, Picture(image, False), END_IMAGE],
                caption,
                IMAGE if conditions is None else EOS,
            )
            for image, caption in zip(images, captions)
            if caption
        ]
        assert (
            result.bits_per_byte * result.bytes == pytest.approx(sum(exact), rel=1e-4) and result.texts == 2
        )
    assert text_bits.of_texts(portraits, None, ["", ""]) is None


def test_the_ode_may_begin_where_the_bound_may():
    """The largest start of an ODE is that of the bound; a model of grey digits needed more than 0.1."""
    from rawmm_cli.information.image_bits import UNIFORMS

    assert UNIFORMS[-1] == BEGINS[-1] and list(UNIFORMS) == sorted(UNIFORMS)


def test_both_rows_of_text_count_the_same_tokens():
    """Under a fresh model all tokens are equally likely: a text has the same bits alone and after a
    picture, in closed form."""
    from types import SimpleNamespace

    from rawmm_cli.core.text_tokenizer import VOCABULARY, train_pairs
    from rawmm_cli.information import text_bits

    model = tiny_model(std=0)
    images = [picture(np.random.default_rng(0)).pixels] * 2
    first, others = 2 * math.log2(VOCABULARY - 4), 6 * math.log2(VOCABULARY)
    exact = (first + others) / 6  # 6 bytes and 2 ends; 2 of these 8 tokens are first
    for conditions in (None, images):
        result = text_bits.of_texts(SimpleNamespace(model=model), conditions, ["ab", "abcd"])
        assert result.bits_per_byte == pytest.approx(exact) and result.kind == "exact"
        assert result.standard_error < 1
    model.tokenizer = train_pairs(["ab ab ab"], VOCABULARY)  # a learned tokenizer without a merged pair
    assert text_bits.of_texts(SimpleNamespace(model=model), None, ["ab"]).kind == "upper bound"


def test_likelihood_of_every_kind_of_prediction():
    """Results are finite, and do not depend on the batch."""
    generator = np.random.default_rng(0)
    for prediction in ("clean", "noise", "velocity"):
        model = tiny_model(prediction=prediction)
        clean = model.codec.encode(torch.stack([picture(generator, size=(4, 4)).pixels for _ in range(3)]))

        def denoise(z, t, model=model):
            return model.head.clean(
                0.1 * z.flatten(0, 1), z.flatten(0, 1), t.repeat_interleave(z.shape[1])
            ).view_as(z)

        batch = likelihood.uniform(denoise, clean, 0.1, [1, 2, 3], steps=4)
        alone = torch.cat(
            [likelihood.uniform(denoise, clean[n : n + 1], 0.1, [n + 1], steps=4) for n in range(3)]
        )
        assert torch.isfinite(batch).all()
        torch.testing.assert_close(batch, alone)
