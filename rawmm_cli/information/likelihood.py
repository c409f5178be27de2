"""Bits a byte of pictures under a diffusion model: a variational bound, and the likelihood of its
probability-flow ODE.

Pictures x of D values of 8 bits are scaled to [-1, 1], where levels lie STEP = 1 / 127.5 apart. On the path z
= (1 - t) x + t s eps the network predicts x, clean(z, t). Everything inside is in nats, and results are in
bits a value (bits/dim; a value is a byte).

Bound (Kingma et al. 2021, arXiv 2107.00630; SNR = ((1 - t) / (t s))^2, so -dSNR/dt / 2 = (1 - t) / (t^3
s^2)):

    -log p(x) <= integral from b to 1 of (1 - t) / (t^3 s^2) E |x - clean(z, t)|^2 dt  +  E -log p(x | z_b)

There is no prior term: at t = 1 nothing is left of x, and z is N(0, s^2) exactly. p(x | z_b) is a Gaussian
around clean(z_b, b), discretised: its mass around each level, with the tails for the outermost levels. The
integral is taken over log t, where the integrand is nearly flat, by stratified sampling with one time in
each stratum. The start b and the width of the Gaussian are chosen from a grid of CHOICES for all pictures
together; the choice costs log2(CHOICES) bits once, which are counted.

ODE (Song et al. 2021, arXiv 2011.13456, section 4.3): dz / dlog t = z - clean(z, t), so with the trace by
Rademacher probes e

    log p_b(z_b) = log N(z_1; 0, s^2) + integral over log t from b to 1 of (D - e' dclean/dz e)

by the fourth-order Runge-Kutta method in equal steps of log t. There are two ways from x to z_b. Uniform
noise, z = (1 - b)(x + STEP (u - 1/2)): -log p(x) <= E -log p_b(z) - D log((1 - b) STEP) (Theis et al. 2016,
arXiv 1511.01844). Or the noise of the path and the decoder: -log p(x) <= E [log q(z_b | x) - log p_b(z_b) -
log p(x | z_b)], which starts as the bound does, so that the two can be compared. Errors of solver and probes
have either sign; they are reported."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..system.seeds import random

STEP = 1 / 127.5
BEGINS = (0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3)  # times at which a bound may start
WIDTHS = tuple(2.0 ** (n / 2) for n in range(-6, 9))  # of the decoder, in units of the noise b s / (1 - b)
CHOICES = len(BEGINS) * len(WIDTHS)
Denoise = Callable[[Tensor, Tensor], Tensor]  # z (M, N, P), times (M,) -> clean (M, N, P)


@dataclass(frozen=True)
class Bound:
    """Terms of the bound of M pictures, in nats a picture. diffusion: (M, begins), the integral from each of
    BEGINS to 1. decoder: (M, begins, widths)."""

    diffusion: Tensor
    decoder: Tensor


def bound(denoise: Denoise, clean: Tensor, keys: list[int], scale: float = 1.0, strata: int = 4) -> Bound:
    """Terms of the bound of pictures (M, N, P) in [-1, 1].

    strata: number of times sampled in each interval between two of BEGINS, and three times as many from the
    last of them to 1. Noise depends on the keys alone."""
    edges, terms, decoders = [*BEGINS, 1.0], [], []
    generators = [random(key, "bound") for key in keys]
    for low, high in pairwise(edges):
        count = 3 * strata if high == 1 else strata
        total = torch.zeros(len(clean), dtype=torch.float64)
        for n in range(count):
            u = torch.tensor([(n + one.random()) / count for one in generators])
            t = low * (high / low) ** u  # log t is uniform: dt = t log(high / low) du
            error = (
                (clean - denoise(_noised(clean, t, scale, generators), t))
                .double()
                .square()
                .flatten(1)
                .sum(1)
                .cpu()
            )
            total += ((1 - t) / t.square() / scale**2).double() * error
        terms.append(total * math.log(high / low) / count)
    for begin in BEGINS:
        t = torch.full((len(clean),), begin)
        mean, noise = denoise(_noised(clean, t, scale, generators), t), begin * scale / (1 - begin)
        decoders.append(torch.stack([-discrete(clean, mean, width * noise) for width in WIDTHS], 1))
    return Bound(torch.stack(terms, 1).flip(1).cumsum(1).flip(1), torch.stack(decoders, 1))


def _noised(clean: Tensor, t: Tensor, scale: float, generators: list) -> Tensor:
    """Pictures (M, N, P), noised to times t (M,)."""
    eps = _stacked(one.standard_normal(clean.shape[1:], "float32") for one in generators).to(clean.device)
    t = t.to(clean.device)[:, None, None]
    return (1 - t) * clean + t * scale * eps


def discrete(clean: Tensor, mean: Tensor, width: float) -> Tensor:
    """Log probability (M,), fp64, of 8-bit values (M, ...) under the discretised N(mean, width^2).

    The mass of [x - STEP / 2, x + STEP / 2]; for the outermost values with everything beyond."""
    clean, mean = clean.double(), mean.double()
    above, below = (clean + STEP / 2 - mean) / width, (clean - STEP / 2 - mean) / width
    above, below = (
        above.masked_fill(clean > 1 - STEP / 2, math.inf),
        below.masked_fill(clean < STEP / 2 - 1, -math.inf),
    )
    right = above + below > 0  # mirrored, so that both tails are computed with the same precision
    high, low = torch.where(right, -below, above), torch.where(right, -above, below)
    top, under = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return (top + torch.log1p(-torch.exp((under - top).clamp(max=-1e-12)))).flatten(1).sum(1).cpu()


def choose(bounds: Bound) -> tuple[int, int]:
    """Indices into BEGINS and WIDTHS of the pair with the fewest bits over all pictures."""
    cost = (bounds.diffusion[:, :, None] + bounds.decoder).mean(0)
    return divmod(int(cost.argmin()), len(WIDTHS))


def bound_of(bounds: Bound, begin: int, width: int, dims: int) -> Tensor:
    """Bits a value of each picture, (M,), with the cost of the choice."""
    nats = bounds.diffusion[:, begin] + bounds.decoder[:, begin, width]
    return nats / math.log(2) / dims + math.log2(CHOICES) / dims / len(nats)


# -------------------------------------------------------------------------------------------------------- ODE


def ode(
    denoise: Denoise, z: Tensor, begin: float, probes: Tensor, scale: float = 1.0, steps: int = 32
) -> Tensor:
    """log p_b(z) in nats, (M,) fp64, of z (M, N, P) at time `begin`, along the ODE to t = 1. probes: (M, N,
    P) of +1 and -1."""
    change, width = torch.zeros(len(z), dtype=torch.float64), -math.log(begin) / steps
    for n in range(steps):
        at = math.log(begin) + n * width
        slopes, traces = [], []
        for ahead, weight in ((0.0, 0), (0.5, 0.5), (0.5, 0.5), (1.0, 1.0)):
            here = z if not slopes else z + weight * width * slopes[-1]
            slope, trace = _slope(denoise, here, min(1.0, math.exp(at + ahead * width)), probes)
            slopes.append(slope)
            traces.append(trace)
        z = z + width * (slopes[0] + 2 * slopes[1] + 2 * slopes[2] + slopes[3]) / 6
        change += width * (traces[0] + 2 * traces[1] + 2 * traces[2] + traces[3]) / 6
    square = z.double().square().flatten(1).sum(1).cpu()
    return change - square / (2 * scale**2) - z[0].numel() * math.log(scale * math.sqrt(2 * math.pi))


@torch.inference_mode(False)
def _slope(denoise: Denoise, z: Tensor, t: float, probes: Tensor) -> tuple[Tensor, Tensor]:
    """dz / dlog t, and an estimate of the trace of its Jacobian by the probes."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        clean = denoise(z, torch.full((len(z),), t))
        (back,) = torch.autograd.grad(clean, z, probes)
    trace = z[0].numel() - (back.double() * probes.double()).flatten(1).sum(1)
    return (z - clean).detach(), trace.detach().cpu()


def uniform(
    denoise: Denoise, clean: Tensor, begin: float, keys: list[int], scale: float = 1.0, steps: int = 32
) -> Tensor:
    """Bits a value, (M,), by the ODE from values with uniform noise: an upper bound up to errors of solver
    and probes."""
    generators = [random(key, "uniform") for key in keys]
    spread = _stacked(one.random(clean.shape[1:], dtype="float32") for one in generators).to(clean.device)
    z = (1 - begin) * (clean + STEP * (spread - 0.5))
    nats = -ode(denoise, z, begin, _probes(clean, generators), scale, steps)
    return (nats / clean[0].numel() - math.log((1 - begin) * STEP)) / math.log(2)


def decoded(
    denoise: Denoise,
    clean: Tensor,
    begin: float,
    width: float,
    keys: list[int],
    scale: float = 1.0,
    steps: int = 32,
) -> Tensor:
    """Bits a value, (M,), by the ODE from the noise of the path and the decoder, to be compared with the
    bound."""
    generators = [random(key, "decoded") for key in keys]
    t = torch.full((len(clean),), begin)
    z = _noised(clean, t, scale, generators)
    with torch.no_grad():
        mean = denoise(z, t)
    square = (z - (1 - begin) * clean).double().square().flatten(1).sum(1).cpu() / (2 * (begin * scale) ** 2)
    known = -square - clean[0].numel() * math.log(begin * scale * math.sqrt(2 * math.pi))  # log q(z | x)
    nats = (
        known
        - ode(denoise, z, begin, _probes(clean, generators), scale, steps)
        - discrete(clean, mean, width * begin * scale / (1 - begin))
    )
    return nats / clean[0].numel() / math.log(2)


def _probes(clean: Tensor, generators: list) -> Tensor:
    """Rademacher probes, +1 or -1, (M, N, P)."""
    return _stacked(2.0 * one.integers(0, 2, clean.shape[1:]) - 1 for one in generators).to(clean)


def _stacked(arrays: Iterable[np.ndarray]) -> Tensor:
    return torch.stack([torch.from_numpy(array) for array in arrays])
