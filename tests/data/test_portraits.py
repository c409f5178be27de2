"""Drawn portraits: equal in any process and order, visible attributes, true captions."""

import hashlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from sources import card_of, prepare_source, rows

from rawmm_cli.data.datasets.portraits import attributes
from rawmm_cli.data.datasets.portraits.attributes import attributes_of
from rawmm_cli.data.datasets.portraits.captions import captions_of
from rawmm_cli.data.datasets.portraits.drawing import draw, portraits
from rawmm_cli.system.errors import ConfigError

WHITE = (255, 255, 255)
VALUES = {
    "person": ("woman", "man"),
    "hair": attributes.HAIR,
    "hair_colour": (*attributes.HAIR_COLOURS, "none"),
    "skin": attributes.SKINS,
    "facial_hair": attributes.FACIAL_HAIR,
    "eyewear": attributes.EYEWEAR,
    "expression": attributes.EXPRESSIONS,
    "clothes": attributes.CLOTHES,
    "clothes_colour": attributes.CLOTHES_COLOURS,
}
EVEN = ("person", "skin", "eyewear", "expression", "clothes", "clothes_colour")
PORTRAITS = [attributes_of(n) for n in range(4000)]


def digest(n: int, size: int = 32) -> str:
    return hashlib.sha256(draw(n, WHITE, size).tobytes()).hexdigest()


@pytest.mark.process
def test_a_portrait_depends_on_its_number_alone():
    here = [digest(n) for n in range(5)]
    program = (
        "import hashlib; from rawmm_cli.data.datasets.portraits.drawing import draw\n"
        "for n in (4, 3, 2, 1, 0): print(hashlib.sha256(draw(n, (255,) * 3, 32).tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert there == here[::-1] and len(set(here)) == 5
    few, many = (list(portraits(count=count, size=size).items(0)) for count, size in ((30, 32), (60, 64)))
    assert few == many[:30]
    assert all(list(portraits(count=30).items(start)) == few[start:] for start in (0, 1, 29, 30))


def test_every_value_appears_and_evenly():
    for key, values in VALUES.items():
        assert {portrait[key] for portrait in PORTRAITS} == set(values), key
    for key in EVEN:  # chi-squared of even shares; 5 standard deviations over its mean
        counts, expected = Counter(portrait[key] for portrait in PORTRAITS), len(PORTRAITS) / len(VALUES[key])
        free = len(counts) - 1
        assert (
            sum((count - expected) ** 2 / expected for count in counts.values())
            < free + 5 * (2 * free) ** 0.5
        ), key


def test_attributes_follow_the_rules():
    """The rules in the docstring of `portraits/attributes.py`."""
    for portrait in PORTRAITS:
        man = portrait["facial_hair"] != "none" or portrait["hair"] in (
            "bald",
            "short",
            "quiff",
            "mohawk",
            "messy",
        )
        assert portrait["person"] == ("man" if man else "woman")
        assert (portrait["hair_colour"] == "none") == (
            portrait["hair"] == "bald" and portrait["facial_hair"] == "none"
        )


# --------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("key", [key for key in VALUES if key != "person"])
def test_every_value_looks_different(key):
    """Two values of one attribute differ by at least 24 levels in at least 4 pixels of 32 x 32, on ten
    portraits."""
    for n in range(10):
        base = attributes_of(n)
        values = [
            value
            for value in VALUES[key]
            if (value == "none") == (base[key] == "none") or key != "hair_colour"
        ]
        if key == "hair_colour":
            base, values = base | {"hair": "short"}, list(attributes.HAIR_COLOURS)
        if key == "hair":
            base = base | {"hair_colour": list(attributes.HAIR_COLOURS)[n % 6]}
        drawn = {value: draw(n, WHITE, 32, base | {key: value}).astype(int) for value in values}
        for one in values:
            for other in values:
                different = (np.abs(drawn[one] - drawn[other]).max(-1) >= 24).sum()
                assert one == other or different >= 4, (n, one, other, different)


@pytest.mark.parametrize("size", [32, 48, 64, 100, 128, 200])
def test_size_frame_and_background(size):
    for n in (0, 1, 12, 41):  # long hair, an afro, a beard and long hair, a bob
        pixels = draw(n, WHITE, size)
        assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] >= 248).all()  # the filter may ring a little
        assert (pixels[size // 2, size // 2] != 255).any() and (pixels[-1, size // 2] != 255).any()
    assert (draw(0, (0, 99, 200), size)[0, 0] == (0, 99, 200)).all()


def test_corners_are_white_whatever_the_hair():
    for n, hair in enumerate(attributes.HAIR):
        for m in range(n, n + 30, 11):
            assert (
                draw(m, WHITE, 32, attributes_of(m) | {"hair": hair})[[0, 0, -1, -1], [0, -1, 0, -1]] >= 248
            ).all(), hair


def test_clothes_have_the_colour_of_their_name():
    for colour, channels in {
        "red": (0, 1),
        "green": (1, 0),
        "blue": (2, 0),
        "yellow": (1, 2),
        "purple": (2, 1),
    }.items():
        pixels = draw(3, WHITE, 64, attributes_of(3) | {"clothes": "t-shirt", "clothes_colour": colour})[
            -3, 20:44
        ].mean(0)
        assert pixels[channels[0]] > pixels[channels[1]] + 40, colour


def test_a_smaller_picture_is_the_larger_one_made_smaller():
    for n in range(6):
        large = draw(n, WHITE, 128).astype(float).reshape(32, 4, 32, 4, 3).mean((1, 3))
        assert np.abs(draw(n, WHITE, 32) - large).mean() < 3


# --------------------------------------------------------------------------------------------------- captions


HAIR_COLOURS, CLOTHES_COLOURS = "|".join(attributes.HAIR_COLOURS), "|".join(attributes.CLOTHES_COLOURS)
PATTERNS = {
    "person": r"\b(woman|man)\b",
    "skin": r"(\w+) skin",
    "eyewear": r"(round glasses|white glasses|sunglasses|eyepatch)",
    "facial_hair": r"(beard|moustache)",
    "expression": r"(smiling|serious|sad|angry|surprised|sticking out \w+ tongue)",
    "clothes": r"(t-shirt|v-neck shirt|hoodie|sweater|jacket|overalls)",
    "clothes_colour": rf"({CLOTHES_COLOURS}) (?:t-shirt|v-neck shirt|hoodie|sweater|overalls|shirt)",
    "hair": r"(bald|short|messy|long|wavy|curly|quiff|mohawk|afro|bob|bun)\b",
    "hair_colour": rf"({HAIR_COLOURS}) (?:hair|quiff|mohawk|afro|bob|beard|moustache)",
}


def stated(caption: str) -> dict[str, str]:
    """What a caption says, by its words alone."""
    attributes = {}
    for key, pattern in PATTERNS.items():
        values = set(re.findall(pattern, caption))
        assert len(values) <= 1, (key, caption)
        attributes |= dict.fromkeys([key] if values else [], *values)
    if "tongue" in attributes.get("expression", ""):
        assert ("her" in caption.split()) == (attributes["person"] == "woman")
        attributes["expression"] = "tongue out"
    return attributes


def test_captions_say_nothing_false():
    for n, portrait in enumerate(PORTRAITS):
        for caption in captions_of(n, portrait):
            for key, value in stated(caption).items():
                assert portrait[key] == value, (caption, key, portrait)


def test_the_first_caption_says_everything():
    for n, portrait in enumerate(PORTRAITS):
        missing = set(VALUES) - set(stated(captions_of(n, portrait)[0]))
        assert missing == {key for key, value in portrait.items() if value == "none" and key in VALUES}, (
            captions_of(n, portrait)[0]
        )


def test_captions_are_plain_and_differ():
    for n, portrait in enumerate(PORTRAITS):
        captions = captions_of(n, portrait)
        assert len(set(captions)) == len(captions) == 4
        for caption in captions:
            assert caption.isascii() and caption == caption.lower() and 15 < len(caption) <= 150, caption
            assert not re.search(
                r"  |^ | $|\{|,$|,,| ,|\ba [aeiou]|\ban [^aeiou]|none|with and|with,", caption
            ), caption


def test_every_value_is_stated_somewhere():
    counts = Counter(
        (key, value)
        for n, portrait in enumerate(PORTRAITS)
        for caption in captions_of(n, portrait)
        for key, value in stated(caption).items()
    )
    assert {(key, value) for key, values in VALUES.items() for value in values if value != "none"} == set(
        counts
    )


# --------------------------------------------------------------------------------------------- source, errors


def test_prepared(tmp_path):
    card = prepare_source(tmp_path / "set", portraits(count=40, size=32), held_out=0.2)
    stored = [row for split in rows(tmp_path / "set").values() for row in split]
    assert card["licence"] == "MIT" and re.match(
        r"drawn by python-avatars \S+ and resvg-py \S+$", card["source"]
    )
    assert sorted(int(row["source"].split("/")[1]) for row in stored) == list(range(40))
    for row in stored:
        n = int(row["source"].split("/")[1])
        assert row["pixels"] == draw(n, WHITE, 32).tobytes() and tuple(row["captions"]) == captions_of(
            n, attributes_of(n)
        )
    assert set(card_of(tmp_path / "set")["attributes"]) == {*VALUES, "hair_length"}


def test_the_state_names_count_size_and_versions():
    states = {portraits(count=count, size=size).state for count, size in ((40, 32), (41, 32), (40, 64))}
    assert len(states) == 3 and all(
        re.search(r"python-avatars [\d.]+ and resvg-py [\d.]+", state) for state in states
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 31}, "the size of portraits is 31; allowed: 32 to 256; choose another --size"),
        ({"size": 257}, "the size of portraits is 257; allowed: 32 to 256; choose another --size"),
        ({"count": 1}, "the count of portraits is 1; allowed: at least 2; choose another --count"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ConfigError) as error:
        portraits(**options)
    assert str(error.value) == message


@pytest.mark.parametrize("package", ["python_avatars", "resvg_py"])
def test_missing_packages(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ConfigError, match=f"portraits need '{package}', which is not installed; pip install python-avatars"
    ):
        portraits()
