"""How many bits a prompt leaves open: the rate of drawings of one prompt, as of a Gaussian source.

    R(D) = sum_i max(0, 1/2 log2(l_i / w))    bits a picture, with the level w at which mean_i min(l_i, w) = D

l_i are the variances along the axes of the drawings' covariance, D the mean square error of a value (Cover
and Thomas 2006, theorem 10.3.3, reverse water-filling). So many bits say which of the drawings it is, to an
error of sqrt(D) levels of 255, with a code that knows their mean and covariance.

What it is not: the entropy. A Gaussian needs the most bits of all sources with its covariance; drawings that
differ in kind (two shapes, and nothing between) need fewer. And n pictures show at most n - 1 axes, so that
the rate of few pictures is too low: compare equal numbers of drawings and of real pictures."""

import torch
from torch import Tensor


def rate(vectors: Tensor, error: float) -> float:
    """Bits a picture of (n, d), to a root mean square error of `error` in their unit."""
    return float(_halvings(_variances(vectors), error**2 * vectors.shape[1]).sum())


def _variances(vectors: Tensor) -> Tensor:
    """Variances (min(n, d),) along the axes of the covariance of (n, d), largest first."""
    centred = vectors.double() - vectors.double().mean(0)
    fewer = centred if len(centred) < centred.shape[1] else centred.T  # X X' and X' X have the same ones
    return torch.linalg.eigvalsh(fewer @ fewer.T / max(1, len(vectors) - 1)).flip(0).clamp_min(0)


def _halvings(variance: Tensor, total: float) -> Tensor:
    """Bits of each axis (k,) where the errors of all together are `total`. variance: largest first."""
    if float(variance.sum()) <= total:
        return torch.zeros_like(variance)
    rest = variance.sum() - variance.cumsum(0)  # of the axes behind this one
    level = (total - rest) / torch.arange(1, len(variance) + 1)  # if the axes up to this one are above it
    above = int((variance > level).nonzero()[-1])
    return 0.5 * torch.log2(variance / level[above]).clamp_min(0)
