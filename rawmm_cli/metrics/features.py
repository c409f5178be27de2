"""Distances between features of pictures, (n, d) each. Which network they are of is part of every result's
name."""

import torch
from torch import Tensor


def kid(one: Tensor, other: Tensor, paired: bool = False) -> float:
    """Kernel inception distance (Binkowski et al. 2018, arXiv 1801.01401): unbiased squared MMD of features
    (n, d) and (m, d) with the kernel (x y / d + 1)^3. It may be a little below 0. Equal to torchmetrics' with
    one subset of everything.

    paired: one[i] was made of other[i], so that they are not independent and do not meet (Gretton et al.
    2012, lemma 6): 0 where both are the same. Without that, a few pictures and themselves would be far below
    0."""
    one, other = one.double(), other.double()
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3  # noqa: E731
    apart = lambda values: values.fill_diagonal_(0).sum() / (len(values) * (len(values) - 1))  # noqa: E731
    across = kernel(one, other)
    return float(
        apart(kernel(one, one))
        + apart(kernel(other, other))
        - 2 * (apart(across) if paired else across.mean())
    )


def layers(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Outputs of some layers, (n, C, H, W) each -> (n,): the form of LPIPS (Zhang et al. 2018, arXiv
    1801.03924, equation 1) with all weights 1: squared difference of channels of length 1, mean over places,
    mean over layers. Not LPIPS: neither its network nor its learned weights."""
    unit = [[torch.nn.functional.normalize(x, dim=1) for x in both] for both in zip(one, other)]
    return torch.stack([(a - b).square().sum(1).flatten(1).mean(1) for a, b in unit]).mean(0)
