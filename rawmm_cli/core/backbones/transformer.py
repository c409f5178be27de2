"""The second backbone: a plain pre-norm Transformer, multi-head attention and SwiGLU.

RMSNorm, normalised queries and keys, no biases, zero-initialised outputs (the stack that JiT, arXiv
2511.13720, measures as best for raw patches); SwiGLU after Shazeer 2020, arXiv 2002.05202. Four things may
be added to it. Each starts out as the plain stack:

modulated  adaLN-zero (DiT, arXiv 2212.09748): a condition c of each picture shifts, scales and gates layers,
               x = x + (1 + gate) f(norm(x) (1 + scale) + shift),   (shift, scale, gate) = W SiLU(c) + b,
           at positions of pictures alone; text has no condition, and there all three are 0. W = 0 and f = 0
           at first, as outputs are. DiT has no 1 beside the gate, and a random f: the same identity, but one
           under which text would have no plain layer.
skips      U-ViT (arXiv 2209.12152): a layer of the last half begins with W [x, kept], where `kept` left the
           layer as far from the other end; what was kept last is joined first.
isolated   in so many first layers a picture sees itself alone (`mask.by_layer`).
strided    a picture whose positions stand in order sees itself sparsely (`mask.near`)."""

from itertools import repeat
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..document import Condition
from ..layers import RMSNorm, attention, multiplications, rotate, rotation
from ..mask import by_layer
from ..parts import Footprint, Work


class Layer(nn.Module):
    """(B, L, D) -> (B, L, D), residuals included.

    condition: what modulates it. kept: (B, L, D) of an earlier layer, to be joined. cache: keys and values of
    earlier positions."""

    def __init__(self, width: int, heads: int, hidden: int, modulated: bool = False, joins: bool = False):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.query_norm, self.key_norm = RMSNorm(width // heads), RMSNorm(width // heads)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.into = nn.Linear(width, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.out.weight)
        self.modulation = nn.Linear(width, 6 * width) if modulated else None
        self.join = nn.Linear(2 * width, width) if joins else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
            vars(self.modulation)["hidden"] = False  # of AdamW (`flops.hidden`)
        if self.join is not None:
            nn.init.eye_(self.join.weight)  # x as it is, and nothing of what was kept
            nn.init.zeros_(self.join.bias)
            vars(self.join)["hidden"] = False

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Any,
        condition: Condition | None = None,
        kept: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        if self.join is not None and kept is not None:
            x = self.join(torch.cat([x, kept], -1))
        if self.modulation is None or condition is None:
            x = x + self._attend(self.attention_norm(x), cos, sin, mask, cache)
            return x + self._feed(self.mlp_norm(x))
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulations(self.modulation, condition)
        mixed = self._attend(self.attention_norm(x) * (1 + scale) + shift, cos, sin, mask, cache)
        x = x + (1 + gate) * mixed
        return x + (1 + mlp_gate) * self._feed(self.mlp_norm(x) * (1 + mlp_scale) + mlp_shift)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Any, cache: Any) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (
            rotate(norm(y.float()), cos[:, None], sin[:, None]).to(v.dtype)
            for norm, y in ((self.query_norm, q), (self.key_norm, k))
        )  # (B, H, L, K)
        if cache is not None:
            k, v = cache(k, v)
        return self.mix(attention(q, k, v, mask).transpose(1, 2).flatten(2))  # (B, L, D)

    def _feed(self, x: Tensor) -> Tensor:
        gate, value = self.into(x).chunk(2, -1)  # (B, L, hidden)
        return self.out(F.silu(gate) * value)


def modulations(linear: nn.Linear, condition: Condition) -> tuple[Tensor, ...]:
    """Shift, scale and gate of attention, then of the MLP, each (B, L, D), 0 at text.

    Computed once a picture, and gathered."""
    rows = linear(F.silu(condition.vectors))  # (M, 6 D)
    rows = torch.cat([torch.zeros_like(linear.bias, dtype=rows.dtype)[None], rows])  # text: the identity
    return F.embedding(condition.of, rows).chunk(6, -1)  # its backward adds in order, on a GPU too


class Transformer(nn.Module):
    """(B, L, D) -> (B, L, D). modulated, skips, isolated, strided: as at the top of the file; `isolated`
    counts layers."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        *,
        modulated: bool = False,
        skips: bool = False,
        isolated: int = 0,
        strided: bool = False,
    ):
        super().__init__()
        self.width, self.heads, self.hidden = width, heads, hidden
        self.conditional, self.isolated, self.strided = modulated, isolated, strided
        self.kept = (depth - 1) // 2 if skips else 0  # layers of each half; those between are the middle
        self.layers = nn.ModuleList(
            Layer(width, heads, hidden, modulated, n >= depth - self.kept) for n in range(depth)
        )

    def forward(
        self, x: Tensor, position: Tensor, mask: Any, condition: Condition | None = None, cache: Any = None
    ) -> Tensor:
        """x (B, L, D) at positions (B, L, 3)."""
        cos, sin = rotation(position, self.width // self.heads)  # (B, L, K/2)
        alone, usual = by_layer(mask)
        kept: list[Tensor] = []
        for n, (layer, own) in enumerate(zip(self.layers, cache or repeat(None))):
            joined = kept.pop() if n >= len(self.layers) - self.kept else None
            x = layer(x, cos, sin, alone if n < self.isolated else usual, condition, joined, cache=own)
            if n < self.kept:
                kept.append(x)
        return x

    def work(self) -> Work:
        """Linear layers, and the two products of attention; modulations once a picture."""
        layers = cast(list[Layer], list(self.layers))
        once = multiplications(*(layer.modulation for layer in layers if layer.modulation is not None))
        return Work(
            position=multiplications(self.layers) - once,
            picture=once,
            pair=len(self.layers) * 2 * self.width,
        )

    def footprint(self) -> Footprint:
        """Outputs: q, k, v, the mixed values, gate, value and their product. Saved: the same, q, k and v as
        attention reads them, and both normalised inputs with the state between them.

        A modulated layer gathers six more rows of D. Skips are spread over all layers: what is joined has
        2 D inputs and D outputs, in a layer of each half."""
        outputs, key = 4 * self.width + 3 * self.hidden, self.width // self.heads
        saved = 10 * self.width + 3 * self.hidden
        if self.conditional:
            outputs, saved = outputs + 6 * self.width, saved + 7 * self.width
        joined = self.width * self.kept / len(self.layers)
        return Footprint(
            round(outputs + joined),
            3 * self.width,
            self.heads,
            key,
            at_work=10.0,
            traffic=85.0,
            saved=round(saved + 3 * joined),
            moved=19.0,
        )
