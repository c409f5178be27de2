from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from rawmm_cli.core import noise as module
from rawmm_cli.core.noise import PREDICTIONS, logit_normal, loss_factor, normal, rectified, target, to_clean

PAIRS = list(product(PREDICTIONS, PREDICTIONS))
TIMES = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)[:, None]


def path(scale, shape=(9, 12)):
    """-> clean, eps and z at TIMES, float64."""
    clean, eps = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signal, noise = rectified(TIMES)
    return clean, eps, signal * clean + noise * scale * eps


@pytest.mark.parametrize("one", [0, 1, 0.0, 1.0, torch.tensor(0.0), torch.tensor(1.0)])
def test_the_path_ends_in_the_picture_and_in_the_noise(one):
    assert rectified(one) == ((1, 0) if one == 0 else (0, 1))


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_output_gives_back_the_clean_patches(prediction, scale):
    clean, eps, z = path(scale)
    output = target(prediction, clean, eps, scale)
    torch.testing.assert_close(
        to_clean(prediction, output, z, TIMES, scale, 1e-3), clean, atol=1e-12, rtol=1e-12
    )


def test_velocity_is_the_slope_of_the_path():
    clean, eps, _ = path(2.0)

    def at(t):
        return rectified(t)[0] * clean + rectified(t)[1] * 2.0 * eps

    torch.testing.assert_close(target("velocity", clean, eps, 2.0), (at(0.75) - at(0.25)) / 0.5)


def test_conversion_at_the_ends():
    """Clean at t = 1 from a clean or velocity output is exact; from a predicted noise it is bounded by the
    clamp."""
    z, output = torch.full((1, 3), 2.0), torch.full((1, 3), 0.5)
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    assert torch.equal(to_clean("clean", output, z, one, 1.0, 0.05), output)
    assert torch.equal(to_clean("velocity", output, z, one, 1.0, 0.05), z - output)
    torch.testing.assert_close(to_clean("noise", output, z, one, 1.0, 0.05), (z - output) / 0.05)
    for prediction in ("velocity", "noise"):
        assert torch.equal(to_clean(prediction, output, z, zero, 1.0, 0.05), z)


def errors(prediction, scale, output_error):
    """Disturb a perfect output and convert it, by way of the clean patches, to all three kinds -> error of
    each."""
    clean, eps, z = path(scale)
    signal, noise = rectified(TIMES)
    estimate = to_clean(
        prediction, target(prediction, clean, eps, scale) + output_error, z, TIMES, scale, 1e-6
    )
    its_noise = (z - signal * estimate) / (noise * scale)
    return {
        "clean": estimate - clean,
        "noise": its_noise - eps,
        "velocity": scale * its_noise - estimate - target("velocity", clean, eps, scale),
    }


@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("prediction,space", PAIRS)
def test_loss_factor_is_the_ratio_of_errors(prediction, space, scale):
    disturbance = 1e-3 * torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    factor = loss_factor(prediction, space, TIMES, scale, 0.05)
    result = errors(prediction, scale, disturbance)[space]
    torch.testing.assert_close(factor * disturbance.abs(), result.abs(), atol=1e-12, rtol=1e-8)


@pytest.mark.parametrize("prediction,space", PAIRS)
def test_loss_factor_is_bounded_at_both_ends(prediction, space):
    times = torch.cat([torch.linspace(0, 1, 1001), torch.tensor([1e-9, 1 - 1e-7])])
    factor = loss_factor(prediction, space, times, 1.0, 0.05)
    assert factor.isfinite().all() and (factor >= 0).all() and factor.max() <= 20 + 1e-4
    inner = times[(times >= 0.05) & (times <= 0.95)]
    torch.testing.assert_close(
        loss_factor(prediction, space, inner, 1.0, 0.05), loss_factor(prediction, space, inner, 1.0, 1e-6)
    )


def test_the_default_loss_is_that_of_jit():
    """Clean prediction, velocity space: |error|^2 / max(t, 0.05)^2."""
    times = torch.tensor([0.0, 0.01, 0.05, 0.2, 1.0])
    torch.testing.assert_close(loss_factor("clean", "velocity", times, 1.0, 0.05), 1 / times.clamp_min(0.05))


def test_noise_of_a_key_does_not_depend_on_its_neighbours():
    keys, counts = (11, 22, 33), (2, 5, 3)
    together = normal(keys, counts, 12)
    assert together.shape == (10, 12) and together.dtype == torch.float32
    alone = [normal([k], [n], 12) for k, n in zip(keys, counts)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(normal(keys[::-1], counts[::-1], 12), torch.cat(alone[::-1]))
    assert torch.equal(logit_normal(keys, 0.8, 0.8), torch.cat([logit_normal([k], 0.8, 0.8) for k in keys]))


def test_more_patches_go_on_where_fewer_stopped():
    assert torch.equal(normal([4], [9], 6)[:5], normal([4], [5], 6))


def test_different_keys_and_words_give_different_noise():
    blocks = normal(range(50), [4] * 50, 12).view(50, -1)
    assert len({block.numpy().tobytes() for block in blocks}) == 50
    correlation = torch.corrcoef(blocks).fill_diagonal_(0)
    assert correlation.abs().max() < 5 / 48**0.5 and correlation.mean().abs() < 0.02
    assert not torch.isclose(normal([1], [4], 12), normal([1], [4], 12, "other")).any()


def test_nothing_to_draw():
    assert normal((), (), 12).shape == on_gpu((), (), 12).shape == (0, 12) and logit_normal(
        (), 0.8, 0.8
    ).shape == (0,)


def test_noise_is_standard_normal():
    """First numbers of many keys, and all numbers of few: both N(0, 1)."""
    across, along = normal(range(4000), [1] * 4000, 1), normal(range(4), [1000] * 4, 12)
    for values in (across.flatten().double().numpy(), along.flatten().double().numpy()):
        error = len(values) ** -0.5
        assert abs(values.mean()) < 4 * error and abs(values.var() - 1) < 4 * 2**0.5 * error
        assert (
            abs(stats.skew(values)) < 4 * 6**0.5 * error and abs(stats.kurtosis(values)) < 4 * 24**0.5 * error
        )
        assert stats.kstest(values, "norm").pvalue > 0.01


@pytest.mark.parametrize("mean,spread", [(0.8, 0.8), (0.0, 1.0), (-1.2, 0.5)])
def test_times_are_logit_normal(mean, spread):
    times = logit_normal(range(4000), mean, spread).double().numpy()
    assert ((times > 0) & (times < 1)).all()
    assert stats.kstest(np.log(times / (1 - times)), "norm", (mean, spread)).pvalue > 0.01
    shares = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = 1 / (1 + np.exp(-stats.norm.ppf(shares, mean, spread)))
    np.testing.assert_allclose(np.quantile(times, shares), expected, atol=0.02)


def test_time_and_noise_of_a_key_are_unrelated():
    times, noise = logit_normal(range(4000), 0.0, 1.0), normal(range(4000), [1] * 4000, 1)[:, 0]
    assert abs(stats.spearmanr(times, noise).statistic) < 4 / 4000**0.5


def on_gpu(keys, counts, width, word="noise"):
    return module._on_gpu(keys, counts, width, word, torch.device("cpu"))


@pytest.mark.parametrize("make", [normal, on_gpu])
def test_a_picture_without_a_key_has_neither_noise_nor_time(make):
    noise = make((7, None, 8), (2, 3, 1), 5)
    assert noise.shape == (6, 5) and (noise[2:5] == 0).all() and (noise[[0, 1, 5]] != 0).all()
    assert torch.equal(noise[[0, 1, 5]], make((7, 8), (2, 1), 5))
    for spread in (0.8, 0.0):
        times = logit_normal((7, None, 8), 0.1, spread)
        assert times[1] == 0 and torch.equal(times[[0, 2]], logit_normal((7, 8), 0.1, spread))


def test_noise_drawn_by_the_device_itself_belongs_to_its_key():
    """The way of a GPU, walked on the CPU: every block is a function of its key, whatever stands beside
    it."""
    one, two, other = (
        on_gpu(keys, counts, 3) for keys, counts in (((5, 9), (4, 2)), ((9, 5), (2, 4)), ((6,), (4,)))
    )
    assert torch.equal(one[:4], two[2:]) and torch.equal(one[4:], two[:2]) and not torch.equal(one[:4], other)
    assert not torch.isclose(one, on_gpu((5, 9), (4, 2), 3, "noise of step 1")).any()
    many = on_gpu(range(50), [200] * 50, 8)
    assert abs(many.mean()) < 0.02 and abs(many.std() - 1) < 0.02


@pytest.mark.parametrize(
    "seed, expected",
    [  # published outputs of SplitMix64
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
    ],
)
def test_the_integers_of_a_gpu_are_those_of_splitmix64(seed, expected):
    states = seed + torch.arange(1, 4) * module.GOLDEN
    assert [int(bits) % 2**64 for bits in module._mixed(states)] == expected


def test_noise_of_a_gpu_is_normal_and_its_numbers_are_independent():
    """Moments, the distribution, neighbours and pairs; the tails have no more than they should."""
    noise = on_gpu(range(200), [250] * 200, 21).double()  # an odd width: of the last pair one is left
    values = noise.flatten().numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3 and np.isfinite(values).all()
    assert abs(stats.skew(values)) < 0.01 and abs(stats.kurtosis(values)) < 0.02
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 4 / len(noise) ** 0.5  # of one pair
    assert abs(np.corrcoef(noise[:-1, 5], noise[1:, 5])[0, 1]) < 4 / len(noise) ** 0.5
    blocks = noise.view(200, -1)
    assert abs(blocks.mean(1)).max() < 5 / blocks.shape[1] ** 0.5
    share = (abs(values) > 4).mean()
    assert abs(share - 2 * stats.norm.sf(4)) < 5 * (2 * stats.norm.sf(4) / len(values)) ** 0.5
