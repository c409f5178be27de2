"""Quantizers: code <-> index, the nearest code, the straight-through gradient, dead codes, usage."""

import math

import pytest
import torch

from rawmm_cli.codecs.base import counts, usage
from rawmm_cli.codecs.quantizers import (
    FiniteScalarQuantizer,
    LookupFreeQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)

pytestmark = pytest.mark.usefixtures("one_thread")


# --------------------------------------------------------------------------------------------- code <-> index


def without_projections(quantizer):
    """The quantizer with projections that are the identity."""
    for linear in (quantizer.into, quantizer.out):
        torch.nn.init.eye_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    return quantizer


QUANTIZERS = {
    f"{name}, {'even' if even else 'tanh'}": (FiniteScalarQuantizer, (len(levels), levels, 1, even))
    for name, levels in (("fsq", (5, 4)), ("fsq odd", (3, 3, 3)), ("fsq two levels", (2, 3, 2)))
    for even in (True, False)
}


QUANTIZERS |= {"lfq": (LookupFreeQuantizer, (5, 5, 1, False)), "bsq": (LookupFreeQuantizer, (5, 5, 1, True))}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_indices_and_codes_are_one_to_one(name):
    kind, options = QUANTIZERS[name]
    quantizer = without_projections(kind(*options)).eval()
    indices = torch.arange(quantizer.vocabulary).view(1, -1, 1)
    values = quantizer.values(indices)
    assert len(torch.unique(values[0].round(decimals=4), dim=0)) == quantizer.vocabulary
    quantized, codes, _ = quantizer(latents_of(quantizer, values))
    assert torch.equal(codes, indices)
    torch.testing.assert_close(quantized, values)


def latents_of(quantizer, values):
    """Latents that are quantized to these values; FSQ bounds its input, so its inverse is a search."""
    if not isinstance(quantizer, FiniteScalarQuantizer):
        return values
    steps = torch.linspace(-4, 4, 1601)
    latents = torch.empty_like(values)
    for axis in range(values.shape[-1]):
        probe = torch.zeros(1, len(steps), values.shape[-1])
        probe[0, :, axis] = steps
        reached = quantizer(probe)[0][0, :, axis]
        for n, value in enumerate(values[0, :, axis]):
            matching = steps[(reached - value).abs() < 1e-5]
            latents[0, n, axis] = matching[len(matching) // 2]
    return latents


@pytest.mark.parametrize("levels", [(4, 4), (5, 3), (2, 8)])
def test_a_normal_number_takes_even_levels_equally_often(levels):
    quantizer = without_projections(FiniteScalarQuantizer(2, levels, 1, True)).eval()
    normal = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(4800) + 0.5) / 4800)
    latents = torch.stack([normal, torch.zeros_like(normal)], -1)[None]
    values, codes, _ = quantizer(latents)
    counted = torch.bincount(quantizer.inner.indices_to_level_indices(codes[0, :, 0])[:, 0])
    assert len(counted) == levels[0] and (counted - 4800 / levels[0]).abs().max() <= 2
    torch.testing.assert_close(values[0, :, 0].unique(), torch.linspace(-1, 1, levels[0]))


@pytest.mark.parametrize(
    "kind, options", [(FiniteScalarQuantizer, ((4, 4), 1, True)), (LookupFreeQuantizer, (2, 1, False))]
)
def test_numbers_are_normalised_by_the_batch_and_in_eval_mode_by_moving_averages(kind, options):
    """Latents far from 0 and close together spread over all codes, in training and after it."""
    torch.manual_seed(0)
    quantizer = without_projections(kind(2, *options)).train()
    for _ in range(200):
        _, codes, _ = quantizer(3 + 0.1 * torch.randn(8, 64, 2))
    assert usage(counts(codes, quantizer.vocabulary))["perplexity"] > 0.97 * quantizer.vocabulary
    _, codes, _ = quantizer.eval()(3 + 0.1 * torch.randn(8, 64, 2))
    assert usage(counts(codes, quantizer.vocabulary))["perplexity"] > 0.97 * quantizer.vocabulary


def test_fsq_rounds_to_the_levels_of_its_paper():
    """round(tanh(z + shift) half_l - offset) with half_l = (L - 1)(1 + eps) / 2, written out for L = 5 and
    4."""
    quantizer, latents = (
        without_projections(FiniteScalarQuantizer(2, (5, 4), 1, False)).eval(),
        2 * torch.randn(1, 50, 2),
    )
    five = torch.round(torch.tanh(latents[..., 0]) * 2 * 1.001) / 2
    half = 1.5 * 1.001
    four = torch.round(torch.tanh(latents[..., 1] + math.atanh(0.5 / half)) * half - 0.5) / 2
    torch.testing.assert_close(quantizer(latents)[0], torch.stack([five, four], -1))


@pytest.mark.parametrize("cosine", [True, False])
def test_vq_takes_the_nearest_code(cosine):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(
        6, 20, 6, cosine=cosine, from_data=False, decay=0.99, restart=0.0, rotation=False
    ).eval()
    book = torch.randn(20, 6)
    book = torch.nn.functional.normalize(book, dim=-1) if cosine else book
    quantizer.inner.codebook = book
    latents = torch.randn(3, 7, 6)
    keys = torch.nn.functional.normalize(latents, dim=-1) if cosine else latents
    nearest = torch.cdist(keys, book[None]).argmin(-1)
    values, codes, _ = quantizer(latents)
    assert torch.equal(codes[..., 0], nearest)
    torch.testing.assert_close(values, book[nearest])


def test_residual_vq_takes_the_nearest_code_of_the_residual():
    torch.manual_seed(0)
    quantizer = without_projections(
        ResidualQuantizer(6, 20, 6, 3, cosine=False, from_data=False, decay=0.99, restart=0.0)
    ).eval()
    books = torch.randn(3, 20, 6) * torch.tensor([1, 0.5, 0.25]).view(3, 1, 1)
    for layer, book in zip(quantizer.inner.layers, books):
        layer.codebook = book
    residual = latents = torch.randn(2, 5, 6)
    expected = []
    for book in books:
        expected.append(torch.cdist(residual, book[None]).argmin(-1))
        residual = residual - book[expected[-1]]
    values, codes, _ = quantizer(latents)
    assert torch.equal(codes, torch.stack(expected, -1))
    torch.testing.assert_close(values, latents - residual)


@pytest.mark.parametrize("name", ["vq", "fsq", "fsq, even", "lfq", "rvq"])
def test_the_gradient_passes_straight_through(name):
    torch.manual_seed(0)
    options = {"cosine": False, "from_data": False, "decay": 0.99, "restart": 0.0}
    quantizer = {
        "vq": lambda: VectorQuantizer(4, 9, 4, rotation=False, **options),
        "fsq": lambda: without_projections(FiniteScalarQuantizer(4, (5,) * 4, 1, False)),
        "fsq, even": lambda: without_projections(FiniteScalarQuantizer(4, (5,) * 4, 1, True)),
        "lfq": lambda: without_projections(LookupFreeQuantizer(4, 4, 1, False)),
        "rvq": lambda: without_projections(ResidualQuantizer(4, 9, 4, 2, **options)),
    }[name]().train()
    if hasattr(quantizer, "spread") and quantizer.spread:
        quantizer.spread.eval()  # fresh: mean 0 and variance 1 (and 1e-5)
    latents, weights = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4)
    values, _, _ = quantizer(latents)
    (values * weights).sum().backward()
    z = latents.detach()
    slope = {
        "fsq": (1 - torch.tanh(z) ** 2) * 2 * 1.001 / 2,  # of the bound; rounding counts as the identity
        "fsq, even": torch.exp(-(z**2) / 2) * (2 / math.pi) ** 0.5 * 5 / 4,
    }.get(name, 1.0)
    torch.testing.assert_close(latents.grad, weights * slope, rtol=1e-4, atol=1e-5)
    assert not torch.equal(values, latents)


def test_a_dead_code_is_replaced_by_a_latent():
    torch.manual_seed(0)
    options = {"cosine": False, "from_data": False, "decay": 0.5, "rotation": False}
    for restart, expected in ((0.0, False), (1.0, True)):
        quantizer = VectorQuantizer(4, 16, 4, restart=restart, mean=2.0, **options).train()
        book = torch.cat([torch.zeros(1, 4), torch.full((15, 4), 1e3)])  # the first code is always nearest
        quantizer.inner.codebook = book
        quantizer.inner._codebook.embed_avg.copy_(book)
        for _ in range(12):
            _, codes, _ = quantizer(torch.randn(4, 8, 4))
        assert (len(codes.unique()) > 4) is expected


def test_a_replaced_code_is_not_replaced_at_once():
    """Its count begins at the mean and halves every step: without use it is replaced after two steps."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(
        2, 2, 2, cosine=False, from_data=False, decay=0.5, rotation=False, restart=0.4, mean=2.0
    ).train()
    book = torch.tensor([[0.0, 0.0], [1e3, 1e3]])
    quantizer.inner.codebook = book
    quantizer.inner._codebook.embed_avg.copy_(book)
    quantizer.inner._codebook.cluster_size.fill_(0.9)
    count = lambda: quantizer.inner._codebook.cluster_size[0, 1].item()  # noqa: E731
    latents = torch.zeros(1, 4, 2)
    quantizer(latents)
    assert count() == 2.0  # 0.45 is below 0.8: replaced by a latent, 0
    observed = []
    for _ in range(4):
        quantizer.inner._codebook.embed[0, 1] = 1e3  # far away again
        quantizer(latents)
        observed.append(count())
    assert observed == [1.0, 2.0, 1.0, 2.0]


# ------------------------------------------------------------------------------------------------------ usage


def test_usage_and_perplexity_are_those_of_the_counts():
    codes = torch.tensor([[[0, 3], [1, 3]], [[1, 3], [0, 3]]])  # first: 0 and 1 evenly; second: always 3
    counted = counts(codes, 4)
    assert counted.tolist() == [[2, 2, 0, 0], [0, 0, 0, 4]]
    expected = {"usage": (2 / 4 + 1 / 4) / 2, "perplexity": (2 + 1) / 2, "used_bits": 0.5}
    assert usage(counted) == pytest.approx(expected)
    even = usage(torch.ones(1, 1024, dtype=torch.long))
    assert even == pytest.approx({"usage": 1, "perplexity": 1024, "used_bits": 10})


# ------------------------------------------------------------------------------------- first codes from data


def books(quantizer) -> list[torch.Tensor]:
    """Codebooks of a quantizer, (V, D) each."""
    layers = getattr(quantizer.inner, "layers", [quantizer.inner])
    return [layer._codebook.embed[0] for layer in layers]


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("latents", [1, 5, 64])
def test_first_codes_are_latents_where_these_are_few(latents, cosine):
    """The library gives zero vectors to codes without latents; here they are latents, hardly moved."""
    options = {"cosine": cosine, "from_data": True, "decay": 0.99, "restart": 0.0, "rotation": False}
    torch.manual_seed(0)
    quantizer, batch = VectorQuantizer(4, 32, 4, **options).eval(), torch.randn(1, latents, 4)
    values = quantizer(batch)[0]
    (book,), own = books(quantizer), batch[0]
    own = torch.nn.functional.normalize(own, dim=-1) if cosine else own
    assert (book.norm(dim=-1) > 1e-3).all()
    if latents < 32:
        nearest = torch.cdist(book, own).min(1).values
        assert (nearest < 0.2).all() and (torch.cdist(own, book).min(1).values < 0.2).all()
        assert latents == 1 or len(torch.unique(book, dim=0)) == 32
        torch.testing.assert_close(values[0], own, atol=0.2, rtol=0)
    before = book.clone()
    quantizer.train()(batch)  # moving averages begin from these codes
    assert (books(quantizer)[0].norm(dim=-1) > 1e-3).all()
    assert (books(quantizer)[0] - before).norm(dim=-1).max() < 1


def test_first_codes_of_residuals():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(6, 20, 6, 3, cosine=False, from_data=True, decay=0.99, restart=0.0).train()
    quantizer(torch.randn(1, 7, 6))
    assert all((book.norm(dim=-1) > 0).all() for book in books(quantizer))
    assert not any(book.norm(dim=-1).isnan().any() for book in books(quantizer))


def test_enough_latents_start_as_in_the_library():
    """Where every centre has latents, first codes are the library's own k-means."""
    from vector_quantize_pytorch import VectorQuantize

    batch = torch.cat([torch.randn(1, 200, 4) + 20 * torch.eye(4)[n] for n in range(4)], 1)
    torch.manual_seed(3)
    library = VectorQuantize(
        dim=4, codebook_size=4, codebook_dim=4, kmeans_init=True, threshold_ema_dead_code=0
    )
    library.eval()(batch)
    options = {"cosine": False, "from_data": True, "decay": 0.8, "restart": 0.0, "rotation": False}
    torch.manual_seed(3)
    quantizer = VectorQuantizer(4, 4, 4, **options).eval()
    quantizer(batch)
    torch.testing.assert_close(books(quantizer)[0], library._codebook.embed[0])
