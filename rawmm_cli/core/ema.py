"""Exponential moving average of the weights, right from the first step on.

The average forgets half in `half_life` documents; early on the half-life is a share (`ramp`) of the documents seen, so
that a short run does not end with an average of its first, random weights (EDM's warm-up, Karras et al. 2022).
"""

import torch
from torch import nn

from .config import EMA


def decay(settings: EMA, documents: int, batch: int) -> float:
    """Weight of the old average in one step of `batch` documents after `documents` seen."""
    half_life = min(settings.half_life, settings.ramp * documents)
    return 0.5 ** (batch / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, old_weight: float) -> None:
    """average <- old_weight * average + (1 - old_weight) * model, in place."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - old_weight)
