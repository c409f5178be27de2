"""What pictures are like to a model: numbers by hand, distances in closed form."""

import math

import numpy as np
import pytest
import torch
from helpers import tiny_model
from scipy.fft import dctn

from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE
from rawmm_cli.runs import familiar, looks


def test_numbers_of_pictures_are_moments_of_layers_and_pixels_alone_and_among_others(monkeypatch):
    model = tiny_model()
    pictures = [
        Picture(torch.randint(0, 256, (3, *size), dtype=torch.uint8), False)
        for size in ((8, 8), (4, 8), (8, 8), (6, 6))
    ]
    vectors = looks.looks(model, pictures)
    layers = len(model.backbone.layers)
    assert layers <= looks.LAYERS and vectors.shape == (4, (layers + 1) * 2 * 32 + 9 * looks.CELL**2)
    for picture, vector in zip(pictures, vectors):
        batch = pack([[BOS, IMAGE, picture, END_IMAGE]], 32, model.blocks)
        hidden = model.read(batch)[2 : 2 + len(batch.patch_at)]
        last = vector[2 * 32 * layers :][: 2 * 32]
        assert torch.allclose(last, torch.cat([hidden.mean(0), hidden.std(0, correction=0)]), atol=1e-4)
    monkeypatch.setattr(familiar, "TOGETHER", 1)
    assert torch.allclose(looks.looks(model, pictures), vectors, atol=1e-4)
    assert len(looks.looks(model, [])) == 0


def test_frequencies_of_pixels_are_those_of_scipy():
    pixels = torch.randint(0, 256, (3, 9, 12), dtype=torch.uint8)
    values = pixels.numpy() / 127.5 - 1
    squares = [values[:, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4, 8)]
    parts = np.stack([dctn(square, axes=(1, 2), norm="ortho") for square in squares], 1).reshape(3, 6, 16)
    by_hand = [parts.mean(1), np.log(parts.std(1)), np.abs(parts).mean(1)]
    assert np.allclose(looks._frequencies(pixels).view(3, 3, 16), np.stack(by_hand), atol=1e-4)


def test_pictures_smaller_than_a_square_go_on_at_their_edges():
    grey = torch.full((3, 2, 3), 255, dtype=torch.uint8)
    means = looks._frequencies(grey).view(3, 3, 16)[0]
    assert torch.allclose(means[:, 0], torch.tensor(4.0)) and torch.allclose(
        means[:, 1:], torch.zeros(15), atol=1e-5
    )


def test_long_hidden_vectors_are_shortened_and_keep_their_lengths():
    hidden = torch.randn(500, 4 * looks.MOST)
    short = looks._shortened(hidden)
    assert short.shape == (500, looks.MOST) and torch.equal(short, looks._shortened(hidden))
    assert (short.norm(dim=1) / hidden.norm(dim=1)).mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(looks._shortened(hidden[:, :32]), hidden[:, :32])


def points(count, noise, seed=0):
    """Two of eight numbers are normal, of deviations 5 and 2, the others noise."""
    rng = torch.Generator().manual_seed(seed)
    vectors = noise * torch.randn(count, 8, generator=rng)
    vectors[:, :2] = torch.randn(count, 2, generator=rng) * torch.tensor([5.0, 2.0])
    return vectors + 3


def test_distances_are_those_of_mahalanobis():
    """With as many directions as there are numbers in them, and noise of one size in the others."""
    usual = looks.fitted(points(4000, 0.1))
    assert usual.basis.shape == (2, 8)
    others = torch.full((4, 8), 3.0)
    others[0, 0], others[1, 1], others[2, 7] = 3 + 10.0, 3 - 4.0, 3 + 0.5
    assert usual.distances(others) == pytest.approx([4, 4, 25, 0], rel=0.1, abs=0.01)
    again = looks.unpacked(usual.packed(), 8, 4.0)
    assert again.distances(others) == pytest.approx([one / 4 for one in usual.distances(others)], rel=1e-5)
    mean = np.mean(usual.distances(points(4000, 0.1, seed=1)))
    assert mean == pytest.approx(8, rel=0.05), "chi-square with eight degrees of freedom"


@pytest.mark.parametrize("text", ["", "AA", "not base64!", "AH4=" * 8, "AAAA", "AAAA" * 27])
def test_what_is_no_distribution(text):
    with pytest.raises(ValueError):
        looks.unpacked(text, 8, 1.0)


def test_a_distribution_belongs_to_as_many_numbers():
    text = looks.fitted(points(50, 0.1)).packed()
    assert looks.unpacked(text, 8, 1.0).basis.shape[1] == 8
    for numbers, unit in ((7, 1.0), (8, 0.0), (0, 1.0)):
        with pytest.raises(ValueError):
            looks.unpacked(text, numbers, unit)


@pytest.mark.parametrize("count", [5, 12, 49])
def test_the_threshold_of_few_distances_is_a_prediction_interval(count):
    from scipy import stats

    logs = np.random.default_rng(count).normal(0.2, 0.5, count)
    spread = logs.std(ddof=1) * math.sqrt(1 + 1 / count)
    exact = math.exp(logs.mean() + stats.t.ppf(1 - looks.PASS, count - 1) * spread)
    exact = max(exact, float(np.exp(logs.max())))
    assert looks.most_distance(np.exp(logs).tolist()) == pytest.approx(exact, rel=0.06)


@pytest.mark.parametrize("count, error", [(200, 0.25), (20_000, 0.03)])
def test_the_threshold_of_many_distances_is_their_upper_quantile(count, error):
    """Of a Pareto distribution with exponent 4, of which one in 100 is beyond 100^(1/4)."""
    own = np.random.default_rng(0).uniform(size=count) ** (-1 / 4)
    assert looks.most_distance(own.tolist()) == pytest.approx(100**0.25, rel=error)


def test_where_few_pictures_are_unseen_those_of_training_are_left_out_in_turn():
    learned, far = points(200, 0.1), points(400, 0.2, seed=1)
    usual = looks.fitted(learned)
    own = looks.own_distances(usual, learned, far[:20])
    assert len(own) == 220 and own[:20] == usual.distances(far[:20])
    assert np.median(own[20:]) == pytest.approx(np.median(own[:20]), rel=1e-3), "enlarged as unseen ones are"
    assert looks.own_distances(usual, learned, far) == usual.distances(far)
    assert len(looks.own_distances(usual, learned[:10], far[:3])) == 3, "too few to be left out"
