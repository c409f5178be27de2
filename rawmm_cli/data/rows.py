"""An item of a source -> a row of the prepared table, or the reason why there is none. Runs in worker
processes; no torch.

Pictures:    pixels (height * width * 3 bytes, RGB), height, width, captions, label (-1: none), attributes
             (JSON), source; look and means, which similar pictures nearly share
Documents:   texts, and pictures in the same order: pixels, heights, widths, draw; `order` tells which piece
             comes next
Both:        sha256, of pixels and sizes
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ..system.errors import printable
from .images import WHITE, Colour, ImageError, fit
from .items import DocumentItem, Item, Source

Opener = Callable[[Any, Colour], np.ndarray | Image.Image]
PICTURES = pa.schema(
    [
        ("pixels", pa.large_binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("captions", pa.list_(pa.string())),
        ("label", pa.int64()),
        ("attributes", pa.string()),
        ("source", pa.string()),
        ("sha256", pa.binary()),
        ("look", pa.uint64()),
        ("means", pa.binary(192)),
    ]
)
DOCUMENTS = pa.schema(
    [
        ("order", pa.list_(pa.bool_())),
        ("texts", pa.list_(pa.string())),
        ("pixels", pa.list_(pa.large_binary())),
        ("heights", pa.list_(pa.int32())),
        ("widths", pa.list_(pa.int32())),
        ("draw", pa.list_(pa.bool_())),
        ("source", pa.string()),
        ("sha256", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Fitting:
    """How pictures are made to fit. size None: every picture keeps its own. at_most: so does one that is
    smaller."""

    size: int | None = None
    crop: str = "center"
    enlarge: bool = False
    background: Colour = WHITE
    at_most: bool = False


@dataclass(frozen=True)
class Skipped:
    """An item that could not be used, and why."""

    name: str
    reason: str


def maker(source: Source, fitting: Fitting) -> Callable[[list], list[tuple[dict | Skipped, str | None]]]:
    """-> a function that makes rows of lists of this source's items; it can be sent to another process."""
    return partial(_made, open_=source.open, resizes=source.resizes, fitting=fitting)


def _made(
    items: list, open_: Opener, resizes: bool, fitting: Fitting
) -> list[tuple[dict | Skipped, str | None]]:
    """Items -> (row, split that the source gave) or (what was skipped, None)."""
    return [_row(item, open_, resizes, fitting) for item in items]


def _row(
    item: Item | DocumentItem, open_: Opener, resizes: bool, fitting: Fitting
) -> tuple[dict | Skipped, str | None]:
    def pixels(content: Any) -> np.ndarray:
        picture = open_(content, fitting.background)
        if not (resizes and fitting.size):
            return np.asarray(picture)
        size = min(fitting.size, *_sides(picture)) if fitting.at_most else fitting.size
        return fit(picture, size, fitting.crop, fitting.enlarge)

    try:
        texts = [
            checked(text)
            for text in (item.captions if isinstance(item, Item) else [p.text for p in item.pieces])
        ]
        if isinstance(item, Item):
            return picture_row(
                pixels(item.content), texts, item.label, item.attributes, item.name
            ), item.split
        shown = [pixels(piece.content) if piece.content is not None else None for piece in item.pieces]
        return document_row(
            list(zip(texts, shown, [piece.draw for piece in item.pieces])), item.name
        ), item.split
    except ImageError as error:
        return Skipped(printable(item.name), error.reason), None


def _sides(picture: np.ndarray | Image.Image) -> tuple[int, ...]:
    return picture.size if isinstance(picture, Image.Image) else picture.shape[:2]


def checked(text: str) -> str:
    """The text, or ImageError where it is not Unicode (a lone surrogate)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ImageError("a text of it has a lone surrogate, which is not Unicode") from None
    return text


def picture_row(
    pixels: np.ndarray, captions: list[str], label: int = -1, attributes: dict | None = None, source: str = ""
) -> dict:
    """pixels (H, W, 3) uint8 and what is known of them -> one row."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).tobytes()
    return {
        "pixels": data,
        "height": height,
        "width": width,
        "captions": captions,
        "label": label,
        "attributes": json.dumps(attributes, sort_keys=True) if attributes else "",
        "source": printable(source),
        "sha256": digest([(height, width, data)]),
        "look": look(pixels),
        "means": means(pixels),
    }


def document_row(pieces: list[tuple[str, np.ndarray | None, bool]], source: str = "") -> dict:
    """(text, pixels or None, draw) in reading order -> one row."""
    shown = [(pixels, draw) for _, pixels, draw in pieces if pixels is not None]
    data = [np.ascontiguousarray(pixels).tobytes() for pixels, _ in shown]
    heights, widths = ([pixels.shape[axis] for pixels, _ in shown] for axis in (0, 1))
    texts = [text for text, pixels, _ in pieces if pixels is None]
    return {
        "order": [pixels is not None for _, pixels, _ in pieces],
        "texts": texts,
        "pixels": data,
        "heights": heights,
        "widths": widths,
        "draw": [draw for _, draw in shown],
        "source": printable(source),
        "sha256": digest(list(zip(heights, widths, data)), texts),
    }


def digest(pictures: list[tuple[int, int, bytes]], texts: list[str] = ()) -> bytes:
    """SHA-256 over sizes and pixels (and the texts of a document): equal ones are the same to the bit."""
    total = hashlib.sha256()
    for height, width, data in pictures:
        total.update(b"%d x %d\n" % (height, width))
        total.update(data)
    for text in texts:
        total.update(b"\0" + text.encode())
    return total.digest()


def look(pixels: np.ndarray) -> int:
    """64 bits: is a cell of an 8 x 9 grid brighter than the one to its left (Krawetz's difference hash, on
    means of cells).

    Scaling and mild compression hardly change it, another picture changes about half of the bits."""
    cells = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX))  # (8, 9)
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def means(pixels: np.ndarray) -> bytes:
    """Mean colours of an 8 x 8 grid: 192 bytes."""
    return Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX).tobytes()
