"""The second backbone: a plain pre-norm Transformer, multi-head attention and SwiGLU.

RMSNorm, normalised queries and keys, no biases, zero-initialised outputs (the stack that JiT, arXiv
2511.13720, measures as best for raw patches); SwiGLU after Shazeer 2020, arXiv 2002.05202."""

from itertools import repeat
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..document import Condition
from ..layers import RMSNorm, attention, multiplications, rotate, rotation
from ..parts import Footprint, Work


class Layer(nn.Module):
    """(B, L, D) -> (B, L, D), residuals included. cache: keys and values of earlier positions."""

    def __init__(self, width: int, heads: int, hidden: int):
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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Any, cache: Any = None) -> Tensor:
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (
            rotate(norm(y.float()), cos[:, None], sin[:, None]).to(v.dtype)
            for norm, y in ((self.query_norm, q), (self.key_norm, k))
        )  # (B, H, L, K)
        if cache is not None:
            k, v = cache(k, v)
        mixed = attention(q, k, v, mask).transpose(1, 2).flatten(2)  # (B, L, D)
        x = x + self.mix(mixed)
        gate, value = self.into(self.mlp_norm(x)).chunk(2, -1)  # (B, L, hidden)
        return x + self.out(F.silu(gate) * value)


class Transformer(nn.Module):
    """(B, L, D) -> (B, L, D)."""

    conditional = False

    def __init__(self, width: int, depth: int, heads: int, hidden: int):
        super().__init__()
        self.width, self.heads, self.hidden = width, heads, hidden
        self.layers = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))

    def forward(
        self, x: Tensor, position: Tensor, mask: Any, condition: Condition | None = None, cache: Any = None
    ) -> Tensor:
        """x (B, L, D) at positions (B, L, 3); a condition has no effect."""
        cos, sin = rotation(position, self.width // self.heads)  # (B, L, K/2)
        for layer, own in zip(self.layers, cache or repeat(None)):
            x = layer(x, cos, sin, mask, cache=own)
        return x

    def work(self) -> Work:
        """Linear layers, and the two products of attention."""
        return Work(position=multiplications(self.layers), pair=len(self.layers) * 2 * self.width)

    def footprint(self) -> Footprint:
        """Outputs: q, k, v, the mixed values, gate, value and their product. Saved: the same, q, k and v as
        attention reads them, and both normalised inputs with the state between them."""
        outputs, key = 4 * self.width + 3 * self.hidden, self.width // self.heads
        saved = 10 * self.width + 3 * self.hidden
        return Footprint(
            outputs, 3 * self.width, self.heads, key, at_work=10.0, traffic=85.0, saved=saved, moved=19.0
        )
