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
    return float(_halvings(variances(vectors), error**2 * vectors.shape[1]).sum())


def variances(vectors: Tensor) -> Tensor:
    """Variances along the axes of the covariance of (n, d), largest first, without those that are 0 by the
    numbers."""
    centred = vectors.double() - vectors.double().mean(0)
    return torch.linalg.svdvals(centred).square()[: len(vectors) - 1] / max(1, len(vectors) - 1)


def _halvings(variance: Tensor, total: float) -> Tensor:
    """Bits of each axis (k,) where the errors of all together are `total`. variance: largest first."""
    if not len(variance) or float(variance.sum()) <= total:
        return torch.zeros_like(variance)
    rest = variance.flip(0).cumsum(0).flip(0)  # of this axis and the smaller ones
    count = torch.arange(1, len(variance) + 1)
    smaller = torch.cat([rest[1:], torch.zeros(1, dtype=rest.dtype)])
    level = (total - smaller) / count  # where the first `count` axes are above it
    above = int((variance > level).nonzero()[-1]) + 1
    return 0.5 * torch.log2(variance / level[above - 1]).clamp_min(0)
