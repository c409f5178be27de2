"""Evaluator of sets of pairs: questions about two held-out pictures, answered greedily, and controls that one
of them answers.

Every question is asked a second time with the second picture of another document of the same question. The
answer is then right as often as chance at most, if it needs both pictures; that of a control about the first
one does not change."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ..data.prepared import PreparedDocuments
from ..metrics.statistics import interval
from ..system.seeds import random
from .results import Values
from .subject import HELD_OUT, Subject, evenly


@dataclass(frozen=True)
class Questions:
    """by_question: of each question its `count`, `accuracy` with the ends of its 95 % interval (`low`,
    `high`), the same with the second picture of another document (`shuffled`, `shuffled_low`,
    `shuffled_high`), `chance`, the most that one picture alone gives, and whether it is a `control`.
    accuracy: over all questions that are no controls."""

    by_question: dict[str, dict[str, Any]]
    accuracy: float | None = None
    values: dict[str, Values] = field(default_factory=dict)


class _Asked(NamedTuple):
    pictures: list[Tensor]
    question: str
    answer: str


def measure(subject: Subject) -> dict[str, Questions]:
    """Applies where the card of the set has questions."""
    known = subject.train.card.get("questions")
    if not known or not subject.reads:
        return {}
    numbers = evenly(range(len(subject.held_out) // 2), HELD_OUT // 2)  # a question and its control each
    rows = [row for number in numbers for row in (2 * number, 2 * number + 1)]
    asked, ids = [_asked(subject.held_out, row) for row in rows], subject.ids(rows)
    right = _right(subject, asked)
    shuffled = _right(subject, _shuffled(asked))
    results, values, both = {}, {}, []
    for words, facts in known.items():
        rows = [n for n, one in enumerate(asked) if one.question == words]
        if rows:
            both += [] if facts.get("control") else rows
            values[f"by_question.{words}.accuracy"] = _values(ids, right, rows)
            results[words] = {
                "count": len(rows),
                **_share("accuracy", "", [right[n] for n in rows]),
                **_share("shuffled", "shuffled_", [shuffled[n] for n in rows]),
                **facts,
            }
    if not both:
        return {"questions": Questions(results, values=values)}
    values["accuracy"] = _values(ids, right, both)
    return {"questions": Questions(results, sum(values["accuracy"].values) / len(both), values)}


def _values(ids: Sequence[str], right: Sequence[bool], rows: Sequence[int]) -> Values:
    return Values([ids[n] for n in rows], [right[n] for n in rows])


def _asked(held_out: PreparedDocuments, row: int) -> _Asked:
    """A document of pictures and "question? answer"."""
    text = next(piece for piece in held_out.pieces(row) if isinstance(piece, str))
    question, _, answer = text.partition("? ")
    return _Asked([held_out.image(row, n) for n in range(2)], f"{question}?", answer)


def _shuffled(asked: Sequence[_Asked]) -> list[_Asked]:
    """The same questions, each with the second picture of another document that asks it."""
    rows, mixed = defaultdict(list), list(asked)
    for n, one in enumerate(asked):
        rows[one.question].append(n)
    for question, numbers in rows.items():
        order = random("shuffled", question).permutation(numbers).tolist()
        for n, other in zip(order, order[1:] + order[:1]):
            mixed[n] = asked[n]._replace(pictures=[asked[n].pictures[0], asked[other].pictures[1]])
    return mixed


def _right(subject: Subject, asked: Sequence[_Asked]) -> list[bool]:
    prompts = [[*one.pictures, one.question] for one in asked]
    documents = subject.go_on(prompts, "questions", max_pictures=0)
    decode = subject.loaded.model.tokenizer.decode
    return [decode(document).strip() == one.answer for document, one in zip(documents, asked)]


def _share(name: str, prefix: str, right: Sequence[bool]) -> dict[str, float]:
    low, high = interval(sum(right), len(right))
    return {name: sum(right) / len(right), f"{prefix}low": low, f"{prefix}high": high}
