"""Evaluator: seams of patches in the drawings of the other evaluators, beside those of real pictures.

What users of raw patches see first where a model draws badly: a grid (`metrics/seams.py`)."""

import math
from dataclasses import dataclass

import torch

from ..metrics.seams import seam
from .subject import HELD_OUT, Subject


@dataclass(frozen=True)
class Seams:
    """drawn, real: mean step across borders of patches by that inside of them, of `count` drawings and of
    held-out pictures of their size. ratio: drawn by real; 1: no grid."""

    drawn: float
    real: float
    ratio: float
    patch: int
    count: int


def measure(subject: Subject) -> dict[str, Seams]:
    """Applies where pictures were drawn in patches of several pixels."""
    patch, size = subject.loaded.config.codec.stride, subject.settings.size
    drawn = [one.pixels for one in subject.drawn()]
    real = [subject.held_out.image(row) for row in subject.real_rows(subject.held_out, HELD_OUT)]
    if patch < 2 or min(size) <= patch or not drawn or not real:
        return {}
    of_drawn, of_real = (seam(torch.stack(pictures), patch) for pictures in (drawn, real))
    if not (math.isfinite(of_drawn) and math.isfinite(of_real) and of_real):
        return {}
    return {"seams": Seams(of_drawn, of_real, of_drawn / of_real, patch, len(drawn))}
