"""Evaluator: held-out pictures read greedily; right means that the text is one of their captions."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import sheets
from .results import Values
from .subject import HELD_OUT, Subject, evenly


@dataclass(frozen=True)
class Read:
    """accuracy: share of `count` pictures that were read right. right_means: what counts as right."""

    accuracy: float
    count: int
    right_means: str
    values: dict[str, Values] = field(default_factory=dict)


def measure(subject: Subject) -> dict[str, Read]:
    """Applies where pictures have captions, but neither classes nor a grammar."""
    held_out, card = subject.held_out, subject.train.card
    if (
        not subject.reads
        or held_out.holds_documents
        or card.get("labels")
        or card.get("grammar")
        or not any(held_out.captions)
    ):
        return {}
    right = lambda row, text: text.strip() in held_out.captions[row]  # noqa: E731
    return {"image_to_text": read(subject, right, "exact")}


def read(subject: Subject, is_right: Callable[[int, str], bool], right_means: str) -> Read:
    """Read held-out pictures that have a caption. is_right(row, text): of a picture, whether its text is
    right."""
    held_out = subject.held_out
    rows = evenly([row for row in range(len(held_out)) if any(held_out.captions[row])], HELD_OUT)
    texts = subject.read([held_out.image(row) for row in rows])
    right = [bool(is_right(row, text)) for row, text in zip(rows, texts)]
    if subject.keep is not None:
        numbers = _shown(right, sheets.READ)
        pictures = [held_out.image(rows[n]) for n in numbers]
        truth = [held_out.captions[rows[n]][0] for n in numbers]
        sheets.keep_read(
            subject.keep,
            zip(numbers, pictures, truth, [texts[n] for n in numbers], [right[n] for n in numbers]),
        )
    values = {"accuracy": Values(subject.ids(rows), right)}
    return Read(float(np.mean(right)), len(rows), right_means, values)


def _shown(right: list[bool], most: int) -> list[int]:
    """Numbers of the first pictures, and of the first that were read wrong, up to a quarter of `most`."""
    wrong_first = sorted(range(len(right)), key=lambda n: (right[n], n))
    return sorted({*range(min(len(right), most - most // 4)), *wrong_first[: most // 4]})
