"""OCR by engines that work offline. `reconstruct` compares what they read before and after a codec.

    tesseract    the program of that name (Debian: apt install tesseract-ocr), one block of text (--psm 6)
    rapidocr     the package rapidocr-onnxruntime, which contains its models (pip install 'rawmm[ocr]')

Pictures with a side below 128 px are first enlarged four times: otherwise neither engine reads letters of
8 px."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from ..config.explain import nearest
from ..system.errors import ConfigError, DataError, printable
from ..system.workers import Workers

ENGINES = ("tesseract", "rapidocr")  # by preference: tesseract reads small letters better
INSTALL = {
    "tesseract": "Debian: apt install tesseract-ocr",
    "rapidocr": "pip install 'rawmm[ocr]' (Python below 3.13)",
}
SMALL, TIMES, CONFIDENCE, SECONDS = 128, 4, 0.5, 120
SLIM, PADDED = 100, 8  # rapidocr itself pads wide pictures to this ratio
LARGEST = 32_000  # pixels a side; tesseract refuses larger pictures
WORKERS = 2


def choose(word: str) -> str | None:
    """Engine for a word (auto, none or an engine), or None. Raises ConfigError where it is not installed."""
    allowed = ("auto", *ENGINES, "none")
    if word not in allowed:
        raise ConfigError(f"unknown engine '{word}'{nearest(word, allowed)}; allowed: {', '.join(allowed)}")
    if word in ENGINES and not available(word):
        raise ConfigError(f"--ocr {word} is not installed; {INSTALL[word]}")
    return word if word in ENGINES else next(filter(available, ENGINES), None) if word == "auto" else None


def available(engine: str) -> bool:
    """Whether an engine is installed."""
    if engine == "tesseract":
        return shutil.which("tesseract") is not None
    return importlib.util.find_spec("rapidocr_onnxruntime") is not None


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Picture (H, W, 3) uint8, four times as large (bicubic) where a side is below SMALL, with no side above
    LARGEST."""
    height, width = pixels.shape[:2]
    times = min(TIMES if min(height, width) < SMALL else 1, LARGEST / max(height, width))
    if times == 1:
        return pixels
    sides = max(1, int(times * width)), max(1, int(times * height))
    return np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BICUBIC))


def widened(pixels: np.ndarray) -> np.ndarray:
    """Picture with its edges repeated where one side is more than SLIM times the other, to a PADDED-th of it.

    rapidocr shrinks the longer side to 2,000 px: nothing is left of a side that is 125 times shorter. It then
    enlarges the shorter side to 736 px, so that a thin picture takes minutes."""
    sides = pixels.shape[:2]
    if max(sides) <= SLIM * min(sides):
        return pixels
    missing = [max(0, -(-max(sides) // PADDED) - side) for side in sides]
    return np.pad(pixels, [*((side // 2, side - side // 2) for side in missing), (0, 0)], "edge")


def read(engine: str, pixels: np.ndarray) -> str:
    """Text on a picture (H, W, 3) uint8, line by line. Raises DataError where the engine fails."""
    return {"tesseract": _tesseract, "rapidocr": _rapidocr}[engine](enlarged(pixels))


def _tesseract(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    done = subprocess.run(
        ["tesseract", "stdin", "stdout", "--psm", "6", "-l", "eng"],
        capture_output=True,
        timeout=SECONDS,
        input=b"P6 %d %d 255\n" % (width, height) + pixels.tobytes(),
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
    )
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        lines = lines or [f"exit code {done.returncode}"]
        language = any("language" in line for line in lines)
        remedy = "install tesseract-ocr-eng" if language else "leave out that picture"
        raise DataError(
            f"tesseract failed on a picture of {width}x{height} pixels: {printable(lines[0])}; {remedy}, or "
            f"use --ocr none"
        )
    return done.stdout.decode("utf-8", "replace").strip()


def _rapidocr(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    try:
        boxes, _ = _rapid()(widened(pixels)[:, :, ::-1])
    except ImportError:
        raise
    except Exception as error:  # of its own or of onnxruntime
        reason = printable((str(error).splitlines() or [""])[0]) or type(error).__name__
        raise DataError(
            f"rapidocr failed on a picture of {width}x{height} pixels: {reason}; leave out that picture, or "
            "use --ocr none"
        ) from None
    return "\n".join(text for _, text, confidence in boxes or () if float(confidence) >= CONFIDENCE)


@cache
def _rapid() -> Any:
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


ReadText = Callable[[str, np.ndarray], str]  # engine, (H, W, 3) uint8 -> the text


class Reader:
    """Worker processes that read text: `with Reader(engine) as reader: texts = reader(pictures)`. read_: the
    function that they call."""

    def __init__(self, engine: str, workers: int = WORKERS, read_: ReadText = read) -> None:
        self.engine, self.read = engine, read_
        self.workers = Workers(workers, "process that reads text", "use --ocr none")

    def __call__(self, pictures: list[np.ndarray]) -> list[str]:
        """Texts of pictures, (H, W, 3) uint8 each."""
        try:
            return list(self.workers.map(self.read, ((self.engine, pixels) for pixels in pictures)))
        except ImportError as error:
            line = printable((str(error).splitlines() or [type(error).__name__])[0])
            raise ConfigError(
                f"--ocr {self.engine} cannot be loaded ({line}); {INSTALL[self.engine]}"
            ) from None
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{self.engine} took more than {SECONDS} s for one picture; use --ocr none"
            ) from None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        self.workers.__exit__(kind, *error)
