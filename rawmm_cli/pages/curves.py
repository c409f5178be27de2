"""The scalars of a run as curves: records in, points, axes and labels of an SVG out (report.html draws them).

A curve is thinned so that no peak is lost: of every group of neighbours the lowest and the highest stay. The
running mean is taken before. Axes end at round numbers, and are logarithmic where a loss spans more than a
factor of five."""

import math
from itertools import accumulate
from typing import NamedTuple

from ..system.figures import finite, number, short


class Shown(NamedTuple):
    """One curve: the key of its records, its words, its colour; `factor` turns the recorded unit into the one
    shown."""

    key: str
    title: str
    unit: str = ""
    tone: str = "grey"
    factor: float = 1.0
    log: bool = False
    large: bool = False
    smooth: bool = True


LOSSES = (
    Shown("text", "Text loss", "nats per token", "blue", log=True, large=True),
    Shown("image", "Image loss", "mean over drawn patches", "orange", log=True, large=True),
)
TOTAL = Shown("loss", "Loss", "", "blue", log=True, large=True)
OTHERS = (
    Shown("psnr", "PSNR", "dB", "blue", large=True),
    Shown("usage", "Codebook usage", "% of the codes", "green", 100, smooth=False),
    Shown("perplexity", "Perplexity", "codes", "teal", smooth=False),
    Shown("used_bits", "Used bits", "of a token", "violet", smooth=False),
    Shown("l2", "Squared error", "pixels from -1 to 1", "orange", log=True),
    Shown("l1", "Absolute error", "pixels from -1 to 1", "orange", log=True),
    Shown("gradient_norm", "Gradient norm", "before clipping", "red", log=True),
    Shown("learning_rate", "Learning rate", "", "violet", smooth=False),
    Shown("documents_per_second", "Speed", "documents per second", "teal"),
    Shown("mfu", "MFU", "% of a plain matmul", "teal", 100),
    Shown("data_wait", "Waiting for data", "% of the time", "amber", 100),
    Shown("fill", "Filled positions", "%", "green", 100),
    Shown("memory", "Memory, peak", "GiB", "violet", 2**-30, smooth=False),
)
NO_CURVE = {"step", "documents", "seconds", "eta", "loss", "positions_per_second"}
MOST_UNKNOWN = 12


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


LARGE = Frame(560, 256, 44, 546, 12, 222, 6, 1000)
SMALL = Frame(300, 176, 42, 288, 10, 148, 4, 500)


def curves(rows: list[dict], evaluation: dict) -> list[dict]:
    """All curves that the records hold, losses first; numbers of unknown keys come last, under their own
    names.

    evaluation: its held-out image loss becomes a level line; `held_out_KEY` in the records becomes a second
    curve."""
    losses = [shown for shown in LOSSES if any(finite(row.get(shown.key)) for row in rows)] or [TOTAL]
    known = {shown.key for shown in (*LOSSES, *OTHERS)} | NO_CURVE
    unknown = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key not in known and not key.startswith("held_out_") and finite(value)
    )
    more = [Shown(key, key.replace("_", " ").capitalize()) for key in list(unknown)[:MOST_UNKNOWN]]
    levels = evaluation.get("held_out")
    levels = levels if isinstance(levels, dict) else {}
    made = (
        curve(rows, shown, levels.get(shown.key) if shown.large else None)
        for shown in (*losses, *OTHERS, *more)
    )
    return [found for found in made if found]


def curve(rows: list[dict], shown: Shown, level=None) -> dict | None:
    """One number against documents as SVG points, ticks and labels; None where no record has it."""
    points, held_out = _points(rows, shown.key, shown), _points(rows, f"held_out_{shown.key}", shown)
    if not points:
        return None
    frame, values = LARGE if shown.large else SMALL, [value for _, value in points]
    level = level * shown.factor if finite(level) else None
    seen = [
        *values,
        *(value for _, value in held_out),
        *([] if level is None else [level]),
        *([] if shown.log else [0]),
    ]
    log = shown.log and 0 < 5 * min(seen) < max(seen)
    low, high, ticks = axis(min(seen), max(seen), frame.ticks, log)
    far, scale = rows[-1]["documents"] or 1, math.log if log else float

    def x(documents: float) -> float:
        return round(frame.left + (frame.right - frame.left) * documents / far, 2)

    def y(value: float) -> float:
        part = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return round(frame.bottom - (frame.bottom - frame.top) * part, 2)

    def line(values: list[tuple[float, float]]) -> str:
        return " ".join(f"{x(documents)},{y(value)}" for documents, value in thinned(values, frame.points))

    mean = (
        list(zip((documents for documents, _ in points), running_mean(values)))
        if shown.smooth and len(values) >= 60
        else []
    )
    return {
        "title": shown.title,
        "unit": shown.unit,
        "tone": shown.tone,
        "large": shown.large,
        "frame": frame,
        "log": log,
        "low": low,
        "high": high,
        "far": far,
        "raw": line(points),
        "mean": line(mean),
        "held_out": line(held_out),
        "end": (x(points[-1][0]), y(values[-1])),
        "first": number(values[0]),
        "last": number(values[-1]),
        "level": None if level is None else (y(level), number(level)),
        "held_out_last": number(held_out[-1][1]) if held_out else None,
        "filled": not log and low == 0 and not shown.large,
        "x_ticks": [(x(tick), short(tick)) for tick in axis(0, far, frame.ticks)[2] if tick <= far],
        "y_ticks": [(y(tick), short(tick)) for tick in ticks],
    }


def _points(rows: list[dict], key: str, shown: Shown) -> list[tuple[float, float]]:
    return [(row["documents"], row[key] * shown.factor) for row in rows if finite(row.get(key))]


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


def running_mean(values: list[float]) -> list[float]:
    """Mean over about a thirtieth of the curve, near ones counting more (a box twice, which makes a
    triangle), over less at its ends. Time does not grow with the window."""
    reach, end = max(1, len(values) // 80), len(values) - 1
    spans = [min(reach, n, end - n) for n in range(len(values))]
    for _ in range(2):
        sums = [0.0, *accumulate(values)]
        values = [(sums[n + span + 1] - sums[n - span]) / (2 * span + 1) for n, span in enumerate(spans)]
    return values


def thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points: of each group of neighbours the lowest and the highest, and always the first and
    the last."""
    if len(points) <= most:
        return points
    width = -(-len(points) // ((most - 2) // 2))
    kept = {0, len(points) - 1}
    for start in range(0, len(points), width):
        group = range(start, min(start + width, len(points)))
        kept |= {min(group, key=lambda n: points[n][1]), max(group, key=lambda n: points[n][1])}
    return [points[n] for n in sorted(kept)]
