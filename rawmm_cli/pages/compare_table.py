"""Tables of a comparison of systems: every metric at both budgets, what it cost, and how each cell ended."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from ..comparison.answer import amounts
from ..comparison.differences import budgets, cells_of
from ..comparison.results import BudgetKind, Cell, Difference, Metric, Results
from ..system.figures import duration, number, short, size
from .compare_plots import EQUAL, capital, tones, training_seconds

PARTS = {
    "drawing": ("Drawing", "What captions are drawn as."),
    "reading": ("Reading", "What is said of pictures."),
    "codec": ("Codecs", "What is left of pictures before a model sees them."),
}
WIDEST = 7  # metrics of a table
Costs = tuple[str, str, Callable[[Cell], float | None], Callable[[float], str]]
COSTS: tuple[Costs, ...] = (
    ("Training", "with the codec", training_seconds, duration),
    ("Codec", "of the training", lambda cell: cell["seconds"].get("codec") or None, duration),
    ("FLOPs", "of training, with the codec", lambda cell: _flops(cell), lambda value: _rounded(value)),
    ("Documents", "that the model saw", lambda cell: cell["documents"], short),
    ("Epochs", "over the set", lambda cell: cell["epochs"], "{:.3g}".format),
)  # they differ between the budgets
EACH: tuple[Costs, ...] = (
    ("Drawing", "of a picture", lambda cell: cell["seconds"].get("draw"), duration),
    ("FLOPs", "of a drawing", lambda cell: cell["flops"].get("draw"), lambda value: _rounded(value)),
    ("Search", "of the sampler", lambda cell: cell["seconds"].get("search") or None, duration),
    ("Measuring", "once", lambda cell: cell["seconds"].get("measure"), duration),
    ("Memory", "at most", lambda cell: cell["memory"], size),
)


def tables(results: Results) -> list[dict]:
    """One table for drawing, reading, codecs and costs each: columns with the two budgets, a row a system."""
    known = {metric for cell in results["cells"] for metric in cell["results"]}
    shown: list[dict] = []
    for part in PARTS:
        names = [name for name, one in results["metrics"].items() if one["part"] == part and name in known]
        count = -(-len(names) // WIDEST)
        ends = [round(len(names) * n / count) for n in range(count + 1)] if names else []
        shown += [_part(results, part, names[a:b], first=not a) for a, b in pairwise(ends)]
    return [*shown, _costs(results)]


def _part(results: Results, part: str, names: Sequence[str], first: bool) -> dict:
    """A table of some metrics of a part."""
    metrics = {name: results["metrics"][name] for name in names}
    differences = {(row["metric"], row["budget"], row["system"]): row for row in results["differences"]}
    kinds = budgets(results)

    def line(system: str) -> list[dict]:
        return [
            _metric_cell(results, name, column, kind, system)
            | _mark(column, differences.get((name, kind, system)))
            for name, column in metrics.items()
            for kind in kinds
        ]

    title, about = PARTS[part]
    columns = [(capital(one["title"]), _unit(one), len(kinds)) for one in metrics.values()]
    heads = [EQUAL[kind].removeprefix("equal ") for _ in metrics for kind in kinds]
    rows = _rows(results, line)
    if part == "codec":  # most systems may have none
        rows = [row for row in rows if any(cell["text"] != "–" for cell in row["cells"])]
    title, about = (title, about) if first else (f"{title}, continued", "")
    return {"title": title, "about": about, "columns": columns, "heads": heads, "rows": rows}


def _costs(results: Results) -> dict:
    kinds, columns = budgets(results), [one for one in COSTS if _any(results, one[2])]
    each = [one for one in EACH if _any(results, one[2])]
    metrics = {
        name: one
        for name, one in results["metrics"].items()
        if one["part"] == "cost" and any(name in cell["results"] for cell in results["cells"])
    }

    def line(system: str) -> list[dict]:
        cells = {kind: list(cells_of(results, system, kind).values()) for kind in kinds}
        every = [cell for group in cells.values() for cell in group]
        return [
            *(
                _spread([of(cell) for cell in cells[kind]], form)
                for _, _, of, form in columns
                for kind in kinds
            ),
            *(_spread([of(cell) for cell in every], form) for _, _, of, form in each),
            *(_metric_cell(results, name, one, None, system) for name, one in metrics.items()),
        ]

    heads = [(title, about, len(kinds)) for title, about, _, _ in columns]
    heads += [(title, about, 1) for title, about, _, _ in each]
    heads += [(capital(one["title"]), _unit(one), 1) for one in metrics.values()]
    below = [EQUAL[kind].removeprefix("equal ") for _ in columns for kind in kinds]
    below += ["both" if len(kinds) > 1 else "all"] * (len(each) + len(metrics))
    about = "What training and drawing took; search and measuring are not in the budget."
    return {"title": "Cost", "about": about, "columns": heads, "heads": below, "rows": _rows(results, line)}


def _rows(results: Results, line: Callable[[str], list[dict]]) -> list[dict]:
    """A row for each system: what it is, and its cells."""
    return [
        {
            "name": system["name"],
            "tone": tones(results)[system["name"]],
            "reference": system["name"] == results["budget"]["reference"],
            "bits": f"{short(round(system['bits']))} bits" if system["bits"] else "",
            "cells": line(system["name"]),
        }
        for system in results["systems"]
    ]


def _metric_cell(results: Results, name: str, column: Metric, kind: BudgetKind | None, system: str) -> dict:
    """The seeds of a system at one budget, or at all of them."""
    cells = [cell for cell in results["cells"] if cell["system"] == system]
    cells = cells if kind is None else list(cells_of(results, system, kind).values())
    cells = [cell for cell in cells if cell["state"] == "done"]
    every = (cell["results"].get(name) for cell in results["cells"])
    return _spread([cell["results"].get(name) for cell in cells], _form(column, every))


def _spread(values: Iterable[float | None], form: Callable[[float], str]) -> dict:
    """The median as text, and the least and the largest of the seeds; nothing where they look the same."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return {"text": "–", "spread": "", "sort": "", "mark": "", "why": ""}
    low, high = form(known[0]), form(known[-1])
    return {
        "text": form(median(known)),
        "spread": f"{low}–{high}" if low != high else "",
        "sort": repr(float(median(known))),
        "mark": "",
        "why": "",
    }


def _mark(column: Metric, row: Difference | None) -> dict:
    """How a claimed difference is marked: {} where nothing is claimed."""
    if row is None or not row["claimed"]:
        return {}
    value, low, high = amounts(column, row["difference"], row["interval"])
    better = (row["difference"] > 0) == (column["better"] != "lower")
    why = f"{value} against {row['against']} [{low}, {high}], p = {row['p_holm']:.2g} after Holm's correction"
    return {"mark": "differs" if column["better"] == "neither" else "good" if better else "bad", "why": why}


def _form(column: Metric, values: Iterable[float | None]) -> Callable[[float], str]:
    """How all numbers of a column are written: shares with one decimal, others with three digits of the
    largest."""
    if column["unit"] == "s":
        return duration
    if column["unit"] == "%":
        return lambda value: f"{100 * value:.1f}"
    known = [abs(value) for value in values if value]
    largest = max(known, default=1.0)
    decimals = (
        0 if all(value == int(value) for value in known) else max(0, 2 - math.floor(math.log10(largest)))
    )
    return lambda value: f"{value:,.{min(decimals, 6)}f}" if largest < 1e4 else short(float(f"{value:.3g}"))


def _unit(column: Metric) -> str:
    better = {"higher": "higher is better", "lower": "lower is better", "neither": ""}[column["better"]]
    return ", ".join(filter(None, [column["unit"], better]))


def _flops(cell: Cell) -> float | None:
    parts = [cell["flops"].get(part) for part in ("codec", "train")]
    return sum(filter(None, parts)) or None


def _rounded(value: float) -> str:
    return short(float(f"{value:.2g}"))


def _any(results: Results, of: Callable[[Cell], Any]) -> bool:
    return any(of(cell) for cell in results["cells"])


# ------------------------------------------------------------------------------------------ systems and cells


def systems(results: Results) -> list[dict]:
    """What each system is: preset, settings, sizes, codec, and the samplers that the search chose."""
    return [
        {
            "name": system["name"],
            "tone": tones(results)[system["name"]],
            "preset": system["preset"],
            "settings": system["settings"],
            "parameters": system["parameters"] and short(system["parameters"]),
            "bits": system["bits"] and f"{system['bits']:,.0f}",
            "codec": _codec(system["codec"]),
            "samplers": _samplers(results, system["name"]),
            "rate": (system["learning_rate"] or {}).get("chosen"),
        }
        for system in results["systems"]
    ]


def _codec(codec: dict | None) -> str:
    if not codec:
        return ""
    words = [codec["kind"]]
    words += [f"{short(codec['parameters'])} parameters"] if codec.get("parameters") else []
    words += [f"{codec['bits']:,.0f} bits"] if codec.get("bits") else []
    words += [f"{codec['psnr']:.1f} dB"] if codec.get("psnr") else []
    return ", ".join(words)


def _samplers(results: Results, system: str) -> list[str]:
    """The settings of drawing that the search chose, each once, the most frequent first."""
    cells = [cell for cell in results["cells"] if cell["system"] == system and cell["sampler"]]
    lines = [
        ", ".join(f"{key.replace('_', ' ')} {number(value)}" for key, value in cell["sampler"].items())
        for cell in cells
    ]
    return sorted(set(lines), key=lambda line: (-lines.count(line), line))


def cells(results: Results) -> list[dict]:
    """How each cell ended, those that are not done first. The reference's one run stands in two budgets."""
    order = ("failed", "diverged", "waiting", "done")
    rows = [
        {
            "system": cell["system"],
            "tone": tones(results)[cell["system"]],
            "seed": cell["seed"],
            "budget": " and ".join(
                EQUAL[one["budget"]] for one in results["cells"] if one["run"] == cell["run"]
            ),
            "state": cell["state"],
            "message": cell["message"] or "",
            "documents": "" if cell["documents"] is None else f"{cell['documents']:,}",
            "seconds": duration(training_seconds(cell)) if training_seconds(cell) else "",
            "run": cell["run"],
        }
        for cell in {cell["run"]: cell for cell in results["cells"]}.values()
    ]
    return sorted(rows, key=lambda row: order.index(row["state"]))
