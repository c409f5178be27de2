"""Items of one window of documents, by the numbers of the documents; `data/stream.py` takes them as a set."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...system.errors import printable
from ..items import DocumentItem, Item

if TYPE_CHECKING:
    from torch import Tensor


class Pictures:
    """Pictures of a window. folder: name of the set, for messages."""

    holds_documents = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.items, self.pixels = folder, {}, {}
        self.captions, self.heights, self.widths = {}, {}, {}

    def add(self, number: int, item: Item, pixels: np.ndarray) -> None:
        """Add the picture of document `number`. pixels: (H, W, 3) uint8."""
        self.items[number], self.pixels[number], self.captions[number] = item, pixels, item.captions
        self.heights[number], self.widths[number] = pixels.shape[:2]

    def image(self, number: int) -> "Tensor":
        """Pixels of the picture of document `number`: (3, H, W) uint8."""
        return _tensor(self.pixels[number])

    def source(self, number: int) -> str:
        """Where the picture came from."""
        return printable(self.items[number].name)


class Documents:
    """Documents of several pictures of a window. folder: name of the set, for messages."""

    holds_documents = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.items, self.pixels = folder, {}, {}

    def add(self, number: int, item: DocumentItem, pixels: Iterable[np.ndarray | None]) -> None:
        """Add document `number`. pixels: (H, W, 3) uint8 for each piece, None for a text."""
        self.items[number], self.pixels[number] = item, list(pixels)

    def pieces(self, number: int) -> list[str | tuple[int, int, bool]]:
        """As `prepared.PreparedDocuments.pieces`."""
        pieces = zip(self.items[number].pieces, self.pixels[number])
        return [piece.text if pixels is None else (*pixels.shape[:2], piece.draw) for piece, pixels in pieces]

    def image(self, number: int, index: int) -> "Tensor":
        """Pixels of picture `index` of document `number`: (3, H, W) uint8."""
        return _tensor([pixels for pixels in self.pixels[number] if pixels is not None][index])

    def source(self, number: int) -> str:
        """Where the document came from."""
        return printable(self.items[number].name)


def _tensor(pixels: np.ndarray) -> "Tensor":
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)
