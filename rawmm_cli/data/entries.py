"""Documents of a prepared set for people to look at: in reading order, and as a contact sheet."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..system.errors import DataError
from ..system.figures import counted
from .images import contact_sheet
from .tables import Rows, data_errors

ZOOMED = 128  # pictures smaller than this are enlarged by a whole number


@dataclass(frozen=True)
class EntryPicture:
    """A picture of an entry. pixels: (H, W, 3) uint8, exact. draw: True where it is drawn, False where it is
    read, None where it may be either."""

    pixels: np.ndarray
    draw: bool | None = None


@dataclass(frozen=True)
class Entry:
    """A document, or a picture with its captions. items: texts and pictures in reading order."""

    index: int
    source: str
    items: list[str | EntryPicture]
    label: str | None = None
    attributes: dict = field(default_factory=dict)

    @property
    def pictures(self) -> list[EntryPicture]:
        return [item for item in self.items if isinstance(item, EntryPicture)]

    @property
    def texts(self) -> list[str]:
        return [item for item in self.items if isinstance(item, str)]


def entries(folder: Path, split: str, indices: Iterable[int], labels: list[str]) -> list[Entry]:
    """Entries for rows of a prepared set, at indices in increasing order.

    labels: names of the classes. Raises DataError where the set is damaged."""
    indices, rows = list(indices), Rows.of(folder, split)
    if indices and indices[-1] >= (count := len(rows)):
        raise DataError(
            f"{folder / 'card.json'} is damaged (it says more than the {counted(count, 'row')} of "
            f"{split}); delete "
            "the set and prepare it again"
        )
    with data_errors(folder):
        return [_entry(index, row, labels) for index, row in zip(indices, rows.at(indices))]


def sheet(chosen: list[Entry], columns: int | None = None) -> np.ndarray:
    """Contact sheet of all pictures of the entries, in order: (H, W, 3) uint8.

    Small pictures are enlarged by a whole number."""
    pictures = [picture.pixels for entry in chosen for picture in entry.pictures]
    largest = max(max(pixels.shape[:2]) for pixels in pictures)
    return contact_sheet(
        pictures, columns or max(1, round(len(pictures) ** 0.5)), zoom=max(1, ZOOMED // largest)
    )


def _entry(index: int, row: dict, labels: list[str]) -> Entry:
    if "order" in row:
        texts = iter(row["texts"])
        pictures = (
            EntryPicture(_pixels(*picture), draw)
            for *picture, draw in zip(row["pixels"], row["heights"], row["widths"], row["draw"])
        )
        items = [next(pictures) if is_picture else next(texts) for is_picture in row["order"]]
        return Entry(index, row["source"], items)
    label = row["label"]
    return Entry(
        index,
        row["source"],
        [EntryPicture(_pixels(row["pixels"], row["height"], row["width"])), *row["captions"]],
        None if label < 0 else labels[label] if label < len(labels) else str(label),
        json.loads(row["attributes"] or "{}"),
    )


def _pixels(data: bytes, height: int, width: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)
