"""Evaluate a model: every evaluator that fits its data, judged by something that never saw the model.

A new evaluator is a file with `measure(subject) -> {name: result}` (`results.py`), {} where it does not
apply, its module in EVALUATORS, and its name in `config/choices.py`: among the usual ones, which are measured
where nothing is said, or the further ones, which take longer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.choices import EVALUATORS as NAMES
from ..config.choices import USUAL
from ..config.explain import nearest
from ..config.model import Config
from ..data import prepared, sets
from ..runs import models, seen
from ..runs.models import Loaded
from ..sampling import session
from ..sampling.request import Request
from ..system.activity import doing
from ..system.errors import CheckpointError, ConfigError, printable
from . import (
    attributes,
    bits,
    captions,
    classes,
    copies,
    cost,
    diversity,
    drawn_text,
    fidelity,
    foreign,
    losses,
    questions,
    seams,
    steps,
    sums,
)
from .results import LeftOut, to_json, values_of
from .subject import Subject, part

# In this order: those that look at drawings take what was drawn before them.
EVALUATORS = (
    losses,
    classes,
    attributes,
    captions,
    questions,
    sums,
    seams,
    foreign,
    fidelity,
    copies,
    diversity,
    drawn_text,
    steps,
    bits,
    cost,
)
TRAINING = 10_000  # training pictures of a stream that judges learn from


def evaluate(
    loaded: Loaded,
    request: Request,
    data_folder: Path,
    *,
    per_label: int = 100,
    prompts: int = 1000,
    keep: Path | None = None,
    evaluators: Sequence[str] = ("usual",),
    rows: Sequence[int] | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The results of evaluators as one mapping (see `rawmm evaluate --json`), and under `values` the numbers
    of single prompts and pictures: {metric: {"ids": [...], "values": [...]}}, a metric as in
    image_to_text.accuracy.

    request: its seed and settings. per_label, prompts, keep: as in `Subject`. evaluators: as in `chosen`.
    rows: those of the held-out split that are looked at; None: all. Raises CheckpointError where the prepared
    set is another one than the model was trained on: what is held out now may have been learned; ConfigError
    where the settings do not fit the model, or an evaluator is unknown."""
    config, names = loaded.config, chosen(evaluators)
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
    if rows is not None:
        held_out = part(held_out, rows)
    subject = Subject(loaded, request, train, held_out, data_folder, per_label, prompts, keep, notify)
    if not subject.reads:
        notify(f"reading is not measured: baseline.kind = {config.baseline.kind} draws and does not read")
    results, values = _measured(subject, names)
    results = {"data": config.data.set, **results, "values": values}
    return {**results, "seconds": round(time.perf_counter() - started, 2)}


def _measured(subject: Subject, names: set[str]) -> tuple[dict[str, Any], dict[str, dict[str, list]]]:
    """Results and values of the evaluators of these names; those that lack something are named."""
    results, values = {}, {}
    for evaluator in EVALUATORS:
        if (own := name_of(evaluator)) not in names:
            continue
        try:
            measured = evaluator.measure(subject)
        except LeftOut as error:
            subject.notify(f"{own} is left out: {error}")
            continue
        for name, result in measured.items():
            results[name] = to_json(result)
            values |= values_of(name, result)
    return results, values


def name_of(evaluator: Any) -> str:
    """The name of an evaluator: that of its file."""
    return evaluator.__name__.rpartition(".")[2]


def chosen(words: Sequence[str]) -> set[str]:
    """Names of evaluators; "usual" and "all" stand for several. Raises ConfigError where one is unknown."""
    groups = {"usual": USUAL, "all": NAMES}
    for word in words:
        if word not in (*groups, *NAMES):
            allowed = ", ".join((*groups, *NAMES))
            near = nearest(word, [*groups, *NAMES])
            raise ConfigError(f"unknown evaluator {word!r}{near}; allowed: {allowed}")
    return {name for word in words for name in groups.get(word, (word,))}


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
