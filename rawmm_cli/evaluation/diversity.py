"""Evaluator: how different drawings of one prompt are, in features and in bits, beside real pictures of it.

A prompt does not say which picture it means. What it leaves open a model takes from chance: from noise, or
from codes that are drawn one by one. How many bits that are is bounded from above by `bits`, the rate of a
Gaussian source with the covariance of the drawings to an error of ERROR levels, and from below by
`collision_bits`, by how often two drawings are alike to this error (`metrics/diversity.py`). A model that
draws one picture again and again has 0 of both; one that draws noise has more than real pictures: the aim is
theirs, not the most."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.datasets.portraits.captions import parse
from ..data.sets import class_captions
from ..metrics.diversity import alike, collisions, rate
from ..metrics.neighbours import spread
from .fidelity import Space, space_of
from .results import Values
from .subject import Drawing, Subject, drawings_of, evenly

SEEDS = 100  # drawings of a prompt
PROMPTS = 4  # where drawings are made for this: prompts, of CAPTIONS those with the most real pictures
CAPTIONS = 200
FEW = 20  # drawings, or real pictures, of a prompt: below, nothing is said of it
ERROR = 10.0  # root mean square, in levels of 255: a PSNR of 28 dB
TRAINING = 20_000  # training pictures in which real ones of a prompt are looked for


@dataclass(frozen=True)
class Diversity:
    """Means over `prompts` prompts of so many drawings (`each`) and as many real pictures, None where there
    are too few. distance: mean distance of two of them in the features `space`. bits: rate of a picture, to
    an error of `error` levels. collision_bits: of all pairs of drawings of one prompt together; no more than
    those of one pair among them. different: share of drawings that are not the same as an earlier one to the
    bit."""

    distance: float
    distance_real: float | None
    bits: float
    bits_real: float | None
    collision_bits: float
    collision_bits_real: float | None
    different: float
    prompts: int
    each: int
    error: float
    space: str
    values: dict[str, Values] = field(default_factory=dict)


class _Group(NamedTuple):
    """A prompt, drawings of it, and as many real pictures, or none where they are too few."""

    prompt: str
    drawn: list[Drawing]
    real: list[Tensor]


def measure(subject: Subject) -> dict[str, Diversity]:
    """Applies where pictures have classes, or captions that several real pictures fit."""
    groups = _of_classes(subject) if subject.classes is not None else _of_captions(subject)
    groups = [group for group in groups if group.real] or groups
    if not groups:
        return {}
    space = space_of(subject)
    drawn = [_measured([one.pixels for one in group.drawn], space) for group in groups]
    real = [_measured(group.real, space) for group in groups if group.real]
    names = [one.name for group in groups for one in group.drawn]
    distances = [distance for one in drawn for distance in one["distance"].tolist()]
    values = {
        "distance": Values(names, distances),
        "bits": Values([group.prompt for group in groups], [one["bits"] for one in drawn]),
    }
    return {
        "diversity": Diversity(
            distance=float(np.mean(distances)),
            distance_real=float(np.mean([one["distance"].mean() for one in real])) if real else None,
            bits=float(np.mean([one["bits"] for one in drawn])),
            bits_real=float(np.mean([one["bits"] for one in real])) if real else None,
            collision_bits=_collision_bits(drawn),
            collision_bits_real=_collision_bits(real) if real else None,
            different=float(np.mean([one["different"] for one in drawn])),
            prompts=len(groups),
            each=round(float(np.mean([len(group.drawn) for group in groups]))),
            error=ERROR,
            space=space.name,
            values=values,
        )
    }


def _measured(pictures: list[Tensor], space: Space) -> dict:
    flat = torch.stack(pictures).flatten(1)
    return {
        "distance": spread(space.see(pictures)),
        "bits": rate(flat, ERROR),
        "alike": alike(flat, ERROR),
        "different": len(flat.unique(dim=0)) / len(flat),
    }


def _collision_bits(measured: list[dict]) -> float:
    return collisions(*(sum(part) for part in zip(*(one["alike"] for one in measured))))


def _groups(subject: Subject, drawn: Sequence[Drawing], rows: dict[str, list[int]]) -> list[_Group]:
    """Drawings of each caption, where they are enough. rows: training pictures of each."""
    groups = []
    for caption, fitting in rows.items():
        own = [one for one in drawn if one.caption == caption][:SEEDS]
        if len(own) >= FEW:
            count = min(len(own), len(fitting)) if len(fitting) >= FEW else 0
            real = [subject.train.image(row) for row in evenly(fitting, count)]
            groups.append(_Group(caption, own[: count or SEEDS], real))
    return groups


def _of_classes(subject: Subject) -> list[_Group]:
    """What was drawn of each class, and training pictures of it."""
    names, train, _, _ = subject.classes
    labels, captions = train.labels, class_captions(train, names)
    rows = np.array(subject.real_rows(train, len(train)), dtype=int)
    own = {caption: rows[labels[rows] == label].tolist() for label, caption in enumerate(captions)}
    return _groups(subject, subject.drawn(), own)


def _of_captions(subject: Subject) -> list[_Group]:
    """Drawings for this, of the held-out captions that most training pictures have, or fit."""
    if not subject.draws or subject.train.holds_documents:
        return []
    captions = list(dict.fromkeys(filter(None, subject.held_out.all_texts())))
    rows = _fitting(subject, evenly(captions, CAPTIONS))
    chosen = sorted(rows, key=lambda caption: -len(rows[caption]))[:PROMPTS]
    if not chosen:
        return []
    documents = subject.draw(chosen, "diversity", SEEDS, max_text=4)
    drawn = drawings_of(documents, chosen, "diversity")
    return _groups(subject, drawn, {caption: rows[caption] for caption in chosen})


def _fitting(subject: Subject, captions: Sequence[str]) -> dict[str, list[int]]:
    """Training pictures that have each caption or, where a grammar wrote it, whose attributes it names."""
    train = subject.train
    rows = subject.real_rows(train, TRAINING)
    if not train.card.get("grammar"):
        return {text: [row for row in rows if text in train.captions[row]] for text in captions}
    known = {row: train.attributes(row).items() for row in rows}
    return {
        text: [row for row in rows if attributes.items() <= known[row]]
        for text in captions
        if (attributes := parse(text))
    }
