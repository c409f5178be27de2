"""What learned codecs share: ranges of pixels, positions, what a training step gets, counts of codes."""

from math import log
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class Reconstruction(NamedTuple):
    """What `forward` of a learned codec returns, for training.

    pixels: (M, 3, H, W) fp32, about in [-1, 1]. losses: {name: scalar}. codes: (M, N, G) long, or None."""

    pixels: Tensor
    losses: dict[str, Tensor]
    codes: Tensor | None


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> fp32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_images(pixels: Tensor) -> Tensor:
    """About [-1, 1] -> uint8, clipped and rounded."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def positions(height: int, width: int, factor: int) -> tuple[int, int]:
    """Rows and columns of positions of `factor` pixels. Raises ValueError where the sides do not divide."""
    if height % factor or width % factor or not height or not width:
        raise ValueError(f"a picture of {height}x{width} pixels does not divide into positions of {factor}")
    return height // factor, width // factor


def counts(codes: Tensor, vocabulary: int) -> Tensor:
    """Counts of each code: (M, N, G) -> (G, V) long, a row for each code of a position."""
    return torch.stack(
        [torch.bincount(row, minlength=vocabulary) for row in rearrange(codes, "m n g -> g (m n)")]
    )


def usage(counted: Tensor) -> dict[str, float]:
    """Statistics of counts (G, V), as means over the G codes of a position.

    usage: share of codes that occur. perplexity: exp of their entropy. used_bits: that entropy in bits."""
    share = counted.double() / counted.sum(-1, keepdim=True).clamp_min(1)
    entropy = torch.special.entr(share).sum(-1)
    return {
        "usage": (counted > 0).double().mean().item(),
        "perplexity": entropy.exp().mean().item(),
        "used_bits": entropy.mean().item() / log(2),
    }
