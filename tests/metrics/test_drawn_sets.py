"""Metrics of sets of drawings, against definitions written out, closed forms and other libraries."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics import pairwise_distances

from rawmm_cli.metrics import copies, diversity, pixels
from rawmm_cli.metrics.neighbours import neighbours, spread


def random(*shape, seed=0, **kind):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **kind)


def noise(count, side, seed=0):
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


# ----------------------------------------------------------------------- precision, recall, density, coverage


def prdc(real, fake, k):
    """As prdc 0.2 has it (Naeem et al. 2020, github.com/clovaai/generative-evaluation-prdc)."""

    def radii(features):
        return np.partition(pairwise_distances(features), k, axis=-1)[:, k]

    real_radii, fake_radii, distance = radii(real), radii(fake), pairwise_distances(real, fake)
    inside = distance < real_radii[:, None]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (distance < fake_radii[None]).any(axis=1).mean(),
        "density": inside.sum(axis=0).mean() / k,
        "coverage": (distance.min(axis=1) < real_radii).mean(),
    }


@pytest.mark.parametrize("shift, scale, k", [(0.0, 1.0, 5), (1.5, 1.0, 5), (0.2, 0.3, 3), (0.0, 3.0, 5)])
def test_neighbours_are_those_of_prdc(shift, scale, k):
    real, drawn = random(60, 8), shift + scale * random(45, 8, seed=1)
    measured = neighbours(drawn, real, k)
    expected = prdc(real.double().numpy(), drawn.double().numpy(), k)
    assert {name: float(each.mean()) for name, each in measured._asdict().items()} == pytest.approx(expected)
    assert [len(each) for each in measured] == [45, 60, 45, 60]


def test_one_mode_of_two_is_precise_and_covers_half():
    """Copies of a half of the real pictures: each lies among real ones, and the other half holds none."""
    real = torch.cat([random(40, 4), 100 + random(40, 4, seed=1)])
    measured = neighbours(real[:40].repeat(2, 1), real)
    assert measured.precision.mean() == 1 and measured.coverage.mean() == 0.5
    assert neighbours(real + 1e6, real).coverage.mean() == neighbours(real + 1e6, real).precision.mean() == 0


def test_the_spread_of_corners_of_a_simplex_is_its_edge():
    assert spread(3 * torch.eye(5)).tolist() == pytest.approx([3 * math.sqrt(2)] * 5)
    assert spread(torch.ones(4, 3)).tolist() == [0] * 4


# ----------------------------------------------------------------------------------------------------- copies


def by_hand(picture, known, shift):
    """The least root mean square over all known pictures and shifts, of what overlaps."""
    least, side = math.inf, picture.shape[-1]
    for down in range(-shift, shift + 1):
        for right in range(-shift, shift + 1):
            at, to = (max(0, down), max(0, right)), (max(0, -down), max(0, -right))
            height, width = side - abs(down), side - abs(right)
            ours = picture[:, to[0] : to[0] + height, to[1] : to[1] + width].double()
            theirs = known[:, :, at[0] : at[0] + height, at[1] : at[1] + width].double()
            least = min(least, float((theirs - ours).square().flatten(1).mean(1).min().sqrt()))
    return least


@pytest.mark.parametrize("shift", [0, 2])
def test_the_nearest_picture_is_that_of_a_search_by_hand(shift):
    drawn, known = noise(6, 8), noise(30, 8, seed=1)
    measured = copies.nearest(drawn, known.split(7), shift)
    assert measured.tolist() == pytest.approx([by_hand(one, known, shift) for one in drawn], rel=1e-6)


@pytest.mark.parametrize("side", [8, 32])
def test_a_copy_is_at_0_and_a_moved_one_at_0_with_shifts(side):
    known = noise(50, side)
    moved = torch.roll(known[:8], (2, -1), (2, 3))
    moved[:, :, :2], moved[:, :, :, -1] = 0, 255  # what came in from outside
    brighter = (known[8:12].int() + 3).clamp_max(255).to(torch.uint8)
    drawn = torch.cat([known[:4], moved[4:], brighter, noise(4, side, seed=1)])
    still, shifted = copies.nearest(drawn, known.split(20)), copies.nearest(drawn, known.split(20), 2)
    assert still[:4].tolist() == [0] * 4 and (still[4:8] > 20).all()
    assert shifted[:8].tolist() == [0] * 8 and (shifted[12:] > 20).all()
    assert (shifted[8:12] <= 3).all() and (shifted[8:12] > 2.9).all()
    assert copies.identical(drawn, known.split(20)).tolist() == [True] * 4 + [False] * 12


def test_nearer_is_the_statistic_of_mann_and_whitney():
    drawn, real = (random(31, seed=1) + 0.4).round(decimals=1), random(23).round(decimals=1)
    statistic = mannwhitneyu(drawn, real).statistic  # pairs where the drawing is farther, ties by halves
    assert copies.nearer(drawn, real).mean() == pytest.approx(1 - statistic / (31 * 23))
    assert copies.nearer(real, real).mean() == pytest.approx(0.5)
    assert copies.nearer(real - 100, real).tolist() == [1] * 23


# -------------------------------------------------------------------------------------------------- diversity


def with_variances(variances, count=40):
    """`count` vectors whose covariance has exactly these variances along its axes."""
    axes = torch.linalg.qr(torch.cat([torch.ones(count, 1), random(count, len(variances))], 1).double())[0]
    turned = torch.linalg.qr(random(len(variances), len(variances)).double())[0]
    return (axes[:, 1:] * torch.tensor(variances).double().sqrt() * math.sqrt(count - 1)) @ turned + 7


@pytest.mark.parametrize(
    "variances, error, bits",
    [
        ([16.0, 16.0, 16.0], 1.0, 3 * 2.0),  # 1/2 log2(16 / 1) each
        ([16.0, 4.0, 0.0], math.sqrt(2 / 3), 2.0 + 1.0),  # level 1: 1 + 1 + 0 = 3 x 2 / 3
        ([16.0, 0.5, 0.25], math.sqrt(1.75 / 3), 2.0),  # the small ones are left out whole
        ([1.0, 1.0, 1.0], 1.0, 0.0),
        ([1.0, 2.0, 0.5], 5.0, 0.0),
    ],
)
def test_the_rate_is_that_of_water_filling(variances, error, bits):
    vectors = with_variances(variances)
    assert diversity.rate(vectors, error) == pytest.approx(bits, abs=1e-9)


def test_the_rate_of_one_picture_is_0_and_of_many_grows_with_their_differences():
    one = noise(1, 8).flatten(1).float()
    assert diversity.rate(one.expand(20, -1), 10) == diversity.rate(one, 10) == 0
    near = one + 5 * random(50, 192)
    far = one + 40 * random(50, 192)
    assert 0 == diversity.rate(near, 10) < diversity.rate(far, 10)
    assert diversity.rate(far, 5) > diversity.rate(far, 10)


def test_collisions_of_sources_that_are_known():
    """64 kinds, equally likely: 6 bits. One kind: none. All different: as many as pairs show."""
    kinds = 100 * torch.eye(64).repeat_interleave(3, 1)
    lots = torch.randint(0, 64, (2000,), generator=torch.Generator().manual_seed(0))
    drawn = kinds[lots] + 0.1 * random(2000, 192)
    assert diversity.collisions(*diversity.alike(drawn, 1.0)) == pytest.approx(6, abs=0.05)
    assert diversity.collisions(*diversity.alike(drawn[:1].expand(50, -1), 1.0)) == 0
    assert diversity.alike(kinds, 1.0) == (0, 64 * 63 // 2)
    assert diversity.collisions(0, 4950) == math.log2(4950)


def test_two_are_alike_by_the_root_mean_square_of_their_difference():
    pair = torch.tensor([[0.0, 0.0], [3.0, 4.0]])  # root mean square 5 / sqrt(2)
    assert diversity.alike(pair, 3.6) == (1, 1) and diversity.alike(pair, 3.5) == (0, 1)


# -------------------------------------------------------------------------------------------------- sharpness


def wave(period, side=16):
    """A wave along rows, of whole periods."""
    row = 128 + 100 * torch.cos(2 * math.pi * torch.arange(side) / period)
    return row.round().expand(1, 3, side, side).to(torch.uint8)


def test_fine_structure_is_what_is_above_half_of_the_frequencies():
    board = 255 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2).expand(1, 3, 16, 16).to(torch.uint8)
    assert pixels.fine(board).item() == pytest.approx(1)
    assert pixels.fine(wave(8)).item() == pytest.approx(0, abs=1e-3)
    assert pixels.fine(wave(2)).item() == pytest.approx(1)
    assert pixels.fine(wave(2).transpose(2, 3)).item() == pytest.approx(1)
    both = (wave(2).int() - 128 + wave(16).int() - 128) // 2 + 128
    # (-1)^n has the energy 1, a cosine 1/2
    assert pixels.fine(both.to(torch.uint8)).item() == pytest.approx(2 / 3, abs=0.01)
    assert math.isnan(pixels.fine(torch.full((1, 3, 8, 8), 9, dtype=torch.uint8)))


def test_noise_has_its_share_of_fine_structure():
    """Of 16 x 16 frequencies 9 x 9 are not above the half along either axis; one of them is the mean."""
    assert pixels.fine(noise(200, 16)).mean().item() == pytest.approx(1 - 80 / 255, abs=0.01)
