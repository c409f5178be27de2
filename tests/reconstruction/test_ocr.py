"""OCR engines: which is chosen, how pictures are enlarged, and what is read where one is installed."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from rawmm_cli.reconstruction import ocr
from rawmm_cli.system.errors import ConfigError, DataError


def written(text, size=64, glyph=14):
    picture = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(picture).text((3, 20), text, fill="black", font=ImageFont.load_default(glyph))
    return np.array(picture)


def test_which_engine(monkeypatch):
    installed = {"tesseract": "/bin/tesseract", "rapidocr_onnxruntime": None}
    monkeypatch.setattr(ocr.shutil, "which", installed.get)
    monkeypatch.setattr(ocr.importlib.util, "find_spec", installed.get)
    assert ocr.choose("auto") == "tesseract" == ocr.choose("tesseract") and ocr.choose("none") is None
    with pytest.raises(ConfigError, match=r"--ocr rapidocr is not installed; pip install 'rawmm\[ocr\]'"):
        ocr.choose("rapidocr")
    installed |= {"tesseract": None, "rapidocr_onnxruntime": "spec"}
    assert ocr.choose("auto") == "rapidocr"
    installed["rapidocr_onnxruntime"] = None
    assert ocr.choose("auto") is None
    with pytest.raises(
        ConfigError, match=r"unknown engine 'tess' .*allowed: auto, tesseract, rapidocr, none"
    ):
        ocr.choose("tess")


def test_small_pictures_are_enlarged():
    assert ocr.enlarged(written("a")).shape == (256, 256, 3)
    assert ocr.enlarged(written("a", 128)).shape == (128, 128, 3)
    flat = np.full((20, 300, 3), 9, np.uint8)
    assert np.array_equal(ocr.enlarged(flat), np.full((80, 1200, 3), 9, np.uint8))
    tall = ocr.enlarged(np.zeros((9_000, 100, 3), np.uint8))
    assert tall.shape == (32_000, 355, 3)  # tesseract's own limit is 32,767
    assert ocr.enlarged(np.zeros((40_000, 200, 3), np.uint8)).shape == (32_000, 160, 3)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_small_words_in_worker_processes():
    with ocr.Reader("tesseract") as reader:
        result = reader([written("stone"), written("river"), np.full((64, 64, 3), 255, np.uint8)])
    assert result == ["stone", "river", ""]


def test_rapidocr_reads_small_words():
    pytest.importorskip("rapidocr_onnxruntime")
    assert ocr.read("rapidocr", written("stone")).lower() == "stone"


def test_thin_pictures_are_padded():
    thin = np.arange(3 * 1001, dtype=np.uint8).reshape(1, 1001, 3).repeat(10, 0)
    padded = ocr.widened(thin)
    assert padded.shape == (126, 1001, 3) and (padded == thin[:1]).all()
    assert ocr.widened(thin.swapaxes(0, 1)).shape == (1001, 126, 3)
    assert ocr.widened(thin[:, :1000]) is not thin and np.array_equal(
        ocr.widened(thin[:, :1000]), thin[:, :1000]
    )
    assert ocr.widened(np.zeros((1, 101, 3), np.uint8)).shape == (13, 101, 3)


def test_rapidocr_reads_thin_pictures():
    """More than 125 times wider than high, or higher than wide: no text, and no error; a word is read."""
    pytest.importorskip("rapidocr_onnxruntime")
    for shape in ((8, 2000), (2000, 8), (1, 5000)):
        assert ocr.read("rapidocr", np.full((*shape, 3), 255, np.uint8)) == ""
    wide = np.full((20, 2600, 3), 255, np.uint8)
    wide[:, 1200:1264] = written("stone", glyph=14)[18:38]
    assert ocr.read("rapidocr", wide).lower() == "stone"


def test_an_error_of_rapidocr_is_one_line(monkeypatch):
    def fails(pixels):
        raise RuntimeError("no such thing\nmore")

    monkeypatch.setattr(ocr, "_rapid", lambda: fails)
    message = "rapidocr failed on a picture of 256x256 pixels: no such thing; leave out that picture"
    with pytest.raises(DataError, match=f"^{message}, or use --ocr none$"):
        ocr.read("rapidocr", written("a"))
