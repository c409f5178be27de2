"""Data with a known posterior mean: the probability-flow ODE then has a known solution. And the schedulers of
diffusers."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq

from rawmm_cli.core.noise import rectified
from rawmm_cli.core.solvers import GRIDS, SOLVERS, grid

MEAN, SPREAD = 0.7, 0.4
NOISE = torch.linspace(-2, 2, 9, dtype=torch.float64)
STOCHASTIC = ["ancestral", "sde_dpm2m"]
NAMES = [name for name in SOLVERS if name not in STOCHASTIC]


def posterior_mean(x, t):
    """E[clean | x] for clean ~ N(MEAN, SPREAD^2)."""
    variance = (1 - t) ** 2 * SPREAD**2 + t**2
    return MEAN + (1 - t) * SPREAD**2 / variance * (x - (1 - t) * MEAN)


def exact(x, t, u):
    """The flow keeps (x - mean of x_t) / deviation of x_t."""
    deviation = [((1 - s) ** 2 * SPREAD**2 + s**2) ** 0.5 for s in (t, u)]
    return (1 - u) * MEAN + (x - (1 - t) * MEAN) * deviation[1] / deviation[0]


def error(name, steps, first, last, uneven=0.0):
    """Steps of equal length, or every other one longer by a share `uneven`."""
    times = [first + (last - first) * (n + uneven * (n % 2)) / steps for n in range(steps)] + [last]
    x = exact(NOISE, 1.0, first)
    return (SOLVERS[name](posterior_mean, rectified, x, times) - exact(x, first, last)).abs().max().item()


@pytest.mark.parametrize("uneven", [0.0, 0.5])
@pytest.mark.parametrize("name,order", [("euler", 1), ("heun", 2), ("dpm2m", 2), ("ab2", 2)])
def test_order(name, order, uneven):
    """Half the step, a half or a quarter of the error; inside (0, 1), where nothing is infinite."""
    steps = [64, 128, 256, 512]
    slope = -np.polyfit(np.log(steps), np.log([error(name, n, 0.95, 0.05, uneven) for n in steps]), 1)[0]
    assert abs(slope - order) < 0.15


def test_dpm2m_against_the_paper():
    """arXiv 2211.01095, algorithm 2, in its own letters: alpha, sigma, lambda, h, r; x0 as predicted from the
    data."""
    times = [0.95, 0.9, 0.7, 0.65, 0.3, 0.1]
    alpha, sigma = np.array([1 - t for t in times]), np.array(times)
    lam, x, before = np.log(alpha / sigma), NOISE, None
    for i in range(1, len(times)):
        h, now = lam[i] - lam[i - 1], posterior_mean(x, times[i - 1])
        r = (lam[i - 1] - lam[i - 2]) / h
        d = now if before is None else (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
        x, before = sigma[i] / sigma[i - 1] * x - alpha[i] * (np.exp(-h) - 1) * d, now
    torch.testing.assert_close(SOLVERS["dpm2m"](posterior_mean, rectified, NOISE, times), x)


@pytest.mark.parametrize("name,at_256", [("euler", 6e-3), ("heun", 5e-5), ("dpm2m", 5e-4), ("ab2", 5e-4)])
def test_convergence_from_noise_to_the_picture(name, at_256):
    errors = [error(name, steps, 1.0, 0.0) for steps in (4, 16, 64, 256)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < at_256


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_keeps_its_quantiles(name):
    """Two peaks: the estimate bends. In one dimension the flow carries quantiles of the noise to those of the
    data."""
    weights, means, spread = (0.3, 0.7), (-0.8, 0.6), 0.25

    def denoise(x, t):
        variance = (1 - t) ** 2 * spread**2 + t**2
        away = [x - (1 - t) * mean for mean in means]
        share = torch.stack([w * torch.exp(-(a**2) / (2 * variance)) for w, a in zip(weights, away)])
        each = torch.stack([mean + (1 - t) * spread**2 / variance * a for mean, a in zip(means, away)])
        return (share * each).sum(0) / share.sum(0)

    def quantile(p):
        def excess(c):
            return sum(w * stats.norm.cdf(c, mean, spread) for w, mean in zip(weights, means)) - p

        return brentq(excess, -5, 5)

    shares = np.array([0.05, 0.2, 0.4, 0.6, 0.9])
    expected = torch.tensor([quantile(share) for share in shares], dtype=torch.float64)
    noise = torch.from_numpy(stats.norm.ppf(shares))
    grids = [[1 - n / steps for n in range(steps + 1)] for steps in (50, 200, 800)]
    errors = [(SOLVERS[name](denoise, rectified, noise, times) - expected).abs().max() for times in grids]
    assert errors[2] < errors[1] < errors[0] and errors[2] < (2e-2 if name == "euler" else 1e-3)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 50])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_constant_estimate_is_returned_exactly(name, steps):
    clean = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    times = [1 - n / steps for n in range(steps + 1)]
    out = SOLVERS[name](lambda x, t: clean, rectified, noise, times, lambda step: noise)
    torch.testing.assert_close(out, clean, rtol=0, atol=1e-5 if name == "ab2" else 0)  # ab2 adds up slopes


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_estimate_gives_a_straight_path(name):
    """Stopped half way, every solver stands on the line between the noise and the picture."""
    clean, noise = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = SOLVERS[name](lambda x, t: clean, rectified, noise, [1.0, 0.8, 0.55, 0.3])
    torch.testing.assert_close(out, 0.7 * clean + 0.3 * noise)


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize(
    "name,count",
    [
        ("euler", lambda n: n),
        ("heun", lambda n: 2 * n - 1),
        ("dpm2m", lambda n: n),
        ("ab2", lambda n: n),
        ("ancestral", lambda n: n),
        ("sde_dpm2m", lambda n: n),
    ],
)
def test_number_of_evaluations(name, count, steps):
    seen = []

    def denoise(x, t):
        seen.append(t)
        return posterior_mean(x, t)

    SOLVERS[name](denoise, rectified, NOISE, [1 - n / steps for n in range(steps + 1)], lambda step: NOISE)
    assert len(seen) == count(steps) and seen[0] == 1 and min(seen) > 0, (
        "the estimate is never steps for at t = 0"
    )


@pytest.mark.parametrize("name", SOLVERS)
def test_the_noise_given_is_not_written_on(name):
    noise = NOISE.clone()
    SOLVERS[name](posterior_mean, rectified, noise, [1.0, 0.5, 0.0], lambda step: noise)
    assert torch.equal(noise, NOISE)


# ----------------------------------------------------------------------------------------- new noise at steps


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stochastic_solver_keeps_the_spread(name):
    """Pictures ~ N(MEAN, SPREAD^2): at any time x ~ N((1 - t) MEAN, (1 - t)^2 SPREAD^2 + t^2), whatever was
    drawn before."""
    rng = torch.Generator().manual_seed(0)

    def fresh(step):
        return torch.randn(200_000, dtype=torch.float64, generator=rng)

    for end in (0.4, 0.0):
        times = [1 + (end - 1) * n / 200 for n in range(201)]
        x = SOLVERS[name](posterior_mean, rectified, fresh(0), times, fresh)
        assert abs(x.mean() - (1 - end) * MEAN) < 0.02
        assert abs(x.std() - ((1 - end) ** 2 * SPREAD**2 + end**2) ** 0.5) < 0.02


@pytest.mark.parametrize("name", STOCHASTIC)
def test_new_noise_is_asked_for_once_a_step_but_the_last(name):
    steps = []
    SOLVERS[name](
        posterior_mean, rectified, NOISE, [1.0, 0.7, 0.3, 0.0], lambda step: steps.append(step) or NOISE
    )
    assert steps == [0, 1]


def test_ancestral_is_ddim_with_eta_one():
    """arXiv 2010.02502, equations 12 and 16, on a variance preserving path: alpha is its square of the
    signal."""

    def path(t):
        return math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)

    times, clean = [0.9, 0.6, 0.2], torch.full_like(NOISE, 0.3)
    x = NOISE
    for t, u in pairwise(times):
        now, then = path(t)[0] ** 2, path(u)[0] ** 2
        new = math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
        eps = (x - math.sqrt(now) * clean) / math.sqrt(1 - now)
        x = math.sqrt(then) * clean + math.sqrt(1 - then - new**2) * eps + new * NOISE**2
    result = SOLVERS["ancestral"](lambda x, t: clean, path, NOISE, times, lambda step: NOISE**2)
    torch.testing.assert_close(result, x)


# -------------------------------------------------------------------------------------------------- diffusers


def bent(x, t):
    """A clean estimate that bends in x and in t."""
    return torch.tanh(1.7 * x - t) * (1 - 0.3 * t)


def theirs(scheduler, sigmas, noise=None):
    """Walk with a scheduler of diffusers whose network predicts the velocity."""
    x = NOISE.clone()
    for step, time in enumerate(scheduler.timesteps):
        t = sigmas[step]
        given = {} if noise is None else {"variance_noise": noise(step)}
        x = scheduler.step((x - bent(x, t)) / t, time, x, **given, return_dict=False)[0]
    return x


@pytest.mark.parametrize("steps", [2, 5, 10])
def test_euler_is_that_of_diffusers(steps):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps) ** 1.5)
    sigmas = scheduler.sigmas.double().tolist()
    torch.testing.assert_close(
        theirs(scheduler, sigmas), SOLVERS["euler"](bent, rectified, NOISE, sigmas), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("steps", [3, 5, 10])
def test_heun_is_that_of_diffusers(steps):
    from diffusers import FlowMatchHeunDiscreteScheduler

    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double().tolist()  # the inner ones twice: each is visited twice
    result = SOLVERS["heun"](bent, rectified, NOISE, [*sigmas[0:1], *sigmas[1:-1:2], 0.0])
    torch.testing.assert_close(theirs(scheduler, sigmas), result, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [2, 5, 10, 25])
@pytest.mark.parametrize("ours,kind", [("dpm2m", "dpmsolver++"), ("sde_dpm2m", "sde-dpmsolver++")])
def test_dpm_solver_is_that_of_diffusers(ours, kind, steps):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        algorithm_type=kind,
        flow_shift=1.0,
        euler_at_final=True,
    )
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double().tolist()
    noise = [torch.randn(9, generator=torch.Generator().manual_seed(n)) for n in range(steps)]
    result = SOLVERS[ours](bent, rectified, NOISE, sigmas, noise.__getitem__)
    expected = theirs(scheduler, sigmas, noise.__getitem__ if ours == "sde_dpm2m" else None)
    torch.testing.assert_close(expected.double(), result, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------------ grids


def test_grids():
    head = SimpleNamespace(time_mean=-0.6, time_spread=0.8)
    for name in GRIDS:
        for steps in (1, 2, 4, 10, 100):
            times = grid(name, steps, head)
            assert (
                len(times) == steps + 1
                and (times[0], times[-1]) == (1.0, 0.0)
                and times == sorted(set(times), reverse=True)
            )
    assert grid("uniform", 4, head) == [1.0, 0.75, 0.5, 0.25, 0.0]
    median = 1 / (1 + math.exp(0.6))
    assert grid("shifted", 2, head)[1] == pytest.approx(median) and grid("quantiles", 2, head)[
        1
    ] == pytest.approx(median)
    odds = math.exp(-0.6)
    assert grid("shifted", 4, head)[3] == pytest.approx(odds * 0.25 / (1 + (odds - 1) * 0.25))
    drawn = np.sort(1 / (1 + np.exp(-np.random.default_rng(0).normal(-0.6, 0.8, 100_000))))
    assert grid("quantiles", 10, head)[1:-1] == pytest.approx(
        list(np.quantile(drawn, np.arange(9, 0, -1) / 10)), abs=0.01
    )
    assert grid((1.0, 0.3, 0.0), 2, head) == [1.0, 0.3, 0.0]
