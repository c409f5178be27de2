"""What settings that are `auto` follow from: facts of the sets, and the settings before them. No torch here.

`training/facts.py` collects the facts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .model import Config


@dataclass(frozen=True)
class Facts:
    """What is known of the sets of a run. Arrays have an entry a row (a picture with its captions, or a
    document) of all splits and sets.

    name: of data.set. rows: that it trains on. sizes: {(height, width): pictures} of data.set, in pixels.
    common: greatest common divisor of all sides of all sets, 0 without pictures. areas: pixels of a row.
    texts: bytes of the longest caption of a row, or of all texts of a document. marks: special tokens of a
    row. amount: bytes of all texts. captions: pictures that have any, of data.set. different:
    captions. documents: a row is a document of text and pictures. exact: all rows are here, not only the
    first of a stream. pieces(vocabulary): tokens of the texts of every row, as learned pieces. expected:
    documents that a run by time will see; 0: not known."""

    name: str
    rows: int
    sizes: dict[tuple[int, int], int]
    common: int
    areas: np.ndarray
    texts: np.ndarray
    amount: int
    marks: np.ndarray
    captions: int
    different: int
    pieces: Callable[[int], np.ndarray]
    documents: bool = False
    exact: bool = True
    expected: int = 0

    @property
    def area(self) -> int:
        """Pixels of a usual picture of data.set: the median."""
        ordered = sorted((height * width, count) for (height, width), count in self.sizes.items())
        half = np.searchsorted(np.cumsum([count for _, count in ordered]), sum(self.sizes.values()) / 2)
        return ordered[int(half)][0]


class Known:
    """Settings by their dotted names; what follows from the set comes in its turn."""

    def __init__(self, config: Config):
        self.config, self.values = config, {}

    def __getitem__(self, key: str) -> Any:
        if key in self.values:
            return self.values[key]
        value = self.config
        for name in key.split("."):
            value = getattr(value, name, None)  # None: another kind of part has no such setting
        return value


class Follows(NamedTuple):
    """A value that was `auto`, and why it is what it is."""

    value: Any
    reason: str


Rule = Callable[[Known, Facts], Follows]
