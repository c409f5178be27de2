"""What the process of a cell has to do: its task, cell.json. No torch here."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..config import presets
from ..config.choices import EVALUATORS
from ..config.codecs import CodecConfig
from ..config.comparison import CodecOf, Comparison, System
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..data.prepared import read_card
from ..runs.folder import read_json
from ..system import disk
from ..system.errors import ConfigError
from .cells import PART, SWEEP, Cell, Table

EQUAL = (  # settings of every training, which those of a system win over
    "train.trackers=[]",  # what only people look at while a run trains costs time of its budget
    f"train.sample_every={10**9}",
    "train.compile=no",  # or the first cell would pay for code that is kept for the others
)
MEASURED = ("trials", "trial_pictures", "pictures", "score", "evaluators", "drawing")
LEFT_OUT = ("foreign",)  # evaluators that say nothing of how well a model draws or reads
SEARCH = ("trials", "trial_pictures", "score", "drawing")  # settings of the search and the measurement


def order(table: Table, cell: Cell) -> dict[str, Any] | None:
    """The contents of cell.json, or None where they are not known yet: the budget follows from the reference,
    and the learning rate from the sweep. Raises ConfigError where a preset, a setting or a codec is not
    usable."""
    comparison, system, amounts = table.comparison, table.system(cell.system), table.amounts()
    sweep = cell.budget == SWEEP
    known, rate = (True, None) if sweep else table.rate(cell.system)
    kind = table.kinds[0] if sweep else cell.budget
    amount, time = amounts[kind], amounts.get("time")
    waits = system.codec is not None and system.codec.share is not None and time is None
    if amount is None or not known or waits:
        return None
    codec, config, words = settled(table, system, cell.seed, time)
    every = [name for name in EVALUATORS if name not in LEFT_OUT]
    measured = json.loads(json.dumps({name: getattr(comparison, name) for name in MEASURED[:-1]}))
    measured["drawing"] = system.drawing
    measured["evaluators"] = measured["evaluators"] or every
    return {
        "system": cell.system,
        "seed": cell.seed,
        "budget": kind,
        "amount": amount,
        "part": PART if sweep else 1.0,
        "preset": preset(system.preset),
        "file": _digest(system.preset),
        "settings": words,
        "set": config.data.set,
        "codec": codec,
        "rate": (rate or {}).get("chosen", 1.0),
        **({} if sweep else measured),
        "sweep": comparison.sweep if sweep else 0,
    }


def settled(
    table: Table, system: System, seed: int, time: float | None
) -> tuple[dict[str, Any] | None, Config, list[str]]:
    """The codec of a system, settings of its model, and the words that they come from. time: the time budget,
    of which a codec may have a share."""
    codec = codec_of(table, system, seed, time)
    words = [*_data(table.comparison), *EQUAL, *system.settings]
    if codec:
        words += [f"codec.kind={codec['kind']}", f"codec.run={codec['run']}"]
    config = model(system, words)
    return codec, config, [*words, f"train.seed={seed}"]


def write(table: Table, cell: Cell, task: dict[str, Any]) -> None:
    """Write cell.json. A cell that is to be searched or measured in another way is so again; its training
    stays. Raises ConfigError where its training was begun with other settings."""
    place = table.place(cell)
    before = read_json(place / "cell.json", dict)
    changed = [key for key in task if before and before.get(key) != task[key]]
    if trained := [key for key in changed if key not in (*MEASURED, "sweep")]:
        pairs = [f"{key} was {_short(before.get(key))}, now {_short(task[key])}" for key in trained[:2]]
        raise ConfigError(
            f"{cell.name} was begun with other settings ({', '.join(pairs)}); use the old ones, give the "
            f"comparison or the system another name, or delete {place} and "
            f"{table.folder / 'runs' / cell.name}"
        )
    if before == task:
        return
    place.mkdir(parents=True, exist_ok=True)
    stale = [] if not changed else ["result.json", "measured.json"]
    stale += ["trials.json"] if set(changed) & set(SEARCH) else []
    for name in stale:
        (place / name).unlink(missing_ok=True)
    disk.write_json(place / "cell.json", task)


def renew(table: Table, chosen: Sequence[Cell]) -> None:
    """Compare cells that were begun with the task that they would have now, as `write` does."""
    for cell in chosen:
        if (table.place(cell) / "cell.json").is_file() and (task := order(table, cell)):
            write(table, cell, task)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:60]} ..."


@lru_cache(maxsize=1_000)
def _load(name: str, words: tuple[str, ...]) -> Config | CodecConfig:
    """As `presets.load`: cells of many seeds ask for the same."""
    return presets.load(name, words)


def _digest(name: str) -> str | None:
    """SHA-256 of a YAML file of the user's, who may change it; None of a preset that ships."""
    if not name.endswith((".yaml", ".yml")):
        return None
    return hashlib.sha256(presets.text(name).encode()).hexdigest()


def preset(name: str) -> str:
    """The name of a preset, or the whole path of a YAML file."""
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


def _data(comparison: Comparison) -> list[str]:
    return [f"data.set={comparison.data}"] if comparison.data else []


def model(system: System, words: list[str]) -> Config:
    """Settings of a model. Raises ConfigError that names the system, where they are not that."""
    try:
        config = _load(system.preset, tuple(words))
    except ConfigError as error:
        raise ConfigError(f"system '{system.name}': {error}") from None
    if isinstance(config, CodecConfig):
        raise ConfigError(
            f"system '{system.name}': preset {system.preset} trains a codec; allowed: a preset of a model, "
            f"and the codec below it, as in codec: {{preset: {system.preset}}}"
        )
    return config


def codec_of(table: Table, system: System, seed: int, time: float | None) -> dict[str, Any] | None:
    """The codec that a system needs: {kind, run, preset, settings}, or None. preset: None of a run that is
    there already. Raises ConfigError where there is neither a preset nor a run."""
    if system.codec is not None:
        return _trained(table, system, system.codec, seed, time)
    config = model(system, [*_data(table.comparison), *system.settings])
    if not isinstance(config.codec, FrozenCodec):
        return None
    name, kind = config.codec.run, config.codec.kind
    folder = Path(name) if "/" in name else table.runs / name
    if name in presets.names():
        return _trained(table, system, CodecOf(preset=name), seed, time)
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"system '{system.name}': there is no preset and no run {name} (codec.run); give the system a "
            "codec, as in codec: {preset: fsq-f8}"
        )
    return {"kind": kind, "run": str(folder.resolve()), "preset": None, "settings": []}


def _trained(table: Table, system: System, codec: CodecOf, seed: int, time: float | None) -> dict[str, Any]:
    """A codec that the comparison trains; systems that want the same one share its run."""
    words = [*_data(table.comparison), *EQUAL, *codec.settings]
    try:
        config = _load(codec.preset, tuple(words))
        if not isinstance(config, CodecConfig):
            raise ConfigError(f"preset {codec.preset} trains a model; allowed: one that trains a codec")
        size = read_card(table.data / config.data.set).get("size")
        sized = any(word.startswith("data.size=") for word in codec.settings)
        if isinstance(size, list) and len(set(size)) == 1 and not sized:
            words.append(f"data.size={size[0]}")
            config = _load(codec.preset, tuple(words))
    except ConfigError as error:
        raise ConfigError(f"system '{system.name}', its codec: {error}") from None
    stem = Path(codec.preset).stem
    if codec.settings or codec.share is not None:
        stem += "-" + hashlib.sha256(json.dumps([words, codec.share]).encode()).hexdigest()[:6]
    if codec.share is not None and time is not None:
        words.append(f"train.time={codec.share * time:.3f}")
    words.append(f"train.seed={seed}")
    return {
        "kind": config.codec.kind,
        "run": f"{stem}-{seed}",
        "preset": preset(codec.preset),
        "settings": words,
    }
