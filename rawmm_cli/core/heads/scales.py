"""The head of scales: all codes of a scale are predicted at once, behind the coarser scales (VAR, Tian et al.
2024, arXiv 2404.02905).

    -log p(picture) = sum over scales k of -log p(codes of scale k | before, scales 1 to k - 1)

A block a scale; a picture is drawn in as many evaluations as there are scales. What a position sees of its
own picture is the sum of the scales below, averaged down to its own scale (`Scaled.context`): it is made by
the same function while the head learns and while it draws. The codes of one scale are chosen independently of
each other, which is where likelihood is lost. A fresh head gives every code the same probability: its loss is
ln V.

A picture that is read has the same positions; there each position also sees the vector of its own code.
Inputs are

    sum of the scales below (C) | vector of the own code, if read (C) | the scale, if drawn (K) | if read (K)

of which the last two, times the weights of one linear layer, are the level embeddings. Positions of a coarse
scale stand at the middle of what they cover, on the plane of the finest one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...system.errors import ConfigError
from ...system.seeds import random
from ..blocks import Blocks, places
from ..codes import pick
from ..document import Corrupted, Known, Pictures
from ..layers import multiplications
from ..parts import Prediction, Work

Shape = tuple[int, int]  # rows and columns


class Scaled(Protocol):
    """What this head asks of a codec. Tokens of a picture: all scales one after the other, the coarsest
    first."""

    vocabulary: int
    dimension: int  # numbers of the vector of a code, C

    def shapes(self, rows: int, columns: int) -> tuple[Shape, ...]:
        """Rows and columns of every scale of a grid; always as many scales."""
        ...

    def context(self, tokens: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """(M, N, 1), -1 where a token is not known -> (M, N, C), the sum of the scales below each token,
        averaged down to its scale; (M, N, C), the vectors of the tokens."""
        ...


@dataclass(frozen=True)
class Drawing:
    """How codes are chosen by their probabilities, a number for all scales or one for each.

    code_temperature: 1 draws what was learned; 0 takes the likeliest codes. code_top_k: only so many of the
    likeliest; 0: all. code_top_p: only the likeliest, of this probability together. rising: guidance is none
    at the coarsest scale and rises to its whole at the finest, as in VAR; else it is the same at all."""

    code_temperature: float | tuple[float, ...] = 1.0
    code_top_k: int | tuple[int, ...] = 0
    code_top_p: float | tuple[float, ...] = 1.0
    rising: bool = True


class ScalesHead(nn.Module):
    """Codes of several scales <-> hidden vectors of `width`."""

    reads_ahead = False

    def __init__(self, codec: Scaled, width: int):
        super().__init__()
        self._codec = (codec,)  # it is a part of the model, not of this head
        self.levels = len(codec.shapes(1, 1))
        self.into = nn.Linear(2 * (codec.dimension + self.levels), width)
        self.out = nn.Linear(width, codec.vocabulary)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def codec(self) -> Scaled:
        """The codec whose scales these are."""
        return self._codec[0]

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A block a scale. A drawn picture sees only what lies below, so a clean copy follows it."""
        return pyramid(rows, columns, self.codec.shapes(rows, columns))

    def corrupt(self, tokens: Tensor, pictures: Pictures) -> Corrupted:
        """Codes (T, 1) -> what lies below each, (T, 2 (C + K)), with the own code where a picture is read."""
        drawn = pictures.drawn[pictures.picture_of]
        parts = [self._inputs(*group) for group in _by_grid(tokens, pictures)]
        width = self.into.in_features
        read = torch.cat(parts) if parts else torch.zeros(0, width, device=tokens.device)
        inputs = torch.where(drawn[:, None], self.hide(read), read)
        time = torch.zeros(len(pictures.drawn), device=tokens.device)
        return Corrupted(inputs, time, tokens[:, 0], drawn.float())

    def _inputs(self, codes: Tensor, grid: Shape) -> Tensor:
        """Codes (M, N, 1) of pictures that are read -> inputs (M N, 2 (C + K))."""
        block = torch.from_numpy(self.blocks(*grid).block).to(codes.device)
        level = F.one_hot(block, self.levels).float().expand(len(codes), -1, -1)
        below, own = self.codec.context(codes, grid[0])
        return torch.cat([below, own, torch.zeros_like(level), level], -1).flatten(0, 1)

    def hide(self, inputs: Tensor) -> Tensor:
        """Inputs (..., 2 (C + K)) of pictures that are read -> those of pictures that are drawn."""
        size, levels = self.codec.dimension, self.levels
        below, own, _, level = inputs.split([size, size, levels, levels], -1)
        return torch.cat([below, torch.zeros_like(own), level, torch.zeros_like(level)], -1)

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Inputs (T, 2 (C + K)) -> (T, D)."""
        return self.into(inputs)

    def condition(self, time: Tensor) -> None:
        """None: there is no time."""

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Hidden (T, D) -> logits (T, V)."""
        return self.out(hidden)

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """Mean nats of a code over the codes of all scales of drawn pictures."""
        nats = F.cross_entropy(prediction.float(), corrupted.target, reduction="none")  # (T,)
        return (nats * corrupted.weight).sum() / corrupted.weight.sum().clamp_min(1)

    def work(self) -> Work:
        """Inputs and logits; inputs need no gradient."""
        return Work(position=multiplications(self.into, self.out), first_position=multiplications(self.into))

    def draw(
        self,
        predict: Callable[..., Prediction],
        keys: Sequence[int],
        grid: Shape,
        drawing: Drawing | None = None,
        learned: Shape | None = None,
        known: Known | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Draw M pictures of `grid` rows and columns, scale by scale -> codes (M, N, 1).

        predict(inputs (M, n, ...), share=, at=the scale) -> logits (M, n, V); guidance acts on logits.
        known: its codes stay where they are kept, and the others are drawn behind them. learned has no
        effect. Raises ConfigError for a strength below 1: there is no noise that could be a part."""
        if known is not None and known.strength < 1:
            raise ConfigError(
                f"strength = {known.strength:g} changes a picture by noise, and head.kind = scales has none; "
                "allowed: 1; paint inside a mask, or choose a model with head.kind=diffusion"
            )
        drawing, device = drawing or Drawing(), self.out.weight.device
        block = self.blocks(*grid).block
        codes = torch.full((len(keys), len(block), 1), -1, device=device)
        for level in range(self.levels):
            first, stop = np.searchsorted(block, [level, level + 1]).tolist()
            at, share = slice(first, stop), level / max(1, self.levels - 1) if drawing.rising else 1.0
            inputs = self.hide(self._inputs(codes, grid)).unflatten(0, (len(keys), -1))[:, at]
            logits = predict(inputs, share=share, at=at).guided
            numbers = np.stack([random(key, "scale", level).random(stop - first) for key in keys])
            uniform = torch.from_numpy(numbers).to(device)
            choice = pick(logits, uniform, **_settings(drawing, level))[..., None]
            if known is not None and known.keep is not None:
                choice = torch.where(known.keep[at], known.tokens[at], choice)
            codes[:, at] = choice
            if watch is not None:
                watch(level, codes, codes)
        return codes


def _settings(drawing: Drawing, level: int) -> dict[str, Any]:
    """Temperature, top-k and top-p of a scale; the last one given is that of all further scales."""
    whole = {name: getattr(drawing, f"code_{name}") for name in ("temperature", "top_k", "top_p")}
    return {name: x[min(level, len(x) - 1)] if isinstance(x, tuple) else x for name, x in whole.items()}


def _by_grid(tokens: Tensor, pictures: Pictures) -> Iterator[tuple[Tensor, Shape]]:
    """Codes (T, 1) of all pictures -> groups (M, N, 1) of neighbours of one size, and their rows and
    columns."""
    first = 0
    for (grid, count), group in groupby(zip(pictures.grids, pictures.counts)):
        stop = first + count * len(list(group))
        yield tokens[first:stop].view(-1, count, 1), grid
        first = stop


@lru_cache(maxsize=256)
def pyramid(rows: int, columns: int, shapes: tuple[Shape, ...]) -> Blocks:
    """Blocks of a picture whose scales have these rows and columns."""
    block = np.repeat(np.arange(len(shapes)), [height * width for height, width in shapes])
    place = [(places(*shape) + 0.5) * (np.array([rows, columns]) / shape) - 0.5 for shape in shapes]
    return Blocks((rows, columns), block, np.concatenate(place), True)
