"""Parts of kinds that the package does not have, as small as can be: a codec of several integers a token; a
head that draws patch by patch.

They go through the questions of `core/test_parts.py`: nothing in the package was made for them. A toy goes
when the package has a part of its kind."""

from dataclasses import dataclass

import numpy as np
import torch
from helpers import Kind
from torch import nn
from torch.nn import functional as F

from rawmm_cli.core.blocks import block_a_token
from rawmm_cli.core.document import Corrupted
from rawmm_cli.core.layers import multiplications
from rawmm_cli.core.noise import normal
from rawmm_cli.core.parts import Work
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.system.seeds import random

# --------------------------------------------------------------------------------------------------- codecs


class Levels(nn.Module):
    """The mean red, green and blue of squares of 2 x 2 pixels, three integers a token."""

    discrete, vocabulary, codes = True, 8, 3

    def grid(self, height, width):
        if height % 2 or width % 2:
            raise ValueError(f"{height}x{width} does not divide into squares of 2")
        return height // 2, width // 2

    def tokens(self, height, width):
        rows, columns = self.grid(height, width)
        return rows * columns

    def encode(self, images):
        means = F.avg_pool2d(images.float(), 2)
        return (means * self.vocabulary / 256).long().flatten(2).transpose(1, 2)

    def decode(self, tokens, rows):
        values = ((tokens + 0.5) * 256 / self.vocabulary).byte().transpose(1, 2).unflatten(2, (rows, -1))
        return values.repeat_interleave(2, 2).repeat_interleave(2, 3)


# ---------------------------------------------------------------------------------------------------- heads


@dataclass(frozen=True)
class Writing:
    temperature: float = 1.0
    steps: int = 3


def pick(logits, keys, temperature, *path):
    """Logits (M, ..., V) -> codes (M, ...), drawn by the key of each picture."""
    noise = np.stack([random(k, *path).gumbel(size=logits.shape[1:]) for k in keys])
    return (logits + temperature * torch.from_numpy(noise).float()).argmax(-1)


class CodeHead(nn.Module):
    """What heads over integers share: no time, no condition, cross entropy."""

    reads_ahead = False

    def condition(self, time):
        return None

    def loss(self, prediction, corrupted, pictures):
        nats = F.cross_entropy(prediction.float().movedim(-1, 1), corrupted.target, reduction="none")
        nats = nats.flatten(1).mean(1) if nats.ndim > 1 else nats
        return (nats * corrupted.weight).sum() / self.drawn(pictures).sum().clamp_min(1)

    def work(self):
        return Work(position=multiplications(self))

    def drawn(self, pictures):
        return pictures.drawn[pictures.picture_of].float()

    def still(self, pictures):
        return torch.zeros(len(pictures.drawn))


class PatchByPatch(CodeHead):
    """Patches in order, each drawn by a small network that denoises it behind one hidden vector (MAR)."""

    reads_ahead = True

    def __init__(self, codec, width):
        super().__init__()
        self.values = codec.values
        self.into, self.out = nn.Linear(codec.values, width), nn.Linear(width, width)
        into, out = nn.Linear(width + codec.values + 1, 16), nn.Linear(16, codec.values)
        self.small = nn.Sequential(into, nn.SiLU(), out)

    def blocks(self, rows, columns):
        return block_a_token(rows, columns)

    def corrupt(self, tokens, pictures):
        return Corrupted(tokens, self.still(pictures), tokens, self.drawn(pictures))

    def embed(self, inputs, time, pictures):
        return self.into(inputs)

    def output(self, hidden, pictures):
        return self.out(hidden)

    def clean(self, behind, z, t):
        return torch.tanh(self.small(torch.cat([behind, z, torch.full_like(z[..., :1], t)], -1)))

    def loss(self, prediction, corrupted, pictures):
        counts = torch.bincount(pictures.picture_of, minlength=len(pictures.drawn)).tolist()
        z = (corrupted.target + normal(pictures.keys, counts, self.values)) / 2  # at time 1 / 2
        error = (self.clean(prediction.float(), z, 0.5) - corrupted.target).square().mean(-1)
        return (error * corrupted.weight).sum() / self.drawn(pictures).sum().clamp_min(1)

    def work(self):  # the small network runs in the loss
        return Work(multiplications(self.into, self.out), first_position=multiplications(self.into))

    def draw(self, predict, keys, grid, drawing=None, learned=None, known=None, watch=None):
        if known is not None:
            raise ConfigError("this head draws from the first patch on and cannot draw on a picture")
        patches, steps = torch.zeros(len(keys), 0, self.values), (drawing or Writing()).steps
        for at in range(grid[0] * grid[1]):
            behind = predict(patches[:, max(0, at - 1) :], at=slice(at, at + 1))
            z = normal(keys, [1] * len(keys), self.values, f"patch {at}")[:, None]
            for step in range(steps):  # guided where the small network speaks
                t = 1 - step / steps
                one, other = (self.clean(h, z, t) for h in (behind.conditional, behind.unconditional))
                z = z - (z - (other + behind.scale * (one - other))) / t / steps
            patches = torch.cat([patches, z.clamp(-1, 1)], 1)
        return patches


# The lists of `helpers.py`, for toys.
CODECS = {"levels": Levels}
HEADS = {
    "patch by patch": Kind(PatchByPatch, ("raw",), ordered=True),
}
