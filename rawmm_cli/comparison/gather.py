"""The cells of a comparison, gathered in results.json. Only what has changed since is worked out again: a
comparison that is finished takes no time. No torch here."""

import json
from datetime import datetime, timezone
from typing import Any

from .. import __version__
from ..config import comparison as settings
from ..runs.folder import read_json
from ..system import disk
from . import cells, results
from .cells import Table
from .results import METRICS, BudgetKind, Cell, Results, numbers


def gather(table: Table) -> Results:
    """All that is known of a comparison, from the files of its cells."""
    path = table.folder / "results.json"
    before = read_json(path, dict)
    comparison, (given, other) = table.comparison, table.kinds
    ended = {cell: _ended(table, cell) for cell in table.cells}
    first = next((result for result in ended.values() if "machine" in result), {})
    entries = []
    for cell, result in ended.items():
        entries.append(_entry(table, cell, cell.budget, result))
        if cell.system == comparison.reference.name:
            entries.append(_entry(table, cell, other, result))
    used = {metric for entry in entries for metric in entry["results"]}
    left_out = {name: why for result in ended.values() for name, why in result.get("left_out", {}).items()}
    budget = {"kind": given, **table.amounts(), "reference": comparison.reference.name}
    return {
        "name": comparison.name,
        "question": comparison.question,
        "created": before.get("created") or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": first.get("machine", {}),
        "version": __version__,
        "data": {
            "set": first.get("set"),
            "validation": first.get("validation"),
            "test": first.get("test"),
            "score": list(comparison.score),
            "trials": comparison.trials,
        },
        "budget": budget,
        "seeds": list(comparison.seeds),
        "metrics": {metric: facts for metric, facts in METRICS.items() if metric in used},
        "left_out": left_out,
        "systems": [_system(table, system, ended) for system in comparison.systems],
        "cells": entries,
        "differences": [],
        "answer": [],
    }


def _ended(table: Table, cell: cells.Cell) -> dict[str, Any]:
    """The result of a cell, with the metrics that this version takes from what was measured, and what a
    drawing cost."""
    result = table.result(cell)
    if result.get("state") != "done":
        return result
    whole = read_json(table.place(cell) / "evaluation.json", dict)
    cost = whole.get("cost", {})
    return {
        **result,
        "results": numbers(whole),
        "seconds": {**result["seconds"], "draw": cost.get("seconds")},
        "flops": {**result["flops"], "draw": cost.get("flops")},
    }


def _entry(table: Table, cell: cells.Cell, budget: BudgetKind, result: dict) -> Cell:
    """A cell as it stands in the results."""
    return {
        "system": cell.system,
        "seed": cell.seed,
        "budget": budget,
        "run": f"runs/{cell.name}",
        "folder": f"cells/{cell.name}",
        "state": result.get("state", "waiting"),
        "message": result.get("message"),
        "documents": result.get("documents"),
        "epochs": result.get("epochs"),
        "seconds": result.get("seconds", {}),
        "flops": result.get("flops", {}),
        "memory": result.get("memory"),
        "sampler": result.get("sampler", {}),
        "trials": result.get("trials", []),
        "results": result.get("results", {}),
        "curve": result.get("curve", []),
    }


def _system(table: Table, system: settings.System, ended: dict) -> results.System:
    """A system, with what its first finished cell says of it."""
    own = [
        result for cell, result in ended.items() if cell.system == system.name and result.get("parameters")
    ]
    facts = own[0] if own else {}
    return {
        "name": system.name,
        "preset": system.preset,
        "settings": list(system.settings),
        "parameters": facts.get("parameters"),
        "codec": facts.get("codec"),
        "bits": facts.get("bits"),
        "learning_rate": _rate(table, system.name),
    }


def _rate(table: Table, system: str) -> dict[str, Any] | None:
    """What the sweep of a system said."""
    done, result = table.rate(system)
    return {"trials": result["trials"], "chosen": result.get("chosen")} if done and result else None


def write(table: Table) -> Results:
    """Gather the results of a comparison, work out differences and the answer where a cell is new, and write
    them."""
    path = table.folder / "results.json"
    before, now = read_json(path, dict), gather(table)
    known = ("differences", "answer")
    if before and all(before.get(key) == value for key, value in now.items() if key not in known):
        return before
    from . import answer, differences

    places = {cell["folder"] for cell in now["cells"] if cell["state"] == "done"}
    values = {place: read_json(table.folder / place / "values.json", dict) for place in sorted(places)}
    now["differences"] = differences.differences(now, values)
    now["answer"] = answer.answer(now)
    disk.write_json(path, now)
    return json.loads(json.dumps(now))
