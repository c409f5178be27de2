"""Tokens that are kept on disk, picture by picture."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...config.fields import CodecSettings
from ...system import manifest
from ...system.disk import read_file
from ...system.errors import DataError, printable

FOLDER, FACTS, FORMAT = "codes", "codes.json", 1
LARGEST = 1_000_000  # bytes of codes.json


class Kept:
    """Tokens of the pictures of one split. file: (tokens, G) or (tokens, P). starts: (pictures + 1,) first
    token of each picture. first: (rows,) number of the first picture of a row. deviation: by which vectors
    are divided."""

    def __init__(self, file: Path, starts: np.ndarray, first: np.ndarray, deviation: float = 1.0):
        self.file, self.starts, self.first, self.deviation = file, starts, first, deviation
        try:
            self.tokens = np.lib.format.open_memmap(file, "r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{file} cannot be read ({error}); delete {file.parent}, and `rawmm prepare` the codes again"
            ) from None
        if len(self.tokens) != starts[-1]:
            raise DataError(
                f"{file} holds {len(self.tokens):,} tokens and the set needs {starts[-1]:,}; delete "
                f"{file.parent}, and `rawmm prepare` the codes again"
            )

    def __reduce__(self) -> tuple:
        return Kept, (self.file, self.starts, self.first, self.deviation)

    def picture(self, row: int, number: int = 0) -> Tensor:
        """Tokens of picture `number` of a row: (N, G) int64, or (N, P) fp32 as they are inside the model."""
        at = self.first[row] + number
        values = self.tokens[self.starts[at] : self.starts[at + 1]]
        if values.dtype.kind == "f":
            return torch.from_numpy(values.copy()) / self.deviation
        return torch.from_numpy(values.astype(np.int64))

    def spread(self) -> tuple[int, float, float]:
        """Number of all values, their sum and the sum of their squares."""
        count, total, squares = 0, 0.0, 0.0
        for at in range(0, len(self.tokens), 1 << 16):
            part = np.asarray(self.tokens[at : at + (1 << 16)], np.float64)
            count, total, squares = count + part.size, total + part.sum(), squares + np.square(part).sum()
        return count, float(total), float(squares)


def attach(data: Any, digest: str, settings: CodecSettings) -> bool:
    """Give a split the tokens that are kept of it, by the codec of that hash -> whether there are any.

    Raises DataError where they are damaged."""
    folder = place(data.folder, digest)
    if read(folder, digest, data.card["fingerprint"]) is None:
        return False
    counts = [len(row) for row in data.heights] if data.holds_documents else np.ones(len(data), int)
    first = np.concatenate([[0], np.cumsum(counts)])[:-1]
    data.kept = Kept(folder / f"{data.split}.npy", starts(data, settings), first)
    return True


def others(folder: Path) -> list[str]:
    """Runs of codecs by which tokens of the set in `folder` are kept."""
    runs = []
    for path in sorted((folder / FOLDER).glob(f"[!.]*/{FACTS}")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            runs.append(printable(str(json.loads(read_file(path, LARGEST))["run"])))
    return runs


def place(folder: Path, digest: str) -> Path:
    """Where tokens of the set in `folder` are kept, by the codec of that hash."""
    return folder / FOLDER / digest[:16]


def read(folder: Path, digest: str, fingerprint: str) -> dict | None:
    """codes.json of tokens that are of this codec and this set; None where there are none."""
    try:
        facts = json.loads(read_file(folder / FACTS, LARGEST))
        known = (facts["format"], facts["hash"], facts["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts if known == (FORMAT, digest, fingerprint) else None


def problems(folder: Path) -> list[str]:
    """What is wrong with the tokens that are kept of the set in `folder`, one line each."""
    return [
        f"{FOLDER}/{kept.name}/{name} {what}"
        for kept in sorted((folder / FOLDER).glob("[!.]*/"))
        for name, what in manifest.problems(kept, (FACTS,)).items()
    ]


def places(data: Any) -> Iterator[tuple[int, ...]]:
    """Arguments of `image` for every picture, in order."""
    if not data.holds_documents:
        return ((row,) for row in range(len(data)))
    return ((row, n) for row in range(len(data)) for n in range(len(data.heights[row])))


def sides(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths of every picture, in order."""
    if not data.holds_documents:
        return data.heights.astype(int), data.widths.astype(int)
    heights, widths = ([side for row in rows for side in row] for rows in (data.heights, data.widths))
    return np.array(heights, int), np.array(widths, int)


def starts(data: Any, settings: CodecSettings) -> np.ndarray:
    """(pictures + 1,) int64: the first token of each picture, and behind them the number of all."""
    heights, widths = sides(data)
    counts = settings.tokens(heights, widths) + np.zeros(len(heights), np.int64)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def kind(vocabulary: int) -> np.dtype:
    """The smallest whole numbers that hold every code."""
    return np.min_scalar_type(vocabulary - 1)
