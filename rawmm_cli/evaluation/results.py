"""Results of evaluators: frozen dataclasses of plain values, and a number of each prompt or picture behind
them.

JSON has the fields of a result, but for those that may be None by default and are. The field `values` stands
apart, for comparisons of two models on the same prompts and pictures: {name of a field: Values}; a field
inside of a mapping is named by its path, as in by_given.both.text."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..system.errors import ConfigError


@dataclass(frozen=True)
class Values:
    """A number of each prompt or picture, whose mean is the metric. ids: the same for every model on the same
    set and amounts, in the same order; none twice."""

    ids: Sequence[str]
    values: Sequence[float]


class LeftOut(ConfigError):
    """An evaluator needs what is not installed; the others go on without it."""


def to_json(result: Any) -> dict[str, Any]:
    """The fields of a result, without those that are None by default, and without its `values`."""
    values = {one.name: getattr(result, one.name) for one in fields(result) if one.name != "values"}
    optional = {one.name for one in fields(result) if one.default is None}
    return {name: value for name, value in values.items() if not (name in optional and value is None)}


def values_of(name: str, result: Any) -> dict[str, dict[str, list]]:
    """{metric: {"ids": [...], "values": [...]}} of a result of this name, as in image_to_text.accuracy."""
    return {
        f"{name}.{metric}": {"ids": list(one.ids), "values": [float(value) for value in one.values]}
        for metric, one in getattr(result, "values", {}).items()
        if one.ids
    }


def of_ratio(ids: Sequence[str], parts: Sequence[float], sizes: Sequence[float]) -> Values:
    """Values whose mean is the ratio of two sums, as bits by bytes: parts by the mean of the sizes."""
    mean = sum(sizes) / len(sizes)
    return Values(ids, [part / mean for part in parts])
