"""What learned codecs share: pixels on their way in and out, what training needs, and how codes are
counted."""

from math import log
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class Reconstruction(NamedTuple):
    """What training needs. pixels (M, 3, H, W) fp32, about in [-1, 1]; losses {name: scalar}; codes (M, N, G)
    long, or None."""

    pixels: Tensor
    losses: dict[str, Tensor]
    codes: Tensor | None


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> fp32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_images(pixels: Tensor) -> Tensor:
    """About [-1, 1] -> uint8, clipped and rounded."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def counts(codes: Tensor, vocabulary: int) -> Tensor:
    """How often each code was used: (M, N, G) -> (G, V) long, a row for each token of a position."""
    return torch.stack(
        [torch.bincount(row, minlength=vocabulary) for row in rearrange(codes, "m n g -> g (m n)")]
    )


def usage(counted: Tensor) -> dict[str, float]:
    """(G, V) counts -> usage, the share of codes that were used at all; perplexity, exp of their entropy;
    used_bits, that entropy in bits. Means over the G tokens of a position."""
    share = counted.double() / counted.sum(-1, keepdim=True).clamp_min(1)
    entropy = torch.special.entr(share).sum(-1)
    return {
        "usage": (counted > 0).double().mean().item(),
        "perplexity": entropy.exp().mean().item(),
        "used_bits": entropy.mean().item() / log(2),
    }
