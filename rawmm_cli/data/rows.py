"""Rows of a prepared table, made of the items of a source. Runs in worker processes; no torch.

pictures     pixels (height x width x 3 bytes, RGB), height, width, captions, label (-1: none), attributes
             (JSON), source; look (a perceptual hash) and means (colours), nearly equal for similar pictures
documents    texts; pixels, heights, widths and draw of its pictures; order: True where a picture comes next,
             False for a text; source
both         sha256 of sizes and pixels, in documents of texts too
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
    """How pictures are resized (`images.fit`)."""

    size: int | None = None  # shorter side in pixels; None keeps the size of every picture
    crop: str = "none"
    enlarge: bool = False
    background: Colour = WHITE  # behind transparent pixels
    at_most: bool = False  # smaller pictures keep their size

    def shorter(self, height: int, width: int) -> int | None:
        """Shorter side of a picture after it was fitted; None where it stays as it is."""
        if self.size is None or not self.at_most:
            return self.size
        side = min(height, width)
        return None if side <= self.size and self.crop == "none" else min(self.size, side)


@dataclass(frozen=True)
class Skipped:
    """An item that cannot be used, and the reason."""

    name: str
    reason: str


# A row and the split that its source gives, or a skipped item. Rows have more that is not stored: `scaled`,
# bits that samples use by their files, one for each picture that was scaled by them; `originals`, height and
# width of each picture before it was fitted, [] where none was.
Result = tuple[dict | Skipped, str | None]


def row_maker(source: Source, fitting: Fitting) -> Callable[[list[Item | DocumentItem]], list[Result]]:
    """A function from lists of items of the source to their rows; it can be pickled."""
    return partial(_make_rows, open_=source.open, resizes=source.resizes, fitting=fitting)


def _make_rows(
    items: list[Item | DocumentItem], open_: Opener, resizes: bool, fitting: Fitting
) -> list[Result]:
    return [_make_row(item, open_, resizes, fitting) for item in items]


def _make_row(item: Item | DocumentItem, open_: Opener, resizes: bool, fitting: Fitting) -> Result:
    """Row of one item, or why there is none."""

    scaled, originals = [], []

    def pixels(content: object) -> np.ndarray:
        picture = open_(content, fitting.background)
        if isinstance(picture, Image.Image) and "bits_used" in picture.info:
            scaled.append(picture.info["bits_used"])
        if not (resizes and fitting.size):
            return np.asarray(picture)
        sides = _sides(picture)
        originals.append(sides)
        if (size := fitting.shorter(*sides)) is None:
            return np.asarray(picture)
        return fit(picture, size, fitting.crop, fitting.enlarge)

    try:
        if isinstance(item, Item):
            captions = [check_unicode(caption) for caption in item.captions]
            row = picture_row(pixels(item.content), captions, item.label, item.attributes, item.name)
            return row | {"scaled": scaled, "originals": originals}, item.split
        texts = [check_unicode(piece.text) for piece in item.pieces]
        pictures = [None if piece.content is None else pixels(piece.content) for piece in item.pieces]
        draw = [piece.draw for piece in item.pieces]
        row = document_row(list(zip(texts, pictures, draw)), item.name)
        return row | {"scaled": scaled, "originals": originals}, item.split
    except ImageError as error:
        return Skipped(printable(item.name), error.reason), None


def _sides(picture: np.ndarray | Image.Image) -> tuple[int, ...]:
    """Height and width."""
    return picture.size[::-1] if isinstance(picture, Image.Image) else picture.shape[:2]


def check_unicode(text: str) -> str:
    """Return the text; raise ImageError where it is not Unicode (a lone surrogate)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ImageError("a text of it has a lone surrogate, which is not Unicode") from None
    return text


def picture_row(
    pixels: np.ndarray, captions: list[str], label: int = -1, attributes: dict | None = None, source: str = ""
) -> dict:
    """Row of one picture. pixels: (H, W, 3) uint8. label: -1 for none."""
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
        "look": perceptual_hash(pixels),
        "means": mean_colours(pixels),
    }


def document_row(pieces: list[tuple[str, np.ndarray | None, bool]], source: str = "") -> dict:
    """Row of one document. pieces: (text, pixels (H, W, 3) uint8 or None, draw) in reading order."""
    pictures = [(pixels, draw) for _, pixels, draw in pieces if pixels is not None]
    data = [np.ascontiguousarray(pixels).tobytes() for pixels, _ in pictures]
    heights, widths = ([pixels.shape[axis] for pixels, _ in pictures] for axis in (0, 1))
    texts = [text for text, pixels, _ in pieces if pixels is None]
    return {
        "order": [pixels is not None for _, pixels, _ in pieces],
        "texts": texts,
        "pixels": data,
        "heights": heights,
        "widths": widths,
        "draw": [draw for _, draw in pictures],
        "source": printable(source),
        "sha256": digest(list(zip(heights, widths, data)), texts),
    }


def digest(pictures: list[tuple[int, int, bytes]], texts: list[str] = ()) -> bytes:
    """SHA-256 of sizes and pixels of pictures, and of the texts of a document.

    pictures: (height, width, bytes) each."""
    total = hashlib.sha256()
    for height, width, data in pictures:
        total.update(b"%d x %d\n" % (height, width))
        total.update(data)
    for text in texts:
        total.update(b"\0" + text.encode())
    return total.digest()


def perceptual_hash(pixels: np.ndarray) -> int:
    """64 bits: whether a cell of an 8 x 9 grid is brighter than its left neighbour, by the means of the
    cells.

    This is Krawetz's difference hash. Scaling and mild compression hardly change it; between two different
    pictures about half of the bits differ."""
    cells = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX))  # (8, 9)
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def mean_colours(pixels: np.ndarray) -> bytes:
    """Mean colours of an 8 x 8 grid, row by row, RGB: 192 bytes."""
    return Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX).tobytes()
