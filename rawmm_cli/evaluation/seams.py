"""Evaluator: seams of patches and sharpness of the drawings of the other evaluators, beside those of real
pictures.

What users of raw patches see first where a model draws badly: a grid (`metrics/seams.py`), blurred edges, or
noise (`metrics/pixels.py`)."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..metrics.pixels import edges, fine
from ..metrics.seams import steps
from .results import Values, of_ratio
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
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Sharpness:
    """edges_drawn, edges_real: mean square of the steps between neighbouring pixels, in levels^2; ratio:
    drawn by real. fine_drawn, fine_real: share of the energy in fine structure. Both are below those of real
    pictures where drawings are blurred, and above where they have noise."""

    ratio: float
    edges_drawn: float
    edges_real: float
    fine_drawn: float | None
    fine_real: float | None
    count: int
    values: dict[str, Values] = field(default_factory=dict)


def measure(subject: Subject) -> dict[str, Seams | Sharpness]:
    """Applies where pictures were drawn; seams where they were drawn in patches of several pixels."""
    drawn = subject.drawn()
    real = [subject.held_out.image(row) for row in subject.real_rows(subject.held_out, HELD_OUT)]
    if not drawn or not real:
        return {}
    pictures, others, names = (
        torch.stack([one.pixels for one in drawn]),
        torch.stack(real),
        [one.name for one in drawn],
    )
    results: dict[str, Seams | Sharpness] = {}
    if seams := _seams(pictures, others, names, subject.loaded.config.codec.stride):
        results["seams"] = seams
    if sharpness := _sharpness(pictures, others, names):
        results["sharpness"] = sharpness
    return results


def _seams(drawn: Tensor, real: Tensor, names: list[str], patch: int) -> Seams | None:
    if patch < 2 or min(drawn.shape[2:]) <= patch:
        return None
    across, inside = steps(drawn, patch)
    of_drawn, of_real = (_ratio(*pair) for pair in ((across, inside), steps(real, patch)))
    if not (math.isfinite(of_drawn) and math.isfinite(of_real) and of_real):
        return None
    single = of_ratio(names, (across / of_real).tolist(), inside.tolist())
    return Seams(of_drawn, of_real, of_drawn / of_real, patch, len(drawn), {"ratio": single})


def _ratio(across: Tensor, inside: Tensor) -> float:
    """As `metrics/seams.py: seam`."""
    return float(across.mean() / inside.mean()) if inside.mean() else math.nan


def _sharpness(drawn: Tensor, real: Tensor, names: list[str]) -> Sharpness | None:
    of_drawn, of_real = edges(drawn), float(edges(real).mean())
    if not of_real:
        return None
    ratios = of_drawn / of_real
    fine_drawn, fine_real = (float(fine(pictures).nanmean()) for pictures in (drawn, real))
    return Sharpness(
        ratio=float(ratios.mean()),
        edges_drawn=float(of_drawn.mean()),
        edges_real=of_real,
        fine_drawn=fine_drawn if math.isfinite(fine_drawn) else None,
        fine_real=fine_real if math.isfinite(fine_real) else None,
        count=len(drawn),
        values={"ratio": Values(names, ratios.tolist())},
    )
