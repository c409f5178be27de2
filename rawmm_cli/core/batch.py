"""pack(documents) -> Batch: several documents in one row, pictures of different sizes side by side.

A picture to be drawn may be followed by more text. What follows must see the finished picture, as it will
when the model draws, and not the noised one: so the noised picture is private, and a clean copy stands behind
it at the same place. A drawn picture that ends its document needs no copy, nor does one whose patches are
learned one after another (causal heads): their inputs are clean already."""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from ..system.errors import DataError
from .document import Batch, Document, Labels, Picture, Pictures
from .text_tokenizer import BOS, END_IMAGE, EOS

Grid = Callable[[int, int], tuple[int, int]]


class _Frame(NamedTuple):
    """What documents of the same shape share: everything but their tokens and pixels."""

    block: np.ndarray  # (n,)
    private: np.ndarray  # (n,)
    position: np.ndarray  # (n, 3)
    runs: list[tuple[int, int, int]]  # of text: (first position, first item, end)
    places: list[tuple[int, int, int, bool]]  # (first position, patches, item, is it a copy)


@dataclass
class _Layout:
    """One document, laid out position by position."""

    tokens: np.ndarray  # (n,) 0 where a patch sits
    block: np.ndarray  # (n,)
    private: np.ndarray  # (n,)
    position: np.ndarray  # (n, 3)
    placed: list[tuple[int, int, Picture]]  # (first position, patches, picture)

    def after(self, count: int) -> "_Layout":
        """The rest of it, behind its first `count` positions."""
        placed = [
            (first - count, patches, picture) for first, patches, picture in self.placed if first >= count
        ]
        return _Layout(
            self.tokens[count:], self.block[count:], self.private[count:], self.position[count:], placed
        )


def layout(document: Document, grid: Grid, causal: bool = False) -> _Layout:
    """Positions of one document. `grid(H, W)` gives a picture's rows and columns of patches.

    `causal` gives every patch a block of its own (autoregressive heads)."""
    shown = _shown(document)
    frame = _frame(
        len(document),
        tuple(
            (
                index,
                *grid(*document[index].pixels.shape[1:]),
                _needs_copy(document, index, causal),
                document[index].stretch,
            )
            for index in shown
        ),
        causal,
    )
    tokens = np.zeros(len(frame.block), np.int64)
    for at, order, stop in frame.runs:
        tokens[at : at + stop - order] = document[order:stop]
    placed = [
        (first, count, _finished(document[index]) if copy else document[index])
        for first, count, index, copy in frame.places
    ]
    return _Layout(tokens, frame.block, frame.private, frame.position, placed)


def _finished(picture: Picture) -> Picture:
    return replace(picture, draw=False)


@lru_cache(maxsize=4096)
def _frame(
    items: int, pictures: tuple[tuple[int, int, int, bool, tuple[float, float]], ...], causal: bool
) -> _Frame:
    """Of documents with so many items and these pictures: (item, rows, columns, whether a clean copy follows,
    stretch)."""
    count = items + sum(rows * columns * (1 + copy) - 1 for _, rows, columns, copy, _ in pictures)
    (block, private), position = np.zeros((2, count), np.int64), np.zeros((count, 3), np.float32)
    runs, places, at, next_block, order = [], [], 0, 0, 0
    for stop, *picture in (*pictures, (items,)):
        end = at + stop - order  # a run of text, then a picture
        runs.append((at, order, stop))
        block[at:end] = np.arange(next_block, next_block + stop - order)
        position[at:end, 0] = np.arange(order, stop)
        at, next_block, order = end, next_block + stop - order, stop + 1
        if not picture:
            break
        patches = _places(*picture[:2], picture[3])
        for copy in range(1 + picture[2]):
            end = at + len(patches)
            places.append((at, len(patches), stop, bool(copy)))
            block[at:end] = np.arange(next_block, next_block + len(patches)) if causal else next_block
            private[at:end] = picture[2] and not copy
            position[at:end] = patches
            position[at:end, 0] = stop
            at, next_block = end, next_block + (len(patches) if causal else 1)
    for array in (block, private, position):
        array.setflags(write=False)  # many documents share them
    return _Frame(block, private, position, runs, places)


def _shown(document: Document) -> list[int]:
    """Where the pictures stand."""
    kinds, found = list(map(type, document)), []
    for _ in range(kinds.count(Picture)):
        found.append(kinds.index(Picture, found[-1] + 1 if found else 0))
    return found


@lru_cache(maxsize=64)
def _places(rows: int, columns: int, stretch: tuple[float, float]) -> np.ndarray:
    """(rows * columns, 3) fp32: order 0, row, column. Stretched, the middle of each patch stays where it is
    on the picture."""
    grid = (np.indices((rows, columns)).reshape(2, -1) + 0.5) * np.array(stretch)[:, None] - 0.5
    return np.stack([np.zeros(rows * columns), *grid], 1).astype(np.float32)


def _needs_copy(document: Document, index: int, causal: bool) -> bool:
    """Whether a picture that is drawn needs a clean copy behind it, for what follows to see."""
    return document[index].draw and not causal and not _ends(document[index + 1 :])


def _ends(rest: Document) -> bool:
    return all(item in (END_IMAGE, EOS) for item in rest)


def size(document: Document, grid: Grid, causal: bool = False) -> int:
    """Positions of a document in a row."""
    return _size(document, _shown(document), grid, causal)


def _size(document: Document, shown: list[int], grid: Grid, causal: bool) -> int:
    total = len(document) - len(shown)
    for index in shown:
        rows, columns = grid(*document[index].pixels.shape[1:])
        total += rows * columns * (1 + _needs_copy(document, index, causal))
    return total


def fit(sizes: list[int], length: int) -> list[list[int]]:
    """Sizes -> rows of their indices, by best fit decreasing (Johnson 1973): each size, the largest first,
    goes into the fullest row that still holds it. Raises DataError where one is longer than a row."""
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (positions left, row), in order
    for index in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if sizes[index] > length:
            raise DataError(
                f"a document needs {sizes[index]} positions; train.length is {length}; "
                f"set train.length={sizes[index]} or shorten the caption"
            )
        place = bisect_left(room, (sizes[index], -1))
        if place < len(room):
            left, row = room.pop(place)
        else:
            left, row = length, len(rows)
            rows.append([])
        rows[row].append(index)
        if left > sizes[index]:
            insort(room, (left - sizes[index], row))
    return rows


def pack(documents: list[Document], length: int, grid: Grid, causal: bool = False) -> Batch:
    """Documents -> Batch with as few rows of `length` positions as `fit` finds. Raises DataError where one is
    longer."""
    rows = fit([size(document, grid, causal) for document in documents], length)
    return assemble(documents, rows, length, grid, causal)


def assemble(
    documents: list[Document], rows: list[list[int]], length: int, grid: Grid, causal: bool = False
) -> Batch:
    """Documents and which of them stand in which row -> Batch. Without any row it is one row of padding."""
    layouts = [layout(document, grid, causal) for document in documents]
    starts = [0] * len(documents)  # flat first position of each document
    for number, row in enumerate(rows):
        at = number * length
        for index in row:
            starts[index] = at
            at += len(layouts[index].tokens)
    return assembled(layouts, starts, max(1, len(rows)), length)


def assembled(layouts: list[_Layout], starts: list[int], rows: int, length: int) -> Batch:
    """Layouts and the flat position at which each begins -> Batch of so many rows."""
    flat = rows * length
    tokens, block, private = (np.zeros(flat, np.int64) for _ in range(3))
    document, position = np.full(flat, -1, np.int64), np.zeros((flat, 3), np.float32)
    groups: dict[tuple, list[tuple[int, int, Picture]]] = {}  # (H, W) -> (flat first, patches, picture)
    for number, (start, item) in enumerate(zip(starts, layouts)):
        end = start + len(item.tokens)
        tokens[start:end], block[start:end], private[start:end] = item.tokens, item.block, item.private
        document[start:end], position[start:end] = number, item.position
        for first, count, picture in item.placed:
            groups.setdefault(tuple(picture.pixels.shape[1:]), []).append((start + first, count, picture))
    placed = [entry for group in groups.values() for entry in group]
    patch_at = _joined([np.arange(first, first + count) for first, count, _ in placed])
    learned = (document >= 0) & (tokens != BOS) & (tokens != END_IMAGE)
    learned[patch_at] = False
    learned[starts] = False  # nothing stands before the first of a document
    predict_at = np.flatnonzero(learned)
    lengths = [len(item.tokens) for item in layouts]
    shaped = lambda label: torch.from_numpy(label).view(rows, length)  # noqa: E731
    return Batch(
        tokens=shaped(tokens),
        images=tuple(torch.stack([picture.pixels for _, _, picture in group]) for group in groups.values()),
        pictures=Pictures(
            torch.from_numpy(np.repeat(np.arange(len(placed)), [count for _, count, _ in placed])),
            torch.tensor([picture.draw for _, _, picture in placed], dtype=torch.bool),
            tuple(picture.key for _, _, picture in placed),
        ),
        patch_at=torch.from_numpy(patch_at),
        predict_at=torch.from_numpy(predict_at - 1),
        predict=torch.from_numpy(tokens[predict_at]),
        labels=Labels(shaped(document), shaped(block), shaped(private)),
        position=torch.from_numpy(position).view(rows, length, 3),
        last=torch.tensor([start + n - 1 for start, n in zip(starts, lengths)], dtype=torch.long),
    )


def singles(layouts: list[_Layout]) -> Batch:
    """Layouts of one text position each -> what `assembled` makes of them as rows of length 1, but for
    `predict`, which is empty. While text is written this is done for every token."""
    rows = len(layouts)
    fixed = _of_singles(rows)
    return replace(
        fixed,
        tokens=torch.from_numpy(np.array([item.tokens for item in layouts])),
        labels=fixed.labels._replace(block=torch.from_numpy(np.array([item.block for item in layouts]))),
        position=torch.from_numpy(np.array([item.position for item in layouts])),
    )


@lru_cache(maxsize=64)
def _of_singles(rows: int) -> Batch:
    nothing, zeros, numbers = (
        torch.zeros(0, dtype=torch.long),
        torch.zeros(rows, 1, dtype=torch.long),
        torch.arange(rows),
    )
    return Batch(
        zeros,
        (),
        Pictures(nothing, torch.zeros(0, dtype=torch.bool), ()),
        nothing,
        nothing,
        nothing,
        Labels(numbers[:, None], zeros, zeros),
        torch.zeros(rows, 1, 3),
        numbers,
    )


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
