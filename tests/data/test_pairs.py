"""Pairs and sums: exact marginals, answers by the classes of the digits, held-out pictures in the held-out
split alone."""

from collections import Counter

import numpy as np
import pytest
from scipy.optimize import linprog
from sources import prepare_source

from rawmm_cli.data.datasets.digits import NAMES, digits
from rawmm_cli.data.datasets.pairs import NUMBERS, alike, larger, pairs, questions, same
from rawmm_cli.data.datasets.portraits.drawing import portraits
from rawmm_cli.data.datasets.sums import sums
from rawmm_cli.data.prepared import load
from rawmm_cli.data.sources import source
from rawmm_cli.system.errors import ConfigError

CLASS = {item.content: item.label for item in digits().items(0)}
SPLIT = {item.content: item.split for item in digits().items(0)}
RIGHT = {
    "same?": lambda a, b: "same" if a == b else "different",
    "larger?": lambda a, b: "first" if a > b else "second",
    "sum?": lambda a, b: NUMBERS[a + b],
    "first?": lambda a, b: NAMES[a],
    "second?": lambda a, b: NAMES[b],
}


def classes(pictures) -> list[int]:
    return [CLASS[piece.content] for piece in pictures]


@pytest.fixture(scope="module")
def documents():
    return list(pairs(digits(), count=12_000).items(0))


def test_answers_follow_from_the_classes_and_pictures_from_the_split(documents):
    asked = Counter()
    for document in documents:
        first, second, text = document.pieces
        words, answer = text.text.split(" ")
        assert answer == RIGHT[words](*classes((first, second))), document.name
        assert SPLIT[first.content] == SPLIT[second.content] == document.split
        assert first.content != second.content and not first.draw and not second.draw
        asked[words, document.split] += 1
    assert asked["same?", "train"] == asked["sum?", "train"] == asked["larger?", "train"] == 1800
    assert sum(asked[words, "held_out"] for words in ("first?", "second?")) == 600


def test_a_question_and_its_control_are_about_the_same_pictures(documents):
    for question, control in zip(documents[::2], documents[1::2]):
        assert [piece.content for piece in question.pieces[:2]] == [
            piece.content for piece in control.pieces[:2]
        ]
        assert question.pieces[2].text.split()[0] in ("same?", "larger?", "sum?")
        assert control.pieces[2].text.split()[0] in ("first?", "second?")
        assert question.split == control.split


@pytest.mark.parametrize("make", [same, larger, alike])
@pytest.mark.parametrize("count", [3, 4, 6, 10])
def test_classes_of_both_pictures_are_uniform(make, count):
    cells = make(count)
    for place in (0, 1):
        assert set(Counter(cell[place] for cell in cells).values()) == {len(cells) // count}


def test_no_picture_has_the_answer_alone():
    """The best answer behind one picture, by the joint table of class and answer."""
    chance = {question.words: question.chance for question in questions(digits())}
    assert chance == {"same?": 0.5, "larger?": pytest.approx(0.6), "sum?": pytest.approx(0.1)}
    answers = Counter(RIGHT["sum?"](*cell) for cell in alike(10))
    assert max(answers.values()) / 100 == chance["sum?"]  # nor has the prior


@pytest.mark.parametrize("count", [3, 5, 10])
def test_no_pairs_of_different_classes_with_uniform_classes_tell_less(count):
    """A linear program over all joint distributions, in which the share of right answers behind the first
    picture, or behind the second, is as small as it can be."""
    size = count * count
    cost = np.r_[np.zeros(size), np.ones(count)]  # probabilities, and the best answer behind each class
    above, equal, right = [], [], []
    for a in range(count):
        for answer in (np.less, np.greater):  # b < a, b > a
            row = np.zeros((count, count))
            row[a, answer(np.arange(count), a)] = 1
            above.append(np.r_[row.ravel(), -np.eye(count)[a]])
        for axis in (0, 1):
            row = np.zeros((count, count))
            row[(a, slice(None)) if axis == 0 else (slice(None), a)] = 1
            equal.append(np.r_[row.ravel(), np.zeros(count)])
            right.append(1 / count)
    bounds = [(0, 0 if n // count == n % count else None) for n in range(size)] + [(0, None)] * count
    least = linprog(cost, np.array(above), np.zeros(len(above)), np.array(equal), right, bounds).fun
    cells = larger(count)
    behind = Counter((a, b > a) for a, b in cells)
    mine = sum(max(behind[a, False], behind[a, True]) for a in range(count)) / len(cells)
    assert mine == pytest.approx(least) == pytest.approx((count + 2) / (2 * count))


def test_pairs_of_portraits_ask_for_an_attribute():
    people = {item.content: item.attributes for item in portraits(count=300, size=32).items(0)}
    asked = Counter()
    for document in pairs(portraits(count=300, size=32), count=400).items(0):
        first, second, text = document.pieces
        *words, answer = text.text.replace("tongue out", "tongue-out").split(" ")
        what = {"clothes?": "clothes_colour", "expression?": "expression"}[words[1]]
        values = [
            people[piece.content][what].replace("tongue out", "tongue-out") for piece in (first, second)
        ]
        right = {"same": RIGHT["same?"](*values), "first": values[0], "second": values[1]}
        assert answer == right[words[0]]
        held_out = [piece.content % 10 == 9 for piece in (first, second)]
        assert held_out == [document.split == "held_out"] * 2
        asked[words[0]] += 1
    assert asked["same"] == 200


def test_any_document_may_be_the_first(documents):
    """A preparation that was stopped goes on in the middle."""
    assert next(iter(pairs(digits(), count=12_000).items(777))) == documents[777]


def test_sums_are_right_and_any_part_is_given():
    forms, cells, splits = Counter(), Counter(), Counter()
    for document in sums(digits(), count=6_000).items(0):
        pictures = [piece for piece in document.pieces if piece.content is not None]
        texts = [piece.text for piece in document.pieces if piece.content is None]
        values = classes(pictures)
        backwards = len(document.pieces) == 6
        a, b, total = values[1:] + values[:1] if backwards else values
        assert a + b == total <= 9
        word = NAMES[total]
        assert texts == ([f"{word} ", " is ", " plus "] if backwards else [" plus ", f" is {word} "])
        read = [not piece.draw for piece in pictures]
        assert read == sorted(read, reverse=True) and not read[2]  # those that are given come first
        assert {SPLIT[piece.content] for piece in pictures} == {document.split}
        forms[backwards, sum(read)] += 1
        cells[a, b] += 1
        splits[document.split] += 1
    assert len(cells) == 55 and len(forms) == 6 and splits["held_out"] == 600
    assert sum(count for (backwards, _), count in forms.items() if backwards) == pytest.approx(1500, rel=0.1)


def test_prepared_documents_are_those_of_the_source(tmp_path):
    card = prepare_source(tmp_path / "pairs", pairs(digits(), count=400))
    assert card["count"] == {"train": 360, "held_out": 40} and card["kind"] == "documents"
    held_out = load(tmp_path / "pairs", "held_out")
    assert held_out.card["questions"]["larger?"] == {"chance": 0.6, "control": False}
    for row in range(len(held_out)):
        pixels = [held_out.image(row, n)[0].numpy().tobytes() for n in range(2)]
        words, answer = held_out.pieces(row)[2].split(" ")
        assert answer == RIGHT[words](*(CLASS[one] for one in pixels))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("pairs", {"count": 7}, "the count of pairs is 7; allowed: even numbers"),
        ("pairs", {"variant": "cats"}, "the variant of pairs is 'cats'; allowed: digits, portraits"),
        ("pairs", {"size": 32}, "pairs of digits have 8 pixels and take no --size"),
        ("sums", {"count": 1}, "the count of sums is 1; allowed: at least 2"),
        ("sums", {"size": 8}, "sums takes no --size"),
    ],
)
def test_options_that_do_not_fit(name, options, message):
    with pytest.raises(ConfigError, match=message):
        source(name, options)
