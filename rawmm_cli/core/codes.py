"""Codes drawn from logits: temperature, top-k, top-p. What heads over integers share.

Numbers that decide come from outside, one a code, so that a code depends on the key of its picture alone."""

from typing import Any

import torch
from torch import Tensor


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
