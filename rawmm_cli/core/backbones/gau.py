"""The first backbone: a pre-norm stack of gated attention units (Hua et al. 2022, arXiv 2202.10447), the
post's choice.

One unit does the work of attention and MLP together, with a single head (equations 5 to 8 there, softmax
form):

    u, v, z = SiLU(W norm(x))         u, v (L, E), z (L, K), E = expansion * D
    q, k    = rms(z * scale + offset), each with its own scale and offset, then rotated
    x       = x + W_out (u * softmax(q k^T / sqrt(K)) v)

q and k are the same vector under two learned scales. Were both scales 1, a position would match itself best
and every layer would start out looking at itself; drawn from N(0, 1) they start out independent."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..document import Condition
from ..layers import RMSNorm, attention, multiplications, rotate, rotation, trained, unit_rms
from ..parts import Footprint, Work


class GatedAttentionUnit(nn.Module):
    """(B, L, D) -> (B, L, D), residual included. cache: keys and values of earlier positions."""

    def __init__(self, width: int, key: int, expansion: int):
        super().__init__()
        self.sizes = [expansion * width, expansion * width, key]
        self.norm = RMSNorm(width)
        self.into = nn.Linear(width, sum(self.sizes), bias=False)
        self.scale = nn.Parameter(torch.randn(2, key))
        self.offset = nn.Parameter(torch.zeros(2, key))
        self.out = nn.Linear(expansion * width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Any, cache: Any = None) -> Tensor:
        u, v, z = map(F.silu, self._project(self.norm(x)))  # (B, L, E), (B, L, E), (B, L, K)
        z = z[:, None] * self.scale[:, None] + self.offset[:, None]  # (B, 2, L, K)
        q, k = rotate(unit_rms(z), cos[:, None], sin[:, None]).to(v.dtype).chunk(2, 1)  # (B, 1, L, K) each
        k, v = (k, v[:, None]) if cache is None else cache(k, v[:, None])
        mixed = attention(q, k, v, mask)[:, 0]  # (B, L, E)
        return x + self.out(u * mixed)

    def _project(self, x: Tensor) -> Sequence[Tensor]:
        """(B, L, D) -> (B, L, E), (B, L, E), (B, L, K). A GPU that trains makes three products: putting the
        gradient of a single one together takes it longer (`docs/log.md`)."""
        if x.is_cuda and trained():
            return [F.linear(x, weight) for weight in self.into.weight.split(self.sizes)]
        return self.into(x).split(self.sizes, -1)


class GAU(nn.Module):
    """(B, L, D) -> (B, L, D)."""

    conditional, isolated, strided = False, 0, False

    def __init__(self, width: int, depth: int, key: int, expansion: int):
        super().__init__()
        self.width, self.key, self.gated = width, key, expansion * width
        self.layers = nn.ModuleList(GatedAttentionUnit(width, key, expansion) for _ in range(depth))

    def forward(
        self, x: Tensor, position: Tensor, mask: Any, condition: Condition | None = None, cache: Any = None
    ) -> Tensor:
        """x (B, L, D) at positions (B, L, 3); a condition has no effect."""
        cos, sin = rotation(position, self.key)  # (B, L, K/2)
        for layer, own in zip(self.layers, cache or repeat(None)):
            x = layer(x, cos, sin, mask, cache=own)
        return x

    def work(self) -> Work:
        """Linear layers, and the two products of attention: keys, and values as wide as the gates."""
        return Work(position=multiplications(self.layers), pair=len(self.layers) * (self.key + self.gated))

    def footprint(self) -> Footprint:
        """Outputs: u, v, z, q, k, the mixed values, and u times them. Saved: u, v, z before SiLU, and the
        inputs of all matmuls."""
        gated, key = self.gated, self.key
        outputs, saved = 4 * gated + 3 * key, 5 * gated + 5 * key + self.width
        return Footprint(
            outputs, 2 * gated + key, 1, key, at_work=40.0, traffic=60.0, saved=saved, moved=14.4
        )
