"""Examples for people to look at: what a model draws from captions, beside real pictures that have them, and
what it writes about pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..data.prepared import Prepared
from .attributes import fits
from .subject import Subject, evenly, first_picture


@dataclass(frozen=True, eq=False)
class Drawn:
    """Drawings (3, H, W) uint8 from one caption. real: a picture that has this caption. held_out: whether
    nothing with this caption was trained on."""

    caption: str
    pictures: list[Tensor]
    real: Tensor | None = None
    held_out: bool = False


@dataclass(frozen=True, eq=False)
class Read:
    """A picture (3, H, W) uint8, its captions, and what the model wrote. held_out: whether it was not trained
    on. right: whether that is one of the captions or, where a grammar wrote them, says nothing wrong."""

    picture: Tensor
    truth: list[str]
    said: str
    right: bool
    held_out: bool


def captions_of(subject: Subject, trained: int, held_out: int) -> list[tuple[str, Tensor, bool]]:
    """Different captions, each with a real picture that has it, and whether it is of the held-out split
    alone: at most so many of each split, at equal distances."""
    seen = _first_rows(subject.train)
    new = {text: row for text, row in _first_rows(subject.held_out).items() if text not in seen}
    chosen = []
    for rows, split, most in ((seen, subject.train, trained), (new, subject.held_out, held_out)):
        texts = list(rows)
        chosen += [
            (texts[n], split.image(rows[texts[n]]), split is subject.held_out)
            for n in evenly(range(len(texts)), most)
        ]
    return chosen


def _first_rows(split: Prepared) -> dict[str, int]:
    """First caption of each picture -> the first picture that has it."""
    rows: dict[str, int] = {}
    for row, texts in enumerate(split.captions):
        if text := next(filter(None, texts), ""):
            rows.setdefault(text, row)
    return rows


def draw(subject: Subject, captions: Sequence[tuple[str, Tensor | None, bool]], count: int) -> list[Drawn]:
    """`count` drawings from each caption; fewer where the model opens no picture after it. captions: as of
    `captions_of`. A caption may be empty: then the model writes one first, where it has learned to."""
    documents = subject.draw([caption for caption, _, _ in captions], "examples", count)
    pictures = [first_picture(document) for document in documents]
    return [
        Drawn(
            caption,
            [one for one in pictures[count * n : count * (n + 1)] if one is not None],
            real,
            held_out,
        )
        for n, (caption, real, held_out) in enumerate(captions)
    ]


def read(subject: Subject, held_out: int, trained: int) -> list[Read]:
    """Pictures that have a caption, read greedily: at most so many of each split, the held-out ones first."""
    chosen = []
    for split, most in ((subject.held_out, held_out), (subject.train, trained)):
        rows = evenly([row for row, texts in enumerate(split.captions) if any(texts)], most)
        chosen += [(split, row) for row in rows]
    said = subject.read([split.image(row) for split, row in chosen])
    return [
        Read(
            split.image(row),
            list(filter(None, split.captions[row])),
            text,
            _right(split, row, text),
            split is subject.held_out,
        )
        for (split, row), text in zip(chosen, said)
    ]


def _right(split: Prepared, row: int, text: str) -> bool:
    if text.strip() in [caption.strip() for caption in split.captions[row]]:
        return True
    return bool(split.card.get("grammar")) and fits(text, split.attributes(row))
