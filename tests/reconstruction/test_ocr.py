"""OCR engines: which is chosen, how pictures are enlarged, and what is read where one is installed."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from rawmm_cli.reconstruction import ocr
from rawmm_cli.system.errors import ConfigError


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
