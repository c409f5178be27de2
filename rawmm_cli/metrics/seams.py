"""Seams of patches: whether neighbouring patches, each written by itself, agree at their borders.

    seam = mean |difference of neighbouring pixels across borders| / the same inside of patches

Pictures without seams have about 1, where what they show has no grid of its own; so drawings are compared
with real pictures, on the same grid. Above their ratio the grid can be seen."""

from typing import NamedTuple

import torch
from torch import Tensor


class Steps(NamedTuple):
    """Mean |difference| of neighbouring pixels of each picture (n,), in levels of 255: across borders of
    patches, and inside of patches. nan where there is no such pair."""

    across: Tensor
    inside: Tensor


def steps(images: Tensor, patch: int) -> Steps:
    """Of (n, 3, H, W) uint8 in patches of `patch` pixels, rows and columns together."""
    totals = torch.zeros(2, len(images), dtype=torch.float64)
    counts = torch.zeros(2, dtype=torch.float64)
    for dimension in (2, 3):
        size = images.shape[dimension]
        change = images.float().diff(dim=dimension).abs().movedim(dimension, 0)  # (size - 1, n, ...)
        border = torch.arange(1, size) % patch == 0
        for place, chosen in enumerate((border, ~border)):
            part = change[chosen].movedim(1, 0).flatten(1)  # (n, pairs)
            totals[place] += part.sum(1, dtype=torch.float64)
            counts[place] += part.shape[1]
    return Steps(*(totals / counts[:, None]))


def seam(images: Tensor, patch: int) -> float:
    """Steps across borders by those inside, over all pictures (n, 3, H, W) uint8; nan where there is nothing
    to compare."""
    across, inside = (float(part.mean()) for part in steps(images, patch))
    return across / inside if inside else float("nan")
