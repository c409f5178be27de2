"""Where the cells of a comparison stand, and how long it takes to the end, from their files. No torch
here."""

import statistics
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ..runs.folder import read_json
from ..system.figures import duration
from .cells import SWEEP, Cell, Table, trained
from .results import METRICS

STAGES = {
    "codec": "its codec",
    "train": "training",
    "search": "search",
    "measure": "measuring",
    "sweep": "sweep",
}
SHOWN = 2  # metrics that a row has
WORDS = {"documents": "documents", "time": "time", "flops": "FLOPs", SWEEP: "sweep"}


class Row(NamedTuple):
    """A system at a budget. done: of `count` cells. now: what is under way, or what is wrong. metrics:
    {title: mean over the seeds that are done}."""

    system: str
    budget: str
    done: int
    count: int
    now: str
    metrics: dict[str, float]


def rows(table: Table, running: Collection[Cell]) -> list[Row]:
    """A row of each system and budget, in the order of the file."""
    kinds = (*([SWEEP] if table.comparison.sweep else []), *table.kinds)
    every = [*table.sweeps, *table.cells]
    groups = [
        [cell for cell in every if (cell.system, cell.budget) == (system.name, kind)]
        for system in table.comparison.systems
        for kind in kinds
    ]
    return [_row(table, cells, running) for cells in groups if cells]


def _row(table: Table, cells: Sequence[Cell], running: Collection[Cell]) -> Row:
    results = {cell: table.result(cell) for cell in cells}
    done = [result for result in results.values() if result.get("state") in ("done", "diverged")]
    now = [f"seed {cell.seed}: {doing(table, cell)}" for cell in cells if cell in running]
    now += [
        f"seed {cell.seed} {result['state']}"
        for cell, result in results.items()
        if result.get("state") in ("diverged", "failed") and cell not in running
    ]
    metrics = {}
    for metric, facts in METRICS.items():
        numbers = [result["results"][metric] for result in done if metric in result["results"]]
        if numbers and facts["part"] in ("drawing", "reading") and facts["unit"] == "%":
            metrics[facts["title"]] = statistics.mean(numbers)
    shown = dict(list(metrics.items())[:SHOWN])
    return Row(cells[0].system, WORDS[cells[0].budget], len(done), len(cells), ", ".join(now), shown)


def doing(table: Table, cell: Cell) -> str:
    """What a cell under way does now: training 45 %, 12 s left."""
    state, task = table.state(cell), read_json(table.place(cell) / "cell.json", dict)
    stage = state.get("stage")
    if stage is None:
        return "starting"
    if "trial" in state:
        return f"{STAGES[stage]} {state['trial']} of {state['of']}"
    share = None
    if stage == "train" and task.get("budget") in ("time", "documents"):
        key = {"time": "seconds", "documents": "documents"}[task["budget"]]
        share = min(1.0, state.get(key, 0) / task["amount"])
    left = f", {duration(round(state['eta']))} left" if state.get("eta") else ""
    return STAGES.get(stage, stage) + (f" {share:.0%}" if share is not None else "") + left


class Clock:
    """When cells that this command works on were begun."""

    def __init__(self) -> None:
        self.began: dict[Cell, float] = {}

    def left(
        self, table: Table, chosen: Sequence[Cell], running: Collection[Cell], jobs: int
    ) -> float | None:
        """Seconds until all that is chosen is done, about; None where no budget of time is known yet and
        nothing is done."""
        now = time.monotonic()
        for cell in running:
            self.began.setdefault(cell, now)
        expected = Expected(table)
        seconds = 0.0
        for cell in chosen:
            if table.finished(cell):
                continue
            whole = expected(cell)
            if whole is None:
                return None
            gone = now - self.began[cell] if cell in running else 0.0
            seconds += max(1.0, whole - gone)
        return seconds / min(jobs, max(1, len(chosen)))


class Expected:
    """Seconds that a cell takes, from those that are done."""

    def __init__(self, table: Table):
        self.amounts = table.amounts()
        results = {cell: table.result(cell) for cell in table.cells}
        self.done = {cell: result for cell, result in results.items() if result.get("state") == "done"}

    def __call__(self, cell: Cell) -> float | None:
        """The whole cell; None where nothing tells."""
        own = [result for one, result in self.done.items() if one.system == cell.system]
        beside = [_beside(result) for result in own or self.done.values()]
        training = self._training(cell, own)
        return None if training is None else training + (statistics.mean(beside) if beside else 10.0)

    def _training(self, cell: Cell, own: Sequence[dict]) -> float | None:
        time_ = self.amounts.get("time")
        if cell.budget == "documents" and own and self.amounts["documents"]:
            each = [result["seconds"]["train"] / max(1, result["documents"]) for result in own]
            return statistics.mean(each) * self.amounts["documents"]
        if time_ is not None:
            return time_
        every = [trained(result) for result in own or self.done.values()]
        return statistics.mean(every) if every else None


def _beside(result: dict[str, Any]) -> float:
    """Seconds of a cell beside its training."""
    return sum(result["seconds"].get(name) or 0.0 for name in ("search", "measure", "other"))
