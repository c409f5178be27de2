"""Numbers of any size, parsed from what users type and printed for them. No torch and no numpy here."""

import re
from decimal import Decimal, localcontext
from fractions import Fraction

from ..system.errors import ConfigError

COMMAS = re.compile(r"\d{1,3}(,\d{3})+")  # between thousands only: 36864,5 is refused
WHOLE = re.compile(r"(\d+)|(\d+)(?:\^|\*\*)(\d+)|(\d+(?:\.\d+)?)e\+?(\d+)")


def whole(text: str, name: str, least: int, most: int, allowed: str) -> int:
    """'16384', '2^14', '16,384', '1e30' or '32x32' as an integer. Raises ConfigError outside of [least,
    most].

    name: of the option. allowed: `most` in words."""
    value = 1
    for part in text.strip().replace("_", "").split("x"):
        value *= _whole(part) or 0
    if not least <= value <= most:
        raise ConfigError(
            f"{name} is '{text[:60]}'; allowed: a whole number from {least} to {allowed}, as 1024, 32x32, "
            f"2^14 or 1e30"
        )
    return value


def _whole(text: str) -> int | None:
    """The text as an integer; None where it is not one, or has too many digits."""
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


def fraction(text: str, name: str, most: int, allowed: str) -> Fraction:
    """'3.44', '36864', '10/3' or '1e30' as an exact number above 0 and up to `most`. Raises ConfigError."""
    try:
        digits = _without_commas(text.strip())
        if len(digits) > 400 or re.search(r"e[+-]?\d{5}", digits.lower()):
            raise ValueError
        integer = _whole(digits)
        value = Fraction(digits) if integer is None else Fraction(integer)
        if not Fraction(1, 10**9) <= value <= most:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{name} is '{text[:60]}'; allowed: a number above 0, {allowed}") from None
    return value


def sides(text: str) -> tuple[int, int]:
    """(height, width) of '256' or '640x480' (width x height). Raises ConfigError."""
    numbers = [whole(part, "--size", 1, 10**9, "10^9 pixels") for part in text.lower().split("x")]
    if len(numbers) > 2:
        raise ConfigError(f"--size is '{text[:60]}'; allowed: 256, or width x height as 640x480")
    return numbers[-1], numbers[0]


def power(value: int | None, bits: float) -> str:
    """A vocabulary as text: 16,384, 6.87e10, 2^36864."""
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
    """Bits or tokens as text: 36,864, 49,571.8, 3.69e30."""
    if abs(value) >= 10**15:
        mantissa, exponent = f"{Decimal(value):.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e5 else f"{value:,.1f}"
    )
