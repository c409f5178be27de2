"""A trained model measured: on the validation part of the held-out split while its settings are searched,
once on the rest of it at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..data import sets
from ..evaluation import evaluate
from ..evaluation.results import to_json, values_of
from ..evaluation.subject import Subject
from ..runs import models
from ..sampling.request import Request
from ..system.errors import ConfigError, DataError
from .results import numbers


@dataclass(frozen=True)
class Measured:
    """results: {metric: number}. values: {metric: {"ids", "values"}} of single pictures. left_out:
    {evaluator: why}. whole: the results of the evaluators as JSON."""

    results: dict[str, float]
    values: dict[str, dict[str, list]]
    left_out: dict[str, str]
    whole: dict[str, Any]


def subject(run: Path, data_folder: Path, device: torch.device, seed: int, notify: Any) -> Subject:
    """The model of a run, with its set and the whole held-out split."""
    loaded = models.load(run, device, notify)
    data, held_out = sets.load(loaded.config, data_folder)
    train = data[0].first_pictures("train", evaluate.TRAINING) if loaded.config.data.stream else data[0]
    return Subject(loaded, Request(seed=seed), train, held_out, data_folder, notify=notify)


def drawn_with(of: Subject, settings: Mapping[str, Any]) -> Subject:
    """The same, drawn with these settings besides those that it has."""
    return replace(of, request=replace(of.request, settings={**of.request.settings, **settings}))


def by_steps(whole: dict[str, Any]) -> dict[str, list] | None:
    """curve.json: {"steps": [...], METRIC: [...]}, quality against steps; None where it was not measured."""
    if not (steps := whole.get("steps")):
        return None
    points = sorted((int(number), quality) for number, quality in steps["by_steps"].items())
    return {"steps": [number for number, _ in points], steps["metric"]: [quality for _, quality in points]}


def with_amount(of: Subject, pictures: int) -> Subject:
    """The same, which draws so many pictures."""
    classes = len(of.classes.names) if of.classes else 1
    return replace(of, per_label=max(1, pictures // classes), prompts=pictures, drawings=[])


def measured(of: Subject, names: Sequence[str]) -> Measured:
    """What the evaluators of these names find. One whose extra is missing, or that the set has nothing for,
    is left out."""
    whole: dict[str, Any] = {}
    values: dict[str, dict[str, list]] = {}
    left_out: dict[str, str] = {}
    for module in evaluate.EVALUATORS:
        if (name := evaluate.name_of(module)) not in names:
            continue
        try:
            results = module.measure(of)
        except (ImportError, ConfigError, DataError) as error:
            left_out[name] = " ".join(str(error).split())
            continue
        for key, result in results.items():
            whole[key] = to_json(result)
            values |= values_of(key, result)
    return Measured(numbers(whole), values, left_out, whole)
