"""What a source of data gives to `prepare`: items in a fixed order, each with a name and all that is needed
to decode its pixels.

A source never decodes: `items(start)` is cheap, and worker processes call `open` to turn the content of an
item into pixels. So `open` is a function of a module (or a `functools.partial` of one), and contents can be
pickled: paths, bytes, numbers. Next: `rows.py` turns an item into a row, `prepare.py` writes the rows."""

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
from .layout.instead import instead_of_picture
from .layout.unused import Unused


@dataclass(frozen=True)
class Item:
    """One picture and what is known about it."""

    name: str  # unique in the source
    content: Any  # what `Source.open` decodes
    captions: tuple[str, ...] = ()
    label: int = -1  # number of its class, -1 for none
    attributes: dict = field(default_factory=dict)
    split: str | None = None  # `train` or `held_out`; None where the name decides


@dataclass(frozen=True)
class Piece:
    """A part of a document: text, or the content of a picture. draw: the picture is drawn, not only read."""

    text: str = ""
    content: Any = None
    draw: bool = False


@dataclass(frozen=True)
class DocumentItem:
    """One document: text and pictures in reading order."""

    name: str
    pieces: tuple[Piece, ...]
    split: str | None = None


NO_CAPTION = "it has no caption"  # begins the reason where a caption is null


def open_content(content: str | bytes | DataError, background: Colour) -> np.ndarray | Image.Image:
    """Decode a path or the bytes of an image file: the usual `Source.open`.

    Raises ImageError; content that is a DataError says why the item cannot be used."""
    if isinstance(content, DataError):
        raise ImageError(str(content))
    try:
        return open_image(content, background)
    except ImageError:
        if isinstance(content, bytes) and (instead := instead_of_picture(content)):
            raise ImageError(f"it has no picture, only {instead[0]}; {instead[1]}") from None
        raise


@dataclass(frozen=True)
class Source:
    """A collection of items, not decoded."""

    items: Callable[[int], Iterator[Item | DocumentItem]]  # items(start): from number `start` on, in order
    state: str  # changes whenever the items may have changed
    card: dict  # name, source, licence and whatever else the data card shows
    open: Callable[[Any, Colour], np.ndarray | Image.Image] = open_content  # open(content, background)
    # Names and splits of all items in order, without their contents; None where only reading tells them.
    outline: Callable[[], Iterable[tuple[str, str | None]]] | None = None
    count: int | None = None  # number of items, None where it is not known beforehand
    resizes: bool = True  # whether `--size` shrinks pictures; where not, they are made in the right size
    # Where no --size is given, larger pictures are shrunk to this shorter side; None keeps their size.
    size: int | None = None
    holds_documents: bool = False  # whether items are DocumentItem
    # What it saw and did not use; of archives known when all items were read.
    unused: Unused = field(default_factory=Unused)


def state_of(files: Iterable[Path | str]) -> str:
    """SHA-256 of names, sizes and modification times of files: it changes when one of them does."""
    total = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(file)
            size, modified = status.st_size, status.st_mtime_ns
        except OSError:  # a dangling link: reported when it is opened
            size = modified = -1
        total.update(f"{file}\0{size}\0{modified}\n".encode("utf-8", "surrogateescape"))
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
    "pairs",
    "sums",
)  # sources with data of their own
GENERAL = ("folder", "parquet", "webdataset", "documents", "text")  # sources of the user's data
