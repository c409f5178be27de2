"""The U-Net of DDPM (Ho et al. 2020, arXiv 2006.11239, appendix B): pictures, times and one vector of a
caption in, pictures out.

    3x3 convolution; on each level `blocks` residual blocks and a halving on the way down; a block, attention
    and a block in the middle; `blocks` + 1 blocks and a doubling on the way up, each of which takes one of
    the states of the way down; normalisation, SiLU, 3x3 convolution

The time, and the caption beside it, are added after the first convolution of each block. The second
convolution of each block, the output of attention and the last convolution begin at zero (the reference
scales theirs by 1e-5), so the network begins at 0. There is no dropout: all that is random in a run follows
from its seed and its documents."""

import math
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

L = TypeVar("L", nn.Conv2d, nn.Linear)
EPSILON = 1e-6  # of the reference's normalisation


class Block(nn.Module):
    """A residual block, (M, before, h, w) -> (M, after, h, w); it may end with attention over the places."""

    def __init__(self, before: int, after: int, clock: int, groups: int, attends: bool):
        super().__init__()
        self.norm, self.first = norm(before, groups), nn.Conv2d(before, after, 3, padding=1)
        self.clock = nn.Linear(clock, after)
        self.again, self.second = norm(after, groups), zero(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)
        self.attention = Attention(after, groups) if attends else nn.Identity()

    def forward(self, x: Tensor, clock: Tensor) -> Tensor:
        """clock: (M, 4 ch), of the time and the caption."""
        hidden = self.first(F.silu(self.norm(x))) + self.clock(clock)[:, :, None, None]
        return self.attention(self.shortcut(x) + self.second(F.silu(self.again(hidden))))


class Attention(nn.Module):
    """Each place of a picture looks at all of them, with one head: (M, c, h, w) -> (M, c, h, w)."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm, self.qkv = norm(channels, groups), nn.Conv2d(channels, 3 * channels, 1)
        self.mix = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The residual is part of it."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).mT.unsqueeze(1).chunk(3, -1)  # (M, 1, h w, c)
        alone = v.shape[2] == 1  # it sees itself; with these strides CUDA has no kernel for one place
        mixed = v if alone else F.scaled_dot_product_attention(q, k, v)
        return x + self.mix(mixed.squeeze(1).mT.unflatten(2, x.shape[2:]))


class Level(nn.Module):
    """Blocks that work at one size, and the convolution to the next size; None at the end."""

    blocks: Any  # ModuleList of Block
    resample: nn.Conv2d | None

    def __init__(self, blocks: list[Block], resample: nn.Conv2d | None):
        super().__init__()
        self.blocks, self.resample = nn.ModuleList(blocks), resample


class UNet(nn.Module):
    """Pictures of `values` channels -> the same; sides are multiples of `stride`.

    channels, multipliers: channels of each level, the first with the sides of the picture. blocks: of a level
    on the way down. attention: levels whose blocks attend. groups: of channels that are normalised together.
    caption: size of a caption's vector; None: there is none. Its layer begins at zero."""

    down: Any  # ModuleLists of Level, and of Block
    up: Any
    middle: Any

    def __init__(
        self,
        values: int,
        channels: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...] = (),
        groups: int = 32,
        caption: int | None = None,
    ):
        super().__init__()
        self.channels, clock = channels, 4 * channels
        self.stride = 2 ** (len(multipliers) - 1)
        self.clock = nn.Sequential(nn.Linear(channels, clock), nn.SiLU(), nn.Linear(clock, clock))
        self.caption = None if caption is None else zero(nn.Linear(caption, clock))
        self.into, kept, now = nn.Conv2d(values, channels, 3, padding=1), [channels], channels
        down, up = [], []
        for n, wide in enumerate(channels * m for m in multipliers):
            own = [Block(a, wide, clock, groups, n in attention) for a in (now, *[wide] * (blocks - 1))]
            last = n == len(multipliers) - 1
            down.append(Level(own, None if last else nn.Conv2d(wide, wide, 3, stride=2, padding=1)))
            kept += [wide] * (blocks + (not last))
            now = wide
        self.down = nn.ModuleList(down)
        self.middle = nn.ModuleList(Block(now, now, clock, groups, first) for first in (True, False))
        for n, wide in reversed(list(enumerate(channels * m for m in multipliers))):
            own = []
            for _ in range(blocks + 1):
                own.append(Block(now + kept.pop(), wide, clock, groups, n in attention))
                now = wide
            up.append(Level(own, nn.Conv2d(wide, wide, 3, padding=1) if n else None))
        self.up = nn.ModuleList(up)
        self.norm, self.out = norm(now, groups), zero(nn.Conv2d(now, values, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, caption: Tensor | None = None) -> Tensor:
        """x (M, values, h, w) at times (M,) in [0, 1], captions (M, caption) -> (M, values, h, w)."""
        clock = self.clock(features(time, self.channels).to(x.dtype))
        if self.caption is not None:
            clock = clock + self.caption(caption)
        clock = F.silu(clock)
        x = self.into(x)
        kept = [x]
        for level in self.down:
            for block in level.blocks:
                x = block(x, clock)
                kept.append(x)
            if level.resample is not None:
                x = level.resample(x)
                kept.append(x)
        for block in self.middle:
            x = block(x, clock)
        for level in self.up:
            for block in level.blocks:
                x = block(torch.cat([x, kept.pop()], 1), clock)
            if level.resample is not None:
                x = level.resample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.out(F.silu(self.norm(x)))

    def multiplications(self, rows: int, columns: int) -> int:
        """Multiplications of one pass over a picture: convolutions, linear layers, the products of
        attention."""
        places = rows * columns
        total = (self.into.weight.numel() + self.out.weight.numel()) * places
        for n, (down, up) in enumerate(zip(self.down, reversed(self.up))):
            here = places // 4**n
            total += sum(_work(block, here) for block in (*down.blocks, *up.blocks))
            total += 0 if down.resample is None else down.resample.weight.numel() * (here // 4)
            total += 0 if up.resample is None else up.resample.weight.numel() * here * 4
        total += sum(_work(block, places // self.stride**2) for block in self.middle)
        once = [*self.clock, *([] if self.caption is None else [self.caption])]
        return total + sum(layer.weight.numel() for layer in once if isinstance(layer, nn.Linear))


def _work(block: Block, places: int) -> int:
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    pairs = 0 if isinstance(block.attention, nn.Identity) else 2 * block.second.out_channels * places**2
    return sum(m.weight.numel() for m in convolutions) * places + pairs + block.clock.weight.numel()


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm (Wu and He 2018, arXiv 1803.08494)."""
    return nn.GroupNorm(groups, channels, EPSILON)


def zero(layer: L) -> L:
    """The same layer, whose output is 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def features(time: Tensor, size: int) -> Tensor:
    """(M,) in [0, 1] -> (M, size): sines and cosines of 1000 t at frequencies from 1 to 1 / 10000."""
    half = size // 2
    frequency = torch.exp(-math.log(10_000.0) / (half - 1) * torch.arange(half, device=time.device))
    angle = 1000.0 * time.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)
