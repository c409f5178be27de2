"""Codes drawn from logits: temperature, top-k, top-p; and how masked codes become known: shares that stay
masked, and orders in which codes are said. What heads over integers share.

Numbers that decide come from outside, one a code, so that a code depends on the key of its picture alone. A
schedule m(r) falls from 1, all are masked, at r = 0 to 0 at r = 1."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .noise import normal

ORDERS = ("confidence", "halton", "random")
# m(r), and how fast it falls: -m'(r)
SCHEDULES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "cosine": (lambda r: math.cos(math.pi / 2 * r), lambda r: math.pi / 2 * math.sin(math.pi / 2 * r)),
    "linear": (lambda r: 1 - r, lambda r: 1.0),
    "square": (lambda r: 1 - r**2, lambda r: 2 * r),
    "arccos": (lambda r: 2 / math.pi * math.acos(r), lambda r: 2 / math.pi / math.sqrt(1 - r**2)),
}


def pick(
    logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """Logits (..., V) and numbers in [0, 1) (...) -> codes (...), by inverting the distribution.

    temperature: 0 is the likeliest code. Others as those of `probabilities`."""
    if temperature == 0:
        return logits.argmax(-1)
    total = probabilities(logits, temperature, top_k, top_p).cumsum(-1)
    whole = total[..., -1:]
    below = (total <= uniform.to(total)[..., None] * whole) & (total < whole)  # behind it nothing is likely
    return below.sum(-1)


def probabilities(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits (..., V) -> probabilities (..., V), fp64, before they are normalised again.

    temperature: above 0, however small; divides the logits. top_k: codes that may be drawn, the likeliest
    ones; 0: all. top_p: of those the likeliest, of this chance together (Holtzman et al. 2019, arXiv
    1904.09751); the likeliest one always stays."""
    scores = logits.double()
    chances = ((scores - scores.amax(-1, keepdim=True)) / temperature).softmax(-1)
    if 0 < top_k < logits.shape[-1]:
        order = chances.argsort(dim=-1, descending=True, stable=True)
        chances = chances.scatter(-1, order[..., top_k:], 0.0)
        chances = chances / chances.sum(-1, keepdim=True)
    if top_p < 1:
        order = chances.argsort(dim=-1, descending=True, stable=True)
        ordered = chances.gather(-1, order)
        before = ordered.cumsum(-1) - ordered
        kept = ordered.masked_fill((before >= top_p) & (before > 0), 0.0)
        chances = torch.zeros_like(chances).scatter(-1, order, kept)
    return chances


def collapse(drawing: Any) -> list[str]:
    """Lines about temperatures of a head's drawing at which pictures of one prompt become alike."""
    lines, temperatures = [], getattr(drawing, "code_temperature", 1.0)
    if not any(temperatures if isinstance(temperatures, tuple) else (temperatures,)):
        lines.append(
            "code_temperature = 0 takes the likeliest codes, and pictures of a prompt become alike; 1 draws "
            "what was learned"
        )
    if getattr(drawing, "order", "") == "confidence" and drawing.order_temperature == 0:
        lines.append(
            "order_temperature = 0 says the most certain codes first, and pictures of a prompt become alike; "
            "order = halton needs no temperature"
        )
    return lines


# ----------------------------------------------------------------------------------------------- masked codes


def counts(free: int, steps: int, schedule: str) -> list[int]:
    """How many of `free` masked codes stay so after each of `steps` steps, or of as many as there are codes.

    floor(free m(k / steps)) after step k, but every step says a code at least, and the last one all."""
    steps, left = min(steps, free), [free]
    for step in range(1, steps):
        share = SCHEDULES[schedule][0](step / steps)
        left.append(max(1, min(left[-1] - 1, math.floor(free * share + 1e-9))))
    return [*left[1:], 0][:steps]


def confidence(logits: Tensor, codes: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """log p(code) + temperature times Gumbel noise: logits (..., V), codes and numbers in (0, 1) (...) ->
    (...)."""
    chance = logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    return chance - temperature * torch.log(-torch.log(uniform)).float()


def uniform(keys: Sequence[int], shape: Sequence[int], word: str, device: torch.device | str) -> Tensor:
    """Numbers in (0, 1) of a shape (M, N, G), fp64, of which each picture's follow from its own key."""
    _, count, codes = shape
    noise = normal(keys, [count] * len(keys), codes, word, device)
    return torch.special.ndtr(noise.double()).view(tuple(shape))


def order_of(
    name: str, keys: Sequence[int], grid: tuple[int, int], codes: int, device: torch.device
) -> Tensor:
    """(M or 1, N, G), greater where a code is said later; the first codes of all tokens come before the
    second ones."""
    if name == "random":
        return uniform(keys, (len(keys), grid[0] * grid[1], codes), "order", device)
    rank = torch.from_numpy(halton(*grid)).to(device)
    return (rank[:, None] + len(rank) * torch.arange(codes, device=device))[None].double()


@lru_cache(maxsize=64)
def halton(rows: int, columns: int) -> np.ndarray:
    """(N,) the place of each token in the order in which a Halton sequence of bases 2 and 3 first meets it
    (Halton 1960)."""
    cells, order = rows * columns, np.zeros(0, np.int64)
    points = 8 * cells
    while len(order) < cells:
        at = np.arange(1, 1 + points)
        cell = (_reversed(at, 2) * rows).astype(int) * columns + (_reversed(at, 3) * columns).astype(int)
        first = np.unique(cell, return_index=True)[1]
        order, points = cell[np.sort(first)], 2 * points
    rank = np.empty(cells, np.int64)
    rank[order] = np.arange(cells)
    return rank


def _reversed(numbers: np.ndarray, base: int) -> np.ndarray:
    """Digits of whole numbers mirrored at the point -> [0, 1)."""
    result, scale = np.zeros(len(numbers)), 1.0
    while numbers.any():
        scale /= base
        numbers, digit = np.divmod(numbers, base)
        result += digit * scale
    return result
