"""Evaluator: drawings that are copies of training pictures, beside how near unseen real pictures are to them.

A drawing counts as a copy where it is nearer to its nearest training picture than all but 1 % of real
held-out pictures are to theirs: a model that copies nothing has about 1 %. `nearer` asks the same of all
drawings, by the statistic of the test of Meehan et al. (2020, arXiv 2004.05675). Neither tells a copy from a
drawing that is merely plain or blurred: that is near to everything. So both stand beside precision, recall,
sharpness, and the drawings themselves."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.prepared import Prepared
from ..metrics import copies
from .results import Values
from .subject import Subject, evenly

MOST = 500  # drawings, and held-out pictures
KNOWN, BATCH = 20_000, 2_000  # training pictures, at most; at a time
VALUES = 250_000_000  # of them, at most: less of large pictures
SHIFT = 2  # pixels
RARE = 0.01


@dataclass(frozen=True)
class Copies:
    """copies: share of `count` drawings that are nearer to one of `known` training pictures than all but 1 %
    of `real_count` held-out pictures; shifted: the same where pictures may be moved by SHIFT pixels.
    identical: share that is the same as a training picture to the bit; identical_real: of held-out pictures.
    nearer: chance that a drawing is nearer than a held-out picture; 0.5: alike. distance: quantiles of the
    distances, in levels of 255."""

    copies: float
    shifted: float
    identical: float
    identical_real: float
    nearer: float
    distance: dict[str, dict[str, float]]
    count: int
    real_count: int
    known: int
    values: dict[str, Values] = field(default_factory=dict)


def measure(subject: Subject) -> dict[str, Copies]:
    """Applies where pictures were drawn, and some of their size were trained on and are held out."""
    drawn, rows = evenly(subject.drawn(), MOST), subject.real_rows(subject.held_out, MOST)
    height, width = subject.settings.size
    known = subject.real_rows(subject.train, min(KNOWN, VALUES // (3 * height * width)))
    if not drawn or not rows or not known:
        return {}
    pictures = torch.stack([one.pixels for one in drawn] + [subject.held_out.image(row) for row in rows])
    parts = [known[at : at + BATCH] for at in range(0, len(known), BATCH)]
    batches = lambda: _batches(subject.train, parts)  # noqa: E731
    still = copies.nearest(pictures, batches())
    moved = copies.nearest(pictures, batches(), min(SHIFT, height // 4, width // 4))
    same = copies.identical(pictures, batches()).double()
    names, count = [one.name for one in drawn], len(drawn)
    single = {
        "copies": _copied(still, count),
        "shifted": _copied(moved, count),
        "identical": same[:count],
        "nearer": copies.nearer(still[:count], still[count:]),
    }
    return {
        "copies": Copies(
            **{name: float(each.mean()) for name, each in single.items()},
            identical_real=float(same[count:].mean()),
            distance={"drawn": _quantiles(still[:count]), "real": _quantiles(still[count:])},
            count=count,
            real_count=len(rows),
            known=len(known),
            values={name: Values(names, each.tolist()) for name, each in single.items()},
        )
    }


def _batches(train: Prepared, parts: list[list[int]]) -> Iterator[Tensor]:
    return (torch.stack([train.image(row) for row in part]) for part in parts)


def _copied(distance: Tensor, count: int) -> Tensor:
    """Whether each of the first `count`, drawings, is nearer than all but RARE of the others, real ones."""
    return (distance[:count] < distance[count:].quantile(RARE)).double()


def _quantiles(distance: Tensor) -> dict[str, float]:
    quantiles = {"min": 0.0, "p01": RARE, "median": 0.5}
    return {name: round(float(distance.quantile(q)), 3) for name, q in quantiles.items()}
