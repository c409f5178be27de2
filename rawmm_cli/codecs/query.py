"""A row of tokens in place of a grid: learned queries attend to the picture; their outputs are quantized by
any quantizer.

    encoder   patches attend to each other; then queries attend to each other (causal: only to earlier
              ones) and to all patches
    decoder   learned vectors, one a patch, attend to each other and to all tokens, and become pixels

Each token may describe the whole picture (TiTok, Yu et al. 2024, arXiv 2406.07550); causal tokens suit a
model that predicts them one by one (SEED, Ge et al. 2023, arXiv 2307.08041). Positions are learned, so
pictures have the size of training.

local: every query has a place on the picture, and a learned bias of the attention between queries and patches
starts as -d^2 / 2 s^2 of their distance. Without it attention has to find the places first, which takes it
many times as many pictures as all the rest (`docs/log.md`).

Names of modules are those of saved codecs: `asked` holds the queries, `ask` and `read` project to queries and
to keys and values, `told` is the output projection, `near` the bias."""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.layers import RMSNorm

SPREADS = (0.5, 1.0, 0.5, 2.0)  # s of the heads, in turn, in distances between queries


class Shape(NamedTuple):
    """What the encoder and the decoder share. size: side of a picture, patch: of a patch, in pixels."""

    size: int
    patch: int
    queries: int
    width: int
    depth: int
    heads: int
    local: bool

    @property
    def side(self) -> int:
        """Patches in a row."""
        return self.size // self.patch

    def near(self) -> Tensor | None:
        """First bias (heads, L, patches) of attention between queries and patches; None unless `local`."""
        if not self.local:
            return None
        distance = torch.cdist(spots(self.queries), spots(self.side**2)) * self.queries**0.5
        spread = torch.tensor([SPREADS[head % len(SPREADS)] for head in range(self.heads)])
        return -((distance / spread[:, None, None]) ** 2) / 2


def spots(count: int) -> Tensor:
    """(count, 2) points that fill the unit square evenly, in reading order, in rows of about equal length."""
    rows = max(1, round(count**0.5))
    number = torch.arange(count)
    row = number * rows // count
    first, next_first = -(-row * count // rows), -(-(row + 1) * count // rows)
    return torch.stack([(row + 0.5) / rows, (number - first + 0.5) / (next_first - first)], -1)


class QueryEncoder(nn.Module):
    """Pictures (M, 3, S, S) in [-1, 1] -> latents (M, L, width)."""

    def __init__(self, shape: Shape, causal: bool):
        super().__init__()
        self.size, self.patch, self.queries, self.width = shape[:4]
        self.causal = causal
        self.into = nn.Linear(3 * shape.patch**2, shape.width)
        self.places = nn.Parameter(0.02 * torch.randn(shape.side**2, shape.width))
        self.asked = nn.Parameter(0.02 * torch.randn(shape.queries, shape.width))
        self.over_patches = nn.ModuleList(Layer(shape.width, shape.heads) for _ in range(shape.depth))
        self.over_queries = nn.ModuleList(
            Layer(shape.width, shape.heads, True, shape.near()) for _ in range(shape.depth)
        )
        self.norm = RMSNorm(shape.width)

    def hidden(self) -> list[nn.Parameter]:
        """Matrices of the layers (for Muon)."""
        return matrices(self.over_patches, self.over_queries)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(1, L). Raises ValueError where the picture has another size than those of training."""
        if (height, width) != (self.size, self.size):
            raise ValueError(
                f"a picture of {height}x{width} pixels does not fit: this codec takes "
                f"{self.size}x{self.size} only"
            )
        return 1, self.queries

    def forward(self, pixels: Tensor) -> Tensor:
        patches = rearrange(pixels, "m c (h p) (w q) -> m (h w) (p q c)", p=self.patch, q=self.patch)
        patches = self.into(patches) + self.places
        for layer in self.over_patches:
            patches = layer(patches)
        queries = repeat(self.asked, "l d -> m l d", m=len(pixels))
        for layer in self.over_queries:
            queries = layer(queries, patches, causal=self.causal)
        return self.norm(queries)


class QueryDecoder(nn.Module):
    """Latents (M, L, width) -> pictures (M, 3, S, S), about in [-1, 1]."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.side, self.patch = shape.side, shape.patch
        self.places = nn.Parameter(0.02 * torch.randn(shape.side**2, shape.width))
        self.order = nn.Parameter(0.02 * torch.randn(shape.queries, shape.width))
        near = shape.near()
        near = near if near is None else near.mT  # here patches ask, and tokens answer
        self.layers = nn.ModuleList(Layer(shape.width, shape.heads, True, near) for _ in range(shape.depth))
        self.norm, self.out = RMSNorm(shape.width), nn.Linear(shape.width, 3 * shape.patch**2)

    def hidden(self) -> list[nn.Parameter]:
        """Matrices of the layers (for Muon)."""
        return matrices(self.layers)

    def forward(self, latents: Tensor, rows: int) -> Tensor:
        tokens = latents + self.order
        patches = repeat(self.places, "n d -> m n d", m=len(latents))
        for layer in self.layers:
            patches = layer(patches, tokens)
        return rearrange(
            self.out(self.norm(patches)),
            "m (h w) (p q c) -> m c (h p) (w q)",
            h=self.side,
            p=self.patch,
            q=self.patch,
        )


def matrices(*parts: nn.Module) -> list[nn.Parameter]:
    """Weights of all linear layers in `parts`."""
    return [module.weight for part in parts for module in part.modules() if isinstance(module, nn.Linear)]


class Layer(nn.Module):
    """Self-attention, cross-attention where `crossed`, and a SwiGLU (arXiv 2002.05202), each with a residual
    connection. near: (heads, L, N), first values of a bias of the cross-attention."""

    def __init__(self, width: int, heads: int, crossed: bool = False, near: Tensor | None = None):
        super().__init__()
        self.heads, self.crossed = heads, crossed
        self.norm, self.mix = RMSNorm(width), nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        if crossed:
            self.ask_norm, self.ask = RMSNorm(width), nn.Linear(width, width)
            self.read_norm, self.read, self.told = (
                RMSNorm(width),
                nn.Linear(width, 2 * width),
                nn.Linear(width, width),
            )
        self.near = None if near is None else nn.Parameter(near.clone())
        self.wide_norm, self.wide, self.narrow = (
            RMSNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor, other: Tensor | None = None, causal: bool = False) -> Tensor:
        """x (M, L, D) -> (M, L, D). other: (M, N, D), what x attends to where the layer is crossed."""
        x = x + self.mixed(self._attend(*self.mix(self.norm(x)).chunk(3, -1), causal))
        if self.crossed:
            key, value = self.read(self.read_norm(other)).chunk(2, -1)
            x = x + self.told(self._attend(self.ask(self.ask_norm(x)), key, value, bias=self.near))
        gate, value = self.wide(self.wide_norm(x)).chunk(2, -1)
        return x + self.narrow(F.silu(gate) * value)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, causal: bool = False, bias: Tensor | None = None
    ) -> Tensor:
        split = [rearrange(part, "m l (h k) -> m h l k", h=self.heads) for part in (query, key, value)]
        bias = bias if bias is None else bias[None].to(split[0].dtype)
        mixed = F.scaled_dot_product_attention(*split, attn_mask=bias, is_causal=causal)
        return rearrange(mixed, "m h l k -> m l (h k)")
