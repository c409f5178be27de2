"""Bits a byte of pictures under a diffusion model: a variational bound, and the likelihood of its
probability-flow ODE.

Pictures x of 8-bit values are scaled to [-1, 1], D values that lie STEP = 1 / 127.5 apart. On the path z = (1
- t) x + t s eps the network says what x was, clean(z, t). All is in nats inside, and in bits a value
(bits/dim; a value is a byte) outside.

Bound (Kingma et al. 2021, arXiv 2107.00630; SNR = ((1 - t) / (t s))^2, so -dSNR/dt / 2 = (1 - t) / (t^3
s^2)):

    -log p(x) <= integral from b to 1 of (1 - t) / (t^3 s^2) E |x - clean(z, t)|^2 dt  +  E -log p(x | z_b)

No term of the prior: at t = 1 nothing is left of x, z is N(0, s^2) exactly. p(x | z_b) is a Gaussian around
clean(z_b, b), made discrete: its mass between neighbouring levels, the outermost levels taking the tails. The
integral is taken over log t, where the integrand is nearly flat, one place drawn in each of equal strata.
Where to begin (b) and how wide the Gaussian is are chosen from a grid of CHOICES for all pictures together,
and the choice is paid for: log2(CHOICES) bits, once.

ODE (Song et al. 2021, arXiv 2011.13456, section 4.3): dz / dlog t = z - clean(z, t), so with the trace by
Rademacher probes e

    log p_b(z_b) = log N(z_1; 0, s^2) + integral over log t from b to 1 of (D - e' dclean/dz e)

by Runge and Kutta's fourth order in equal steps of log t. Two ways from x to z_b. Uniform noise, z = (1 -
b)(x + STEP (u - 1/2)): -log p(x) <= E -log p_b(z) - D log((1 - b) STEP) (Theis et al. 2016, arXiv
1511.01844). Or the path's own noise and the decoder: -log p(x) <= E [log q(z_b | x) - log p_b(z_b) - log p(x
| z_b)], which begins as the bound does and is what it is compared with. Errors of solver and probes are
neither above nor below; they are told."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..system.seeds import random

STEP = 1 / 127.5
BEGINS = (0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3)  # of the path: where a bound may begin
WIDTHS = tuple(2.0 ** (n / 2) for n in range(-6, 9))  # of the decoder, in units of the noise b s / (1 - b)
CHOICES = len(BEGINS) * len(WIDTHS)
Denoise = Callable[[Tensor, Tensor], Tensor]  # z (M, N, P), times (M,) -> clean (M, N, P)


@dataclass(frozen=True)
class Bound:
    """Of M pictures, in nats a picture. diffusion: the integral from each of BEGINS (M, begins); decoder: (M,
    begins, widths)."""

    diffusion: Tensor
    decoder: Tensor


def bound(denoise: Denoise, clean: Tensor, keys: list[int], scale: float = 1.0, strata: int = 4) -> Bound:
    """Pictures (M, N, P) in [-1, 1] -> their terms. strata: places a picture in each interval between two of
    BEGINS, and three times as many from the last of them to 1. Noise hangs on the keys alone."""
    edges, terms, decoders = [*BEGINS, 1.0], [], []
    dice = [random(key, "bound") for key in keys]
    for low, high in zip(edges[:-1], edges[1:]):
        count = 3 * strata if high == 1 else strata
        total = torch.zeros(len(clean), dtype=torch.float64)
        for n in range(count):
            u = torch.tensor([(n + one.random()) / count for one in dice])
            t = low * (high / low) ** u  # log t is uniform: dt = t log(high / low) du
            error = (
                (clean - denoise(_noised(clean, t, scale, dice), t)).double().square().flatten(1).sum(1).cpu()
            )
            total += ((1 - t) / t.square() / scale**2).double() * error
        terms.append(total * math.log(high / low) / count)
    for begin in BEGINS:
        t = torch.full((len(clean),), begin)
        found, noise = denoise(_noised(clean, t, scale, dice), t), begin * scale / (1 - begin)
        decoders.append(torch.stack([-discrete(clean, found, width * noise) for width in WIDTHS], 1))
    return Bound(torch.stack(terms, 1).flip(1).cumsum(1).flip(1), torch.stack(decoders, 1))


def _noised(clean: Tensor, t: Tensor, scale: float, dice: list) -> Tensor:
    eps = torch.stack([torch.from_numpy(one.standard_normal(clean.shape[1:], "float32")) for one in dice]).to(
        clean.device
    )
    t = t.to(clean.device)[:, None, None]
    return (1 - t) * clean + t * scale * eps


def discrete(clean: Tensor, mean: Tensor, width: float) -> Tensor:
    """log probability of 8-bit values under N(mean, width^2) made discrete: (M, ...) -> (M,), fp64.

    The mass of [x - STEP / 2, x + STEP / 2]; of the outermost values that of everything beyond."""
    clean, mean = clean.double(), mean.double()
    above, below = (clean + STEP / 2 - mean) / width, (clean - STEP / 2 - mean) / width
    above, below = (
        above.masked_fill(clean > 1 - STEP / 2, math.inf),
        below.masked_fill(clean < STEP / 2 - 1, -math.inf),
    )
    right = above + below > 0  # both tails alike
    high, low = torch.where(right, -below, above), torch.where(right, -above, below)
    top, under = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return (top + torch.log1p(-torch.exp((under - top).clamp(max=-1e-12)))).flatten(1).sum(1).cpu()


def choose(bounds: Bound) -> tuple[int, int]:
    """The begin and the width that cost all pictures together least."""
    cost = (bounds.diffusion[:, :, None] + bounds.decoder).mean(0)
    return divmod(int(cost.argmin()), len(WIDTHS))


def bound_of(bounds: Bound, begin: int, width: int, dims: int) -> Tensor:
    """Bits a value of each picture (M,), the choice paid for."""
    nats = bounds.diffusion[:, begin] + bounds.decoder[:, begin, width]
    return nats / math.log(2) / dims + math.log2(CHOICES) / dims / len(nats)


# -------------------------------------------------------------------------------------------------------- ODE


def ode(
    denoise: Denoise, z: Tensor, begin: float, probes: Tensor, scale: float = 1.0, steps: int = 32
) -> Tensor:
    """log p_b(z) in nats (M,), fp64, of z (M, N, P) at time `begin`, along the ODE to t = 1. probes: (M, N,
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
    """dz / dlog t, and the trace of its derivative by z as the probes see it."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        clean = denoise(z, torch.full((len(z),), t))
        (back,) = torch.autograd.grad(clean, z, probes)
    trace = z[0].numel() - (back.double() * probes.double()).flatten(1).sum(1)
    return (z - clean).detach(), trace.detach().cpu()


def uniform(
    denoise: Denoise, clean: Tensor, begin: float, keys: list[int], scale: float = 1.0, steps: int = 32
) -> Tensor:
    """Bits a value (M,) by the ODE, uniform noise making the values continuous. An upper bound but for solver
    and probes."""
    dice = [random(key, "uniform") for key in keys]
    spread = torch.stack([torch.from_numpy(one.random(clean.shape[1:], dtype="float32")) for one in dice]).to(
        clean.device
    )
    z = (1 - begin) * (clean + STEP * (spread - 0.5))
    nats = -ode(denoise, z, begin, _probes(clean, dice), scale, steps)
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
    """Bits a value (M,) by the ODE from the path's own noise, through the decoder: what the bound is to be
    compared with."""
    dice = [random(key, "decoded") for key in keys]
    t = torch.full((len(clean),), begin)
    z = _noised(clean, t, scale, dice)
    with torch.no_grad():
        mean = denoise(z, t)
    square = (z - (1 - begin) * clean).double().square().flatten(1).sum(1).cpu() / (2 * (begin * scale) ** 2)
    known = -square - clean[0].numel() * math.log(begin * scale * math.sqrt(2 * math.pi))  # log q(z | x)
    nats = (
        known
        - ode(denoise, z, begin, _probes(clean, dice), scale, steps)
        - discrete(clean, mean, width * begin * scale / (1 - begin))
    )
    return nats / clean[0].numel() / math.log(2)


def _probes(clean: Tensor, dice: list) -> Tensor:
    return torch.stack([torch.from_numpy(2.0 * one.integers(0, 2, clean.shape[1:]) - 1) for one in dice]).to(
        clean
    )
