"""Words in small letters: a picture depends on its number alone, captions are true, letters fit."""

import json
import os

import numpy as np
import pytest
from PIL import ImageFont
from sources import prepare_source, rows

from rawmm_cli.data.datasets import text_images as module
from rawmm_cli.data.datasets.text_images import WORDS, draw, text_images, written
from rawmm_cli.system.errors import ConfigError

WHITE = (255, 255, 255)
PILLOW = ("",)  # the font inside Pillow alone


@pytest.fixture(autouse=True)
def no_other_fonts(monkeypatch):
    monkeypatch.setattr(module, "FOLDERS", ())
    module.installed.cache_clear()
    yield
    module.installed.cache_clear()


def test_a_picture_depends_on_its_number_alone():
    few, many = text_images(count=20, size=64), text_images(count=500, size=64)
    assert [item.captions for item in few.items(0)] == [item.captions for item in many.items(0)][:20]
    assert [item.name for item in many.items(490)] == [f"text-images/{n}" for n in range(490, 500)]
    for item in list(few.items(5))[:4]:
        assert np.array_equal(few.open(item.content, WHITE), many.open(item.content, WHITE))
    assert few.state != many.state != text_images(count=500, size=64, glyph="10").state


@pytest.mark.parametrize("size, least, most", [(64, 10, 10), (64, 8, 32), (32, 8, 12), (128, 20, 64)])
def test_letters_fit(size, least, most):
    """Lines and their total height fit between the margins."""
    for n in range(60):
        lines, attributes = written(n, PILLOW, least, most, size)
        font = ImageFont.load_default(int(attributes["glyph"]))
        assert least <= int(attributes["glyph"]) <= most and 1 <= len(lines) <= module.LINES
        assert all(font.getlength(line) <= size - 2 * module.MARGIN for line in lines), lines
        assert len(lines) * sum(font.getmetrics()) <= size - 2 * module.MARGIN or len(lines) == 1
        assert all(word.lower() in WORDS for line in lines for word in line.split()) and lines[0]


def test_letters_stand_out():
    """Plain backgrounds: two colours far apart. Photographs: more colours, and letters that still
    contrast."""
    grounds = set()
    for n in range(40):
        pixels, (_, attributes) = draw(n, WHITE, PILLOW, 10, 20, 64), written(n, PILLOW, 10, 20, 64)
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
