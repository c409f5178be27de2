"""Distances between features of pictures, (n, d) each. The name of every result says which network gave the
features."""

import torch
from torch import Tensor


def kid(one: Tensor, other: Tensor, paired: bool = False) -> float:
    """Kernel inception distance (Binkowski et al. 2018, arXiv 1801.01401): unbiased squared MMD of features
    (n, d) and (m, d) with the kernel (x y / d + 1)^3. It may be a little below 0. Equal to torchmetrics' with
    one subset of everything.

    paired: one[i] was derived from other[i]; such pairs are not independent and are left out (Gretton et al.
    2012, lemma 6), so that the distance is 0 where both are the same. Without that, a few pictures and their
    own copies would be far below 0."""
    one, other = one.double(), other.double()
    across = _kernel(one, other)
    between = _off_diagonal_mean(across) if paired else across.mean()
    within = _off_diagonal_mean(_kernel(one, one)) + _off_diagonal_mean(_kernel(other, other))
    return float(within - 2 * between)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_mean(values: Tensor) -> Tensor:
    """Mean of (n, n) without the diagonal, which is overwritten."""
    return values.fill_diagonal_(0).sum() / (len(values) * (len(values) - 1))


def layers(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Distance (n,) of the outputs of some layers, (n, C, H, W) each, in the form of LPIPS (Zhang et al.
    2018, arXiv 1801.03924, equation 1) with all weights 1: squared difference of channels of length 1, mean
    over places, mean over layers. It is not LPIPS: it has neither its network nor its learned weights."""
    unit = [[torch.nn.functional.normalize(x, dim=1) for x in both] for both in zip(one, other)]
    return torch.stack([(a - b).square().sum(1).flatten(1).mean(1) for a, b in unit]).mean(0)
