"""The search of settings, with the same number of trials for every system: those of drawing, and the learning
rate."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..evaluation.subject import Subject
from ..system import seeds
from . import measure
from .results import METRICS, evaluators

# What is searched, of the settings that the model has. The first trial is of the model's own settings.
SPACE: dict[str, tuple] = {
    "guidance": (1.0, 1.5, 2.0, 3.0, 4.0),
    "steps": (5, 10, 20, 50),
    "solver": ("euler", "dpm2m"),
    "code_temperature": (0.7, 0.85, 1.0),
    "code_top_p": (0.9, 0.95, 1.0),
    "order_temperature": (1.0, 2.5, 4.5, 8.0),
}
FACTORS = (1.0, 0.5, 2.0, 0.25, 4.0, 0.125, 8.0)  # of the preset's learning rates, in the order of the trials


def candidates(own: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """`count` settings to try: first {}, the model's own, then others by lot, the same for every model that
    has the same settings. own: all settings of the model by their names. Fewer where there are no more."""
    space = {name: values for name, values in SPACE.items() if name in own}
    tried: list[dict[str, Any]] = [{}]
    usual = {name: own[name] for name in space}
    most = math.prod(map(len, space.values()))
    for n in range(50 * count):
        if len(tried) >= min(count, most):
            break
        lots = seeds.uniforms("trial", n, count=len(space))
        settings = {name: values[int(lot * len(values))] for (name, values), lot in zip(space.items(), lots)}
        if settings not in tried and settings != usual:
            tried.append(settings)
    return tried[:count]


def sampler(
    of: Subject, score: Sequence[str], count: int, done: Sequence[dict], say: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """Yield each trial, {"settings", "score", "results"}: those that are `done`, then the others. of: with
    the validation part as its held-out split. say: receives the number of the trial that begins."""
    names = {name for metric in score if metric in METRICS for name in evaluators(metric)}
    own = {name: value for name, value in of.settings.flat().items() if name not in of.request.settings}
    for n, settings in enumerate(candidates(own, count)):
        if n < len(done):
            yield done[n]
            continue
        say(n)
        trial = measure.drawn_with(of, settings)
        request = replace(trial.request, seed=of.request.seed + 1_000_003)
        trial = replace(trial, request=request, drawings=[], keep=None, quick=True)
        results = measure.measured(trial, sorted(names)).results
        parts = {metric: results[metric] for metric in score if metric in results}
        yield {"settings": settings, "score": math.prod(parts.values()) if parts else None, "results": parts}


def best(trials: Sequence[dict]) -> dict[str, Any]:
    """The settings of the highest score; of equal ones the earliest."""
    scored = [trial for trial in trials if trial["score"] is not None]
    return max(scored, key=lambda trial: trial["score"])["settings"] if scored else {}
