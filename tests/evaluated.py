"""What the tests of evaluators share."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import pytest

from rawmm_cli.evaluation.results import to_json, values_of


def means_agree(results: Mapping[str, Any]) -> set[str]:
    """Names of the metrics with numbers of single prompts and pictures.

    Asserts that their mean is the metric, and that no id is there twice.

    results: of an evaluator, or of all of them as JSON."""
    values = results.get("values")
    if values is None:
        values = {k: v for name, result in results.items() for k, v in values_of(name, result).items()}
        results = {name: to_json(result) for name, result in results.items()}
    for metric, each in values.items():
        known = reduce(lambda part, name: part[name], metric.split("."), results)
        assert len(set(each["ids"])) == len(each["ids"]) == len(each["values"]) > 0, metric
        assert sum(each["values"]) / len(each["values"]) == pytest.approx(known, abs=1e-9), metric
    return set(values)
