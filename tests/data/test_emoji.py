"""Emoji: names that describe the picture, and fonts that cannot be used. Pictures only where a colour font is
installed."""

import pickle
import re

import numpy as np
import pytest
from sources import prepare_source, rows

from rawmm_cli.data.datasets import emoji as module
from rawmm_cli.data.datasets.emoji import captions, draw, emoji, name
from rawmm_cli.system.errors import ConfigError, DataError

WHITE = (255, 255, 255)
ENGLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbeng") + "\U000e007f"


@pytest.fixture(scope="module")
def font():
    try:
        return module._installed()
    except DataError:
        pytest.skip("no colour emoji font is installed")


@pytest.fixture(scope="module")
def source(font):
    return emoji(font=font, size=32)


# ------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "text, cldr, expected",
    [
        ("\U0001f34e", "red_apple", "red apple"),
        ("\U0001f1eb\U0001f1f7", "France", "flag of France"),
        ("\U0001f1fa\U0001f1f8", "United_States", "flag of the United States"),
        ("\U0001f1f2\U0001f1f2", "Myanmar_(Burma)", "flag of Myanmar"),
        ("\U0001f1ed\U0001f1f0", "Hong_Kong_SAR_China", "flag of Hong Kong"),
        ("\U0001f1f9\U0001f1f9", "Trinidad_&_Tobago", "flag of Trinidad and Tobago"),
        (ENGLAND, "England", "flag of England"),
        ("\U0001f44b\U0001f3fd", "waving_hand_medium_skin_tone", "waving hand, medium skin tone"),
        ("\U0001f44b\U0001f3fe", "waving_hand_medium-dark_skin_tone", "waving hand, medium-dark skin tone"),
        (
            "x",
            "couple_with_heart_man_man_dark_skin_tone_light_skin_tone",
            "couple with heart, man and man, dark skin tone and light skin tone",
        ),
        ("x", "family_man_woman_boy", "family of a man, a woman and a boy"),
        ("x", "woman_bald", "bald woman"),
        ("x", "person_beard", "person with a beard"),
        ("x", "man_red_hair_light_skin_tone", "man with red hair, light skin tone"),
        ("x", "eight_o’clock", "clock showing eight o'clock"),
        ("x", "two-thirty", "clock showing two-thirty"),
        ("x", "plus", "plus sign"),
        ("x", "divide", "division sign"),
    ],
)
def test_names(text, cldr, expected):
    assert name(text, cldr) == expected


@pytest.mark.parametrize(
    "cldr",
    [
        "keycap_1",
        "OK_button",
        "Japanese_secret_button",
        "A_button_(blood_type)",
        "BACK_arrow",
        "ON!_arrow",
        "Leo",
        "circled_M",
        "input_numbers",
        "trade_mark",
        "information",
    ],
)
def test_signs_that_describe_no_picture_are_left_out(cldr):
    assert name("x", cldr) is None


@pytest.mark.parametrize(
    "cldr", ["up_arrow", "red_circle", "lion", "cancer_ribbon", "leopard", "bright_star"]
)
def test_pictures_are_kept(cldr):
    assert name("x", cldr) == cldr.replace("_", " ")


@pytest.mark.parametrize(
    "plain, expected",
    [
        ("red apple", "a red apple"),
        ("onion", "an onion"),
        ("unicorn", "a unicorn"),
        ("ewe", "a ewe"),
        ("hourglass", "an hourglass"),
        ("x-ray", "an x-ray"),
        ("OK hand", "an OK hand"),
        ("T-Rex", "a T-Rex"),
        ("grapes", "grapes"),
        ("bus", "a bus"),
        ("glasses", "glasses"),
        ("cactus", "a cactus"),
        ("compass", "a compass"),
        ("cooked rice", "cooked rice"),
        ("face with tears of joy", "a face with tears of joy"),
        ("people hugging", "people hugging"),
        ("person fencing", "a person fencing"),
        ("Christmas tree", "a Christmas tree"),
        ("rhinoceros", "a rhinoceros"),
        ("thumbs up", "thumbs up"),
        ("flag of the United States", "a flag of the United States"),
        ("Santa Claus", "Santa Claus"),
    ],
)
def test_articles(plain, expected):
    assert captions(plain)[2] == expected


def test_captions():
    assert captions("red apple") == ("an emoji of a red apple", "red apple emoji", "a red apple")
    assert captions("waving hand, dark skin tone") == (
        "an emoji of a waving hand, dark skin tone",
        "waving hand emoji, dark skin tone",
        "a waving hand, dark skin tone",
    )
    assert captions("kiss, man and man, dark skin tone")[1] == "kiss, man and man emoji, dark skin tone"
    assert captions("kiss, man and man")[1] == "kiss, man and man emoji"


def test_names_of_the_whole_package():
    """No spelling of the package is left, and every name is unique."""
    from emoji import EMOJI_DATA, STATUS

    cldr_names = {
        text: entry["en"].strip(":")
        for text, entry in EMOJI_DATA.items()
        if entry["status"] == STATUS["fully_qualified"]
    }
    names = {text: natural for text, cldr in cldr_names.items() if (natural := name(text, cldr))}
    assert len(names) > 0.9 * len(cldr_names) and len(set(names.values())) == len(names)
    for natural in names.values():
        assert not re.search(r"[_:&()’]| $|^ |  |\bbutton\b|keycap", natural), natural
        assert all(len(caption.encode()) <= 150 for caption in captions(natural))
        assert len(set(captions(natural))) >= 2
    flags = {natural for natural in names.values() if natural.startswith("flag of ")}
    assert {"flag of France", "flag of Japan", "flag of Scotland", "flag of Georgia"} <= flags
    assert 255 < len(flags) < 270  # 249 countries and areas of ISO 3166, and a few more
    tones = [natural for natural in names.values() if natural.endswith(", medium skin tone")]
    assert len(tones) > 250
    assert all(natural.replace(", medium", ", dark") in names.values() for natural in tones)


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("size", [0, 15, 129])
def test_sizes_that_are_refused(size):
    with pytest.raises(
        ConfigError, match=f"the size of emoji is {size}; allowed: 16 to 128; choose another --size"
    ):
        emoji(size=size)


def test_no_font_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SYSTEM_FONTS", (str(tmp_path / "none.ttf"),))
    monkeypatch.setenv("PATH", str(tmp_path))  # so there is no fc-list
    with pytest.raises(DataError) as error:
        emoji()
    assert (
        str(error.value)
        == (
            "no colour emoji font is installed; install one (Debian: apt install fonts-noto-color-emoji) or "
            "give its file with --font"
        )
        and error.value.exit_code == 3
    )
    (tmp_path / "none.ttf").touch()
    with pytest.raises(DataError, match="none.ttf cannot be read as a font"):
        emoji()


def test_the_font_that_fontconfig_lists_is_used(monkeypatch, tmp_path):
    for file in ("a.ttf", "SomeEmoji.ttf"):
        (tmp_path / file).touch()
    program = tmp_path / "fc-list"
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' {tmp_path}/gone-emoji.ttf {tmp_path}/a.ttf {tmp_path}/SomeEmoji.ttf\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._installed() == tmp_path / "SomeEmoji.ttf"


def test_files_that_are_not_fonts(tmp_path):
    with pytest.raises(
        DataError, match=r"none\ufffd.ttf is not a file; allowed: a colour emoji font; .* --font"
    ):
        emoji(font=tmp_path / "none\n.ttf")
    (tmp_path / "text.ttf").write_text("hello")
    with pytest.raises(
        DataError, match=r"text.ttf cannot be read as a font \(unknown file format\); allowed: .* --font"
    ):
        emoji(font=tmp_path / "text.ttf")


def test_a_font_without_colours(tmp_path):
    from PIL import ImageFont

    (tmp_path / "plain.ttf").write_bytes(ImageFont.load_default(20).font_bytes)
    with pytest.raises(
        DataError, match="plain.ttf has no coloured emoji that can be drawn; allowed: .* --font"
    ):
        emoji(font=tmp_path / "plain.ttf")


# ---------------------------------------------------------------------------- pictures, where there is a font


def test_items(source):
    items = list(source.items(0))
    assert len(items) == source.count > 1000 and len({item.name for item in items}) == len(items)
    assert all(list(source.items(start)) == items[start:] for start in (1, len(items) - 1, len(items)))
    by_caption = {item.captions[2]: item for item in items}
    assert by_caption["a red apple"].attributes == {"name": "red apple", "skin_tone": "none", "kind": "emoji"}
    assert by_caption["a flag of France"].attributes["kind"] == "flag"
    tone = by_caption["a waving hand, medium skin tone"]
    assert tone.attributes == {"name": "waving hand", "skin_tone": "medium", "kind": "emoji"}
    assert tone.name == "emoji/1f44b-1f3fd"


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """Mean colour of the pixels that are not background."""
    return pixels[(pixels != 255).any(-1)].mean(0)


def test_pictures_show_what_their_name_says(source):
    pictures = {
        item.captions[2]: source.open(item.content, WHITE)
        for item in source.items(0)
        if item.captions[2] in ("a red heart", "a green heart", "a blue heart", "a flag of France")
    }
    for channel, colour in enumerate(("red", "green", "blue")):
        assert mean_colour(pictures[f"a {colour} heart"]).argmax() == channel
    france = pictures["a flag of France"][16]  # blue, white, red along the middle row
    assert (
        france[4:10].mean(0).argmax() == 2
        and france[14:18].min() > 200
        and france[23:28].mean(0).argmax() == 0
    )


def test_no_picture_is_empty_or_a_box(source):
    font = source.open.keywords["font"]
    pictures = [module._drawn(font, item.content, WHITE) for item in source.items(0)][::7]
    blanks = [module._drawn(font, text, WHITE) for text in ("\U0010ffff", "\U0001f1fd\U0001f1fd", " ")]
    for picture in pictures:
        assert picture.std() > 1 and not any(np.array_equal(picture, blank) for blank in blanks)
    assert len({picture.tobytes() for picture in pictures}) > 0.99 * len(pictures)


@pytest.mark.parametrize("size", [16, 33, 128])
def test_size_background_and_scale(font, size):
    for text in ("\U0001f34e", "\u25fd"):  # an apple; a small white square, which stays small
        pixels = draw(text, (9, 99, 199), str(font), size)
        assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == (9, 99, 199)).all()
    covered = [
        (draw(text, WHITE, str(font), 64) != 255).any(-1).mean() for text in ("\u2b1b", "\u25fe")
    ]  # large, small
    assert covered[0] > 2 * covered[1]


def test_the_content_can_be_pickled_and_prepared(source, tmp_path):
    assert np.array_equal(
        pickle.loads(pickle.dumps(source.open))("\U0001f34e", WHITE), source.open("\U0001f34e", WHITE)
    )
    card = prepare_source(tmp_path / "set", source, limit=60, held_out=0.2)
    assert sum(card["count"].values()) == 60 and card["skipped_count"] == 0
    assert rows(tmp_path / "set")["train"][0]["captions"][0].startswith("an emoji of ")
