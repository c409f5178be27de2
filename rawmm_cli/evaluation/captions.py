"""Evaluator: held-out pictures read greedily; right means that the text is one of their captions.

Of a text that is nearly right, letters and words count too (`metrics/text.py`): against the caption of the
picture that is nearest to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..metrics.text import edit_distance, plain, survival, words
from ..runs import sheets
from .results import Values, of_ratio
from .subject import HELD_OUT, Subject, evenly


@dataclass(frozen=True)
class Read:
    """accuracy: share of `count` pictures that were read right. right_means: what counts as right.

    Where it is the whole caption: characters, the mean of one minus the normalised edit distance; words, the
    mean share of the caption's words that are there; character_errors, edits by letters of all captions (the
    character error rate, CER)."""

    accuracy: float
    count: int
    right_means: str
    characters: float | None = None
    words: float | None = None
    character_errors: float | None = None
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
    return {"image_to_text": read(subject, right, "exact", letters=True)}


def read(
    subject: Subject, is_right: Callable[[int, str], bool], right_means: str, letters: bool = False
) -> Read:
    """Read held-out pictures that have a caption. is_right(row, text): of a picture, whether its text is
    right. letters: whether letters and words are compared too."""
    held_out = subject.held_out
    rows = evenly(
        [row for row in range(len(held_out)) if any(map(str.strip, held_out.captions[row]))], HELD_OUT
    )
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
    ids = subject.ids(rows)
    values = {"accuracy": Values(ids, right)}
    if letters:
        values |= by_letters(ids, texts, [held_out.captions[row] for row in rows])
    means = {name: float(np.mean(one.values)) for name, one in values.items()}
    return Read(**means, count=len(rows), right_means=right_means, values=values)


def by_letters(
    ids: Sequence[str], texts: Sequence[str], captions: Sequence[Sequence[str]]
) -> dict[str, Values]:
    """characters, words and character_errors of texts, each beside the nearest of its captions."""
    nearest = [
        max(filter(str.strip, own), key=lambda caption: survival(text, caption))
        for text, own in zip(texts, captions)
    ]
    pairs = [(plain(text), plain(caption)) for text, caption in zip(texts, nearest)]
    return {
        "characters": Values(ids, [survival(*pair) for pair in pairs]),
        "words": Values(ids, [words(*pair) for pair in pairs]),
        "character_errors": of_ratio(
            ids, [edit_distance(*pair) for pair in pairs], [len(caption) for _, caption in pairs]
        ),
    }


def _shown(right: list[bool], most: int) -> list[int]:
    """Numbers of the first pictures, and of the first that were read wrong, up to a quarter of `most`."""
    wrong_first = sorted(range(len(right)), key=lambda n: (right[n], n))
    return sorted({*range(min(len(right), most - most // 4)), *wrong_first[: most // 4]})
