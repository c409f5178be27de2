"""What a comparison consists of. No torch here.

A cell is a system, a seed and a budget. The reference has one cell for each seed, with the budget that was
given; what it does within that is the other budget: the documents that it saw in the time, or the time that
it took for the documents. Each other system has two cells for each seed, one for each budget. Seeds are those
of training (`train.seed`), so that every system has the same order of documents and the same first draws.
With a sweep, each system has one cell more before these, which finds its learning rate."""

import statistics
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..config.comparison import Comparison, System
from ..runs.folder import read_json
from ..system import disk

SWEEP = "sweep"
MEANT = {"time": "seconds", "documents": "documents", "flops": "FLOPs"}  # units of the budgets
PART = 0.25  # of the budget, for each trial of the learning rate


@dataclass(frozen=True)
class Cell:
    """A system, a seed and a budget (time, documents or flops), or `sweep` in its place."""

    system: str
    seed: int
    budget: str

    @property
    def name(self) -> str:
        """Of its folders in runs/ and cells/."""
        return f"{self.system}-{self.seed}-{self.budget}"


@dataclass(frozen=True)
class Table:
    """The cells of a comparison below `folder`. data: folder of the prepared sets. runs: where codecs are
    that a system names and the comparison does not train."""

    comparison: Comparison
    folder: Path
    data: Path
    runs: Path

    @property
    def kinds(self) -> tuple[str, str]:
        """The budget that was given, and the one that follows from the reference."""
        given = self.comparison.budget.kind
        return given, "documents" if given == "time" else "time"

    @property
    def cells(self) -> list[Cell]:
        """Every cell that is measured, those of the reference first."""
        first, *others = self.comparison.systems
        seeds = self.comparison.seeds
        own = [Cell(first.name, seed, self.kinds[0]) for seed in seeds]
        return own + [Cell(one.name, seed, kind) for seed in seeds for one in others for kind in self.kinds]

    @property
    def sweeps(self) -> list[Cell]:
        """A cell of each system that finds its learning rate, where there is a sweep."""
        seed, systems = self.comparison.seeds[0], self.comparison.systems
        return [Cell(system.name, seed, SWEEP) for system in systems if self.comparison.sweep]

    def system(self, name: str) -> System:
        """The system of that name."""
        return next(system for system in self.comparison.systems if system.name == name)

    def place(self, cell: Cell) -> Path:
        """The folder of what is measured of a cell."""
        return self.folder / "cells" / cell.name

    def result(self, cell: Cell) -> dict[str, Any]:
        """How a cell ended; {} where it has not."""
        path = self.place(cell) / "result.json"
        try:
            modified = path.stat().st_mtime_ns
        except OSError:
            return {}
        return _read(path, modified)

    def state(self, cell: Cell) -> dict[str, Any]:
        """Where a cell that is worked on stands, as it says itself."""
        return read_json(self.place(cell) / "state.json", dict)

    def finished(self, cell: Cell) -> bool:
        """Whether a cell was measured, or diverged; one that failed is tried again."""
        return self.result(cell).get("state") in ("done", "diverged")

    def amounts(self) -> dict[str, float | None]:
        """{budget: how much}; None of what follows from cells of the reference that are not done. What once
        followed stays so, also where seeds are added: it stands in budget.json."""
        given, other = self.kinds
        amount, reference = getattr(self.comparison.budget, given), self.comparison.reference.name
        facts = {"reference": reference, given: amount}
        kept = read_json(self.folder / "budget.json", dict)
        if kept and all(kept.get(key) == value for key, value in facts.items()):
            return {given: amount, other: kept[other]}
        own = [cell for cell in self.cells if cell.system == reference]
        results = [self.result(cell) for cell in own if self.finished(cell)]
        done = [result for result in results if result["state"] == "done"]
        if len(results) < len(own) or not done:
            return {given: amount, other: None}
        middle = statistics.median(trained(one) if other == "time" else one["documents"] for one in done)
        value = rounded(middle) if other == "documents" else round(middle, 3)
        disk.write_json(self.folder / "budget.json", {**facts, other: value})
        return {given: amount, other: value}

    def rate(self, system: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether the learning rate of a system is known, and the result of its sweep, where there is one."""
        if not self.comparison.sweep:
            return True, None
        cell = Cell(system, self.comparison.seeds[0], SWEEP)
        return self.finished(cell), self.result(cell)


@lru_cache(maxsize=10_000)
def _read(path: Path, modified: int) -> dict[str, Any]:
    """Contents of a file as it was written at that time: whoever shows how it goes asks twice a second."""
    return read_json(path, dict)


def trained(result: dict) -> float:
    """Seconds of training, those of the codec included."""
    return result["seconds"]["train"] + (result["seconds"]["codec"] or 0.0)


def rounded(documents: float) -> int:
    """To two digits and a half, as it stands in a table: 12,345 is 12,500."""
    unit = max(1, 10 ** max(0, len(str(int(documents))) - 2) // 2)
    return max(1, round(documents / unit) * unit)
