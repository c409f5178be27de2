"""Solvers: functions that walk from noise (t = 1) to a clean picture (t = 0).

All have one signature, `solver(denoise, schedule, x, times) -> x`: `denoise(x, t)` returns the clean estimate,
`schedule(t)` the factors (signal, noise), `times` falls from 1 to 0. With x = signal clean + noise eps, the
probability-flow ODE on the rectified path is dx/dt = (x - clean) / t. State and arithmetic are fp32.
"""

import math

from torch import Tensor


def euler(denoise, schedule, x: Tensor, times) -> Tensor:
    """First order, one evaluation a step. On this path Euler's step is DDIM's (Song et al. 2020, arXiv 2010.02502)."""
    for t, u in zip(times[:-1], times[1:]):
        x = _ddim(x, denoise(x, t), schedule(t), schedule(u))
    return x


def heun(denoise, schedule, x: Tensor, times) -> Tensor:
    """Second order, two evaluations a step, the last step Euler (Karras et al. 2022, arXiv 2206.00364, algorithm 1)."""
    for t, u in zip(times[:-1], times[1:]):
        clean = denoise(x, t)
        guess = _ddim(x, clean, schedule(t), schedule(u))
        if u > 0:
            slope, next_slope = (x - clean) / t, (guess - denoise(guess, u)) / u
            guess = x + (u - t) * (slope + next_slope) / 2
        x = guess
    return x


def dpm2m(denoise, schedule, x: Tensor, times) -> Tensor:
    """DPM-Solver++(2M): second order, one evaluation a step (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    Works in half log-SNR, lambda = log(signal / noise), which is infinite at both ends: from t = 1 the first step and the
    one after it, and the last step to t = 0, are of first order."""
    previous, previous_step = None, 0.0
    for t, u in zip(times[:-1], times[1:]):
        clean = denoise(x, t)
        step = _half_log_snr(schedule(u)) - _half_log_snr(schedule(t))
        estimate = clean
        if previous is not None and math.isfinite(step) and math.isfinite(previous_step):
            estimate = clean + (clean - previous) * (step / previous_step / 2)
        x = _ddim(x, estimate, schedule(t), schedule(u))
        previous, previous_step = clean, step
    return x


def _ddim(x, clean, now, then):
    """Keep the noise, move to the next time: exact if `clean` were constant."""
    (signal, noise), (next_signal, next_noise) = now, then
    ratio = next_noise / noise
    return ratio * x + (next_signal - signal * ratio) * clean


def _half_log_snr(factors) -> float:
    signal, noise = map(float, factors)
    if signal <= 0:
        return -math.inf
    return math.inf if noise <= 0 else math.log(signal / noise)


SOLVERS = {"euler": euler, "heun": heun, "dpm2m": dpm2m}
