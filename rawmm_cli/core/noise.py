"""Noise: the path from a clean picture to noise, what a network may predict on it, and the draws that a key
determines.

Time runs one way everywhere: t = 0 clean, t = 1 noise (papers on flow matching and JiT count the other way,
their 1 - t is our t). On the rectified path (Liu et al. 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv
2210.02747)

    z = signal(t) clean + noise(t) s eps = (1 - t) clean + t s eps,        velocity = dz/dt = s eps - clean

with eps ~ N(0, 1) and s the noise scale. Given z and t, each of clean, eps and velocity determines the
others, and errors in them are proportional: e_clean = -t s / (1 - t) e_eps = -t e_velocity (JiT, arXiv
2511.13720, table 1). Next: `heads/diffusion.py` learns on this path, `solvers.py` follows it backwards."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..system import machine
from ..system.seeds import key, random

TIME_FEATURES = 64
GOLDEN = -0x61C8864680B583EB  # the odd number nearest to 2^64 / golden ratio, as a signed one
PREDICTIONS = ("clean", "noise", "velocity")

T = TypeVar("T", float, Tensor)


def rectified(t: T) -> tuple[T, T]:
    """Time -> (signal, noise) factors; rectified(0) == (1, 0) and rectified(1) == (0, 1)."""
    return 1 - t, t


def to_clean(prediction: str, output: Tensor, z: Tensor, t: Tensor, scale: float, clamp: float) -> Tensor:
    """Network output of any kind -> clean patches. The one place where predictions are converted.

    `clamp` bounds 1 - t from below where it divides (only for a predicted noise)."""
    if prediction == "clean":
        return output
    if prediction == "velocity":
        return z - t * output
    return (z - t * scale * output) / (1 - t).clamp_min(clamp)


def target(prediction: str, clean: Tensor, eps: Tensor, scale: float) -> Tensor:
    """What the network should output."""
    return {"clean": clean, "noise": eps, "velocity": scale * eps - clean}[prediction]


def loss_factor(prediction: str, space: str, t: Tensor, scale: float, clamp: float) -> Tensor:
    """|error in `space`| / |error in `prediction`| at time t; denominators are clamped from below.

    Squared, it turns the squared error of the output into the loss of the wanted space: with a clean
    prediction and velocity space it is 1 / t, so the loss is |error|^2 / max(t, clamp)^2 (JiT's v-loss, its 1
    - t is our t)."""
    one, over_t, over_signal = torch.ones_like(t), 1 / t.clamp_min(clamp), 1 / (1 - t).clamp_min(clamp)
    return {
        ("clean", "clean"): one,
        ("clean", "velocity"): over_t,
        ("clean", "noise"): (1 - t) * over_t / scale,
        ("noise", "clean"): t * scale * over_signal,
        ("noise", "velocity"): scale * over_signal,
        ("noise", "noise"): one,
        ("velocity", "clean"): t,
        ("velocity", "velocity"): one,
        ("velocity", "noise"): (1 - t) / scale,
    }[prediction, space]


def normal(
    keys: Sequence[int | None],
    counts: Sequence[int],
    width: int,
    word: str = "noise",
    device: str | torch.device = "cpu",
) -> Tensor:
    """One block of N(0, 1) per key: keys (M), counts (M) -> (sum of counts, width) fp32 on the device.

    A key of None gives zeros. A GPU makes its own numbers from the keys, not those of a CPU: copying that
    much noise to it would cost more than the step."""
    if torch.device(device).type == "cuda":
        return _on_gpu(keys, counts, width, word, torch.device(device))
    blocks = [
        np.zeros((n, width), np.float32)
        if k is None
        else random(k, word).standard_normal((n, width), dtype=np.float32)
        for k, n in zip(keys, counts)
    ]
    return torch.from_numpy(np.concatenate(blocks)) if blocks else torch.zeros(0, width)


def _on_gpu(
    keys: Sequence[int | None], counts: Sequence[int], width: int, word: str, device: torch.device
) -> Tensor:
    """`normal`, all blocks at once and without waiting for the device: each pair of numbers follows from the
    seed of its block and its place in it (SplitMix64: Steele et al. 2014; then Box and Muller 1958)."""
    seeds = [0 if k is None else key(k, word) for k in keys]
    known = [int(k is not None) for k in keys]
    numbers = (seeds, [0, *accumulate(counts)][: len(keys)], known, list(counts))
    seeds, first, known, many = machine.send(torch.tensor(numbers, dtype=torch.long), device)  # (M,) each
    total, pairs = sum(counts), -(-width // 2)
    of = torch.arange(len(keys), device=device).repeat_interleave(many, output_size=total)  # (T,)
    row = torch.arange(total, device=device) - first[of]
    place = row[:, None] * pairs + torch.arange(1, 1 + pairs, device=device)  # (T, pairs)
    bits = _mixed(seeds[of][:, None] + place * GOLDEN)
    radius = (((bits >> 32 & 0xFFFFFFFF).float() + 1) * 2.0**-32).log().mul(-2).sqrt()
    angle = (bits & 0xFFFFFFFF).float() * (math.tau * 2.0**-32)
    noise = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(1)[:, :width]
    return noise.where(known[of][:, None] > 0, 0.0)


def _mixed(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64, on 64-bit integers that wrap around."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return x ^ (x >> 31 & (1 << 33) - 1)


def logit_normal(keys: Sequence[int | None], mean: float, spread: float) -> Tensor:
    """One time per key, t = sigmoid(N(mean, spread^2)) (Esser et al. 2024, arXiv 2403.03206) -> (M,) fp32.

    A key of None gives time 0."""
    draws = [-math.inf if k is None else mean + spread * random(k, "time").standard_normal() for k in keys]
    return torch.tensor(draws, dtype=torch.float64).sigmoid().float()


def time_features(time: Tensor) -> Tensor:
    """(T,) in [0, 1] -> (T, TIME_FEATURES): cosines and sines of 1000 t at frequencies from 1 to 1 /
    10000."""
    half = TIME_FEATURES // 2
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half, device=time.device) / half)
    angle = 1000.0 * time[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)
