"""What a source of data gives to `prepare`: items by name, in one order, each with what is needed to make its
pixels.

A source never decodes: `items(start)` is cheap, and `open` makes pixels out of an item's content in worker
processes. So `open` is a function of a module (or a `functools.partial` of one), and contents are things that
can be sent: paths, bytes, numbers. Next: `rows.py` turns an item into a row, `prepare.py` writes the rows.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..system.errors import DataError
from .images import Colour, ImageError, open_image


@dataclass(frozen=True)
class Item:
    """One picture and what is known of it. name: unique in the source. split: where the source says so
    itself."""

    name: str
    content: Any
    captions: tuple[str, ...] = ()
    label: int = -1
    attributes: dict = field(default_factory=dict)
    split: str | None = None


@dataclass(frozen=True)
class Piece:
    """A part of a document: words, or a picture with its content. draw: it is to be drawn, not only read."""

    text: str = ""
    content: Any = None
    draw: bool = False


@dataclass(frozen=True)
class DocumentItem:
    """One document: text and pictures in reading order."""

    name: str
    pieces: tuple[Piece, ...]
    split: str | None = None


def opened(content: Any, background: Colour) -> np.ndarray | Image.Image:
    """The usual `open`: an image file, or what is in one. Content that is a DataError is what is wrong with
    the item."""
    if isinstance(content, DataError):
        raise ImageError(str(content))
    return open_image(content, background)


@dataclass(frozen=True)
class Source:
    """items(start) -> Item or DocumentItem from number `start` on. state: changes whenever the items may have
    changed.

    card: name, source, licence, and whatever else the data card shall say. resizes: `--size` makes pictures
    smaller (where not, they are made in the right size). size: what larger ones are made to fit where nobody
    asked for a size. count: how many items there are, where that is known beforehand."""

    items: Callable[[int], Iterator[Item | DocumentItem]]
    state: str
    card: dict
    open: Callable[[Any, Colour], np.ndarray | Image.Image] = opened
    count: int | None = None
    resizes: bool = True
    size: int | None = None
    holds_documents: bool = False


def state_of(files: Iterable[Path]) -> str:
    """A digest of names, sizes and times of files: another one means that something was changed."""
    total = hashlib.sha256()
    for file in files:
        try:
            found = os.stat(file)
            size, when = found.st_size, found.st_mtime_ns
        except OSError:  # a link to nowhere: told when it is opened
            size = when = -1
        total.update(f"{file}\0{size}\0{when}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


NAMES = (
    "celebahq",
    "ffhq",
    "mnist",
    "cifar10",
    "imagenet64",
    "digits",
    "portraits",
    "emoji",
    "photos",
    "text-images",
)  # with data of their own
GENERAL = ("folder", "parquet", "webdataset", "documents", "text")  # for data of the user's
