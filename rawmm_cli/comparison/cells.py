"""What a comparison consists of. No torch here.

A cell is a system, a seed and a budget. The reference has one cell for each seed, with the budget that was
given; what it does within that is the other budget: the documents that it saw in the time, or the time that it
took for the documents. Each other system has two cells for each seed, one for each budget. Seeds are those of
training (`train.seed`), so that every system has the same order of documents and the same first draws."""

import hashlib
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import presets
from ..config.codecs import CodecConfig
from ..config.comparison import CodecOf, Comparison, System
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..data.prepared import read_card
from ..runs.folder import read_json
from ..system import disk
from ..system.errors import ConfigError

MEANT = {"time": "seconds", "documents": "documents", "flops": "FLOPs"}
QUIET = (  # what only people look at while a run trains costs time of its budget
    "train.trackers=[]",
    f"train.sample_every={10**9}",
)


@dataclass(frozen=True)
class Cell:
    """A system, a seed and a budget (time, documents or flops)."""

    system: str
    seed: int
    budget: str

    @property
    def name(self) -> str:
        """Of its folders in runs/ and cells/."""
        return f"{self.system}-{self.seed}-{self.budget}"


@dataclass(frozen=True)
class Table:
    """The cells of a comparison below `folder`. data: folder of the prepared sets. runs: where codecs are that
    a system names and the comparison does not train."""

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
        """Every cell, those of the reference first."""
        first, *others = self.comparison.systems
        seeds = self.comparison.seeds
        own = [Cell(first.name, seed, self.kinds[0]) for seed in seeds]
        return own + [Cell(one.name, seed, kind) for seed in seeds for one in others for kind in self.kinds]

    def system(self, name: str) -> System:
        """The system of that name."""
        return next(system for system in self.comparison.systems if system.name == name)

    def place(self, cell: Cell) -> Path:
        """The folder of what is measured of a cell."""
        return self.folder / "cells" / cell.name

    def result(self, cell: Cell) -> dict[str, Any]:
        """How a cell ended; {} where it has not, and where it failed, since it is tried again."""
        return read_json(self.place(cell) / "result.json", dict)

    def finished(self, cell: Cell) -> bool:
        """Whether a cell has a result: it was measured, or it diverged."""
        return self.result(cell).get("state") in ("done", "diverged")

    def amounts(self) -> dict[str, float | None]:
        """{budget: how much}; None of what follows from cells of the reference that are not done."""
        given, other = self.kinds
        budget = self.comparison.budget
        amounts: dict[str, float | None] = {given: getattr(budget, given), other: None}
        own = [Cell(self.comparison.reference.name, seed, given) for seed in self.comparison.seeds]
        results = [self.result(cell) for cell in own if self.finished(cell)]
        done = [result for result in results if result["state"] == "done"]
        if len(results) == len(own) and done:
            values = [trained(result) if other == "time" else result["documents"] for result in done]
            middle = statistics.median(values)
            amounts[other] = rounded(middle) if other == "documents" else round(middle, 3)
        return amounts


def trained(result: dict) -> float:
    """Seconds of training, those of the codec included."""
    return result["seconds"]["train"] + (result["seconds"]["codec"] or 0.0)


def rounded(documents: float) -> int:
    """To two digits and a half: 12,345 is 12,500, since the budget stands in a table."""
    digits = max(0, len(str(int(documents))) - 2)
    unit = max(1, 10**digits // 2)
    return max(1, round(documents / unit) * unit)


# ------------------------------------------------------------------------------------- what a cell is told to do


def order(table: Table, cell: Cell, amount: float, time: float | None) -> dict[str, Any]:
    """What the process of a cell needs to know: the contents of its cell.json.

    amount: of its budget. time: the time budget, of which a codec may have a share. Raises ConfigError where a
    preset, a setting or a codec is not usable."""
    comparison, system = table.comparison, table.system(cell.system)
    codec = codec_of(table, system, cell.seed, time)
    words = [*_data(comparison), *system.settings]
    if codec:
        words += [f"codec.kind={codec['kind']}", f"codec.run={codec['run']}"]
    words += [f"train.seed={cell.seed}", *QUIET]
    _model(system, words)
    measured = ("trials", "trial_pictures", "pictures", "score", "evaluators", "sweep")
    return {
        "system": cell.system,
        "seed": cell.seed,
        "budget": cell.budget,
        "amount": amount,
        "preset": _preset(system.preset),
        "settings": words,
        "codec": codec,
        **{name: json.loads(json.dumps(getattr(comparison, name))) for name in measured},
    }


def write_order(table: Table, cell: Cell, told: dict[str, Any]) -> None:
    """Write cell.json. Raises ConfigError where the cell was begun with other settings."""
    path = table.place(cell) / "cell.json"
    before = read_json(path, dict)
    changed = [key for key in told if key in before and before[key] != told[key]]
    if cell.budget != table.kinds[0]:  # what follows from the reference stays as it was begun
        changed = [key for key in changed if key not in ("amount", "codec")]
    if changed:
        what = ", ".join(f"{key} was {_short(before[key])}, now {_short(told[key])}" for key in changed[:2])
        raise ConfigError(
            f"{cell.name} was begun with other settings ({what}); use the old ones, give the system another "
            f"name, or delete {path.parent} and {table.folder / 'runs' / cell.name}"
        )
    if not before:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(path, told)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:60]} ..."


def _preset(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


def _data(comparison: Comparison) -> list[str]:
    return [f"data.set={comparison.data}"] if comparison.data else []


def _model(system: System, words: list[str]) -> Config:
    """Settings of a model, where they are that. Raises ConfigError that names the system."""
    try:
        config = presets.load(system.preset, words)
    except ConfigError as error:
        raise ConfigError(f"system '{system.name}': {error}") from None
    if isinstance(config, CodecConfig):
        raise ConfigError(
            f"system '{system.name}': preset {system.preset} trains a codec; allowed: a preset of a model, and "
            f"the codec below it, as in codec: {{preset: {system.preset}}}"
        )
    return config


def codec_of(table: Table, system: System, seed: int, time: float | None = None) -> dict[str, Any] | None:
    """The codec that a system needs: {kind, run, preset, settings}, or None. preset: None of a run that is
    there already. Raises ConfigError where there is neither a preset nor a run."""
    wanted = system.codec
    if wanted is None:
        config = _model(system, [*_data(table.comparison), *system.settings])
        if not isinstance(config.codec, FrozenCodec):
            return None
        name, kind = config.codec.run, config.codec.kind
        folder = Path(name) if "/" in name else table.runs / name
        if name not in presets.names():
            if not (folder / "config.yaml").is_file():
                raise ConfigError(
                    f"system '{system.name}': there is no preset and no run {name} (codec.run); give the "
                    "system a codec, as in codec: {preset: fsq-f8}"
                )
            return {"kind": kind, "run": str(folder.resolve()), "preset": None, "settings": []}
        wanted = CodecOf(preset=name)
    return _trained(table, system, wanted, seed, time)


def _trained(table: Table, system: System, wanted: CodecOf, seed: int, time: float | None) -> dict[str, Any]:
    """A codec that the comparison trains."""
    words = [*_data(table.comparison), *wanted.settings]
    try:
        config = presets.load(wanted.preset, words)
        if not isinstance(config, CodecConfig):
            raise ConfigError(f"preset {wanted.preset} trains a model; allowed: one that trains a codec")
        size = read_card(table.data / config.data.set).get("size")
        if isinstance(size, list) and len(set(size)) == 1 and "data.size" not in " ".join(wanted.settings):
            words.append(f"data.size={size[0]}")
            config = presets.load(wanted.preset, words)
    except ConfigError as error:
        raise ConfigError(f"system '{system.name}', its codec: {error}") from None
    stem = Path(wanted.preset).stem
    if wanted.settings or wanted.share is not None:
        described = json.dumps([words, wanted.share])
        stem += f"-{hashlib.sha256(described.encode()).hexdigest()[:6]}"
    if wanted.share is not None:
        words += [f"train.time={wanted.share * time:.3f}"] if time else []
    words += [f"train.seed={seed}", *QUIET]
    return {
        "kind": config.codec.kind,
        "run": f"{stem}-{seed}",
        "preset": _preset(wanted.preset),
        "settings": words,
    }
