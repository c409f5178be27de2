"""Evaluators of pairs and sums, with models that know everything, one picture, or nothing."""

import numpy as np
import pytest
import torch
from evaluated import means_agree
from helpers import as_loaded, randomised
from scipy.stats import binomtest
from sources import prepare_source

from rawmm_cli.config import build, presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import END_IMAGE, EOS, IMAGE, decode, encode
from rawmm_cli.data.datasets.digits import NAMES, digits
from rawmm_cli.data.datasets.pairs import NUMBERS, pairs
from rawmm_cli.data.datasets.sums import sums
from rawmm_cli.evaluation import evaluate
from rawmm_cli.evaluation.classes import Judge
from rawmm_cli.evaluation.sums import _digits
from rawmm_cli.metrics.statistics import interval
from rawmm_cli.sampling.request import Request

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = presets.load("tiny")
CLASS = {item.content: item.label for item in digits().items(0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    prepare_source(folder / "pairs", pairs(digits(), count=6_000))
    prepare_source(folder / "sums", sums(digits(), count=600))
    return folder


def loaded(name):
    config = presets.changed(
        TINY, {"data.set": name, "data.read": 1.0 * (name == "pairs"), "train.length": 104}
    )
    return as_loaded(randomised(build.model(config), std=0.1).eval(), config)


@pytest.fixture(scope="module")
def examples():
    """A real training picture of each digit that the judge names right."""
    train = _digits("train")
    seen = Judge(train, 8)([train.image(row) for row in range(300)])
    rows = {int(label): row for row, label in enumerate(seen) if label == train.labels[row]}
    return [train.image(rows[n]) for n in range(10)]


def values(prompt) -> list[int]:
    return [
        CLASS[item.pixels[0].numpy().tobytes()]
        for item in prompt
        if isinstance(item, Picture) and item.pixels[0].numpy().tobytes() in CLASS
    ]


def written(prompt) -> str:
    return decode([item for item in prompt if isinstance(item, int)])


# ------------------------------------------------------------------------------------------------------ pairs


def answer(question, a, b):
    return {
        "same?": "same" if a == b else "different",
        "larger?": "first" if a > b else "second",
        "sum?": NUMBERS[a + b],
        "first?": NAMES[a],
        "second?": NAMES[b],
    }[question]


def who_sees(places):
    """A `generate` that sees the pictures at these places alone, and takes the other one for a zero."""

    def generate(model, prompts, keys, settings, *_):
        assert settings.temperature == 0 and settings.max_pictures == 0
        documents = []
        for prompt in prompts:
            a, b = (value if n in places else 0 for n, value in enumerate(values(prompt)))
            documents.append([*prompt, *encode(f" {answer(written(prompt), a, b)}"), EOS])
        return documents

    return generate


def measured(folder, monkeypatch, generate):
    monkeypatch.setattr(generator, "generate", generate)
    results = evaluate.evaluate(loaded("pairs"), Request(), folder)
    means_agree(results)
    questions = results["questions"]
    means = [one["accuracy"] for one in questions["by_question"].values() if not one["control"]]
    assert questions["accuracy"] == pytest.approx(np.mean(means))  # 100 each
    return questions["by_question"]


def test_who_sees_both_is_right_and_falls_to_chance_with_another_second_picture(folder, monkeypatch):
    by_question = measured(folder, monkeypatch, who_sees((0, 1)))
    assert list(by_question) == ["same?", "larger?", "sum?", "first?", "second?"]
    assert all(one["accuracy"] == 1.0 == pytest.approx(one["high"]) for one in by_question.values())
    assert [by_question[words]["count"] for words in ("same?", "larger?", "sum?")] == [100] * 3
    assert by_question["first?"]["count"] + by_question["second?"]["count"] == 300
    for words in ("same?", "larger?", "sum?", "second?"):
        assert by_question[words]["shuffled_low"] <= by_question[words]["chance"], words
    assert by_question["first?"]["shuffled"] == 1.0  # the control has nothing to do with the second one
    assert [by_question[words]["control"] for words in by_question] == [False] * 3 + [True] * 2


def test_who_sees_one_picture_answers_its_control_and_no_question(folder, monkeypatch):
    by_question = measured(folder, monkeypatch, who_sees((0,)))
    assert by_question["first?"]["accuracy"] == 1.0
    for words in ("same?", "larger?", "sum?", "second?"):
        assert by_question[words]["low"] <= by_question[words]["chance"], words


@pytest.mark.parametrize("right, count", [(0, 10), (3, 10), (10, 10), (950, 1000), (1, 1)])
def test_the_interval_is_wilsons(right, count):
    known = binomtest(right, count).proportion_ci(method="wilson")
    assert interval(right, count) == pytest.approx((known.low, known.high), abs=1e-12)


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="a share of nothing"):
        interval(0, 0)


# ------------------------------------------------------------------------------------------------------- sums


def who_adds(examples, error=0, drawn_error=0):
    """A `generate` that adds what it was given and what it drew, wrongly by `error` in words and by
    `drawn_error` in the picture."""
    rng = np.random.default_rng(0)

    def picture(value):
        return [IMAGE, Picture(examples[value % 10], False), END_IMAGE]

    def generate(model, prompts, keys, settings, *_):
        documents = []
        for prompt in prompts:
            words = written(prompt)
            known = [
                next(n for n in range(10) if torch.equal(item.pixels, examples[n]))
                if item.pixels[0].numpy().tobytes() not in CLASS
                else CLASS[item.pixels[0].numpy().tobytes()]
                for item in prompt
                if isinstance(item, Picture)
            ]
            if words.endswith(" is "):
                a = int(rng.integers(known[0] + 1))
                parts = [*picture(a), *encode(" plus "), *picture(known[0] - a + drawn_error)]
                assert settings.max_pictures == 2
            else:
                a = known[0] if known else int(rng.integers(10))
                b = known[1] if len(known) > 1 else int(rng.integers(10 - a))
                assert settings.max_pictures == 3 - len(known)
                parts = [] if known else [*picture(a), *encode(" plus ")]
                parts += [] if len(known) > 1 else picture(b)
                word = NAMES[(a + b + error) % 10]
                parts += [*encode(f" is {word} "), *picture(a + b + drawn_error)]
            documents.append([*prompt, *parts, EOS])
        return documents

    return generate


@pytest.mark.parametrize("error, drawn_error", [(0, 0), (1, 0), (0, 1)])
def test_sums_are_judged_as_text_and_as_picture(folder, examples, monkeypatch, error, drawn_error):
    monkeypatch.setattr(generator, "generate", who_adds(examples, error, drawn_error))
    results = evaluate.evaluate(loaded("sums"), Request(), folder)
    assert "sums.by_given.result.picture" in means_agree(results)
    result = results["sums"]
    assert list(result["by_given"]) == ["both", "first", "nothing", "result"]
    for given, one in result["by_given"].items():
        assert one["picture"] == 1.0 - drawn_error
        assert one.get("text") == (None if given == "result" else 1.0 - error)
    assert (result["text"], result["picture"]) == (1.0 - error, 1.0 - drawn_error)
    assert result["count"] == result["by_given"]["both"]["count"] > 30 and result["judge"] > 0.97


def test_nothing_written_is_no_sum(folder, monkeypatch):
    monkeypatch.setattr(generator, "generate", lambda model, prompts, *_: [[*p, EOS] for p in prompts])
    result = evaluate.evaluate(loaded("sums"), Request(), folder)["sums"]
    assert {one["picture"] for one in result["by_given"].values()} == {0.0}
    assert result["text"] == 0.0
