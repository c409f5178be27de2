"""Trainings of a cell: ordinary runs below the comparison's runs/, by the loops of `rawmm train`."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock

from ..config import build, presets
from ..config.codecs import CodecConfig
from ..config.model import Config
from ..data import sets
from ..profiling import sizes
from ..runs import records
from ..runs.folder import checkpoints, read_config, read_json
from ..system import disk
from ..system.errors import CheckpointError, ConfigError, DivergedError
from ..training.auto import settled
from ..training.train import train
from ..training.train_codec import train_codec

Say = Callable[..., None]
POINTS = 200  # of a curve
WALL = "wall.json"  # in a run of a comparison: seconds of its trainings, all that follows the steps included


class Trained(NamedTuple):
    """A run that has come to its end. record: the last one. seconds: of all its commands."""

    folder: Path
    record: dict[str, Any]
    seconds: float


def run(
    config: Config | CodecConfig, folder: Path, data: Path, device: torch.device, notify: Say, say: Say
) -> Trained:
    """Train a run to its end, or go on with it. say(record): called at every step. Raises as the loops do; a
    run that has diverged diverges again without a step."""
    diverged = read_json(folder / WALL, dict).get("diverged")
    if diverged:
        raise DivergedError(diverged)
    earlier, began = _earlier(folder), time.perf_counter()
    records_ = (
        train_codec(config, data, folder, device, notify, began)
        if isinstance(config, CodecConfig)
        else train(config, data, folder, device, notify, began=began)
    )
    stepped = False
    try:
        for record in records_:
            stepped = True
            say(record)
    except DivergedError as error:
        disk.write_json(folder / WALL, {"diverged": str(error)})
        raise
    if stepped:
        disk.write_json(folder / WALL, {"seconds": round(earlier + time.perf_counter() - began, 3)})
    return ended(folder)


def ended(folder: Path) -> Trained:
    """A run as it has ended, whoever trained it. Raises CheckpointError where it has no record."""
    lines = records.read(folder / "records.jsonl")
    if not lines:
        raise CheckpointError(f"{folder} has no records; bring them back, or train that run again")
    wall = read_json(folder / WALL, dict).get("seconds")
    return Trained(folder, lines[-1], float(wall or lines[-1].get("seconds") or 0.0))


def _earlier(folder: Path) -> float:
    """Seconds up to the newest checkpoint, from which a run goes on."""
    saved = [one for one in checkpoints(folder) if one["problem"] is None]
    return float(read_json(saved[-1]["folder"] / "state.json", dict).get("seconds") or 0.0) if saved else 0.0


def codec(
    task: dict[str, Any], runs: Path, data: Path, device: torch.device, notify: Say, say: Say
) -> Trained:
    """The codec of a cell: trained, or taken as it is. Of cells that share one the first trains it, and the
    others wait."""
    folder = Path(task["run"]) if "/" in task["run"] else runs / task["run"]
    if task["preset"] is None:
        return ended(folder)
    config = presets.load(task["preset"], task["settings"])
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / f".{task['run']}.lock"):
        return run(config, folder, data, device, notify, say)


def codec_facts(task: dict[str, Any], trained: Trained, runs: Path) -> dict[str, Any]:
    """kind, run, bits of a picture, parameters, and FLOPs of the training."""
    config = read_config(trained.folder)
    built, side = build.codec(config), config.data.size
    return {
        "kind": config.codec.kind,
        "run": f"runs/{task['run']}" if trained.folder.parent == runs else str(trained.folder),
        "bits": built.bits(side, side),
        "parameters": sum(p.numel() for p in built.parameters()),
        "psnr": None,
        "flops": float(codec_flops(config) * trained.record["documents"]),
    }


def codec_flops(config: CodecConfig) -> float:
    """FLOPs of forward and backward of a picture, as torch counts them; without those of an adversary or of
    features."""
    from torch.utils.flop_counter import FlopCounterMode

    model, side = build.codec(config).train(), config.data.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pixels = torch.rand(2, 3, side, side) * 2 - 1
        with FlopCounterMode(display=False) as counter:
            output = model(pixels)
            (output.pixels.square().mean() + sum(output.losses.values())).backward()
    return counter.get_total_flops() / 2


def model_config(task: dict[str, Any], codec: dict[str, Any], run_folder: Path, data: Path) -> Config:
    """Settings of a cell's model within its budget. codec: {"seconds", "flops"} that its codec took. A
    trial of the learning rate has a part of what is left. Raises ConfigError where nothing is left."""
    config = presets.load(task["preset"], task["settings"])
    config = presets.changed(config, rates(config, task["rate"])) if task["rate"] != 1 else config
    kind, amount, part = task["budget"], task["amount"], task["part"]
    if kind == "documents":
        return presets.changed(config, {"train.documents": max(1, int(amount * part)), "train.time": None})
    left = amount - codec["seconds" if kind == "time" else "flops"]
    if left <= 0:
        unit, used = ("s", codec["seconds"]) if kind == "time" else ("FLOPs", codec["flops"])
        raise ConfigError(
            f"the codec took {used:.3g} {unit}, and the budget is {amount:.3g} {unit}; give a larger budget, "
            "or fewer documents to the codec"
        )
    if kind == "time":
        return presets.changed(config, {"train.time": round(left * part, 3)})
    config, _ = settled(config, data, run_folder)
    documents = int(left * part / document_flops(config, data))
    if documents < 1:
        raise ConfigError(
            f"a document takes {document_flops(config, data):.3g} FLOPs, and {left:.3g} are left of the "
            "budget; give a larger --flops"
        )
    return presets.changed(config, {"train.documents": documents, "train.time": None})


def rates(config: Config, factor: float) -> dict[str, float]:
    """Both learning rates times `factor`, by their keys."""
    names = ("learning_rate", "muon_learning_rate")
    return {f"train.{name}": getattr(config.train, name) * factor for name in names}


def document_flops(config: Config, data: Path) -> float:
    """FLOPs of forward and backward of a document, a mean over the set (`core/flops.py`)."""
    step = sizes.step(config, build.model(config, "meta"), sets.load(config, data)[0], 1, "fp32")
    return step.work / config.train.batch


def curve(folder: Path) -> list[dict[str, float]]:
    """Losses of a run by documents and seconds, at most POINTS of them."""
    lines = records.read(folder / "records.jsonl")
    keys = ("documents", "seconds", "loss", "text", "image")
    step = max(1, len(lines) // POINTS)
    points = []
    for line in lines[::-1][::step][::-1]:
        with suppress(TypeError):
            points.append({key: round(line[key], 5) for key in keys if key in line})
    return points
