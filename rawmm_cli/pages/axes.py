"""Axes of a plot: where numbers stand on an SVG, and at which round numbers its ticks are."""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Frame(NamedTuple):
    """An SVG's size, the plot area in it, how many ticks an axis has room for, how many points are drawn."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    ticks: int
    points: int


@dataclass(frozen=True)
class Scale:
    """One axis: the numbers low..high over the pixels first..last, linear or logarithmic."""

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels of a number."""
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return round(self.first + (self.last - self.first) * (at - low) / (high - low), 2)


def axis(low: float, high: float, count: int = 6, log: bool = False) -> tuple[float, float, list[float]]:
    """An axis that holds low..high -> its ends and about `count` round ticks: 1, 2 or 5 times a power of
    ten."""
    if log:
        low, high = low / 1.15, high * 1.15
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        steps = (1, 2, 5) if len(decades) < 4 else (1,)
        apart = max(1, -(-len(decades) // 8))
        ticks = [m * 10.0**decade for decade in decades[::apart] for m in steps]
        return low, high, [tick for tick in ticks if low <= tick <= high]
    rough = (high - low or abs(high) or 1.0) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [n * step for n in range(first, max(last, first + 1) + 1)]
    return ticks[0], ticks[-1], ticks
