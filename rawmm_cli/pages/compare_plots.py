"""Plots of a comparison of systems: differences with intervals; quality against time, bits and steps."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from ..comparison.answer import amounts, noun, signed
from ..comparison.differences import budgets, cells_of
from ..comparison.results import BudgetKind, Cell, Difference, Results
from ..system.figures import short
from .axes import Scale, axis
from .scatter import FRAME, labelled

TONES = ("green", "blue", "orange", "violet", "teal", "red", "amber", "grey")
TONES += ("pink", "sky", "brown", "olive")  # of systems, in their order
EQUAL = {"time": "equal time", "documents": "equal documents", "flops": "equal FLOPs"}
STEPS = "curve.json"  # of a cell: {"steps": [...], metric: [...]}


class Point(NamedTuple):
    """A place in a plot, with the least and the largest of the seeds. hollow: at the second budget."""

    x: float
    y: float
    low: float
    high: float
    hollow: bool = False


class Series(NamedTuple):
    """What one system has in a plot: its points are joined, the last one bears its name."""

    name: str
    tone: str
    points: list[Point]


def tones(results: Results) -> dict[str, str]:
    """The colour of each system; with more than twelve they come again."""
    return {system["name"]: TONES[n % len(TONES)] for n, system in enumerate(results["systems"])}


def capital(text: str) -> str:
    """The same with a capital letter."""
    return text[:1].upper() + text[1:]


# ----------------------------------------------------------------------------------------------- differences


def forest(results: Results, metric: str) -> dict | None:
    """Differences from the reference in one metric with their intervals, as shares of a track's width; None
    where there are none."""
    rows = [row for row in results["differences"] if row["metric"] == metric]
    if not rows:
        return None
    column = results["metrics"][metric]
    factor = 100 if column["unit"] == "%" else 1
    low, high, ticks = axis(*(factor * end for end in _reach(rows)), 6)
    place = Scale(low, high, 0, 100)
    lines: dict[str, list[dict]] = {}
    for row in rows:
        ends = [min(max(end * factor, low), high) for end in row["interval"] or [row["difference"]] * 2]
        better = (row["difference"] > 0) == (column["better"] != "lower")
        state = "open" if not row["claimed"] else "good" if better else "bad"
        value, *interval = amounts(column, row["difference"], row["interval"])
        lines.setdefault(row["system"], []).append(
            {
                "budget": EQUAL[row["budget"]],
                "hollow": row["budget"] in budgets(results)[1:],
                "left": place(ends[0]),
                "width": round(place(ends[1]) - place(ends[0]), 2),
                "at": place(min(max(row["difference"] * factor, low), high)),
                "state": "differs" if row["claimed"] and column["better"] == "neither" else state,
                "value": signed(value),
                "interval": f"[{', '.join(interval)}]" if interval else "no interval",
            }
        )
    return {
        "title": capital(noun(column)),
        "unit": "points" if factor == 100 else column["unit"],
        "zero": place(0),
        "ticks": [(place(tick), f"{round(tick, 12):+g}" if abs(tick) > 1e-12 else "0") for tick in ticks],
        "rows": [{"name": name, "tone": tones(results)[name], "lines": one} for name, one in lines.items()],
        "left": "worse" if column["better"] != "lower" else "better",
        "right": "better" if column["better"] != "lower" else "worse",
        "reference": rows[0]["against"],
    }


def _reach(rows: Sequence[Difference]) -> tuple[float, float]:
    """The ends of the track, zero between them. An interval far wider than all others and than any difference
    goes beyond it."""
    intervals = [row["interval"] or [row["difference"]] * 2 for row in rows]
    ends = [max(abs(end) for end in interval) for interval in intervals]
    most = max(2.5 * max(abs(row["difference"]) for row in rows), 1.5 * median(ends))
    low, high = min(low for low, _ in intervals), max(high for _, high in intervals)
    low, high = max(-most, min(low, 0.0)), min(most, max(high, 0.0))
    room = 0.15 * (high - low) or 1.0
    return min(low, -room), max(high, room)


# ------------------------------------------------------------------------------------------ quality against


def against_time(results: Results, metric: str) -> dict | None:
    """A metric against the seconds of training, that of the codec included: each system at both budgets."""
    series = []
    for name, tone in tones(results).items():
        points = []
        for budget in budgets(results):
            cells = _measured(results, name, budget, metric)
            seconds = [seconds for cell in cells if (seconds := training_seconds(cell))]
            if seconds and not (points and name == results["budget"]["reference"]):
                points.append(_point(results, metric, median(seconds), cells, budget in budgets(results)[1:]))
        series.append(Series(name, tone, points))
    longest = max((point.x for one in series for point in one.points), default=0)
    unit, size = ("hours", 3600) if longest > 7200 else ("minutes", 60) if longest > 180 else ("seconds", 1)
    series = [
        one._replace(points=[point._replace(x=point.x / size) for point in one.points]) for one in series
    ]
    times = [point.x for one in series for point in one.points]
    across = f"against {unit} of training"
    return plot(results, metric, across, series, log=bool(times) and max(times) > 3 * min(times))


def against_bits(results: Results, metric: str) -> dict | None:
    """A metric against the bits of a picture as the model sees it, at the first budget."""
    budget = budgets(results)[0]
    series = []
    for system in results["systems"]:
        cells = _measured(results, system["name"], budget, metric)
        if cells and system["bits"]:
            points = [_point(results, metric, system["bits"], cells)]
            series.append(Series(system["name"], tones(results)[system["name"]], points))
    missing = [system["name"] for system in results["systems"] if not system["bits"]]
    if len({one.points[0].x for one in series}) < 2:
        return None
    drawn = plot(results, metric, f"against bits of a picture, {EQUAL[budget]}", series, log=True)
    return drawn and drawn | {"missing": missing}


def against_steps(results: Results, curves: dict[str, dict], metric: str) -> dict | None:
    """A metric of drawings against the steps that they take. curves: {system: its curve.json}."""
    series = []
    factor = 100 if results["metrics"][metric]["unit"] == "%" else 1
    for name, curve in curves.items():
        pairs = zip(curve.get("steps", []), curve.get(metric, []))
        points = [Point(x, y * factor, y * factor, y * factor) for x, y in pairs if x and y is not None]
        series.append(Series(name, tones(results)[name], points))
    return plot(results, metric, "against steps of a drawing", series, log=True)


def training_seconds(cell: Cell) -> float:
    """Seconds of training, that of the codec included."""
    return sum(cell["seconds"].get(part) or 0 for part in ("codec", "train"))


def _measured(results: Results, system: str, budget: BudgetKind, metric: str) -> list[Cell]:
    cells = cells_of(results, system, budget).values()
    return [cell for cell in cells if cell["state"] == "done" and metric in cell["results"]]


def _point(results: Results, metric: str, x: float, cells: Sequence[Cell], hollow: bool = False) -> Point:
    factor = 100 if results["metrics"][metric]["unit"] == "%" else 1
    values = [cell["results"][metric] * factor for cell in cells]
    return Point(x, median(values), min(values), max(values), hollow)


def plot(
    results: Results, metric: str, across: str, series: Sequence[Series], log: bool = False
) -> dict | None:
    """Points, whiskers, lines, ticks and names of an SVG; None where fewer than two systems have a point."""
    series = [one for one in series if one.points]
    points = [point for one in series for point in one.points]
    if len(series) < 2:
        return None
    column = results["metrics"][metric]
    places = sorted({point.x for point in points})
    x, x_ticks = _scale(places, FRAME.left + 14, FRAME.right - 14, log)
    if log and 3 <= len(places) <= 8 and all(b >= 1.2 * a for a, b in pairwise(places)):  # as steps are
        x_ticks = places
    y, y_ticks = _scale([end for point in points for end in (point.low, point.high)], FRAME.bottom, FRAME.top)
    dots = [
        {
            "name": one.name if point is one.points[-1] else "",
            "tone": one.tone,
            "x": x(point.x),
            "y": y(point.y),
            "low": y(point.low),
            "high": y(point.high),
            "hollow": point.hollow,
            "title": f"{one.name}: {point.y:.4g} {column['unit']} at {short(point.x)}",
        }
        for one in series
        for point in one.points
    ]
    return {
        "title": capital(noun(column)),
        "unit": ", ".join(filter(None, [column["unit"], across])),
        "frame": FRAME,
        "dots": labelled(sorted(dots, key=lambda dot: (not dot["name"], dot["y"]))),
        "lines": [
            (one.tone, " ".join(f"{x(point.x)},{y(point.y)}" for point in one.points))
            for one in series
            if len(one.points) > 1
        ],
        "x_ticks": [(x(tick), short(tick)) for tick in x_ticks],
        "y_ticks": [(y(tick), short(round(tick, 12))) for tick in y_ticks],
        "missing": [],
    }


def _scale(
    values: Sequence[float], first: float, last: float, log: bool = False
) -> tuple[Callable[[float], float], list[float]]:
    """An axis that holds all values, and its ticks."""
    low, high = min(values), max(values)
    if log:
        low, high, ticks = axis(low / 1.2, high * 1.2, FRAME.ticks, log=True)
    else:
        low, high, ticks = axis(low, high, FRAME.ticks)
    return Scale(low, high, first, last, log), ticks
