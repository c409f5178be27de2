"""Evaluator of sums in pictures and words: a part is given in pictures of held-out digits, the model writes
and draws the rest.

    both      [3] plus [4]      -> is seven [7]
    first     [3] plus          -> [4] is seven [7]
    nothing                     -> [3] plus [4] is seven [7]
    result    seven [7] is      -> [3] plus [4]

The judge of digits (`classes.py`), which learned from real training pictures alone, says which digits were
drawn. A text is right where it names the sum of both digits, given or as the judge sees them; a picture where
the judge sees that sum in it. What is drawn first is made up: a text that is right then follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from ..data.datasets.digits import NAMES, digits
from ..data.datasets.sums import IS, PLUS
from ..data.images import WHITE
from ..data.prepared import Prepared, PreparedDocuments
from ..data.rows import PICTURES, picture_row
from ..metrics.statistics import interval
from ..sampling.prompt import passages
from .classes import Judge
from .results import Values
from .subject import Subject, evenly

GIVEN = ("both", "first", "nothing", "result")
DRAWN = {"both": 1, "first": 2, "nothing": 3, "result": 2}  # pictures that are left to draw


@dataclass(frozen=True)
class Sums:
    """text, picture: shares of `count` sums of two held-out pictures that are right as text and as picture,
    each with the ends of its 95 % interval. by_given: the same by what was given. judge: share of real
    held-out digits that the judge names right."""

    text: float
    text_low: float
    text_high: float
    picture: float
    picture_low: float
    picture_high: float
    count: int
    judge: float
    by_given: dict[str, dict[str, Any]]
    values: dict[str, Values] = field(default_factory=dict)


def measure(subject: Subject) -> dict[str, Sums]:
    """Applies to the set of sums."""
    held_out = subject.held_out
    if subject.train.card.get("grammar") != "sums" or not held_out.holds_documents or not subject.reads:
        return {}
    judge, by_given, values = Judge(_digits("train"), subject.settings.size[0]), {}, {}
    for given in GIVEN:
        if rows := _rows(held_out, given == "result", subject.prompts):
            shares = _right(subject, judge, given, rows)
            by_given[given] = _measured(shares) | {"count": len(rows)}
            ids = subject.ids(rows)
            values |= {f"by_given.{given}.{kind}": Values(ids, right) for kind, right in shares.items()}
    if "both" not in by_given:
        return {}
    values |= {kind: values[f"by_given.both.{kind}"] for kind in ("text", "picture")}
    known = judge.accuracy(_digits("held_out"))
    return {"sums": Sums(**by_given["both"], judge=known, by_given=by_given, values=values)}


def _rows(held_out: PreparedDocuments, backwards: bool, most: int) -> list[int]:
    """Rows of one of both forms of documents."""
    first_is_text = [isinstance(held_out.pieces(row)[0], str) for row in range(len(held_out))]
    return evenly([row for row, text in enumerate(first_is_text) if text == backwards], most)


def _right(subject: Subject, judge: Judge, given: str, rows: Sequence[int]) -> dict[str, list[bool]]:
    """Whether the text and the picture of each row are right; only the picture where the result is given."""
    prompts = [_prompt(subject.held_out, row, given) for row in rows]
    documents = subject.go_on(prompts, f"sums of {given}", max_pictures=DRAWN[given])
    written = [passages(subject.loaded.model.tokenizer, document) for document in documents]
    seen = _seen(judge, written)
    texts, pictures = [], []
    for row, parts, digits_drawn in zip(rows, written, seen):
        words = [part.strip() for part in parts if isinstance(part, str)]
        whole = len(digits_drawn) == DRAWN[given]
        known = _known(subject.held_out, row)
        if given == "result":
            pictures.append(whole and sum(digits_drawn) == sum(known))
            continue
        operands = [*known[: {"both": 2, "first": 1, "nothing": 0}[given]], *digits_drawn][:2]
        total = sum(operands) if len(operands) == 2 else -1
        texts.append(0 <= total <= 9 and bool(words) and words[-1] == f"{IS.strip()} {NAMES[total]}")
        pictures.append(whole and digits_drawn[-1] == total)
    return {kind: right for kind, right in (("text", texts), ("picture", pictures)) if right}


def _measured(shares: dict[str, list[bool]]) -> dict[str, Any]:
    return {name: value for kind, right in shares.items() for name, value in _share(kind, right)}


def _prompt(held_out: PreparedDocuments, row: int, given: str) -> list[str | Tensor]:
    first, second = (held_out.image(row, n) for n in range(2))
    match given:
        case "both":
            return [first, PLUS, second]
        case "first":
            return [first, PLUS]
        case "nothing":
            return []
        case _:
            return [held_out.pieces(row)[0], first, IS]


def _known(held_out: PreparedDocuments, row: int) -> list[int]:
    """Both digits of a document, by the name of its source: "sums/17/three four"."""
    return [NAMES.index(word) for word in held_out.source(row).split("/")[-1].split()[:2]]


def _seen(judge: Judge, written: Sequence[list[str | Tensor]]) -> list[list[int]]:
    """The digits that the judge sees in the pictures of each document."""
    pictures = [part for parts in written for part in parts if isinstance(part, Tensor)]
    labels = iter(judge(pictures).tolist() if pictures else [])
    return [[next(labels) for part in parts if isinstance(part, Tensor)] for parts in written]


def _share(name: str, right: Sequence[bool]) -> list[tuple[str, float]]:
    low, high = interval(sum(right), len(right))
    return [(name, float(np.mean(right))), (f"{name}_low", low), (f"{name}_high", high)]


def _digits(split: str) -> Prepared:
    """A split of the real digits, in memory."""
    source = digits()
    rows = [
        picture_row(source.open(item.content, WHITE), list(item.captions), item.label)
        for item in source.items(0)
        if item.split == split
    ]
    return Prepared(Path(), split, pa.Table.from_pylist(rows, PICTURES), source.card)
