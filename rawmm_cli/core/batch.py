"""pack(documents) -> Batch: several documents in one row, pictures of different sizes side by side.

A picture to be drawn may be followed by more text. What follows must see the finished picture, as it will when the
model draws, and not the noised one: so the noised picture is private, and a clean copy stands behind it at the same
place. A drawn picture that ends its document needs no copy, nor does one whose patches are learned one after another
(causal heads): their inputs are clean already.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .document import Batch, Document, Labels, Picture, Pictures
from .errors import DataError
from .text_tokenizer import BOS, END_IMAGE, EOS

Grid = Callable[[int, int], tuple[int, int]]


@dataclass
class _Layout:
    """One document, laid out position by position."""

    tokens: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    private: list[int] = field(default_factory=list)
    position: list[tuple[int, int, int]] = field(default_factory=list)
    placed: list[tuple[int, int, Picture]] = field(default_factory=list)    # (first position, patches, picture)
    learned: list[int] = field(default_factory=list)                        # positions of tokens to predict


def layout(document: Document, grid: Grid, causal: bool = False) -> _Layout:
    """Positions of one document. `grid(H, W)` gives a picture's rows and columns of patches.

    `causal` gives every patch a block of its own (autoregressive heads)."""
    out, order, block = _Layout(), 0, 0
    for index, item in enumerate(document):
        if isinstance(item, Picture):
            rows, columns = grid(*item.pixels.shape[1:])
            copies = [item]
            if item.draw and not causal and not _ends(document[index + 1:]):
                copies.append(Picture(item.pixels, False, item.key))
            for copy in copies:
                count = rows * columns
                out.placed.append((len(out.tokens), count, copy))
                out.tokens += [0] * count
                out.block += range(block, block + count) if causal else [block] * count
                out.private += [int(len(copies) == 2 and copy.draw)] * count
                out.position += [(order, row, column) for row in range(rows) for column in range(columns)]
                block += count if causal else 1
        else:
            if item not in (BOS, END_IMAGE):
                out.learned.append(len(out.tokens))
            out.tokens.append(item)
            out.block.append(block)
            out.private.append(0)
            out.position.append((order, 0, 0))
            block += 1
        order += 1
    return out


def _ends(rest: Document) -> bool:
    return all(item in (END_IMAGE, EOS) for item in rest)


def pack(documents: list[Document], length: int, grid: Grid, causal: bool = False, rows: int = 0) -> Batch:
    """Documents -> Batch with rows of `length` positions, first fit, in the order given.

    `rows`: at least so many rows (empty ones are padding). Raises DataError where a document is longer than a row."""
    layouts = [layout(document, grid, causal) for document in documents]
    used: list[int] = [0] * rows
    starts = []                                                            # flat first position of each document
    for item in layouts:
        size = len(item.tokens)
        if size > length:
            raise DataError(f"a document needs {size} positions; train.length is {length}; "
                            f"set train.length={size} or shorten the caption")
        row = next((r for r, filled in enumerate(used) if filled + size <= length), len(used))
        if row == len(used):
            used.append(0)
        starts.append(row * length + used[row])
        used[row] += size
    return _assemble(layouts, starts, len(used), length)


def _assemble(layouts: list[_Layout], starts: list[int], rows: int, length: int) -> Batch:
    size = rows * length
    tokens, block, private = [0] * size, [0] * size, [0] * size
    document, position = [-1] * size, [(0, 0, 0)] * size
    groups: dict[tuple, list[tuple[int, int, Picture]]] = {}               # (H, W) -> (flat first, patches, picture)
    predict_at, predict, last = [], [], []
    for number, (start, item) in enumerate(zip(starts, layouts)):
        end = start + len(item.tokens)
        tokens[start:end], block[start:end], private[start:end] = item.tokens, item.block, item.private
        document[start:end], position[start:end] = [number] * (end - start), item.position
        predict_at += [start + at - 1 for at in item.learned if at > 0]
        predict += [item.tokens[at] for at in item.learned if at > 0]
        last.append(end - 1)
        for first, count, picture in item.placed:
            groups.setdefault(tuple(picture.pixels.shape[1:]), []).append((start + first, count, picture))
    placed = [entry for group in groups.values() for entry in group]
    long = torch.long
    return Batch(
        tokens=torch.tensor(tokens, dtype=long).view(rows, length),
        images=tuple(torch.stack([picture.pixels for _, _, picture in group]) for group in groups.values()),
        pictures=Pictures(
            torch.tensor([m for m, (_, count, _) in enumerate(placed) for _ in range(count)], dtype=long),
            torch.tensor([picture.draw for _, _, picture in placed], dtype=torch.bool),
            tuple(picture.key for _, _, picture in placed)),
        patch_at=torch.tensor([first + n for first, count, _ in placed for n in range(count)], dtype=long),
        predict_at=torch.tensor(predict_at, dtype=long),
        predict=torch.tensor(predict, dtype=long),
        labels=Labels(*(torch.tensor(label, dtype=long).view(rows, length) for label in (document, block, private))),
        position=torch.tensor(position, dtype=long).view(rows, length, 3),
        last=torch.tensor(last, dtype=long),
    )
