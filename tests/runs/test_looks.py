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
        means, deviations, _ = vector.split([32 * (layers + 1), 32 * (layers + 1), looks.FREQUENCIES])
        assert torch.allclose(means[-32:], hidden.mean(0), atol=1e-4)
        assert torch.allclose(deviations[-32:], hidden.std(0, correction=0), atol=1e-4)
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
    assert usual.distances(others).tolist() == pytest.approx([4, 4, 25, 0], rel=0.1, abs=0.01)
    again = looks.unpacked(usual.packed(), 8)
    assert torch.allclose(again.distances(others), usual.distances(others), rtol=1e-4)
    mean = usual.distances(points(4000, 0.1, seed=1)).mean().item()
    assert mean == pytest.approx(8, rel=0.05), "chi-square with eight degrees of freedom"


@pytest.mark.parametrize("count", [6, 300])
def test_directions_and_sizes_are_those_of_the_singular_values(count):
    """More numbers than vectors, and fewer; 127 steps of a direction are near enough."""
    vectors = torch.randn(count, 40, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 41)
    vectors[:, 0] += 3 * vectors[:, 1]
    usual = looks.fitted(vectors)
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    _, sizes, directions = torch.linalg.svd(standard, full_matrices=False)
    rank = max(1, min(10, count // 4))
    assert usual.basis.shape == (rank, 40)
    assert torch.allclose(usual.variances, sizes[:rank] ** 2 / (count - 1), rtol=1e-3)
    assert usual.rest == pytest.approx((sizes[rank:] ** 2).sum().item() / (count - 1) / (40 - rank), rel=1e-3)
    along = (usual.basis * directions[:rank]).sum(1).abs()
    assert torch.allclose(along, torch.ones(rank), atol=3e-3)


@pytest.mark.parametrize("text", ["", "AA", "not base64!", "AH4=" * 8, "AAAA", "AAAA" * 28])
def test_what_is_no_distribution(text):
    with pytest.raises(ValueError):
        looks.unpacked(text, 8)


def test_a_distribution_belongs_to_as_many_numbers():
    text = looks.fitted(points(50, 0.1)).packed()
    assert looks.unpacked(text, 8).basis.shape[1] == 8
    for numbers in (7, 0):
        with pytest.raises(ValueError):
            looks.unpacked(text, numbers)


def pictures(count, deviation, seed):
    """Numbers as `looks` gives them: four means, four deviations about `deviation`, and those of pixels."""
    rng = torch.Generator().manual_seed(seed)
    around = torch.randn(count, 8 + looks.FREQUENCIES, generator=rng)
    around[:, 4:8] = deviation * (0.3 * around[:, 4:8]).exp()
    return around


def test_what_is_plainer_or_rougher_than_the_pictures_of_training_is_far_away():
    learned, unseen = pictures(1000, 1.0, 0), pictures(400, 1.0, 1)
    fitted = looks.distribution(learned)
    usual, threshold, own = looks.calibrated(fitted, [looks.own_distances(fitted, learned, unseen)])
    assert np.median(own) == pytest.approx(1) and own == pytest.approx(usual.distances(unseen), rel=1e-5)
    assert np.mean(np.array(usual.distances(pictures(2000, 1.0, 2))) > threshold) <= looks.ALLOWED
    plain = usual.each(pictures(50, 0.01, 3))
    assert all(both[1] > threshold for both in plain)
    assert np.mean([both[0] > threshold for both in plain]) < 0.5, "logarithms show it"
    rough = usual.each(pictures(50, 8.0, 4))
    assert all(both[0] > threshold for both in rough)


def test_of_each_set_few_pictures_are_beyond_the_threshold():
    """The second set is twice as far away."""
    near = [(1 + n / 300, 1 + n / 300) for n in range(300)]
    far = [(2 * both[0], 2 * both[0]) for both in near]
    fitted = looks.distribution(pictures(30, 1.0, 0))
    _, threshold, own = looks.calibrated(fitted, [near, far])
    _, alone, of_far = looks.calibrated(fitted, [far])
    assert threshold * np.median([both[0] for both in near + far]) == pytest.approx(
        alone * np.median([both[0] for both in far])
    )
    assert len(own) == 600 and len(of_far) == 300


@pytest.mark.parametrize("count", [5, 12, 49])
def test_the_threshold_of_few_distances_is_a_prediction_interval(count):
    from scipy import stats

    logs = np.random.default_rng(count).normal(0.2, 0.5, count)
    spread = logs.std(ddof=1) * math.sqrt(1 + 1 / count)
    exact = math.exp(logs.mean() + stats.t.ppf(1 - looks.ALLOWED / 2, count - 1) * spread)
    exact = max(exact, float(np.exp(logs.max())))
    assert looks.most_distance(np.exp(logs).tolist()) == pytest.approx(exact, rel=0.06)


@pytest.mark.parametrize("count", [60, 85, 240, 512])
def test_the_threshold_of_many_distances_is_an_upper_bound_of_their_quantile(count):
    """Of a Pareto distribution with exponent 4, of which a share of t^-4 is beyond t: in nine of ten samples
    at most two in 100 are."""
    rng, beyond = np.random.default_rng(0), []
    for _ in range(400):
        own = rng.uniform(size=count) ** (-1 / 4)
        beyond.append(looks.most_distance(own.tolist()) ** -4)
    assert np.mean(np.array(beyond) <= looks.ALLOWED) == pytest.approx(looks.SURE, abs=0.05)
    assert np.median(beyond) > 0.003, "and not far below"


def test_where_few_pictures_are_unseen_those_of_training_are_left_out_in_turn():
    learned, far = points(200, 0.1), points(400, 0.2, seed=1)
    usual = looks.distribution(learned)
    own = looks.own_distances(usual, learned, far[:20])
    assert len(own) == 220 and own[:20] == usual.each(far[:20])
    crossed, unseen = np.median(own[20:], 0), np.median(own[:20], 0)
    assert crossed == pytest.approx(unseen, rel=1e-3), "enlarged as unseen ones are"
    assert looks.own_distances(usual, learned, far) == usual.each(far)
    assert len(looks.own_distances(usual, learned[:10], far[:3])) == 3, "too few to be left out"
