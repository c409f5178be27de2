"""Evaluator: bits/dim of held-out pictures under a diffusion model, a bound (`information/likelihood.py`).

Models with another likelihood have theirs among the losses: exact where they write the values of pixels,
bounds of masked ones and of flows. Less is better, but how far a bound is from the truth is not known."""

from dataclasses import dataclass, field

import numpy as np
import torch

from ..information import image_bits
from ..system.errors import ConfigError
from .results import Values
from .subject import Subject, evenly

PICTURES = 64  # held-out pictures, at most


@dataclass(frozen=True)
class Likelihood:
    """bits_per_dim_bound: bits of a value (a byte; three a pixel) of `count` pictures after their captions,
    at most. standard_error: over pictures, noise and times; None of one picture."""

    bits_per_dim_bound: float
    standard_error: float | None
    count: int
    values: dict[str, Values] = field(default_factory=dict)


def measure(subject: Subject) -> dict[str, Likelihood]:
    """Applies to diffusion models whose codec loses nothing."""
    held_out, side = subject.held_out, subject.loaded.config.data.size
    if held_out.holds_documents or subject.quick or not subject.draws:
        return {}
    same = np.flatnonzero((held_out.heights == side) & (held_out.widths == side)).tolist()
    if not (rows := evenly(same, PICTURES)):
        return {}
    captions = [next(iter(held_out.captions[row]), "") for row in rows]
    images = torch.stack([held_out.image(row) for row in rows])
    try:
        bits = image_bits.bounds_of(subject.loaded, images, captions, subject.seed)
    except ConfigError:  # another head, or a codec that loses something
        return {}
    error = float(bits.std() / len(rows) ** 0.5) if len(rows) > 1 else None
    values = {"bits_per_dim_bound": Values(subject.ids(rows), bits.tolist())}
    return {"likelihood": Likelihood(float(bits.mean()), error, len(rows), values)}
