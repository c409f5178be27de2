"""Words in small letters: a picture depends on its number alone, captions are true, letters fit."""

import json
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from sources import prepare_source, rows

from rawmm_cli.data.datasets.text_images import fonts
from rawmm_cli.data.datasets.text_images.drawing import draw, text_images
from rawmm_cli.data.datasets.text_images.writing import LINES, MARGIN, WORDS, Writing, written
from rawmm_cli.system.errors import ConfigError

WHITE = (255, 255, 255)
PILLOW = ("",)  # the font inside Pillow alone


@pytest.fixture(autouse=True)
def no_other_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "FOLDERS", ())
    fonts.installed.cache_clear()
    yield
    fonts.installed.cache_clear()


def test_a_picture_depends_on_its_number_alone():
    few, many = text_images(count=20, size=64), text_images(count=500, size=64)
    assert [item.captions for item in few.items(0)] == [item.captions for item in many.items(0)][:20]
    assert [item.name for item in many.items(490)] == [f"text-images/{n}" for n in range(490, 500)]
    for item in list(few.items(5))[:4]:
        assert np.array_equal(few.open(item.content, WHITE), many.open(item.content, WHITE))
    assert few.state != many.state != text_images(count=500, size=64, glyph="10").state
    assert many.state != text_images(count=500, size=64, ground="plain").state
    assert many.state == text_images(count=500, size=64, font="Aileron").state  # there is no other font here


@pytest.mark.parametrize("size, least, most", [(64, 10, 10), (64, 8, 32), (32, 8, 12), (128, 20, 64)])
def test_letters_fit(size, least, most):
    """Lines and their total height fit between the margins."""
    for n in range(60):
        lines, attributes = written(n, Writing(PILLOW, least, most, size))
        font = ImageFont.load_default(int(attributes["glyph"]))
        assert least <= int(attributes["glyph"]) <= most and 1 <= len(lines) <= LINES
        assert all(font.getlength(line) <= size - 2 * MARGIN for line in lines), lines
        assert len(lines) * sum(font.getmetrics()) <= size - 2 * MARGIN or len(lines) == 1
        assert all(word.lower() in WORDS for line in lines for word in line.split()) and lines[0]


def test_letters_stand_out():
    """Plain backgrounds: two colours far apart. Photographs: more colours, and letters that still
    contrast."""
    grounds = set()
    for n in range(40):
        writing = Writing(PILLOW, 10, 20, 64)
        pixels, (_, attributes) = draw(n, WHITE, writing), written(n, writing)
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
        grey = pixels.mean(-1)
        assert grey.max() - grey.min() > 120
        grounds.add(attributes["ground"])
        if attributes["ground"] == "plain":
            ground = pixels[0, 0]
            assert (pixels == ground).all(-1).mean() > 0.3
        else:
            assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200
    assert grounds == {"plain", "photograph"}


def test_words_of_random_letters():
    """All lengths and letters occur, about as often; one word a line; nothing but what was asked for."""
    source = text_images(count=400, glyph="10", letters="3-5", alphabet="abc7", words=2, ground="plain")
    words = [word for item in source.items(0) for word in item.captions[0].split()]
    assert len(words) == 800 and {item.attributes["ground"] for item in source.items(0)} == {"plain"}
    assert {len(word) for word in words} == {3, 4, 5} and set("".join(words)) == set("abc7")
    share = [sum(word.count(letter) for word in words) / len("".join(words)) for letter in "abc7"]
    assert max(share) < 0.28 and min(share) > 0.22
    assert len(set(words)) > 300  # of 64 + 256 + 1024
    lines, _ = written(3, Writing(PILLOW, 10, 10, 64, (5, 5), "ab"))
    assert all(len(line) == 5 for line in lines) and 1 <= len(lines) <= 4


def test_black_on_white():
    """No other colour than greys between them, and the rest of the picture is white."""
    source = text_images(count=8, glyph="10", letters="5", words=2, ground="white")
    for item in source.items(0):
        pixels = source.open(item.content, (0, 0, 0))
        assert item.attributes["ground"] == "white" and (pixels == pixels[..., :1]).all()
        assert pixels.max() == 255 and pixels.min() < 64 and (pixels == 255).mean() > 0.8


def test_text_in_the_corner():
    """It begins at the margins in every picture, and elsewhere without that."""
    first = {"corner": set(), "anywhere": set()}
    for place, corners in first.items():
        writing = Writing(PILLOW, 10, 10, 64, (4, 4), "bdhk", 2, ("plain",), place)
        for n in range(12):
            pixels = draw(n, WHITE, writing)
            ink = (pixels != pixels[-1, -1]).any(-1)
            corners.add((int(ink.any(1).argmax()), int(ink.any(0).argmax())))
    assert len(first["anywhere"]) > 6
    assert len(first["corner"]) <= 2 and all(abs(left - MARGIN) <= 1 for _, left in first["corner"])


def test_the_letters_of_a_picture_are_those_of_its_caption():
    """Drawn once more by Pillow: where letters cover as much of a pixel, the colour is the same."""
    writing = Writing(PILLOW, 10, 10, 64, (6, 6), "aeo", 3, ("plain",), "corner")
    font = ImageFont.load_default(10)
    for n in range(6):
        pixels, (lines, _) = draw(n, WHITE, writing), written(n, writing)
        canvas = Image.new("L", (64, 64))
        for row, line in enumerate(lines):
            height = sum(font.getmetrics())
            at = (MARGIN, MARGIN + row * height + height // 2)
            ImageDraw.Draw(canvas).text(at, line, fill=255, font=font, anchor="lm")
        coverage = np.array(canvas)
        assert coverage.max() > 180
        for level in np.unique(coverage):
            assert len(np.unique(pixels[coverage == level], axis=0)) == 1


def test_as_a_prepared_set(tmp_path):
    """The card says that captions are the text on the picture, which `reconstruct` needs to know."""
    card = prepare_source(tmp_path / "text-images", text_images(count=12, size=32, glyph="8-10"))
    assert card["captions_are_written"] and "Aileron" in card["source"]
    stored = [row for split in rows(tmp_path / "text-images").values() for row in split]
    assert len(stored) == 12 and all(
        json.loads(row["attributes"]).keys() == {"font", "glyph", "ground"} for row in stored
    )

    from rawmm_cli.data import pictures

    read = list(pictures.read(pictures.find([tmp_path / "text-images"], tmp_path), []))
    held_out = [row for row in stored if row["source"] in {picture.file for picture in read}]
    assert read and {picture.text for picture in read} == {row["captions"][0] for row in held_out}


def test_the_command(rawmm, tmp_path):
    code, out, err = rawmm(
        "prepare",
        "text-images",
        "--count",
        "6",
        "--size",
        "32",
        "--glyph",
        "8",
        "--workers",
        "0",
        "--data-dir",
        tmp_path,
        "--json",
    )
    assert code == 0 and json.loads(out)["count"]["train"] >= 1, err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"glyph": "x"}, "--glyph is 'x'"),
        ({"glyph": "20-10"}, "--glyph is '20-10'"),
        ({"glyph": "2"}, "allowed: pixels from 6"),
        ({"glyph": "32", "size": 32}, "do not fit into 32 pixels"),
        ({"size": 16}, "the size of text-images is 16"),
        ({"count": 1}, "the count of text-images is 1"),
        ({"font": "none.ttf"}, "none.ttf is not a font with Latin letters"),
        ({"letters": "0"}, "--letters is '0'; allowed: letters from 1 to 99"),
        (
            {"letters": "9", "glyph": "10"},
            "--letters 9 do not fit in Aileron of 10 pixels into a picture of 64",
        ),
        ({"letters": "5", "glyph": "10", "words": 5}, "--words 5 do not fit in Aileron of 10 pixels"),
        ({"letters": "5", "glyph": "10", "words": 0}, "--words is 0; allowed: 1 to 99"),
        ({"letters": "5", "alphabet": "a"}, "--alphabet is 'a'; allowed: two or more different"),
        ({"letters": "5", "alphabet": "aba"}, "--alphabet is 'aba'"),
        ({"letters": "5", "alphabet": "a b"}, "--alphabet is 'a b'"),
        ({"alphabet": "ab"}, "--alphabet is about words of random letters; give --letters"),
        ({"words": 2}, "--words is about words of random letters; give --letters"),
        ({"ground": "paper"}, "--ground is 'paper'; allowed: plain, photograph, white"),
        ({"place": "middle"}, "--place is 'middle'; allowed: anywhere, corner"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError) as error:
        text_images(**options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_font_without_an_end_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "p.ttf")
    (tmp_path / "z.ttf").symlink_to("/dev/zero")
    for name in ("p.ttf", "z.ttf"):
        with pytest.raises(ConfigError, match="is not a font with Latin letters"):
            text_images(count=2, font=tmp_path / name)
