"""The invertible flow of TarFlow (Zhai et al. 2024, arXiv 2412.06329): pictures <-> numbers that are white
noise, without loss, and the logarithm of the determinant between them.

Each of K blocks is a causal Transformer over the N tokens of a picture, which says of each token, from those
before it, by how much it is shifted and scaled; the order is turned round from block to block:

    z_1 = x_1,   z_i = (x_i - b_i) exp(-a_i),   (a_i, b_i) = block(x_1 .. x_{i-1}, caption)
    log |det dz/dx| = - sum of all a

One way all tokens are computed together. The other way x_i needs x_1 .. x_{i-1}: K (N - 1) steps in turn,
each of one token through the layers of one block, with the keys and values of the tokens before it kept.

Scales are bounded, |a| < LIMIT (as in STARFlow, arXiv 2506.06276), as exp(a) overflows on the way back where
exp(-a) does not on the way there. The output layer of each block begins at zero, so the flow begins as the
identity. All of it is fp32 or fp64: sums of thousands of a in bf16 would be wrong in the second digit."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import multiplications

LIMIT = 4.0
Guide = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # a and b (R, P) -> those that are used (M, P)


def in_full(x: Tensor) -> AbstractContextManager:
    """What is computed of x keeps its precision, whatever is around it."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class Layer(nn.Module):
    """Attention to earlier tokens and an MLP, (M, N, W) -> (M, N, W), residuals included."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.into, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, past: Tensor | None = None, at: int = 0) -> Tensor:
        """past: keys and values (2, M, H, N, K) of all tokens so far; x is then token number `at` alone."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            past[0, :, :, at : at + 1], past[1, :, :, at : at + 1] = k, v
            k, v = past[0, :, :, : at + 1], past[1, :, :, : at + 1]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)  # (M, H, N, K)
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.out(F.gelu(self.into(self.mlp_norm(x))))


class FlowBlock(nn.Module):
    """A step of the flow: N tokens of `values` numbers, first to last or, `backwards`, last to first."""

    layers: Any  # ModuleList of Layer

    def __init__(
        self, values: int, tokens: int, width: int, heads: int, depth: int, caption: int, backwards: bool
    ):
        super().__init__()
        self.backwards = backwards
        self.into, self.caption = nn.Linear(values, width), nn.Linear(caption, width, bias=False)
        self.place = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 2 * values)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """x (M, N, P) behind captions (M, D) -> z (M, N, P), and all a (M, N, P)."""
        x = self._turned(x)
        a, b = self._scales(x[:, :-1], self.place[:-1], caption)  # of the next token each
        a, b = F.pad(a, (0, 0, 1, 0)), F.pad(b, (0, 0, 1, 0))
        return self._turned((x - b) * torch.exp(-a)), a

    def inverse(self, z: Tensor, caption: Tensor, guide: Guide) -> Tensor:
        """z (M, N, P) -> x (M, N, P), token by token. caption: (R, D), of which `guide` makes one of R / M
        rows each."""
        z, twice = self._turned(z), len(caption) // len(z)
        heads, width = self.layers[0].heads, self.place.shape[1]
        past = z.new_zeros(len(self.layers), 2, len(caption), heads, z.shape[1], width // heads)
        tokens = [z[:, 0]]
        for at in range(z.shape[1] - 1):
            now = tokens[-1][:, None].repeat(twice, 1, 1)  # (R, 1, P)
            a, b = guide(*(y[:, 0] for y in self._scales(now, self.place[at : at + 1], caption, past, at)))
            tokens.append(z[:, at + 1] * torch.exp(a) + b)
        return self._turned(torch.stack(tokens, 1))

    def _scales(
        self, x: Tensor, place: Tensor, caption: Tensor, past: Tensor | None = None, at: int = 0
    ) -> tuple[Tensor, Tensor]:
        """a and b of the token behind each of x (R, n, P)."""
        x = self.into(x) + place + self.caption(caption)[:, None]
        for layer, own in zip(self.layers, repeat(None) if past is None else past):
            x = layer(x, own, at)
        a, b = self.out(self.norm(x)).chunk(2, -1)
        return LIMIT * torch.tanh(a / LIMIT), b

    def _turned(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.backwards else x


class Flow(nn.Module):
    """N tokens of `values` numbers <-> white noise of the same shape.

    blocks: K. depth, width, heads: of the Transformer of each. caption: size of a caption's vector."""

    blocks: Any  # ModuleList of FlowBlock

    def __init__(
        self, values: int, tokens: int, width: int, heads: int, depth: int, blocks: int, caption: int
    ):
        super().__init__()
        self.tokens = tokens
        self.blocks = nn.ModuleList(
            FlowBlock(values, tokens, width, heads, depth, caption, bool(n % 2)) for n in range(blocks)
        )

    def forward(self, x: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """x (M, N, P) behind captions (M, D) -> z (M, N, P), and the logarithm of |det dz/dx| (M,).

        Raises TypeError where x is neither fp32 nor fp64."""
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"a log-determinant in {x.dtype} would be wrong; allowed: fp32, fp64")
        total = x.new_zeros(len(x))
        with in_full(x):
            for block in self.blocks:
                x, a = block(x, caption.to(x.dtype))
                total = total - a.flatten(1).sum(1)
        return x, total

    @torch.no_grad()
    def inverse(
        self,
        z: Tensor,
        caption: Tensor,
        guide: Guide = lambda a, b: (a, b),
        watch: Callable[[int, Tensor], None] = lambda step, x: None,
    ) -> Tensor:
        """z (M, N, P) behind captions (R, D) -> x (M, N, P). guide: makes the a and b (M, P) that are used of
        those (R, P) behind R captions; R = M where nothing is guided. watch: called after each block."""
        with in_full(z):
            for step, block in enumerate(reversed(self.blocks)):
                z = block.inverse(z, caption.to(z.dtype), guide)
                watch(step, z)
        return z

    def multiplications(self) -> int:
        """Multiplications of one pass over a picture; scores are counted as N x N, as they are for a
        backbone."""
        total, last = 0, self.tokens - 1
        for block in self.blocks:
            width = block.place.shape[1]
            total += last * multiplications(block.into, block.layers, block.out)
            total += block.caption.weight.numel() + len(block.layers) * 2 * width * last**2
        return total
