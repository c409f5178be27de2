"""Sums in pictures and words: interleaved documents of digits, a part of which is given, the rest to be
written and drawn.

    forwards     [3] plus [4] is seven [7]
    backwards    seven [7] is [3] plus [4]

Of a document the first pictures, none to all but one of them, are read; the others are drawn. So a model
learns to go on from any part: from pictures of its own as from real ones. Sums are of one digit; each of the
pairs of digits with such a sum is equally frequent. Pictures of the held-out split are held out."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from ...system.errors import ConfigError
from ...system.seeds import random
from ..items import DocumentItem, Piece, Source

PLUS, IS = " plus ", " is "
BACKWARDS = 4  # one of so many documents begins with the sum
HELD_OUT = 10  # every so many documents are held out


def sums(digits: Source, *, count: int) -> Source:
    """Source of `count` documents, made of a source of digits.

    Raises ConfigError where the count is less than 2."""
    if count < 2:
        raise ConfigError(f"the count of sums is {count}; allowed: at least 2; choose another --count")
    card = {name: value for name, value in digits.card.items() if name != "labels"}
    return Source(
        items=partial(_items, digits, count),
        open=digits.open,
        count=count,
        resizes=False,
        state=f"{count} sums of {digits.state}",
        holds_documents=True,
        card=card | {"grammar": "sums"},
    )


def _items(digits: Source, count: int, start: int) -> Iterator[DocumentItem]:
    names, pools = digits.card["labels"], defaultdict(list)
    for item in digits.items(0):
        pools[item.split, item.label].append(item.content)
    cells = [(a, b) for a in range(len(names)) for b in range(len(names) - a)]
    for n in range(start, count):
        split = "held_out" if n % HELD_OUT == HELD_OUT - 1 else "train"
        rng = random("sums", n)
        a, b = cells[int(rng.integers(len(cells)))]
        backwards, read = bool(rng.integers(BACKWARDS) == 0), int(rng.integers(3))
        contents = [pools[split, value] for value in (a, b, a + b)]
        first, second, result = (group[int(rng.integers(len(group)))] for group in contents)
        parts = forwards(first, second, names[a + b], result)
        if backwards:
            parts = [names[a + b] + " ", result, IS, first, PLUS, second]
        pieces, pictures = [], 0
        for part in parts:
            if isinstance(part, str):
                pieces.append(Piece(text=part))
                continue
            pieces.append(Piece(content=part, draw=pictures >= read))
            pictures += 1
        name = f"sums/{n}/{names[a]} {names[b]}" + " backwards" * backwards
        yield DocumentItem(name, tuple(pieces), split)


def forwards(first: object, second: object, word: str, result: object) -> list:
    """The parts of a document that ends with the sum."""
    return [first, PLUS, second, f"{IS}{word} ", result]
