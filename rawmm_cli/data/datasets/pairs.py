"""Pairs of pictures of another source, and a question whose answer neither picture has alone.

    <image>[3]</image> <image>[4]</image>  same? different     larger? second     sum? seven
    <image>[3]</image> <image>[4]</image>  first? three        second? four

Each pair is in two documents: one asks such a question, the other the control, which one picture answers. The
classes of both pictures are uniform, so the answer that is most frequent behind a picture alone is right no
more often than chance (`chance` of the card). Of pairs of the held-out split both pictures are held out.

same?     half of the pairs, whatever the class of one of them
larger?   chance is 60 %: the largest class is never the smaller one. No distribution of pairs with uniform
          classes has less; this one pairs each class with the two next ones of a circle 0 1 3 5 .. 4 2
sum?      all pairs alike; the most frequent sum behind a class is as likely as any other"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from ...system.errors import ConfigError
from ...system.seeds import random
from ..items import DocumentItem, Item, Piece, Source

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
ATTRIBUTES = {"clothes_colour": "clothes", "expression": "expression"}  # of portraits: what is asked for
HELD_OUT = 10  # every so many pairs are held out; of sources without splits, every so many pictures
PLACES = ("first", "second")
Cells = Sequence[tuple[int, int]]  # classes of both pictures


@dataclass(frozen=True, eq=False)
class Question:
    """A question, the pairs of classes that it is asked of, all equally often, and its answer for each.

    what: the attribute of the pictures; `values`: the names of its classes."""

    words: str
    what: str
    values: tuple[str, ...]
    cells: Cells
    answer: Callable[[int, int], str]

    @cached_property
    def mixed(self) -> Cells:
        """The pairs in an order in which they are about as balanced wherever it is cut."""
        order = random("pairs", self.words).permutation(len(self.cells))
        return [self.cells[n] for n in order]

    @cached_property
    def chance(self) -> float:
        """Share of right answers, at most, where one of the pictures is not seen."""
        shares = []
        for place in (0, 1):
            answers = Counter((cell[place], self.answer(*cell)) for cell in self.cells)
            best: dict[int, int] = defaultdict(int)
            for (value, _), count in answers.items():
                best[value] = max(best[value], count)
            shares.append(sum(best.values()) / len(self.cells))
        return max(shares)


def pairs(pictures: Source, *, count: int) -> Source:
    """Source of `count` documents about pairs of pictures of a source: the digits, or portraits.

    Raises ConfigError where the count is no even number from 2 on."""
    if count < 2 or count % 2:
        raise ConfigError(
            f"the count of pairs is {count}; allowed: even numbers from 2 on, as each pair has a question "
            "and its control; choose another --count"
        )
    asked = questions(pictures)
    controls = {control(question, place) for question in asked for place in PLACES}
    card = {name: value for name, value in pictures.card.items() if name != "labels"}
    return Source(
        items=partial(_items, pictures, asked, count),
        open=pictures.open,
        count=count,
        resizes=False,
        state=f"{count} documents about pairs of {pictures.state}",
        holds_documents=True,
        card=card
        | {
            "grammar": "pairs",
            "questions": {one.words: {"chance": one.chance, "control": False} for one in asked}
            | {words: {"chance": 1 / len(values), "control": True} for words, values in sorted(controls)},
        },
    )


def questions(pictures: Source) -> list[Question]:
    """The questions that are asked of pairs of pictures."""
    if names := tuple(pictures.card["labels"]):
        return [
            Question("same?", "", names, same(len(names)), _same),
            Question("larger?", "", names, larger(len(names)), lambda a, b: PLACES[b > a]),
            Question("sum?", "", names, alike(len(names)), lambda a, b: NUMBERS[a + b]),
        ]
    return [
        Question(f"same {words}?", what, values, same(len(values)), _same)
        for what, words in ATTRIBUTES.items()
        for values in [tuple(sorted({item.attributes[what] for item in pictures.items(0)}))]
    ]


def control(question: Question, place: str) -> tuple[str, tuple[str, ...]]:
    """The control question of the picture at a place, and its answers."""
    return f"{place} {ATTRIBUTES[question.what]}?" if question.what else f"{place}?", question.values


def same(classes: int) -> Cells:
    """Half of all pairs are of one class, and all classes are alike -> 2 V (V - 1) pairs."""
    different = [(a, b) for a, b in alike(classes) if a != b]
    return different + [(a, a) for a in range(classes)] * (classes - 1)


def larger(classes: int) -> Cells:
    """Pairs of different classes, each with two others: but for the smallest and the largest, one of them is
    larger and one is smaller -> 2 V pairs."""
    steps = [(a, a + 2) for a in range(classes - 2)] + [(0, 1), (classes - 2, classes - 1)]
    return steps + [(b, a) for a, b in steps]


def alike(classes: int) -> Cells:
    """Every pair once -> V V pairs."""
    return [(a, b) for a in range(classes) for b in range(classes)]


def _same(a: int, b: int) -> str:
    return "same" if a == b else "different"


def _items(pictures: Source, asked: list[Question], count: int, start: int) -> Iterator[DocumentItem]:
    pools = _pools(pictures, asked)
    for n in range(start, count):
        yield _document(pools, asked, *divmod(n, 2))


def _document(pools: dict, asked: list[Question], number: int, is_control: int) -> DocumentItem:
    """The question about pair `number`, or its control."""
    tens, rest = divmod(number, HELD_OUT)
    held_out = rest == HELD_OUT - 1
    within = tens if held_out else tens * (HELD_OUT - 1) + rest  # number of the pair in its split
    turn, which = divmod(within, len(asked))
    question, rng = asked[which], random("pairs", number)
    cell, split = question.mixed[turn % len(question.cells)], "held_out" if held_out else "train"
    groups = [pools[split, question.what, question.values[value]] for value in cell]
    first, second = (group[int(rng.integers(len(group)))] for group in groups)
    while second == first and len(groups[1]) > 1:  # two pictures, also of one class
        second = groups[1][int(rng.integers(len(groups[1])))]
    words, answer = question.words, question.answer(*cell)
    if is_control:
        place = int(rng.integers(2))
        (words, values), value = control(question, PLACES[place]), cell[place]
        answer = values[value]
    name = f"pairs/{number}/{words.removesuffix('?')}"
    return DocumentItem(
        name, (Piece(content=first), Piece(content=second), Piece(text=f"{words} {answer}")), split
    )


def _pools(pictures: Source, asked: list[Question]) -> dict[tuple[str, str, str], list[Any]]:
    """{(split, attribute, value): contents of pictures}."""
    pools = defaultdict(list)
    for n, item in enumerate(pictures.items(0)):
        split = item.split or ("held_out" if n % HELD_OUT == HELD_OUT - 1 else "train")
        for what in {question.what for question in asked}:
            pools[split, what, _value(pictures, item, what)].append(item.content)
    return pools


def _value(pictures: Source, item: Item, what: str) -> str:
    return item.attributes[what] if what else pictures.card["labels"][item.label]
