"""The scalars of a run as curves: records in, points, axes and labels of an SVG out (report.html draws them).

A curve is thinned so that no peak is lost: of every group of neighbours the lowest and the highest stay. The
running mean is taken before. Axes end at round numbers, and are logarithmic where a loss spans more than a
factor of five."""

from itertools import accumulate
from typing import NamedTuple

from ..system.figures import finite, number, short
from .axes import Frame, Scale, axis

Points = list[tuple[float, float]]  # (documents, value)


class Scalar(NamedTuple):
    """One number of the records: its key, the words for it, its colour. `factor` turns the recorded unit into
    the one that is drawn."""

    key: str
    title: str
    unit: str = ""
    tone: str = "grey"
    factor: float = 1.0
    log: bool = False
    large: bool = False
    smooth: bool = True


LOSSES = (
    Scalar("text", "Text loss", "nats per token", "blue", log=True, large=True),
    Scalar("image", "Image loss", "mean over drawn patches", "orange", log=True, large=True),
)
TOTAL = Scalar("loss", "Loss", "", "blue", log=True, large=True)
OTHERS = (
    Scalar("psnr", "PSNR", "dB", "blue", large=True),
    Scalar("usage", "Codebook usage", "% of the codes", "green", 100, smooth=False),
    Scalar("perplexity", "Perplexity", "codes", "teal", smooth=False),
    Scalar("used_bits", "Used bits", "of a token", "violet", smooth=False),
    Scalar("l2", "Squared error", "pixels from -1 to 1", "orange", log=True),
    Scalar("l1", "Absolute error", "pixels from -1 to 1", "orange", log=True),
    Scalar("gradient_norm", "Gradient norm", "before clipping", "red", log=True),
    Scalar("learning_rate", "Learning rate", "", "violet", smooth=False),
    Scalar("documents_per_second", "Speed", "documents per second", "teal"),
    Scalar("mfu", "MFU", "% of a plain matmul", "teal", 100),
    Scalar("data_wait", "Waiting for data", "% of the time", "amber", 100),
    Scalar("fill", "Filled positions", "%", "green", 100),
    Scalar("memory", "Memory, peak", "GiB", "violet", 2**-30, smooth=False),
)
NO_CURVE = {"step", "documents", "seconds", "eta", "loss", "positions_per_second", "total_flops"}
MOST_UNKNOWN = 12


LARGE = Frame(560, 256, 44, 546, 12, 222, 6, 1000)
SMALL = Frame(300, 176, 42, 288, 10, 148, 4, 500)
SMOOTH = 60  # records from which on a running mean is drawn


def curves(rows: list[dict], evaluation: dict) -> list[dict]:
    """All curves that the records hold, losses first; numbers of unknown keys come last, under their own
    names.

    evaluation: its held-out image loss becomes a level line; `held_out_KEY` in the rows becomes a second
    curve. rows: the records, and `held_out_losses`."""
    losses = [scalar for scalar in LOSSES if any(finite(row.get(scalar.key)) for row in rows)] or [TOTAL]
    known = {scalar.key for scalar in (*LOSSES, *OTHERS)} | NO_CURVE
    unknown = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key not in known and not key.startswith("held_out_") and finite(value)
    )
    more = [Scalar(key, key.replace("_", " ").capitalize()) for key in list(unknown)[:MOST_UNKNOWN]]
    levels = evaluation.get("held_out")
    levels = levels if isinstance(levels, dict) else {}
    drawn = (
        curve(rows, scalar, levels.get(scalar.key) if scalar.large else None)
        for scalar in (*losses, *OTHERS, *more)
    )
    return [one for one in drawn if one]


def curve(rows: list[dict], scalar: Scalar, level: float | None = None) -> dict | None:
    """One number against documents as SVG points, ticks and labels; None where no record has it."""
    points, held_out = _points(rows, scalar.key, scalar), _points(rows, f"held_out_{scalar.key}", scalar)
    if not points:
        return None
    frame, values = LARGE if scalar.large else SMALL, [value for _, value in points]
    level = level * scalar.factor if finite(level) else None
    all_values = [*values, *(value for _, value in held_out)] + ([] if level is None else [level])
    low, high, log, y_ticks = _vertical(all_values, scalar, frame)
    far = rows[-1]["documents"] or 1
    x = Scale(0, far, frame.left, frame.right)
    y = Scale(low, high, frame.bottom, frame.top, log)
    mean = zip((documents for documents, _ in points), running_mean(values)) if scalar.smooth else ()
    return {
        **{name: getattr(scalar, name) for name in ("title", "unit", "tone", "large")},
        **{"frame": frame, "log": log, "low": low, "high": high, "far": far},
        "raw": _line(points, x, y, frame),
        "mean": _line(list(mean), x, y, frame) if len(values) >= SMOOTH else "",
        "held_out": _line(held_out, x, y, frame),
        "end": (x(points[-1][0]), y(values[-1])),
        "first": number(values[0]),
        "last": number(values[-1]),
        "level": None if level is None else (y(level), number(level)),
        "held_out_last": number(held_out[-1][1]) if held_out else None,
        "filled": not log and low == 0 and not scalar.large,
        "x_ticks": [(x(tick), short(tick)) for tick in axis(0, far, frame.ticks)[2] if tick <= far],
        "y_ticks": [(y(tick), short(tick)) for tick in y_ticks],
    }


def _points(rows: list[dict], key: str, scalar: Scalar) -> Points:
    return [(row["documents"], row[key] * scalar.factor) for row in rows if finite(row.get(key))]


def _vertical(values: list[float], scalar: Scalar, frame: Frame) -> tuple[float, float, bool, list[float]]:
    """Ends of the vertical axis, whether it is logarithmic, and its ticks; it holds 0 where the scalar is not
    one that may be logarithmic."""
    low, high = min(values), max(values)
    if not scalar.log:
        low, high = min(low, 0), max(high, 0)
    log = scalar.log and 0 < 5 * low < high
    low, high, ticks = axis(low, high, frame.ticks, log)
    return low, high, log, ticks


def _line(points: Points, x: Scale, y: Scale, frame: Frame) -> str:
    """The points of a polyline, as many as the frame can show."""
    return " ".join(f"{x(documents)},{y(value)}" for documents, value in thinned(points, frame.points))


def running_mean(values: list[float]) -> list[float]:
    """Mean over about a thirtieth of the curve, near ones counting more (a box twice, which makes a
    triangle), over less at its ends. Time does not grow with the window."""
    reach, end = max(1, len(values) // 80), len(values) - 1
    spans = [min(reach, n, end - n) for n in range(len(values))]
    for _ in range(2):
        sums = [0.0, *accumulate(values)]
        values = [(sums[n + span + 1] - sums[n - span]) / (2 * span + 1) for n, span in enumerate(spans)]
    return values


def thinned(points: Points, most: int) -> Points:
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
