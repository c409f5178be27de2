"""Evaluator of sets with classes: drawings seen by a classifier, and pictures read by their class.

The judge is a classifier, trained on the real training pictures alone and checked on the real held-out ones:
a convolutional network (`judges.py`), or a support vector machine where pictures are tiny or few. Text ->
image: the model is given a caption, must open the picture itself and draw; right means that the judge sees
the class of the caption. Image -> text: the model reads a held-out picture greedily; right means that its
text names the class, and no other."""

import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from ..core.text_tokenizer import END_IMAGE, EOS
from ..data.prepared import Prepared
from ..data.sets import class_captions
from ..runs import sheets
from ..sampling.session import drawing_facts
from . import captions, judges
from .results import Values
from .subject import HELD_OUT, Subject, evenly, first_picture

TRAINING = 10_000  # training pictures that the judge learns from, at most
NETWORK = "convolutional network"
SIDE, PICTURES = 16, 2_000  # from this side and so many pictures on the judge is a network
ROWS = 6  # drawings of each class on the sheet


@dataclass(frozen=True)
class Drawn:
    """accuracy: share of `count` drawings in which the judge sees the class, by_label for each class; how
    they were drawn; how many prompts were left without a picture; share that ended after it."""

    accuracy: float
    steps: int | None
    count: int
    solver: str | None
    guidance: float
    without_picture: int
    ended_after_picture: float
    by_label: dict[str, float]
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class JudgeFacts:
    """Share of real held-out pictures that the judge names right, and what it is."""

    held_out_accuracy: float
    kind: str


class Judge:
    """A classifier of real pictures, and what `kind` it is.

    It sees squares of `side` pixels; of other pictures the largest square in the centre. kept: as of
    `network_of`."""

    def __init__(self, train: Prepared, side: int, kept: bool = False):
        self.side = side
        rows = labelled(train)
        if side >= SIDE and len(rows) >= PICTURES:
            self.classify, kind = _says(network_of(train, side, kept)), NETWORK
        else:
            pictures = judges.squares([train.image(row) for row in rows], side)
            self.classify, kind = classifier(pictures, train.labels[rows])
        self.kind = f"{kind} on the real training pictures"
        if (train.heights != side).any() or (train.widths != side).any():
            self.kind += f", cropped to squares of {side} px"

    def __call__(self, pictures: list[Tensor]) -> np.ndarray:
        """Pictures (3, H, W) uint8 -> labels."""
        return self.classify(judges.squares(pictures, self.side))

    def accuracy(self, data: Prepared) -> float:
        """Share of real pictures named right."""
        rows = evenly([row for row in range(len(data)) if data.labels[row] >= 0], HELD_OUT)
        return float((self([data.image(row) for row in rows]) == data.labels[rows]).mean())


def classifier(
    pictures: Tensor, labels: np.ndarray, count: int | None = None
) -> tuple[Callable[[Tensor], np.ndarray], str]:
    """Trained on squares (n, 3, S, S) uint8 and their labels, two different ones at least -> a function from
    squares to labels, and its kind: a network where pictures are large and many enough (count; None: n), else
    an SVM."""
    if pictures.shape[-1] >= SIDE and (len(pictures) if count is None else count) >= PICTURES:
        return _says(_network(pictures, labels)), NETWORK
    return _support_vectors(pictures, labels), "SVM"


def _support_vectors(pictures: Tensor, labels: np.ndarray) -> Callable[[Tensor], np.ndarray]:
    """RBF support vector machine (scikit-learn) on the pixels, 0 to 1."""
    from sklearn.svm import SVC

    def vectors(squares: Tensor) -> np.ndarray:
        return squares.flatten(1).numpy() / 255.0

    learned = SVC(C=10, gamma="scale").fit(vectors(pictures), labels)
    return lambda squares: learned.predict(vectors(squares))


def network_of(train: Prepared, side: int, kept: bool) -> judges.Judges:
    """A network that learned the classes of the training pictures. kept: whether it stays in the folder of
    the set, where that can be written; of several processes that want it one trains it."""
    path = train.folder / f"classes-{side}"
    kept = kept and os.access(train.folder, os.W_OK)
    with FileLock(path.with_name(f".{path.name}.lock")) if kept else nullcontext():
        network = judges.load(path) if kept else None
        if network is None:
            rows = labelled(train)
            network = _network(judges.squares([train.image(row) for row in rows], side), train.labels[rows])
            if kept:
                judges.save(network, path)
    return network


def labelled(train: Prepared) -> list[int]:
    """Rows with a class, at most TRAINING of them."""
    return evenly(np.flatnonzero(train.labels >= 0).tolist(), TRAINING)


def _network(pictures: Tensor, labels: np.ndarray) -> judges.Judges:
    """The convolutional network of `judges.py`, with the class as its only attribute."""
    return judges.fitted(pictures, [{"class": str(label)} for label in labels])


def _says(network: judges.Judges) -> Callable[[Tensor], np.ndarray]:
    return lambda squares: np.array([int(name) for name in network(squares)[0]["class"]])


def measure(subject: Subject) -> dict[str, Drawn | captions.Read | JudgeFacts]:
    """Applies where pictures have classes."""
    if subject.classes is None:
        return {}
    labels, _, held_out, of_captions = subject.classes
    results, judge = {}, judge_of(subject)
    if judge is not None:
        if subject.draws:
            results["text_to_image"] = draw(subject, judge, labels)
    else:
        subject.notify("drawings are not judged: all training pictures are of one class")
    if any(held_out.captions) and not of_captions and subject.reads:
        right = lambda row, text: named(text, labels) == held_out.labels[row]  # noqa: E731
        results["image_to_text"] = captions.read(subject, right, "names the class")
    if judge is None:
        return results
    return results | {"judge": JudgeFacts(judge.accuracy(held_out), judge.kind)}


def judge_of(subject: Subject) -> Judge | None:
    """The judge of the subject's classes, made once; None where there is no more than one of them."""
    train = subject.classes.train if subject.classes else None
    if train is None or len(np.unique(train.labels[train.labels >= 0])) < 2:
        return None
    kept = subject.loaded.config.data.stream is None
    judge = subject.shared.get("judge") or Judge(train, subject.settings.size[0], kept)
    return subject.shared.setdefault("judge", judge)


def draw(subject: Subject, judge: Judge, labels: list[str]) -> Drawn:
    """Draw `per_label` pictures of each class, from its caption."""
    prompts, each, settings = (
        class_captions(subject.classes.train, labels),
        subject.per_label,
        subject.settings,
    )
    wanted = np.repeat(np.arange(len(labels)), each)
    # the model must open the picture itself: that needs one token; a few more are allowed
    documents = subject.draw(prompts, "evaluate", each, max_text=4)
    drawn = [first_picture(document) for document in documents]
    pictures, right = recognised(judge, drawn, wanted, settings.size)
    if subject.keep is not None:
        shown = [pictures[label * each + n] for n in range(min(ROWS, each)) for label in range(len(labels))]
        sheets.keep_drawn(subject.keep, shown, len(labels), prompts, max(1, 64 // settings.size[0]))
    facts = drawing_facts(settings)
    return Drawn(
        accuracy=float(right.mean()),
        steps=facts.get("steps"),
        count=len(wanted),
        solver=facts.get("solver"),
        guidance=facts["guidance"],
        without_picture=sum(pixels is None for pixels in drawn),
        ended_after_picture=float(np.mean([document[-2:] == [END_IMAGE, EOS] for document in documents])),
        by_label={label: round(float(right[wanted == n].mean()), 4) for n, label in enumerate(labels)},
        values={"accuracy": Values([f"{label} {n}" for label in labels for n in range(each)], right)},
    )


def recognised(
    judge: Judge, drawn: list[Tensor | None], wanted: np.ndarray, size: tuple[int, int]
) -> tuple[list[Tensor], np.ndarray]:
    """Drawings, black ones in the place of those that are None, and in which the judge sees the class that is
    wanted (n,)."""
    blank = torch.zeros(3, *size, dtype=torch.uint8)
    pictures = [blank if pixels is None else pixels for pixels in drawn]
    return pictures, (judge(pictures) == wanted) & np.array([pixels is not None for pixels in drawn])


def named(text: str, labels: list[str]) -> int | None:
    """The one label whose name stands in the text as words of its own, or None where there is none or more
    than one. A name inside a longer one, as "shirt" in "t-shirt", is not counted."""
    longest_first = sorted(filter(None, labels), key=len, reverse=True)
    names = "|".join(map(re.escape, longest_first)) or r"(?!)"
    numbers = {labels.index(name) for name in re.findall(rf"(?<!\w)(?:{names})(?!\w)", text)}
    return numbers.pop() if len(numbers) == 1 else None
