"""pack(documents) -> Batch: several documents in one row, pictures of different sizes side by side.

A picture to be drawn may be followed by more text. What follows must see the finished picture, as it will
when the model draws, and not the corrupted one: so the corrupted picture is private, and a clean copy stands
behind it at the same place. A drawn picture that ends its document needs no copy, nor does one whose inputs
are clean tokens (`Blocks.copied`)."""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
import torch

from ..system.errors import DataError
from .blocks import Blocks, place, unplaced
from .document import Batch, Document, Labels, Picture, Pictures
from .text_tokenizer import BOS, END_IMAGE, EOS, LINE_END

BlocksOf = Callable[[int, int], Blocks]  # of a picture of H x W pixels: `RawModel.blocks`


class _Frame(NamedTuple):
    """What documents of the same shape share: everything but their tokens and pixels."""

    labels: np.ndarray  # (4, n) block, private, picture, row
    position: np.ndarray  # (n, 3)
    runs: list[tuple[int, int, int]]  # of text: (first position, first item, end)
    places: list[tuple[int, Blocks, int, bool]]  # (first position, blocks, number of picture, is it a copy)


@dataclass
class _Layout:
    """The positions of one document."""

    tokens: np.ndarray  # (n,) 0 where a picture stands
    labels: np.ndarray  # (4, n) block, private, picture, row
    position: np.ndarray  # (n, 3)
    placed: list[tuple[int, Blocks, Picture]]  # (first position, blocks, picture)

    def after(self, count: int) -> "_Layout":
        """The rest of it, behind its first `count` positions."""
        placed = [
            (first - count, blocks, picture) for first, blocks, picture in self.placed if first >= count
        ]
        return _Layout(self.tokens[count:], self.labels[:, count:], self.position[count:], placed)


def layout(document: Document, blocks: BlocksOf) -> _Layout:
    """Positions of one document. `blocks(H, W)` says how a picture stands in the sequence."""
    pictures = _pictures(document, blocks)
    frame = _frame(
        len(document),
        tuple(
            (index, cut, _needs_copy(document, index, picture, cut), (picture.stretch, picture.positions))
            for index, picture, cut in pictures
        ),
    )
    tokens = np.zeros(len(frame.position), np.int64)
    for at, order, stop in frame.runs:
        tokens[at : at + stop - order] = cast(list[int], document[order:stop])
    for first, cut, _, _ in frame.places:
        if cut.words is not None:
            tokens[first : first + len(cut.words)] = cut.words
    placed = [
        (first, cut, replace(pictures[number][1], draw=False) if copy else pictures[number][1])
        for first, cut, number, copy in frame.places
    ]
    return _Layout(tokens, frame.labels, frame.position, placed)


@lru_cache(maxsize=4096)
def _frame(items: int, pictures: tuple[tuple[int, Blocks, bool, tuple], ...]) -> _Frame:
    """Of documents of `items` items with these pictures: (item, blocks, is a clean copy needed, (stretch,
    positions))."""
    count = items + sum(len(cut.block) * (1 + copy) - 1 for _, cut, copy, _ in pictures)
    labels, wide = np.zeros((4, count), np.int64), any(p[1] != "linear" for *_, p in pictures)
    block, private, shown, row = labels
    position = unplaced(count, 7 if wide else 3)
    runs, places, at, next_block, order = [], [], 0, 0, 0
    for number, stop in enumerate((*(index for index, *_ in pictures), items)):
        end = at + stop - order  # a run of text, then a picture
        runs.append((at, order, stop))
        block[at:end] = np.arange(next_block, next_block + stop - order)
        position[at:end, 0] = np.arange(order, stop)
        at, next_block, order = end, next_block + stop - order, stop + 1
        if number == len(pictures):
            break
        _, cut, copied, placing = pictures[number]
        for copy in range(1 + copied):
            end = at + len(cut.block)
            places.append((at, cut, number, bool(copy)))
            block[at:end] = next_block + cut.block
            private[at:end], shown[at:end], row[at:end] = copied and not copy, next_block + 1, cut.row
            position[at:end, 0] = stop
            place(position[at:end], cut, *placing)
            at, next_block = end, next_block + int(cut.block[-1]) + 1
    for array in (labels, position):
        array.setflags(write=False)  # many documents share them
    return _Frame(labels, position, runs, places)


def _pictures(document: Document, blocks: BlocksOf) -> list[tuple[int, Picture, Blocks]]:
    """Where the pictures stand, they themselves, and their blocks."""
    kinds, at, pictures = list(map(type, document)), -1, []
    for _ in range(kinds.count(Picture)):
        at = kinds.index(Picture, at + 1)
        picture = cast(Picture, document[at])
        pictures.append((at, picture, blocks(*picture.pixels.shape[1:])))
    return pictures


def _needs_copy(document: Document, index: int, picture: Picture, blocks: Blocks) -> bool:
    """Whether a picture that is drawn needs a clean copy behind it, for what follows to see."""
    return blocks.copied and picture.draw and not _ends(document[index + 1 :])


def _ends(rest: Document) -> bool:
    return all(item in (END_IMAGE, EOS) for item in rest)


def size(document: Document, blocks: BlocksOf) -> int:
    """Positions of a document in a row."""
    pictures = _pictures(document, blocks)
    positions = (
        len(cut.block) * (1 + _needs_copy(document, index, picture, cut)) for index, picture, cut in pictures
    )
    return len(document) - len(pictures) + sum(positions)


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
        slot = bisect_left(room, (sizes[index], -1))
        if slot < len(room):
            left, row = room.pop(slot)
        else:
            left, row = length, len(rows)
            rows.append([])
        rows[row].append(index)
        if left > sizes[index]:
            insort(room, (left - sizes[index], row))
    return rows


def pack(documents: list[Document], length: int, blocks: BlocksOf) -> Batch:
    """Documents -> Batch with as few rows of `length` positions as `fit` finds. Raises DataError where one is
    longer."""
    layouts = [layout(document, blocks) for document in documents]
    return _in_rows(layouts, fit([len(item.tokens) for item in layouts], length), length)


def assemble(documents: list[Document], rows: list[list[int]], length: int, blocks: BlocksOf) -> Batch:
    """Documents and which of them stand in which row -> Batch. Without any row it is one row of padding."""
    return _in_rows([layout(document, blocks) for document in documents], rows, length)


def _in_rows(layouts: list[_Layout], rows: list[list[int]], length: int) -> Batch:
    starts = [0] * len(layouts)  # flat first position of each document
    for number, row in enumerate(rows):
        at = number * length
        for index in row:
            starts[index] = at
            at += len(layouts[index].tokens)
    return assembled(layouts, starts, max(1, len(rows)), length)


def assembled(layouts: list[_Layout], starts: list[int], rows: int, length: int) -> Batch:
    """Layouts and the flat position at which each begins -> Batch of `rows` rows."""
    flat = rows * length
    tokens, labels = np.zeros(flat, np.int64), np.zeros((4, flat), np.int64)
    columns = max((item.position.shape[1] for item in layouts), default=3)
    document, position = np.full(flat, -1, np.int64), unplaced(flat, columns)
    groups: dict[tuple, list[tuple[int, Blocks, Picture]]] = {}  # size -> (flat first, blocks, picture)
    for number, (start, item) in enumerate(zip(starts, layouts)):
        end = start + len(item.tokens)
        tokens[start:end], document[start:end], labels[:, start:end] = item.tokens, number, item.labels
        position[start:end, : item.position.shape[1]] = item.position
        for first, cut, picture in item.placed:
            sides, encoded = tuple(picture.pixels.shape[1:]), picture.tokens is not None
            groups.setdefault((sides, encoded), []).append((start + first, cut, picture))
    placed = [entry for group in groups.values() for entry in group]
    counts = [len(cut.at) for _, cut, _ in placed]
    index = _joined([np.arange(count) for count in counts])
    patch_at = _joined([first + cut.at for first, cut, _ in placed])
    learned = (document >= 0) & ~np.isin(tokens, (BOS, END_IMAGE, LINE_END))
    learned[patch_at] = False
    learned[starts] = False  # nothing stands before the first of a document
    predict_at = np.flatnonzero(learned)
    shaped = lambda label: torch.from_numpy(label).view(rows, length)  # noqa: E731
    return Batch(
        tokens=shaped(tokens),
        images=tuple(_images([picture for _, _, picture in group]) for group in groups.values()),
        pictures=Pictures(
            torch.from_numpy(np.repeat(np.arange(len(placed)), counts)),
            torch.from_numpy(index),
            torch.tensor([picture.draw for _, _, picture in placed], dtype=torch.bool),
            tuple(picture.key for _, _, picture in placed),
            tuple(cut.grid for _, cut, _ in placed),
            tuple(counts),
            tuple(picture.draw for _, _, picture in placed),
        ),
        patch_at=torch.from_numpy(patch_at),
        predict_at=torch.from_numpy(predict_at - 1),
        predict=torch.from_numpy(tokens[predict_at]),
        labels=Labels(*map(shaped, (document, *labels))),
        position=torch.from_numpy(position).view(rows, length, columns),
        last=torch.tensor([start + len(item.tokens) - 1 for start, item in zip(starts, layouts)]).long(),
    )


def _images(group: list[Picture]) -> torch.Tensor:
    """Pixels of pictures of one size, or tokens where those are kept."""
    return torch.stack([one.pixels if one.tokens is None else one.tokens for one in group])


def singles(layouts: list[_Layout]) -> Batch:
    """Layouts of one text position each -> what `assembled` makes of them as rows of length 1, but for
    `predict`, which is empty. While text is written this is done for every token."""
    rows = len(layouts)
    fixed = _of_singles(rows)
    return replace(
        fixed,
        tokens=torch.from_numpy(np.array([item.tokens for item in layouts])),
        labels=fixed.labels._replace(block=torch.from_numpy(np.array([item.labels[0] for item in layouts]))),
        position=torch.from_numpy(np.array([item.position[:, :3] for item in layouts])),
    )


def part(batch: Batch, rows: int, at: slice) -> Batch:
    """Of a batch with one picture a row, all of one size, and nothing else: the first `rows` rows, and the
    positions `at` of each. Its images are left out."""
    count, pictures = at.stop - at.start, batch.pictures
    if (rows, count) == tuple(batch.tokens.shape):
        return batch
    own = torch.arange(rows, device=batch.tokens.device).repeat_interleave(count)
    return replace(
        batch,
        tokens=batch.tokens[:rows, at],
        images=(),
        pictures=Pictures(
            own,
            pictures.index.view(batch.tokens.shape)[:rows, at].flatten(),
            pictures.drawn[:rows],
            pictures.keys[:rows],
            pictures.grids[:rows],
            (count,) * rows,
            pictures.draws[:rows],
        ),
        patch_at=torch.arange(rows * count, device=batch.tokens.device),
        labels=Labels(*(label[:rows, at] for label in batch.labels)),
        position=batch.position[:rows, at],
        last=batch.last[:0],
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
        Pictures(nothing, nothing, torch.zeros(0, dtype=torch.bool), (), (), (), ()),
        nothing,
        nothing,
        nothing,
        Labels(numbers[:, None], zeros, zeros, zeros, zeros),
        torch.zeros(rows, 1, 3),
        numbers,
    )


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
