"""How numbers are written for people: 12.8k, 0.2982, 4 min 12 s, 1.21 GiB."""

from fractions import Fraction
from typing import Any

UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def finite(value: Any) -> bool:
    """Whether it is a number that can be drawn; true and false are none, and what only a long integer can
    hold is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300


def number(value: Any) -> str:
    """Whole numbers with commas, others with four digits, anything else as it is."""
    if not finite(value):
        return str(value)
    return (
        f"{value:,.0f}"
        if isinstance(value, int) or abs(value) >= 1000
        else f"{value:.4g}".replace("e-0", "e-")
    )


def counted(count: int, thing: str) -> str:
    """1 picture, 1,437 pictures, 2 entries."""
    return f"{count:,} {plural(count, thing)}"


def plural(count: int, thing: str) -> str:
    """The word for so many things: picture, pictures; entry, entries; class, classes; axis, axes."""
    if count == 1:
        return thing
    for end, ends in (("is", "es"), ("ch", "ches"), ("ss", "sses"), ("ry", "ries")):
        if thing.endswith(end):
            return thing.removesuffix(end) + ends
    return f"{thing}s"


def fraction(value: float) -> str:
    """0.375 -> 3/8."""
    return str(Fraction(value).limit_denominator(64))


def short(value: float) -> str:
    """12,800 -> 12.8k."""
    for least, size, letter in (1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"):
        if abs(value) >= least:
            return f"{value / size:.4g}{letter}"
    return number(value)


def size(count: float) -> str:
    """Bytes -> 1.21 GiB."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return f"{count:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds for people: 21.3 s, 4 min 12 s, 2 h 03 min, 3 d 04 h."""
    if seconds < 59.5:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return (
        f"{minutes // 60} h {minutes % 60:02} min"
        if minutes < 2880
        else f"{minutes // 1440:,} d {minutes // 60 % 24:02} h"
    )
