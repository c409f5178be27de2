"""The entropy budget of a tokenizer: L tokens of a vocabulary of V can only be lossless if

    L log2 V >= H                                       (Su Jianlin, https://www.kexue.fm/archives/9984)

with H the bits that a picture holds. V^L different outputs tell at most V^L pictures apart, and pictures of H
bits are 2^H. Any two of the three give the third. Integers are exact and fractions stay fractions; logarithms
that are not rational are computed to as many digits as the answer needs. No torch and no numpy here. Next:
catalogue.py, what others measured."""

import math
import re
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

from ..system.errors import ConfigError

SIDE, RATE = 64, Fraction(3)  # the post's
MOST_LENGTH, MOST_VOCABULARY, MOST_BITS = 10**100, 2**4096, 10**100
EXACT = 4096  # bits, up to which a vocabulary is told as an integer
COMMAS = re.compile(r"\d{1,3}(,\d{3})+")  # in thousands alone: 36864,5 is no number of bits
WHOLE = re.compile(r"(\d+)|(\d+)(?:\^|\*\*)(\d+)|(\d+(?:\.\d+)?)e\+?(\d+)")


def whole(given: str, name: str, least: int, most: int, allowed: str) -> int:
    """'16384', '2^14', '16,384', '1e30', '32x32' -> an integer. Raises ConfigError with what is `allowed`."""
    value = 1
    for part in given.strip().replace("_", "").split("x"):
        value *= _whole(part) or 0
    if not least <= value <= most:
        raise ConfigError(
            f"{name} is '{given[:60]}'; allowed: a whole number from {least} to {allowed}, as 1024, 32x32, "
            f"2^14 or "
            "1e30"
        )
    return value


def _whole(text: str) -> int | None:
    """None where it is none, or has more than 5,000 digits."""
    text = _without_commas(text)
    match = WHOLE.fullmatch(text.lower())
    if not match or len(text) > 2000:
        return None
    plain, base, power, digits, exponent = match.groups()
    if plain:
        return int(plain)
    if base:
        return int(base) ** int(power) if len(base) < 9 and len(power) < 6 else None
    value = Fraction(digits) * 10 ** int(exponent) if len(exponent) < 5 else Fraction(1, 2)
    return value.numerator if value.denominator == 1 else None


def _without_commas(text: str) -> str:
    return text.replace(",", "") if COMMAS.fullmatch(text) else text


def fraction(given: str, name: str, most: int, allowed: str) -> Fraction:
    """'3.44', '36864', '10/3', '1e30' -> the number itself, above 0. Raises ConfigError."""
    try:
        text = _without_commas(given.strip())
        if len(text) > 400 or re.search(r"e[+-]?\d{5}", text.lower()):
            raise ValueError
        integer = _whole(text)
        value = Fraction(text) if integer is None else Fraction(integer)
        if not Fraction(1, 10**9) <= value <= most:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{name} is '{given[:60]}'; allowed: a number above 0, {allowed}") from None
    return value


def sides(given: str) -> tuple[int, int]:
    """'256' or '640x480' (width x height) -> (height, width)."""
    parts = given.lower().split("x")
    numbers = [whole(part, "--size", 1, 10**9, "10^9 pixels") for part in parts]
    if len(numbers) > 2:
        raise ConfigError(f"--size is '{given[:60]}'; allowed: 256, or width x height as 640x480")
    return numbers[-1], numbers[0]


def solve(length: int | None, vocabulary: int | None, bits: Fraction) -> dict:
    """What follows from the two that are known, `bits` among them: see `--json` in docs/information.md."""
    result: dict = {
        "length": length,
        "vocabulary": vocabulary,
        "log2_vocabulary": None,
        "bits_needed": number(bits),
        "capacity_bits": None,
        "share": None,
        "lossless_possible": None,
        "found": None,
    }
    if vocabulary is not None:
        result["log2_vocabulary"] = number(log2(vocabulary))
    if length is not None and vocabulary is not None:
        capacity = length * log2(vocabulary)
        return {
            **result,
            "capacity_bits": number(capacity),
            "share": float(capacity / bits),
            "found": "verdict",
            "lossless_possible": carries(length, vocabulary, bits),
        }
    if length is not None:
        each = bits / length
        return {
            **result,
            "log2_vocabulary": number(each),
            "vocabulary": least_vocabulary(each),
            "found": "vocabulary",
        }
    if vocabulary is not None:
        return {**result, "length": least_length(vocabulary, bits), "found": "length"}
    return result


def number(value: Fraction) -> int | float:
    """An integer where it is one."""
    return value.numerator if value.denominator == 1 else float(value)


def log2(vocabulary: int) -> Fraction:
    """Exact for powers of two, else to 60 digits."""
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
    """The smallest V with log2 V >= `each`; None where it has more than EXACT bits."""
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
    """Of a number that is known not to be an integer (a power of 2 or a ratio of logarithms that is
    irrational): computed to more and more digits until both ends of what it may be have the same ceiling."""
    digits = 60
    while True:
        found, slack = Fraction(_to(digits, value)), Fraction(1, 10 ** (digits - 8))
        low, high = math.ceil(found * (1 - slack)), math.ceil(found * (1 + slack))
        if low == high:
            return low
        digits *= 2


# ------------------------------------------------------------------------------------------------------ words


def power(value: int | None, bits: float) -> str:
    """A vocabulary for people: 16,384, 6.87e10, 2^36864."""
    if value is not None and value < 10**9:
        return f"{value:,}"
    if bits > 1000:
        return f"2^{bits:.6g}"
    with localcontext() as context:
        context.prec = 30
        mantissa, exponent = (
            f"{Decimal(value) if value is not None else Decimal(2) ** Decimal(bits):.2e}".split("e")
        )
    return f"{mantissa}e{int(exponent)}"


def amount(value: int | float) -> str:
    """Bits or tokens for people: 36,864, 49,571.8, 3.69e30."""
    if abs(value) >= 10**15:
        mantissa, exponent = f"{Decimal(value):.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e5 else f"{value:,.1f}"
    )


def share(result: dict, of: str) -> str:
    """Of a verdict: 'L log2 V = 256 x 14 = 3,584 bits, 9.722% of H', or '32 times H'."""
    value, length, each, bits = (
        result[name] for name in ("share", "length", "log2_vocabulary", "capacity_bits")
    )
    part = f"{value:.3%} of" if value < 10 else f"{amount(round(value))} times"
    if part == "100.000% of" and not result["lossless_possible"]:
        part = "just under 100% of"
    return f"L log2 V = {amount(length)} x {amount(each)} = {amount(bits)} bits, {part} {of}"


def bounded(result: dict) -> bool:
    """Whether H is an upper bound (of an anchor that was measured) and not assumed: more codes than that are
    enough, but whether fewer would do is not known."""
    return result.get("anchor", {}).get("kind", "assumed") != "assumed"


def sentences(result: dict) -> list[str]:
    """What the numbers say, and how sure it is."""
    needed, length, each = amount(result["bits_needed"]), result["length"], result["log2_vocabulary"]
    if bounded(result):
        return _of_a_bound(result)
    if result["found"] == "vocabulary":
        return [
            f"L = {amount(length)} tokens: log2 V >= {amount(each)}, V >= {power(result['vocabulary'], each)}"
        ]
    if result["found"] == "length":
        return [
            f"V = {power(result['vocabulary'], each)} ({amount(each)} bits): L >= {amount(length)} tokens"
        ]
    if result["found"] != "verdict":
        return [
            f"with --L or --V the other follows, as --L 256: log2 V >= {amount(result['bits_needed'] / 256)}"
        ]
    told = share(result, "H")
    if result["lossless_possible"]:
        return [
            told,
            f"lossless is possible in principle: there are codes enough for {needed} bits. Whether a "
            f"tokenizer gets "
            "there, only its bit-exact reconstructions show (--codec)",
        ]
    return [
        told,
        f"not lossless, if pictures hold {needed} bits: so few codes cannot tell so many pictures apart "
        f"(counting; "
        "proven). That they hold so much is not proven: see the anchor",
    ]


def _of_a_bound(result: dict) -> list[str]:
    length, each = result["length"], result["log2_vocabulary"]
    mean = "the mean of these files" if result["anchor"]["name"] == "images" else "the mean of this anchor"
    unknown = "whether less would do is not known (an upper bound of H)"
    if result["found"] == "vocabulary":
        return [
            f"L = {amount(length)} tokens: log2 V of {amount(each)}, V = "
            f"{power(result['vocabulary'], each)}, is enough for "
            f"{mean}; {unknown}"
        ]
    if result["found"] == "length":
        return [
            f"V = {power(result['vocabulary'], each)} ({amount(each)} bits): L = {amount(length)} tokens "
            f"are enough for "
            f"{mean}; {unknown}"
        ]
    if result["found"] != "verdict":
        each = amount(result["bits_needed"] / 256)
        return [f"with --L or --V the other follows, as --L 256: log2 V of {each} is enough for {mean}"]
    told = share(result, "the bound")
    if result["lossless_possible"]:
        return [
            told,
            f"codes enough for {mean}. Whether a tokenizer gets there, only its bit-exact reconstructions "
            f"show "
            "(--codec)",
        ]
    return [told, f"fewer bits than {mean}; whether they would do is not known (an upper bound of H)"]
