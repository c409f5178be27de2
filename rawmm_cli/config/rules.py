"""The rules by which settings follow from a set: one for each setting that may be `auto`. No torch here.

A rule is given the settings before it and the facts of the sets (`facts.py`), and says its reason; RULES has
their order. `automatic.py` goes through them."""

import math

import numpy as np

from ..core.text_tokenizer import VOCABULARY
from ..system.errors import ConfigError
from ..system.figures import counted
from .facts import Facts, Follows, Known, Rule
from .tokens import RawCodec

MARKS = 4  # <bos>, <image>, </image>, <eos>
FEWEST, FINE, MOST = 49, 144, 256  # patches of a picture
LARGE = 20  # millions of parameters, halved, from which on a model is large
WINDOW = 256  # positions of a row of a set of text alone
LONGEST = 1024  # positions of a row; longer texts are cut
LONG, MUCH = 24, 20_000  # bytes: texts so long, and so much of them in all, are cut into learned pieces
FEW = 100  # different captions, at most, that count as names of classes
TIMES, LEAST = 20, 40_000  # documents of a picture, and of a small model at least
STEPS, LEAST_BATCH = 500, 16  # smaller batches where there would be fewer steps
SMALL = 20_000  # training pictures below which a model must be kept from learning them by heart


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
    """The largest patch of which a picture has FEWEST (of a large model FINE) at least, among those that have
    no more values than the model can carry and of which a picture has MOST at most."""
    size, width = known["data.size"], known["backbone.width"]
    if not facts.sizes:
        return Follows(divisors(size)[-1] // 2 or 1, "")
    area, largest = facts.area, int(facts.areas.max())
    fitting = divisors(math.gcd(facts.common, size))
    possible = [p for p in fitting if largest / p**2 <= LONGEST and 4 <= area / p**2 <= 1.5 * MOST]
    if not possible:
        raise ConfigError(_no_patch(facts, size))
    usual = [patch for patch in possible if patch > 1 and area / patch**2 >= 9] or possible
    few = [patch for patch in usual if area / patch**2 <= MOST] or usual[-1:]
    narrow = [patch for patch in few if 3 * patch**2 <= 1.5 * width] or few[:1]
    least = FINE if _scale(known) >= LARGE else FEWEST
    fine = [patch for patch in narrow if area / patch**2 >= least]
    patch = fine[-1] if fine else narrow[0]
    return Follows(patch, in_words(facts, patch))


def in_words(facts: Facts, patch: int) -> str:
    """The patches of a usual picture, and their values."""
    return f"{facts.area / patch**2:,.0f} patches a picture, of {3 * patch**2} values"


def _no_patch(facts: Facts, size: int) -> str:
    what, largest = "document" if facts.documents else "picture", int(facts.areas.max())
    other = "64" if size > 64 else "8 --enlarge" if size < 8 else str(size // 8 * 8)
    return (
        f"codec.patch = auto: the largest common divisor of all sides of '{facts.name}' is {facts.common}, "
        f"and the largest {what} has {largest:,} pixels: no patch gives a picture 4 to {MOST:,} patches; "
        f"prepare the set again with --size {other}"
    )


def divisors(number: int) -> list[int]:
    """Divisors of a number, the least first."""
    return [n for n in range(1, number + 1) if number % n == 0]


# ------------------------------------------------------------------------------------------------------ texts


def _tokenizer(known: Known, facts: Facts) -> Follows:
    texts = facts.texts[facts.texts > 0]
    if not len(texts):
        return Follows("bytes", "the set has no text")
    middle = int(np.median(texts))
    learned = middle >= LONG and facts.amount >= MUCH
    why = "enough to learn pieces" if learned else "short" if middle < LONG else "too few to learn pieces"
    reason = f"texts of {middle:,} bytes at the median, {facts.amount:,} bytes in all: {why}"
    return Follows("bpe" if learned else "bytes", reason)


def _vocabulary(known: Known, facts: Facts) -> Follows:
    if known["text_tokenizer.kind"] == "bytes":
        return Follows(VOCABULARY, "")
    return Follows(512 if facts.amount < 10_000_000 else 4096, f"{facts.amount:,} bytes of text")


def _length(known: Known, facts: Facts) -> Follows:
    """The longest row with a picture or, where few are much longer than most, one that 99 % of them fit into;
    texts alone are read in windows."""
    pictures = facts.areas > 0
    if not pictures.any():
        return Follows(WINDOW, "the set has no pictures: texts are read in windows")
    rows, least = _positions(known, facts)[pictures], int(_picture(known, facts).max())
    longest, most = int(rows.max()), int(np.quantile(rows, 0.99))
    if not facts.exact:
        length = min(LONGEST, longest + longest // 8)
        return Follows(max(least, length), "the longest of the first rows, and an eighth more")
    if longest <= min(LONGEST, 2 * most):
        return Follows(longest, f"the longest row: {least} for pictures, the rest for text")
    return Follows(max(least, min(LONGEST, most)), f"99 % of the rows; the longest has {longest:,} positions")


def _long(known: Known, facts: Facts) -> Follows:
    """What is cut is told before the first step; learned pieces may be a little longer than those counted."""
    exact = facts.exact and known["text_tokenizer.kind"] == "bytes"
    rows = _positions(known, facts)[facts.areas > 0]
    fits = exact and rows.max(initial=0) <= known["train.length"]
    return Follows(None if fits or not len(rows) else "cut", "")


def _picture(known: Known, facts: Facts) -> np.ndarray:
    """Positions of the pictures and special tokens of every row."""
    config = known.config
    if config.codec.kind == "raw":
        config = config.model_copy(update={"codec": RawCodec(patch=known["codec.patch"])})
    marks = facts.marks
    if getattr(config.head, "line_ends", False):  # of rows as short as the narrowest picture's
        narrowest = min((width for _, width in facts.sizes), default=1)
        marks = marks + facts.areas // (config.codec.stride * narrowest)
    return config.positions_of(facts.areas) + marks


def _positions(known: Known, facts: Facts) -> np.ndarray:
    """Positions of every row."""
    learned = known["text_tokenizer.kind"] == "bpe"
    return _picture(known, facts) + (
        facts.pieces(known["text_tokenizer.vocabulary"]) if learned else facts.texts
    )


def _read(known: Known, facts: Facts) -> Follows:
    if known["baseline.kind"]:
        return Follows(0.0, f"baseline.kind = {known['baseline.kind']} draws and does not read")
    if not known.config.head.draws:
        return Follows(1.0, f"head.kind = {known.config.head.kind} draws nothing")
    if facts.documents:
        return Follows(0.5, "")  # documents are read as they are
    if not facts.captions:
        return Follows(0.0, "the set has no captions: pictures are drawn from nothing, and none is read")
    return Follows(0.5, f"{counted(facts.captions, 'picture')} with captions: half are drawn, half read")


def _shift(known: Known, facts: Facts) -> Follows:
    if facts.documents or not known["data.read"]:
        return Follows(0, "")
    if facts.rows >= SMALL:
        return Follows(0, f"{facts.rows:,} training pictures are enough as they are")
    pixels = max(1, known["data.size"] // 16)
    return Follows(
        pixels,
        f"only {counted(facts.rows, 'training picture')}: some that are read move, none is mirrored",
    )


# --------------------------------------------------------------------------------------------------- training


def _scale(known: Known) -> float:
    """How many times as many documents as a model of a million parameters a larger one needs."""
    return max(1.0, 12 * known["backbone.width"] ** 2 * known["backbone.depth"] / 2e6)


def _documents(known: Known, facts: Facts) -> Follows:
    least, most = (bound * _scale(known) for bound in (LEAST, 5 * LEAST))
    documents = int(round(min(max(TIMES * facts.rows, least), most), -3))
    what = counted(facts.rows, "document" if facts.documents else "picture")
    return Follows(documents, f"{what}, each {documents / max(facts.rows, 1):,.0f} times")


def _length_of_run(known: Known, facts: Facts) -> int:
    """Documents that the run is expected to see."""
    return facts.expected or known["train.documents"]


def _batch(known: Known, facts: Facts) -> Follows:
    batch, documents = 256 if _scale(known) >= LARGE else 64, _length_of_run(known, facts)
    while batch > LEAST_BATCH and documents / batch < STEPS:
        batch //= 2
    return Follows(batch, f"about {documents / batch:,.0f} steps")


def _warmup(known: Known, facts: Facts) -> Follows:
    documents = _length_of_run(known, facts)
    about, most = round(documents, -3) or documents, known["train.documents"] // 5
    if documents // 40 > most:
        return Follows(most, f"a fifth of {counted(known['train.documents'], 'document')}: more gain nothing")
    return Follows(documents // 40, f"a fortieth of about {about:,} documents")


def _every(share: int) -> Rule:
    return lambda known, facts: Follows(max(1, _length_of_run(known, facts) // share), "")


def _guidance(known: Known, facts: Facts) -> Follows:
    if not facts.captions or not facts.sizes:
        return Follows(1.0, "there is no caption to follow")
    return Follows(2.0 if facts.different <= FEW else 3.0, counted(facts.different, "different text"))


def _max_text(known: Known, facts: Facts) -> Follows:
    rows = facts.areas > 0
    text = int((_positions(known, facts) - _picture(known, facts))[rows].max(initial=0))
    if facts.documents or not text:
        return Follows(min(WINDOW, max(8, text)), "")
    return Follows(max(8, text), f"the longest caption has {text:,} tokens")


def _context(known: Known, facts: Facts) -> Follows:
    return Follows(max(1024, 2 * known["train.length"]), "")


RULES: dict[str, Rule] = {
    "data.size": _size,
    "codec.patch": _patch,
    "text_tokenizer.kind": _tokenizer,
    "text_tokenizer.vocabulary": _vocabulary,
    "train.length": _length,
    "data.long": _long,
    "data.read": _read,
    "data.shift": _shift,
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
