"""Evaluate a model: every evaluator that fits its data, judged by something that never saw the model.

A new evaluator is a file with `measure(subject) -> {name: result}`, {} where it does not apply, and its name
in EVALUATORS. A result is a frozen dataclass of plain values; JSON has its fields, but for those that may be
None by default and are."""

import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..config.model import Config
from ..data import prepared, sets
from ..runs import models, seen
from ..runs.models import Loaded
from ..sampling import session
from ..sampling.request import Request
from ..system.activity import doing
from ..system.errors import CheckpointError, ConfigError, printable
from . import attributes, captions, classes, foreign, losses, questions, seams, sums
from .subject import Subject

EVALUATORS = (losses, classes, attributes, captions, questions, sums, seams, foreign)
TRAINING = 10_000  # training pictures of a stream that judges learn from


def evaluate(
    loaded: Loaded,
    request: Request,
    data_folder: Path,
    *,
    per_label: int = 100,
    prompts: int = 1000,
    keep: Path | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The results of all evaluators as one mapping (see `rawmm evaluate --json`).

    request: its seed and settings. per_label, prompts, keep: as in `Subject`. Raises CheckpointError where
    the prepared set is another one than the model was trained on: what is held out now may have been
    learned; ConfigError where the settings do not fit the model."""
    config = loaded.config
    session.settings_for(loaded, request)  # raises before anything is measured
    data, held_out = sets.load(_own_data(loaded, data_folder), data_folder)
    if loaded.data not in (None, prepared.joint_fingerprint(data)):
        raise CheckpointError(
            f"the set '{config.data.set}' has changed since the run was trained: what is held out now may "
            "have been learned; prepare the old data again, or train a new run"
        )
    train = data[0].first_pictures("train", TRAINING) if config.data.stream else data[0]
    started = time.perf_counter()
    if not loaded.seen and loaded.folder.is_dir():
        loaded = _with_seen(loaded, data, held_out)
    subject = Subject(loaded, request, train, held_out, data_folder, per_label, prompts, keep, notify)
    if not subject.reads:
        notify(f"reading is not measured: baseline.kind = {config.baseline.kind} draws and does not read")
    results: dict[str, Any] = {"data": config.data.set}
    for evaluator in EVALUATORS:
        results |= {name: to_json(result) for name, result in evaluator.measure(subject).items()}
    return {**results, "seconds": round(time.perf_counter() - started, 2)}


def _own_data(loaded: Loaded, data_folder: Path) -> Config:
    """The settings of a model, whose data lie below `data_folder`. Raises ConfigError where an exported
    model, which may come from elsewhere, names another place of this machine: it is not opened."""
    config, stream = loaded.config, loaded.config.data.stream
    if loaded.saved != loaded.folder or stream is None or stream.path is None:
        return config
    place = data_folder / config.data.set
    if not place.exists():
        raise ConfigError(
            f"{loaded.name} was exported and names its data as '{printable(stream.path)}', which is not "
            f"opened, as it may come from elsewhere; link or copy them to {place}, or evaluate the run"
        )
    data = config.data.model_copy(update={"stream": stream.model_copy(update={"path": None})})
    return config.model_copy(update={"data": data})


def _with_seen(loaded: Loaded, data: list, held_out: Any) -> Loaded:
    """The same model with what it has seen, measured and kept beside it."""
    with doing("measuring what it has seen"):
        known = seen.measure(loaded.model, loaded.config, loaded.documents, data, held_out)
    models.store_seen(loaded.folder, known)
    return replace(loaded, seen=known)


def to_json(result: Any) -> dict[str, Any]:
    """The fields of a result, without those that are None by default."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    optional = {field.name for field in fields(result) if field.default is None}
    return {name: value for name, value in values.items() if not (name in optional and value is None)}
