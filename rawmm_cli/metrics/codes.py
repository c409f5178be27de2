"""Bits of codes that occurred: the entropy of their distribution, pooled over places and pictures, in bits a
code.

    plug-in          -sum p log2 p of the shares: too low where codes are few
    Miller-Madow     + (kinds seen - 1) / (2 codes ln 2) (Miller 1955), never above log2 V

Codes depend on each other, so this is more than a good coder would need: an upper bound of what they say, and
below L log2 V."""

import math

from torch import Tensor

ENOUGH = 10  # codes for each entry of the vocabulary


def entropy(counts: Tensor) -> float:
    """Bits a code, from how often each occurred (V,)."""
    total = int(counts.sum())
    share = counts[counts > 0].double() / total
    bits = -float((share * share.log2()).sum()) + (len(share) - 1) / (2 * total * math.log(2))
    return max(0.0, min(bits, math.log2(len(counts))))


def enough(counts: Tensor) -> bool:
    """Whether there were enough codes to know their entropy well."""
    return int(counts.sum()) >= ENOUGH * len(counts)
