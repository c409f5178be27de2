"""Solvers: functions that integrate from noise (t = 1) to a clean picture (t = 0), and the grids of times at
which they evaluate the network.

All have one signature, `solver(denoise, schedule, x, times, fresh) -> x`: `denoise(x, t)` returns the clean
estimate, `schedule(t)` the factors (signal, noise), `times` falls from 1 to 0, `fresh(step)` is new noise
shaped as x, which only stochastic solvers ask for. With x = signal clean + noise eps, the probability-flow
ODE on the rectified path is dx/dt = (x - clean) / t. State and arithmetic are fp32."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]  # (x, t) -> clean estimate
Factors = tuple[float, float]  # of signal and noise
Schedule = Callable[[float], Factors]
Times = Sequence[float]
Fresh = Callable[[int], Tensor]


def euler(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Times, fresh: Fresh | None = None
) -> Tensor:
    """First order, one evaluation a step. On this path Euler's step is DDIM's (Song et al. 2020, arXiv
    2010.02502)."""
    for t, u in pairwise(times):
        x = _ddim(x, denoise(x, t), schedule(t), schedule(u))
    return x


def heun(denoise: Denoise, schedule: Schedule, x: Tensor, times: Times, fresh: Fresh | None = None) -> Tensor:
    """Second order, two evaluations a step, the last step Euler (Karras et al. 2022, arXiv 2206.00364,
    algorithm 1)."""
    for t, u in pairwise(times):
        clean = denoise(x, t)
        guess = _ddim(x, clean, schedule(t), schedule(u))
        if u > 0:
            slope, next_slope = (x - clean) / t, (guess - denoise(guess, u)) / u
            guess = x + (u - t) * (slope + next_slope) / 2
        x = guess
    return x


def dpm2m(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Times, fresh: Fresh | None = None
) -> Tensor:
    """DPM-Solver++(2M): second order, one evaluation a step (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    Works in half log-SNR, lambda = log(signal / noise), which is infinite at both ends: from t = 1 the first
    step and the one after it, and the last step to t = 0, are of first order."""
    previous, previous_step = None, 0.0
    for t, u in pairwise(times):
        clean = denoise(x, t)
        step = _half_log_snr(schedule(u)) - _half_log_snr(schedule(t))
        estimate = clean
        if previous is not None and math.isfinite(step) and math.isfinite(previous_step):
            estimate = clean + (clean - previous) * (step / previous_step / 2)
        x = _ddim(x, estimate, schedule(t), schedule(u))
        previous, previous_step = clean, step
    return x


def ab2(denoise: Denoise, schedule: Schedule, x: Tensor, times: Times, fresh: Fresh | None = None) -> Tensor:
    """Adams-Bashforth 2 on dx/dt = (x - clean) / t, steps of any length: second order, one evaluation a step,
    the first step Euler (Hairer, Norsett and Wanner 1993, III.5)."""
    previous, previous_step = None, 0.0
    for t, u in pairwise(times):
        slope, step = (x - denoise(x, t)) / t, u - t
        ahead = slope if previous is None else slope + (slope - previous) * (step / previous_step / 2)
        x, previous, previous_step = x + step * ahead, slope, step
    return x


def ancestral(denoise: Denoise, schedule: Schedule, x: Tensor, times: Times, fresh: Fresh) -> Tensor:
    """Every step draws from q(next | now, clean): DDIM with eta = 1 (Song et al. 2020, arXiv 2010.02502,
    equation 16), which on a variance preserving path is DDPM."""
    for step, (t, u) in enumerate(pairwise(times)):
        clean, (signal, noise), (next_signal, next_noise) = denoise(x, t), schedule(t), schedule(u)
        ratio = next_noise * signal / (noise * next_signal)  # of the two noise to signal ratios
        new = next_noise * math.sqrt(max(0.0, 1 - ratio**2))
        kept = math.sqrt(max(0.0, next_noise**2 - new**2))  # the rest is the noise that is there
        x = next_signal * clean + kept * (x - signal * clean) / noise + (new * fresh(step) if u > 0 else 0.0)
    return x


def sde_dpm2m(denoise: Denoise, schedule: Schedule, x: Tensor, times: Times, fresh: Fresh) -> Tensor:
    """SDE-DPM-Solver++(2M): dpm2m on the reverse SDE, new noise at every step (Lu et al. 2022, arXiv
    2211.01095, appendix C)."""
    previous, previous_step = None, 0.0
    for number, (t, u) in enumerate(pairwise(times)):
        clean, (next_signal, next_noise) = denoise(x, t), schedule(u)
        step, estimate = _half_log_snr(schedule(u)) - _half_log_snr(schedule(t)), clean
        if previous is not None and math.isfinite(step) and math.isfinite(previous_step):
            estimate = clean + (clean - previous) * (step / previous_step / 2)
        fade = math.exp(-step) if math.isfinite(step) else 0.0
        shrink = next_noise / schedule(t)[1] * fade
        x = shrink * x + next_signal * (1 - fade**2) * estimate
        if u > 0:
            x = x + next_noise * math.sqrt(1 - fade**2) * fresh(number)
        previous, previous_step = clean, step
    return x


def _ddim(x: Tensor, clean: Tensor, now: Factors, then: Factors) -> Tensor:
    """Keep the noise, move to the next time: exact if `clean` were constant."""
    (signal, noise), (next_signal, next_noise) = now, then
    ratio = next_noise / noise
    return ratio * x + (next_signal - signal * ratio) * clean


def _half_log_snr(factors: Factors) -> float:
    signal, noise = map(float, factors)
    if signal <= 0:
        return -math.inf
    return math.inf if noise <= 0 else math.log(signal / noise)


SOLVERS = {
    "euler": euler,
    "heun": heun,
    "dpm2m": dpm2m,
    "ab2": ab2,
    "ancestral": ancestral,
    "sde_dpm2m": sde_dpm2m,
}


# ------------------------------------------------------------------------------------------------------ grids


GRIDS = ("uniform", "shifted", "quantiles")


def grid(name: str | tuple[float, ...], steps: int, head: Any) -> list[float]:
    """Times from 1 to 0, steps + 1 of them: a grid by name, or the times themselves.

    uniform: equal steps. shifted: t -> s t / (1 + (s - 1) t) with the odds s of the training times' median,
    so that half of the steps lie where half of the training did (Esser et al. 2024, arXiv 2403.03206,
    equation 23). quantiles: of the training times, t = sigmoid(N(mean, spread^2))."""
    if not isinstance(name, str):
        return list(name)
    if name == "uniform":
        return [1 - step / steps for step in range(steps + 1)]
    if name == "shifted":
        odds = math.exp(head.time_mean)
        return [odds * t / (1 + (odds - 1) * t) for t in grid("uniform", steps, head)]
    places = (
        NormalDist(head.time_mean, head.time_spread).inv_cdf(1 - step / steps) for step in range(1, steps)
    )
    return [1.0, *(1 / (1 + math.exp(-place)) for place in places), 0.0]
