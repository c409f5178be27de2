"""Results as JSON, and what every evaluator promises."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from helpers import as_loaded
from torchmetrics.functional.text import char_error_rate

from rawmm_cli.config import build, presets
from rawmm_cli.config.choices import EVALUATORS as NAMES
from rawmm_cli.config.choices import USUAL
from rawmm_cli.data import prepared
from rawmm_cli.evaluation import captions
from rawmm_cli.evaluation.evaluate import EVALUATORS, chosen, name_of
from rawmm_cli.evaluation.results import Values, of_ratio, to_json, values_of
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import ConfigError

TINY = presets.load("tiny")


@dataclass(frozen=True)
class Example:
    share: float | None
    counts: dict[str, int]
    extra: float | None = None
    values: dict[str, Values] = field(default_factory=dict)


def test_a_result_has_its_fields_but_for_the_optional_ones_without_a_value():
    assert to_json(Example(None, {"a": 1})) == {"share": None, "counts": {"a": 1}}
    assert list(to_json(Example(0.5, {}, 0.0))) == ["share", "counts", "extra"]


def test_numbers_of_single_pictures_stand_apart():
    result = Example(0.5, {}, values={"share": Values(["a", "b"], [True, False])})
    assert to_json(result) == {"share": 0.5, "counts": {}}
    assert values_of("read", result) == {"read.share": {"ids": ["a", "b"], "values": [1.0, 0.0]}}
    assert values_of("read", Example(0.5, {})) == {}
    assert np.mean(of_ratio(["a", "b", "c"], [1, 2, 6], [2, 3, 4]).values) == pytest.approx(9 / 9)


def test_evaluators_are_chosen_by_name():
    assert [name_of(module) for module in EVALUATORS] == list(NAMES) and len(set(NAMES)) == len(NAMES)
    assert chosen(["usual"]) == set(USUAL) and chosen(["all"]) == set(NAMES)
    assert chosen(["sums", "usual", "sums"]) == set(USUAL) and chosen(["seams", "losses"]) == {
        "seams",
        "losses",
    }
    with pytest.raises(
        ConfigError, match="unknown evaluator 'loses' .did you mean losses.*; allowed: usual, all, "
    ):
        chosen(["usual", "loses"])


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda module: module.__name__.split(".")[-1])
def test_an_evaluator_measures_a_subject_and_gives_frozen_results(evaluator):
    hints = get_type_hints(evaluator.measure)
    assert hints["subject"] is Subject
    kinds = get_args(hints["return"])[1]
    for result in get_args(kinds) or (kinds,):
        assert is_dataclass(result) and result.__dataclass_params__.frozen and fields(result)


def test_pictures_that_fill_the_context_are_read_as_nothing(few_digits, tmp_path):
    splits = [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]
    subject = Subject(as_loaded(build.model(TINY).eval(), TINY), Request(), *splits, tmp_path)
    small, large = (torch.zeros(3, side, side, dtype=torch.uint8) for side in (8, 256))
    assert subject.read([large]) == [""]
    assert subject.read([small, large, small], max_text=2) == [
        *subject.read([small], max_text=2),
        "",
        *subject.read([small], max_text=2),
    ]


def test_letters_and_words_by_other_implementations():
    """torchmetrics' character error rate; T-NED and shares of words by hand."""
    texts, truth = (
        ["hallo welt", "", "abc", "far  longer a\n"],
        ["hello world", "one", "abc", "far longer than"],
    )
    each = captions.by_letters(list("0123"), texts, [["", one] for one in truth])
    means = {name: np.mean(one.values) for name, one in each.items()}
    plain = [" ".join(text.split()) for text in texts]
    assert means["character_errors"] == pytest.approx(float(char_error_rate(plain, truth)))
    assert means["characters"] == pytest.approx(np.mean([1 - 4 / 11, 0, 1, 1 - 3 / 15]))
    assert each["words"].values == [0, 0, 1, pytest.approx(2 / 3)]
    several = captions.by_letters(["0"], ["a cat"], [["dogs", "a cap", " "]])
    assert several["characters"].values == [0.8] and several["character_errors"].values == [0.2]


@pytest.mark.parametrize(
    "count, wrong, shown", [(3, [1], [0, 1, 2]), (100, [50, 60], [0, 1, 2, 3, 4, 5, 50, 60])]
)
def test_the_first_pictures_and_the_first_mistakes_are_shown(count, wrong, shown):
    right = [n not in wrong for n in range(count)]
    assert captions._shown(right, 8) == shown
