"""The rules by which settings follow from a set: one for each setting that may be `auto`. No torch here.

A rule is given the settings before it and the facts of the sets, and says its reason; RULES has their order.
`automatic.py` goes through them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..system.errors import ConfigError
from .model import Config
from .noise_law import Noise

MARKS = 4  # <bos>, <image>, </image>, <eos>
FEWEST, MOST = 49, 256  # patches of a picture
WINDOW = 256  # positions of a row of a set of text alone
LONGEST = 1024  # positions of a row; longer texts are cut
SHORT = 24, 64_000  # bytes: captions at least so long, of so much text together, are cut into learned pieces
FEW = 100  # different captions, at most, that count as names of classes
TIMES, LEAST = 20, 40_000  # documents of a picture, and of a small model at least
STEPS, LEAST_BATCH = 1_000, 16  # smaller batches where there would be fewer steps
SMALL = 20_000  # training pictures below which a model must be kept from learning them by heart


@dataclass(frozen=True)
class Facts:
    """What is known of the sets of a run. Arrays have an entry a row (a picture with its captions, or a
    document) of all splits and sets.

    name: of data.set. rows: that it trains on. sizes: {(height, width): pictures} of data.set, in pixels.
    common: greatest common divisor of all sides of all sets, 0 without pictures. areas: pixels of a row.
    texts: bytes of the longest caption of a row, or of all texts of a document. marks: special tokens of a
    row. captions: pictures that have any, of data.set. different: captions. documents: a row is a
    document of text and pictures. exact: all rows are here, not only the first of a stream.
    pieces(vocabulary): tokens of the texts of every row, as learned pieces. expected: documents that a run
    by time will see; 0: not known. noise(known): what the law says of the pictures."""

    name: str
    rows: int
    sizes: dict[tuple[int, int], int]
    common: int
    areas: np.ndarray
    texts: np.ndarray
    marks: np.ndarray
    captions: int
    different: int
    pieces: Callable[[int], np.ndarray]
    noise: "Callable[[Known], Noise]"
    documents: bool = False
    exact: bool = True
    expected: int = 0


class Known:
    """Settings by their dotted names; what follows from the set comes in its turn."""

    def __init__(self, config: Config):
        self.config, self.values = config, {}

    def __getitem__(self, key: str) -> Any:
        if key in self.values:
            return self.values[key]
        value = self.config
        for name in key.split("."):
            value = getattr(value, name, None)  # None: another kind of part has no such setting
        return value


class Follows(NamedTuple):
    """A value that was `auto`, and why it is what it is."""

    value: Any
    reason: str


Rule = Callable[[Known, Facts], Follows]


# --------------------------------------------------------------------------------------------------- pictures


def _size(known: Known, facts: Facts) -> Follows:
    if not facts.sizes:
        return Follows(8, "the set has no pictures")
    total = sum(facts.sizes.values())
    sides: dict[int, int] = {}
    for (height, width), count in facts.sizes.items():
        sides[min(height, width)] = sides.get(min(height, width), 0) + count
    side = max(sides, key=lambda side: (sides[side], -side))
    if len(facts.sizes) == 1:
        height, width = next(iter(facts.sizes))
        note = "" if height == width else "; drawings are square"
        return Follows(side, f"all {total:,} pictures have {width} x {height} pixels{note}")
    return Follows(side, f"the shorter side of {sides[side]:,} of {total:,} pictures; drawings are square")


def _patch(known: Known, facts: Facts) -> Follows:
    """The largest patch that gives FEWEST patches and has no more values than the model can carry."""
    size, width = known["data.size"], known["backbone.width"]
    if not facts.sizes:
        return Follows(divisors(size)[-1] // 2 or 1, "the set has no pictures")
    fitting = divisors(math.gcd(facts.common, size))
    area, largest = float(np.median(facts.areas)), int(facts.areas.max())
    possible = [patch for patch in fitting if largest / patch**2 <= LONGEST and area / patch**2 >= 4]
    if not possible:
        raise ConfigError(_no_patch(facts, size))
    usual = [patch for patch in possible if patch > 1 and area / patch**2 >= 9] or possible
    few = [patch for patch in usual if area / patch**2 <= MOST] or usual[-1:]
    narrow = [patch for patch in few if 3 * patch**2 <= 1.5 * width] or few[:1]
    fine = [patch for patch in narrow if area / patch**2 >= FEWEST]
    patch = fine[-1] if fine else narrow[0]
    return Follows(patch, in_words(facts, patch))


def in_words(facts: Facts, patch: int) -> str:
    """The patches of a usual picture, and their values."""
    return f"{np.median(facts.areas) / patch**2:,.0f} patches a picture, of {3 * patch**2} values"


def _no_patch(facts: Facts, size: int) -> str:
    largest = int(facts.areas.max())
    return (
        f"codec.patch = auto: the sides of the pictures of '{facts.name}' have {facts.common} as their "
        f"largest common divisor, and the largest picture has {largest:,} pixels: no patch gives 4 to "
        f"{LONGEST:,} patches; prepare the set again with --size {64 if size > 64 else max(8, size // 8 * 8)}"
    )


def divisors(number: int) -> list[int]:
    """Divisors of a number, the least first."""
    return [n for n in range(1, number + 1) if number % n == 0]


# ------------------------------------------------------------------------------------------------------ texts


def _tokenizer(known: Known, facts: Facts) -> Follows:
    texts = facts.texts[facts.texts > 0]
    if not len(texts):
        return Follows("bytes", "the set has no text")
    middle, total, (length, amount) = int(np.median(texts)), int(texts.sum()), SHORT
    if middle >= length and total >= amount:
        return Follows(
            "bpe", f"half of the texts have {middle:,} bytes or more, {total:,} in all: pieces are learned"
        )
    few = "too little to learn pieces" if middle >= length else "short"
    return Follows("bytes", f"half of the texts have {middle:,} bytes or more, {total:,} in all: {few}")


def _vocabulary(known: Known, facts: Facts) -> Follows:
    total = int(facts.texts.sum())
    return Follows(512 if total < 10_000_000 else 4096, f"{total:,} bytes of text")


def _length(known: Known, facts: Facts) -> Follows:
    """The longest row, or, where few rows are much longer than most, one that 99 % of them fit into."""
    if not facts.sizes:
        return Follows(WINDOW, "the set has no pictures: texts are read in windows")
    rows, least = _positions(known, facts), int(_picture(known, facts).max())
    longest, most = int(rows.max()), int(np.quantile(rows, 0.99))
    if not facts.exact:
        return Follows(
            max(least, min(LONGEST, longest + longest // 8)), "longest of the first rows, and an eighth"
        )
    if longest <= min(LONGEST, 2 * most):
        return Follows(longest, f"the longest row: {least} for its picture, the rest for its text")
    return Follows(max(least, min(LONGEST, most)), f"99 % of the rows; the longest has {longest:,} positions")


def _long(known: Known, facts: Facts) -> Follows:
    if (
        facts.exact
        and known["text_tokenizer.kind"] == "bytes"
        and _positions(known, facts).max() <= known["train.length"]
    ):
        return Follows(None, "every row fits into train.length")
    return Follows("cut", "a text that does not fit into train.length is cut")


def _picture(known: Known, facts: Facts) -> np.ndarray:
    """Positions of the pictures and special tokens of every row."""
    return facts.areas // known["codec.patch"] ** 2 + facts.marks


def _positions(known: Known, facts: Facts) -> np.ndarray:
    """Positions of every row."""
    learned = known["text_tokenizer.kind"] == "bpe"
    return _picture(known, facts) + (
        facts.pieces(known["text_tokenizer.vocabulary"]) if learned else facts.texts
    )


def _read(known: Known, facts: Facts) -> Follows:
    if facts.documents:
        return Follows(0.5, "documents of text and pictures are read as they are")
    if not facts.captions:
        return Follows(0.0, "the set has no captions: pictures are drawn from nothing, and none is read")
    return Follows(0.5, f"{facts.captions:,} pictures have captions: half are drawn, half read")


def _shift(known: Known, facts: Facts) -> Follows:
    if facts.rows >= SMALL or not known["data.read"]:
        return Follows(0, f"{facts.rows:,} training pictures are enough as they are")
    pixels = max(1, known["data.size"] // 16)
    return Follows(
        pixels, f"only {facts.rows:,} training pictures: some that are read are moved; none is mirrored"
    )


def _noise(part: str) -> Rule:
    def rule(known: Known, facts: Facts) -> Follows:
        noise = facts.noise(known)
        return Follows(getattr(noise, part), noise.reason)

    return rule


# --------------------------------------------------------------------------------------------------- training


def _scale(known: Known) -> float:
    """How many times as many documents as a model of a million parameters a larger one needs."""
    return max(1.0, 12 * known["backbone.width"] ** 2 * known["backbone.depth"] / 2e6)


def _documents(known: Known, facts: Facts) -> Follows:
    least, most = (bound * _scale(known) for bound in (LEAST, 5 * LEAST))
    documents = round(min(max(TIMES * facts.rows, least), most), -3)
    return Follows(
        int(documents), f"each of {facts.rows:,} rows about {documents / max(facts.rows, 1):,.0f} times"
    )


def _length_of_run(known: Known, facts: Facts) -> int:
    """Documents that the run is expected to see."""
    return facts.expected or known["train.documents"]


def _batch(known: Known, facts: Facts) -> Follows:
    batch, documents = 256 if _scale(known) >= 20 else 64, _length_of_run(known, facts)
    while batch > LEAST_BATCH and documents / batch < STEPS:
        batch //= 2
    return Follows(batch, f"about {documents / batch:,.0f} steps")


def _warmup(known: Known, facts: Facts) -> Follows:
    documents = _length_of_run(known, facts)
    return Follows(documents // 40, f"a fortieth of about {round(documents, -3):,} documents")


def _every(share: int) -> Rule:
    return lambda known, facts: Follows(max(1, _length_of_run(known, facts) // share), "")


def _guidance(known: Known, facts: Facts) -> Follows:
    if not facts.captions:
        return Follows(1.0, "there is no caption to follow")
    return Follows(2.0 if facts.different <= FEW else 3.0, f"{facts.different:,} different captions")


def _max_text(known: Known, facts: Facts) -> Follows:
    text = _positions(known, facts) - _picture(known, facts)
    return Follows(max(8, int(text.max())), "the longest text")


def _context(known: Known, facts: Facts) -> Follows:
    return Follows(max(1024, 2 * known["train.length"]), "")


NOISE: dict[str, Rule] = {
    "head.time_mean": _noise("mean"),
    "head.time_spread": _noise("spread"),
    "loss.image": _noise("weight"),
}
RULES: dict[str, Rule] = {
    "data.size": _size,
    "codec.patch": _patch,
    "text_tokenizer.kind": _tokenizer,
    "text_tokenizer.vocabulary": _vocabulary,
    "train.length": _length,
    "data.long": _long,
    "data.read": _read,
    "data.shift": _shift,
    **NOISE,
    "train.documents": _documents,
    "train.batch": _batch,
    "train.warmup": _warmup,
    "train.log_every": _every(100),
    "train.sample_every": _every(4),
    "train.save_every": _every(4),
    "sample.guidance": _guidance,
    "sample.max_text": _max_text,
    "sample.context": _context,
}
