"""Exponential moving averages of the weights, right from the first step on.

half_life: the average forgets half in `half_life` documents; early on the half-life is a share (`ramp`) of
the documents seen, so that a short run does not end with an average of its first, random weights (EDM's
warm-up, Karras et al. 2022).

power: the weight of step t in the average at T is proportional to (t / T)^gamma, so its width is the same
share of the run at any time. Two averages of different width are kept, and their snapshots; from these
`posthoc.py` makes an average of any width after training (Karras et al. 2024, arXiv 2312.02696, section 3).
"""

import math

import torch
from torch import nn

from ..config.model import EMA, Train


def count(settings: EMA) -> int:
    """Number of averages that are kept."""
    return len(settings.widths) if settings.kind == "power" else 1


def snapshot_every(train: Train) -> int:
    """Documents between two snapshots of the averages; 0: none are kept."""
    return -(-train.documents // train.ema.snapshots) if train.ema.kind == "power" else 0


def decays(settings: EMA, documents: int, batch: int) -> list[float]:
    """Weight of each old average in one step of `batch` documents after `documents` seen."""
    if settings.kind == "power":  # their equation 2, counted in documents
        return [(1 - batch / (documents + batch)) ** (exponent(width) + 1) for width in settings.widths]
    half_life = min(settings.half_life, settings.ramp * documents)
    return [0.5 ** (batch / half_life) if half_life > 0 else 0.0]


def exponent(width: float) -> float:
    """The gamma whose profile t^gamma has this relative standard deviation: the positive root of
    width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) (their equation 123), by bisection."""
    low, high = -0.5, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > width**2:
            low = middle
        else:
            high = middle
        if math.isclose(low, high, rel_tol=1e-15):
            break
    return middle


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, old_weight: float) -> None:
    """average <- old_weight * average + (1 - old_weight) * model, in place."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - old_weight)
