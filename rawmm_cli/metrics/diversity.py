"""How many bits a prompt leaves open, from above and from below.

    rate         R(D) = sum_i max(0, 1/2 log2(l_i / w)) bits a picture, where mean_i min(l_i, w) = D gives w
    collisions   -log2 of the chance that two drawings are alike: the entropy of Renyi of order 2

Rate: l_i are the variances along the axes of the drawings' covariance, D the mean square error of a value
(Cover and Thomas 2006, theorem 10.3.3, reverse water-filling). With so many bits a Gaussian source of this
covariance is told to an error of sqrt(D) levels of 255. It is not the entropy: a Gaussian needs the most bits
of all sources with its covariance, and a model that copies one of a hundred pictures needs 7, whatever their
covariance. And n pictures show at most n - 1 axes: the rate of few is too low; compare equal numbers.

Collisions: of exact repetitions never above the entropy of Shannon, and near to it where what is drawn is
about equally likely. Of n pictures it can be seen up to log2(n (n - 1) / 2) bits."""

import math

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


def alike(vectors: Tensor, error: float) -> tuple[int, int]:
    """Pairs of (n, d) whose root mean square difference is at most `error`, and all pairs."""
    distance = torch.nn.functional.pdist(vectors.double()) / vectors.shape[1] ** 0.5
    return int((distance <= error).sum()), len(distance)


def collisions(pairs: int, of: int) -> float:
    """Bits where `pairs` of so many are alike; where none are, those where one would be: it is more."""
    return math.log2(of / max(1, pairs))
