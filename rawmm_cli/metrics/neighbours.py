"""Whether drawings lie among real pictures, and real pictures among drawings: precision, recall, density and
coverage of features, (n, d) each, by their nearest neighbours. The ball of a picture reaches to its k-th
nearest neighbour of its own kind.

    precision   share of drawings inside the ball of a real picture (Kynkäänniemi et al. 2019, 1904.06991)
    recall      share of real pictures inside the ball of a drawing
    density     how many balls of real pictures a drawing lies in, by k (Naeem et al. 2020, 2002.09797): the
                large ball of one outlier counts little; above 1 where drawings keep to where pictures are
                dense
    coverage    share of real pictures whose ball holds a drawing

All depend on the numbers of pictures; compare equal ones. As the package `prdc` has them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Neighbours(NamedTuple):
    """precision, density: of each drawing (n,). recall, coverage: of each real picture (m,). The means are
    what is known under these names."""

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def neighbours(drawn: Tensor, real: Tensor, k: int = 5) -> Neighbours:
    """Of features of drawings (n, d) and of real pictures (m, d); n and m above k."""
    across = _distances(real, drawn)
    real_radius, radius = (_radii(features, k) for features in (real, drawn))
    inside = across < real_radius[:, None]  # (m, n): drawing n lies in the ball of real picture m
    return Neighbours(
        precision=inside.any(0).double(),
        recall=(across < radius[None]).any(1).double(),
        density=inside.double().sum(0) / k,
        coverage=inside.any(1).double(),
    )


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance (n,) of each to its k-th nearest other one."""
    return _distances(features, features).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """(n, m); exactly 0 of equal ones, as products of matrices would not be."""
    return torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist")


def spread(features: Tensor) -> Tensor:
    """Mean distance (n,) of each to the other ones: how different drawings of one prompt are."""
    return _distances(features, features).sum(1) / (len(features) - 1)
