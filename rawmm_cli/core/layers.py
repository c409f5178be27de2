"""What parts share: rotary positions on three axes, normalisation, attention under either form of the mask,
and a convolution over whole pictures."""

import math
from functools import cache
from itertools import groupby
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..system import machine
from .document import Pictures

# Text differs in order alone and runs far; rows and columns of a picture are few. So half of the rotated
# pairs follow
# the order and a quarter each the row and the column, and rows and columns turn faster (a smaller base).
EPSILON = torch.tensor(torch.finfo(torch.float32).eps)
SHORT = 512  # positions; up to here attention written out is faster than torch's kernel on a CPU
AXES = ((0.5, 10_000.0), (0.25, 100.0), (0.25, 100.0))


def rotation(position: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Positions (B, L, 3) = order, row, column -> cos and sin (B, L, width / 2), fp32.

    RoPE (Su et al. 2021, arXiv 2104.09864), each axis turning its own share of the pairs. `width`: a multiple
    of 8. Positions (B, L, 7) of a picture that is s times as long as those learned also have s of its rows
    and columns and, for YaRN, the lengths that were learned, else 0 (`_slower`)."""
    if width % 8:
        raise ValueError(f"rotary positions need a width that is a multiple of 8, not {width}")
    axis, frequency, rank = _frequencies(width, position.device)
    angle = position.index_select(-1, axis) * frequency  # (B, L, K/2)
    if position.shape[-1] == 3:
        return angle.cos(), angle.sin()
    ones = torch.ones_like(position[..., :1])
    parts = (torch.cat([ones, part], -1) for part in (position[..., 3:5], position[..., 5:7]))
    scale, length = (part.index_select(-1, axis) for part in parts)  # of the axis of each pair
    slower, sharper = _slower(scale, length * frequency / (2 * math.pi), rank)
    angle = angle * torch.where(length > 0, slower[1], slower[0])
    sharper = torch.where(length > 0, sharper, 1.0)
    return angle.cos() * sharper, angle.sin() * sharper


def _slower(scale: Tensor, turns: Tensor, rank: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Factors of frequencies, by NTK and by YaRN, and YaRN's of cos and sin, for pictures s times as long as
    those learned (FiT, arXiv 2402.12376): exactly 1 at s = 1.

    scale: s. turns: of each pair over the length learned. rank: of each pair on its axis, the fastest 0, the
    slowest 1. NTK changes the base to base s^(d / (d - 2)), d the dimensions of an axis: a pair is s^rank
    times as slow. YaRN (arXiv 2309.00071) makes pairs s times as slow that turn less than once, leaves those
    that turn 32 times, and sharpens attention."""
    kept = ((turns - 1) / 31).clamp(0, 1)
    return (scale**-rank, 1 - (1 - kept) * (1 - 1 / scale)), 1 + 0.1 * scale.log()


@cache  # none is ever dropped: a CUDA graph reads them where they lie
def _frequencies(width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The axis whose position turns each pair, how fast it turns, and its rank on the axis, the fastest 0 and
    the slowest 1: (K/2,) each."""
    counts = [int(width // 2 * share) for share, _ in AXES]
    with torch.inference_mode(False):
        axis = torch.repeat_interleave(torch.arange(len(AXES)), torch.tensor(counts))
        frequency = torch.cat(
            [
                base ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
                for pairs, (_, base) in zip(counts, AXES)
            ]
        )
        rank = torch.cat([torch.arange(pairs) / max(1, pairs - 1) for pairs in counts])
        return axis.to(device), frequency.to(device), rank.to(device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., L, K) turned by angles (..., L, K/2): pair i is (x[i], x[i + K/2])."""
    first, second = x.chunk(2, -1)
    return torch.cat(
        [torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(second * cos, first, sin)], -1
    )


def trained() -> bool:
    """Whether gradients may be needed, or the code is being compiled; otherwise it is sampling."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


class RMSNorm(nn.RMSNorm):
    """RMS normalisation with a learned scale (Zhang and Sennrich 2019, arXiv 1910.07467), of vectors (...,
    D).

    Sampling runs it uncompiled, where torch makes nine passes of it on a CPU; there it is three
    (`docs/log.md`)."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        if trained() or x.is_cuda:
            return super().forward(x)
        return rms(x) * self.weight


def rms(x: Tensor) -> Tensor:
    """Vectors (..., D) -> the same with a mean square of 1, but for the smallest."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)  # (..., 1)
    return x * torch.addcmul(EPSILON, size, size, value=1 / x.shape[-1]).rsqrt_()


def unit_rms(x: Tensor) -> Tensor:
    """RMS normalisation without a learned scale, in fp32."""
    x = x.float()
    if x.is_cuda and not trained():
        return F.rms_norm(x, x.shape[-1:], eps=1e-6)  # one kernel
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class MaskedSoftmax(torch.autograd.Function):
    """softmax(scores + mask) over the keys, in fp32, returned and saved for the backward pass in the dtype of
    the scores.

    Left to itself, the compiler keeps the scores and takes their exponentials again (`docs/log.md`)."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        weights = (scores.float() + mask).softmax(-1).to(scores.dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (saved,) = ctx.saved_tensors  # unpacked once only, or recomputed layers fail
        weights = saved.float()
        change = weights * gradient.float()
        return (change - weights * change.sum(-1, keepdim=True)).to(saved.dtype), None


class Rows(torch.autograd.Function):
    """Rows `at` (K,) of x (N, D), each of them once -> (K, D). Its backward pass writes every gradient once,
    so in any order; that of `index_select` sorts where a GPU is to be reproducible."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.count = len(x)
        return x.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (at,) = ctx.saved_tensors
        with machine.unordered():
            whole = gradient.new_zeros(ctx.count, *gradient.shape[1:])
            return whole.index_add_(0, at, gradient), None


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Any) -> Tensor:
    """Softmax attention. query, key (B, H, L, K), value (B, H, L, V) -> (B, H, L, V).

    mask: dense (B, 1, L, L), added to the scores, or a BlockMask of FlexAttention. One head may have values
    wider than its keys; flex kernels want narrow values, so there the value is cut into pieces as wide as the
    keys. Dense, torch has no fused kernel for wide values, and on a CPU its kernel is the slower one for
    training on short rows (`docs/log.md`): written out."""
    if isinstance(mask, Tensor):
        if value.shape[-1] == key.shape[-1] and (query.is_cuda or key.shape[-2] > SHORT or not trained()):
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype))
        return MaskedSoftmax.apply((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2), mask) @ value
    from torch.nn.attention.flex_attention import flex_attention

    heads, wide = value.shape[1], value.shape[-1] // key.shape[-1]
    if wide > 1:
        query, key = (torch.repeat_interleave(x, wide, 1) for x in (query, key))
        value = rearrange(value, "b h l (w v) -> b (h w) l v", w=wide)
    out = flex_attention(query, key, value, block_mask=mask)
    return rearrange(out, "b (h w) l v -> b h l (w v)", h=heads) if wide > 1 else out


class OverPictures(nn.Module):
    """A 3 x 3 convolution over whole pictures of `channels` channels, in patches of `side` x `side` places.

    It starts as the identity."""

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.side, self.convolution = side, nn.Conv2d(channels, channels, 3, padding=1)
        self.multiplications = 9 * channels**2 * side**2  # of a patch
        nn.init.dirac_(self.convolution.weight)
        nn.init.zeros_(cast(Tensor, self.convolution.bias))

    def forward(self, patches: Tensor, pictures: Pictures) -> Tensor:
        """(T, P) of pictures in flat order -> (T, P)."""
        parts, start = [], 0
        for (rows, columns), same in groupby(pictures.grids):  # pictures of a size stand together
            count = len(list(same)) * rows * columns
            parts.append(self._of_a_size(patches[start : start + count], rows, columns))
            start += count
        if not parts:  # every parameter has a gradient all the same, as ranks expect of each other
            return patches + 0 * sum(p.sum() for p in self.parameters())
        return torch.cat(parts)

    def _of_a_size(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        sizes = {"h": rows, "w": columns, "p": self.side, "q": self.side}
        images = rearrange(patches, "(m h w) (p q c) -> m c (h p) (w q)", **sizes)
        return rearrange(self.convolution(images), "m c (h p) (w q) -> (m h w) (p q c)", **sizes)


def multiplications(*layers: nn.Module) -> int:
    """Weights of all linear layers in these modules: what they multiply for one input."""
    return sum(
        m.in_features * m.out_features
        for layer in layers
        for m in layer.modules()
        if isinstance(m, nn.Linear)
    )
