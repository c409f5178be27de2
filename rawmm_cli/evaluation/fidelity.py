"""Evaluator: drawings as a set beside real held-out pictures, and what can be learned from them.

KID, precision, recall, density and coverage compare features; the result says which network gave them. It
never saw the model. All are measured between equal numbers of drawings and of held-out pictures, and once
more with training pictures in the place of drawings: about what a model without a fault would reach, though
the network that gives the features may have learned from these very pictures.

The classification accuracy score (Ravuri and Vinyals 2019, arXiv 1905.10887) is the accuracy of a classifier
that was trained on drawings, with the classes of their prompts, on real held-out pictures. A model that draws
one good picture of each class again and again has a low one, whatever the judge says of its drawings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.prepared import Prepared
from ..data.sets import class_captions
from ..metrics import mobilenet
from ..metrics.neighbours import neighbours
from . import attributes, classes, judges
from .judges import Judges, kid
from .results import Values
from .subject import HELD_OUT, Subject, evenly

MOST = 1_000  # pictures on each side
NEIGHBOURS = 5  # as in the paper on density and coverage
LEAST = judges.BATCH  # training pictures with classes from which a network learns features


@dataclass(frozen=True)
class Fidelity:
    """Between `count` drawings and as many held-out pictures, in the features `space`, with the balls of
    `neighbours` pictures (`metrics/neighbours.py`). real: the same of training pictures."""

    kid: float
    precision: float
    recall: float
    density: float
    coverage: float
    count: int
    neighbours: int
    space: str
    real: dict[str, float]
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """accuracy: share of held-out pictures that a classifier (`kind`) names right which was trained on
    `count` drawings. real: the same of one trained on `real_count` real training pictures, at most as many of
    each class."""

    accuracy: float
    real: float
    count: int
    real_count: int
    kind: str
    values: dict[str, Values] = field(default_factory=dict)


class Space(NamedTuple):
    """A feature space: its name, and pictures (3, H, W) uint8 -> features (n, d)."""

    name: str
    see: Callable[[list[Tensor]], Tensor]


def measure(subject: Subject) -> dict[str, Fidelity | Score]:
    """Applies to sets of pictures, where more than NEIGHBOURS were drawn and are held out."""
    results: dict[str, Fidelity | Score] = {}
    if (drawn := subject.drawn()) and (fidelity := compare(subject)):
        results["fidelity"] = fidelity
    if drawn and not subject.quick and subject.classes is not None and (score := learn(subject)):
        results["classification_accuracy_score"] = score
    return results


# ------------------------------------------------------------------------------------------------ as a set


def compare(subject: Subject) -> Fidelity | None:
    """Features of drawings beside those of held-out pictures; None of too few."""
    drawn, rows = subject.drawn(), subject.real_rows(subject.held_out, MOST)
    count = min(len(drawn), len(rows))
    training = subject.real_rows(subject.train, count)
    if count <= NEIGHBOURS or len(training) <= NEIGHBOURS:
        return None
    drawn, rows, space = evenly(drawn, count), evenly(rows, count), space_of(subject)
    held_out = space.see([subject.held_out.image(row) for row in rows])
    of_drawn = _compared(space.see([one.pixels for one in drawn]), held_out)
    of_real = _compared(space.see([subject.train.image(row) for row in training]), held_out)
    names, ids = [one.name for one in drawn], subject.ids(rows)
    of = {"precision": names, "density": names, "recall": ids, "coverage": ids}
    return Fidelity(
        **{name: float(each.mean()) for name, each in of_drawn.items()},
        count=count,
        neighbours=NEIGHBOURS,
        space=space.name,
        real={name: float(each.mean()) for name, each in of_real.items()},
        values={name: Values(names, of_drawn[name].tolist()) for name, names in of.items()},
    )


def _compared(features: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Each metric, of single pictures where it has such."""
    single = neighbours(features, real, NEIGHBOURS)._asdict()
    return {"kid": torch.tensor(kid(features, real)), **single}


def space_of(subject: Subject) -> Space:
    """The features in which pictures of a set are compared, the same for every evaluator."""
    if "space" not in subject.shared:
        subject.shared["space"] = _space(subject)
    return subject.shared["space"]


def _space(subject: Subject) -> Space:
    side = min(subject.settings.size)
    if subject.train.card.get("grammar") and subject.classes is None:
        judge, _ = attributes.judged(subject.folder, side, notify=subject.notify)
        return Space(f"{judges.FEATURES} features of the judges of portraits", _seen_by(judge))
    if subject.classes is not None and (network := of_classes(subject, side)) is not None:
        name = f"{judges.FEATURES} features of a network that learned the classes of training pictures"
        return Space(name, _seen_by(network))
    if weights := mobilenet.weights():
        network = mobilenet.load(weights, mobilenet.SIDES[side >= mobilenet.SMALL])
        parts = lambda pictures: torch.stack(pictures).split(judges.CHUNK // 5)  # noqa: E731
        return Space(network.name, lambda pictures: torch.cat([network(part)[0] for part in parts(pictures)]))
    return Space(f"{judges.FEATURES} features of a network of random weights", _seen_by(untrained(side)))


def _seen_by(network: Judges) -> Callable[[list[Tensor]], Tensor]:
    return lambda pictures: network(judges.squares(pictures, network.size))[1]


def untrained(side: int) -> Judges:
    """A network of random weights, the same ones always. Such features serve where nothing is known of the
    pictures (Naeem et al. 2020, arXiv 2002.09797, section 5.1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Judges(side, {}).to(memory_format=torch.channels_last)


def of_classes(subject: Subject, side: int) -> Judges | None:
    """A network that learned the classes of the training pictures; None where those are few or of one
    class."""
    train = subject.classes.train
    rows = classes.labelled(train)
    if len(rows) < LEAST or len(np.unique(train.labels[rows])) < 2:
        return None
    return classes.network_of(train, side, subject.loaded.config.data.stream is None)


# ------------------------------------------------------------------------------------------- what they teach


def learn(subject: Subject) -> Score | None:
    """A classifier that learns from drawings, and one that learns from as many real pictures; None where
    drawings are of one class, or none is held out."""
    names, train, held_out, _ = subject.classes
    number = {caption: label for label, caption in enumerate(class_captions(train, names))}
    drawn = [one for one in subject.drawn() if one.caption in number]
    labels = np.array([number[one.caption] for one in drawn])
    tested = [row for row in subject.real_rows(held_out, HELD_OUT) if held_out.labels[row] >= 0]
    alike = _alike(subject, labels)
    if not tested or min(len(np.unique(labels)), len(np.unique(train.labels[alike]))) < 2:
        return None
    side, shares = min(subject.settings.size), []
    pictures = judges.squares([held_out.image(row) for row in tested], side)
    sources = (
        ([one.pixels for one in drawn], labels),
        ([train.image(row) for row in alike], train.labels[alike]),
    )
    fewest = min(len(drawn), len(alike))  # decides on the kind of both
    for learned, classes_of in sources:
        classify, kind = classes.classifier(judges.squares(learned, side), classes_of, fewest)
        shares.append((classify(pictures) == held_out.labels[tested], kind))
    (right, kind), (real, _) = shares
    return Score(
        accuracy=float(right.mean()),
        real=float(real.mean()),
        count=len(drawn),
        real_count=len(alike),
        kind=kind,
        values={"accuracy": Values(subject.ids(tested), right.tolist())},
    )


def _alike(subject: Subject, labels: np.ndarray) -> list[int]:
    """Rows of training pictures, as many of each class as among the drawings where there are so many."""
    train: Prepared = subject.classes.train
    rows = np.array(subject.real_rows(train, len(train)), dtype=int)
    return [
        row
        for label, count in zip(*np.unique(labels, return_counts=True))
        for row in evenly(rows[train.labels[rows] == label].tolist(), int(count))
    ]
