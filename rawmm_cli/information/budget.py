"""The entropy budget of a tokenizer: L tokens of a vocabulary of V codes can be lossless only if

    L log2 V >= H                                       (Su Jianlin, https://www.kexue.fm/archives/9984)

with H the bits of a picture: V^L outputs distinguish at most V^L pictures, and there are 2^H pictures of H
bits. Any two of the three give the third. Integers are exact and fractions stay fractions; irrational
logarithms are computed to as many digits as the answer needs. No torch and no numpy here. Next:
`catalogue.py`, published figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from fractions import Fraction

from .numerals import amount, power

SIDE, RATE = 64, Fraction(3)  # px and bits a byte, as in the post
MOST_LENGTH, MOST_VOCABULARY, MOST_BITS = 10**100, 2**4096, 10**100
EXACT = 4096  # bits up to which a vocabulary is given as an integer


@dataclass(frozen=True)
class Need:
    """H and its origin. bits: H, exact. anchor: a row of the catalogue, or `name` and `kind` of another
    origin. rate: bits a byte, where H is a rate times a size. sides: (height, width) of that size."""

    bits: Fraction
    anchor: dict = field(default_factory=lambda: {"name": "given", "bits_per_byte": None, "kind": "assumed"})
    rate: Fraction | None = None
    sides: tuple[int, int] | None = None

    @property
    def bounded(self) -> bool:
        """Whether H is a measured upper bound and no assumption: a capacity above it is enough; whether a
        smaller one is enough is not known."""
        return self.anchor["kind"] != "assumed"


@dataclass(frozen=True)
class Budget:
    """L, V and H. capacity_bits: L log2 V. share: capacity over H. lossless_possible: None where it is not
    known. solved: what was computed, "length", "vocabulary", or "verdict" where all three were known. says:
    all of it in sentences."""

    need: Need
    length: int | None
    vocabulary: int | None
    log2_vocabulary: int | float | None = None
    capacity_bits: int | float | None = None
    share: float | None = None
    lossless_possible: bool | None = None
    solved: str | None = None
    says: list[str] = field(default_factory=list)

    @property
    def bits_needed(self) -> int | float:
        """H, an integer where it is one."""
        return number(self.need.bits)


def solve(length: int | None, vocabulary: int | None, need: Need) -> Budget:
    """Budget of L tokens and V codes for H: of L and V, one gives the other and both give a verdict."""
    budget = Budget(need, length, vocabulary)
    if vocabulary is not None:
        budget = replace(budget, log2_vocabulary=number(log2(vocabulary)))
    if length is not None and vocabulary is not None:
        capacity = length * log2(vocabulary)
        enough = carries(length, vocabulary, need.bits)
        budget = replace(
            budget,
            capacity_bits=number(capacity),
            share=float(capacity / need.bits),
            solved="verdict",
            lossless_possible=True if enough else None if need.bounded else False,
        )
    elif length is not None:
        each = need.bits / length
        budget = replace(
            budget,
            log2_vocabulary=number(each),
            vocabulary=least_vocabulary(each),
            solved="vocabulary",
        )
    elif vocabulary is not None:
        budget = replace(budget, length=least_length(vocabulary, need.bits), solved="length")
    return replace(budget, says=sentences(budget))


def as_json(budget: Budget) -> dict:
    """The object of `rawmm entropy-budget --json`."""
    need = budget.need
    size = need.sides and {
        "height": need.sides[0],
        "width": need.sides[1],
        "bytes": 3 * need.sides[0] * need.sides[1],
    }
    return {
        "length": budget.length,
        "vocabulary": budget.vocabulary,
        "log2_vocabulary": budget.log2_vocabulary,
        "bits_needed": budget.bits_needed,
        "capacity_bits": budget.capacity_bits,
        "share": budget.share,
        "lossless_possible": budget.lossless_possible,
        "found": budget.solved,
        "anchor": need.anchor,
        "bits_per_byte": need.rate and number(need.rate),
        "size": size,
        "says": budget.says,
    }


def number(value: Fraction) -> int | float:
    """The value as an integer where it is one, else as a float."""
    return value.numerator if value.denominator == 1 else float(value)


def log2(vocabulary: int) -> Fraction:
    """log2 V: exact for powers of two, else to 60 digits."""
    if vocabulary & (vocabulary - 1) == 0:
        return Fraction(vocabulary.bit_length() - 1)
    return Fraction(_to(60, lambda: Decimal(vocabulary).ln() / Decimal(2).ln()))


def carries(length: int, vocabulary: int, bits: Fraction) -> bool:
    """Whether L log2 V >= H, without rounding."""
    return length >= least_length(vocabulary, bits)


def least_length(vocabulary: int, bits: Fraction) -> int:
    """The smallest L with L log2 V >= H."""
    if vocabulary & (vocabulary - 1) == 0:
        return -(-bits // (vocabulary.bit_length() - 1))
    return _ceiling(
        lambda: Decimal(bits.numerator) / bits.denominator * Decimal(2).ln() / Decimal(vocabulary).ln()
    )


def least_vocabulary(each: Fraction) -> int | None:
    """The smallest V with log2 V >= `each`; None where it would have more than EXACT bits."""
    if each > EXACT:
        return None
    if each.denominator == 1:
        return 2**each.numerator
    return _ceiling(lambda: Decimal(2) ** (Decimal(each.numerator) / each.denominator))


def _to(digits: int, value: Callable[[], Decimal]) -> Decimal:
    with localcontext() as context:
        context.prec = digits
        return value()


def _ceiling(value: Callable[[], Decimal]) -> int:
    """Ceiling of a number that is known not to be an integer (an irrational power of 2, or ratio of
    logarithms). The number of digits is doubled until both ends of its interval have the same ceiling."""
    digits = 60
    while True:
        estimate, slack = Fraction(_to(digits, value)), Fraction(1, 10 ** (digits - 8))
        low, high = math.ceil(estimate * (1 - slack)), math.ceil(estimate * (1 + slack))
        if low == high:
            return low
        digits *= 2


# -------------------------------------------------------------------------------------------------- sentences


def share(budget: Budget, of: str) -> str:
    """The capacity compared with H: 'L log2 V = 256 x 14 = 3,584 bits, 9.722% of H', or '32 times H'."""
    capacity = (
        f"{amount(budget.length)} x {amount(budget.log2_vocabulary)} = {amount(budget.capacity_bits)} bits"
    )
    part = f"{budget.share:.3%} of" if budget.share < 10 else f"{amount(round(budget.share))} times"
    if part == "100.000% of" and not budget.lossless_possible:
        part = "just under 100% of"
    return f"L log2 V = {capacity}, {part} {of}"


def sentences(budget: Budget) -> list[str]:
    """What the numbers mean, and how certain it is, in sentences."""
    if budget.need.bounded:
        return _of_a_bound(budget)
    needed, each = amount(budget.bits_needed), budget.log2_vocabulary
    match budget.solved:
        case "vocabulary":
            codes = power(budget.vocabulary, each)
            return [f"L = {amount(budget.length)} tokens: log2 V >= {amount(each)}, V >= {codes}"]
        case "length":
            codes = power(budget.vocabulary, each)
            return [f"V = {codes} ({amount(each)} bits): L >= {amount(budget.length)} tokens"]
        case "verdict" if budget.lossless_possible:
            verdict = (
                f"lossless is possible in principle: there are enough codes for {needed} bits. Only "
                f"bit-exact reconstructions show whether a tokenizer achieves it (`rawmm entropy-budget "
                f"codec`)"
            )
            return [share(budget, "H"), verdict]
        case "verdict":
            verdict = (
                f"not lossless if pictures hold {needed} bits: there are fewer sequences of codes than "
                f"pictures (proven by counting). That pictures hold {needed} bits is not proven: see the "
                f"anchor"
            )
            return [share(budget, "H"), verdict]
        case _:
            each = amount(budget.bits_needed / 256)
            return [f"with --L or --V the other follows, as --L 256: log2 V >= {each}"]


def _of_a_bound(budget: Budget) -> list[str]:
    """The same where H is an upper bound: it can show that a capacity is enough, not that it is too small."""
    files = budget.need.anchor["name"] == "images"
    mean = "the mean of these files" if files else "the mean of this anchor"
    unknown = "whether less is enough is not known (an upper bound of H)"
    each = budget.log2_vocabulary
    match budget.solved:
        case "vocabulary":
            codes = f"log2 V of {amount(each)}, V = {power(budget.vocabulary, each)}"
            return [f"L = {amount(budget.length)} tokens: {codes}, is enough for {mean}; {unknown}"]
        case "length":
            codes = f"V = {power(budget.vocabulary, each)} ({amount(each)} bits)"
            return [f"{codes}: L = {amount(budget.length)} tokens are enough for {mean}; {unknown}"]
        case "verdict" if budget.lossless_possible:
            verdict = (
                f"enough codes for {mean}. Only bit-exact reconstructions show whether a tokenizer achieves "
                f"it (`rawmm entropy-budget codec`)"
            )
            return [share(budget, "the bound"), verdict]
        case "verdict":
            verdict = f"fewer bits than {mean}; whether they are enough is not known (an upper bound of H)"
            return [share(budget, "the bound"), verdict]
        case _:
            each = amount(budget.bits_needed / 256)
            return [f"with --L or --V the other follows, as --L 256: log2 V of {each} is enough for {mean}"]
