"""Numbers that a person gave: their kind and their range. No torch here."""

import math
from numbers import Integral, Rational, Real
from typing import Any

from .errors import ConfigError

FAR = (10**6, 2**63 - 1)


def whole(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """The value as an int. Raises ConfigError where it is no whole number from `least` to `most`; True and
    2.0 are none. A limit of the machine, in FAR, is named to those alone who pass it."""
    if isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most:
        return int(value)
    above = isinstance(value, Integral) and value > most
    open_above = most == math.inf or (most in FAR and not above)
    limits = f"of at least {least}" if open_above else f"from {least} to {_limit(most)}"
    raise ConfigError(f"{name} = {_short(value)}; allowed: a whole number {limits}")


def real(name: str, value: Any, least: float, most: float = math.inf, above: bool = False) -> Any:
    """The value as an int, a fraction or a float. Raises ConfigError where it is no finite number from
    `least` (or `above` it) to `most`."""
    if isinstance(value, Real) and not isinstance(value, bool):
        plain = int(value) if isinstance(value, Integral) else value
        plain = plain if isinstance(plain, Rational) else float(plain)
        if (least < plain if above else least <= plain) and plain <= most and plain < math.inf:
            return plain
    if most == math.inf:
        limits = f"a number above {least}" if above else f"a number of at least {least}"
    else:
        limits = f"more than {least}, at most {_limit(most)}" if above else f"{least} to {_limit(most)}"
    raise ConfigError(f"{name} = {_short(value)}; allowed: {limits}")


def _limit(most: float) -> str:
    """1,000 for 1000, and 10^100 for 10**100."""
    return f"{most:,}" if most < 10**15 else f"10^{len(str(most)) - 1}"


def _short(value: Any) -> str:
    """A value in a few characters of one line."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length():,} bits"
    if value is None or isinstance(value, (str, Integral, Real)):
        return ascii(value)[:80] if isinstance(value, str) else str(value)
    return f"a value of type {type(value).__name__}"
