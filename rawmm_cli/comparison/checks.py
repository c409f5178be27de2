"""What can be wrong with a comparison, found before anything is trained. No torch here."""

from collections.abc import Sequence

from ..config.choices import EVALUATORS
from ..config.comparison import Comparison, System
from ..config.explain import nearest
from ..data import prepared
from ..data.prepared import read_card
from ..sampling.request import Request
from ..system.errors import ConfigError, DataError
from ..system.figures import counted
from .cells import MEANT, Table
from .orders import settled
from .results import METRICS, evaluators
from .split import check_enough


def check(table: Table) -> list[str]:
    """Names of the sets that the systems are trained on. Raises ConfigError where a system is not usable,
    DataError where its set is missing or has no captions and an evaluator that was asked for by its name
    reads."""
    _check_names(table.comparison)
    reads = [name for name in table.comparison.evaluators if name in _reading()]
    names, batches = [], []
    for system in table.comparison.systems:
        _, config, _ = settled(table, system, table.comparison.seeds[0], 1.0)
        _check_drawing(system)
        batches += [config.train.batch] if isinstance(config.train.batch, int) else []
        names.append(config.data.set)
        card = {} if config.data.stream else read_card(table.data / config.data.set)
        if reads and (card.get("captions") or {}).get("count") == 0:
            raise DataError(
                f"evaluators: {reads[0]} reads, and no picture of '{config.data.set}' has a caption; leave "
                f"it "
                "out, or prepare the set again with captions"
            )
    _check_budget(table, batches)
    return list(dict.fromkeys(names))


def check_split(table: Table, sets: Sequence[str]) -> None:
    """Raise DataError where a held-out split is too small for the search of the sampler."""
    for name in sets:
        if (table.data / name / "card.json").is_file():
            held_out = prepared.load(table.data / name, "held_out")
            check_enough(held_out, table.comparison.trials, table.comparison.trial_pictures)


def _reading() -> set[str]:
    """Names of the evaluators that read pictures and do nothing else."""
    parts: dict[str, set[str]] = {"reading": set(), "drawing": set()}
    for metric, facts in METRICS.items():
        parts.setdefault(facts["part"], set()).update(evaluators(metric))
    return parts["reading"] - parts["drawing"]


def _check_names(comparison: Comparison) -> None:
    """Raise ConfigError for an unknown metric or evaluator."""
    for metric in comparison.score:
        if metric not in METRICS:
            allowed = [name for name, facts in METRICS.items() if facts["unit"] == "%"]
            raise ConfigError(f"score: {metric}{nearest(metric, allowed)}; allowed: {', '.join(allowed)}")
    for name in comparison.evaluators:
        if name not in EVALUATORS:
            near, allowed = nearest(name, list(EVALUATORS)), ", ".join(EVALUATORS)
            raise ConfigError(f"evaluators: {name}{near}; allowed: {allowed}")


def _check_budget(table: Table, batches: Sequence[int]) -> None:
    """Raise ConfigError where documents make a step of no system (of time and FLOPs the cells say so), or
    where the time of which the reference's codec has a share is not known."""
    kind, documents = table.comparison.budget.kind, table.comparison.budget.documents
    if documents is not None and batches and documents < min(batches):
        raise ConfigError(
            f"a budget of {counted(documents, 'document')} fits no system: the smallest step has "
            f"{min(batches):,} (train.batch); give more"
        )
    codec = table.comparison.reference.codec
    if codec is not None and codec.share is not None and kind != "time":
        raise ConfigError(
            f"codec.share of {table.comparison.reference.name}, the reference, is a share of the time, and "
            f"the "
            f"budget is of {MEANT[kind]}; give budget: {{time: SECONDS}}, or another system first"
        )


def _check_drawing(system: System) -> None:
    """Raise ConfigError where a value is none that `rawmm sample` takes."""
    try:
        Request(settings=system.drawing, options=False)
    except ConfigError as error:
        raise ConfigError(f"system '{system.name}', drawing: {error}") from None
