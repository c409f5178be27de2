"""Evaluator: how well a model draws in more or fewer steps.

The same prompts are drawn from the same noise in each number of steps, by the main metric of the set: classes
that the judge sees, attributes of portraits, or characters that OCR reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..config.choices import TUNED
from ..core.text_tokenizer import BOS, IMAGE
from ..data.datasets.portraits.attributes import attributes_of
from ..data.datasets.portraits.captions import captions_of
from ..data.sets import class_captions
from ..system.figures import counted
from . import attributes, classes, drawn_text
from .cost import steps_of
from .results import Values
from .subject import Subject, first_picture

STEPS = (1, 2, 4, 8, 10, 20, 50, 100)
DRAWN = 200  # drawings of each number of steps, at most


@dataclass(frozen=True)
class BySteps:
    """by_steps: `metric` of `count` drawings in each number of steps, {"10": 0.98}. fixed: why there is only
    one, that of the evaluations, where a model has no steps to choose."""

    metric: str
    by_steps: dict[str, float]
    count: int
    guidance: float
    fixed: str | None = None
    values: dict[str, Values] = field(default_factory=dict)


class Trial(NamedTuple):
    """What is drawn, `each` times from each prompt, and how it is scored: drawings, None where there is none,
    -> a number each."""

    metric: str
    prompts: list[str]
    each: int
    score: Callable[[list[Tensor | None]], Sequence[float]]


def measure(subject: Subject) -> dict[str, BySteps]:
    """Applies where drawings have a main metric. Raises LeftOut where that is OCR, and no engine is
    installed."""
    if not subject.draws or subject.quick or (trial := trial_of(subject)) is None:
        return {}
    fixed, numbers = None, [str(steps) for steps in STEPS]
    if "steps" not in subject.settings.flat():
        evaluations = _evaluations(subject, trial.prompts[0])
        kind, numbers = subject.loaded.config.drawn_by.removeprefix("whose "), [str(evaluations)]
        fixed = f"{kind}, which has no steps to choose: {counted(evaluations, 'evaluation')} a picture"
    values = {}
    for number in numbers:
        settings = {} if fixed else {"steps": int(number)} | _times(subject)
        documents = subject.draw(trial.prompts, "steps", trial.each, max_text=4, **settings)
        scores = trial.score([first_picture(document) for document in documents])
        ids = [f"{n // trial.each} {n % trial.each}" for n in range(len(scores))]
        values[f"by_steps.{number}"] = Values(ids, scores)
    return {
        "steps": BySteps(
            metric=trial.metric,
            by_steps={number: float(np.mean(values[f"by_steps.{number}"].values)) for number in numbers},
            count=len(trial.prompts) * trial.each,
            guidance=subject.settings.guidance,
            fixed=fixed,
            values=values,
        )
    }


def trial_of(subject: Subject) -> Trial | None:
    """The main metric of a set, and what is drawn for it; None where it has none."""
    if drawn_text.applies(subject):
        return _of_text(subject)
    if (judge := classes.judge_of(subject)) is not None:
        return _of_classes(subject, judge)
    train = subject.train
    if train.holds_documents or train.card.get("labels") or not train.card.get("grammar"):
        return None
    return _of_attributes(subject)


def _of_text(subject: Subject) -> Trial:
    engine, rows = drawn_text.installed()[0], drawn_text.rows_of(subject)
    captions = [drawn_text.first(subject, row) for row in rows]

    def score(drawn: list[Tensor | None]) -> list[float]:
        return drawn_text.by_text(drawn_text.read(engine, drawn), captions)["characters"]

    return Trial("drawn_text.characters", captions, 1, score)


def _of_classes(subject: Subject, judge: classes.Judge) -> Trial:
    names, size = subject.classes.names, subject.settings.size
    each = max(1, min(subject.per_label, DRAWN // len(names)))
    wanted = np.repeat(np.arange(len(names)), each)

    def score(drawn: list[Tensor | None]) -> list[float]:
        return classes.recognised(judge, drawn, wanted, size)[1].astype(float).tolist()

    return Trial("text_to_image.accuracy", class_captions(subject.classes.train, names), each, score)


def _of_attributes(subject: Subject) -> Trial:
    judge, _ = attributes.judged(subject.folder, subject.settings.size[0], notify=subject.notify)
    numbers = attributes.unseen(subject.train, min(DRAWN, subject.prompts))
    captions = [captions_of(n, attributes_of(n))[n % 4] for n in numbers]

    def score(drawn: list[Tensor | None]) -> Sequence[float]:
        return attributes.match(subject, judge, captions, drawn).values["accuracy"].values

    return Trial("text_to_image.accuracy", captions, 1, score)


def _times(subject: Subject) -> dict[str, Any]:
    """The model's own grid, where the one that is asked for is made for one number of steps."""
    grid = subject.request.settings.get("grid")
    if grid is None or (isinstance(grid, str) and grid != TUNED):
        return {}
    return {"grid": subject.loaded.config.sample.grid}


def _evaluations(subject: Subject, prompt: str) -> int:
    model = subject.loaded.model
    return steps_of(model, [BOS, *model.tokenizer.encode(prompt), IMAGE], subject.settings)[0]
