"""The key/value cache: every position of a document that grows is computed once.

A row of the cache is a document. Its columns hold the keys and values that each layer made of its positions,
and labels that say which document and block a column belongs to, so that the rule of `mask.py` decides here
too who sees what. Columns:

    0               for padding; nobody sees it
    1 .. drawn      a picture that is being drawn, position by position; steps may write over each other
    then            the document, in its order

Next: `drawing.py` and `generate.py` work with it.
"""

import weakref
from typing import cast

import numpy as np
import torch
from torch import Tensor

from .batch import assembled, layout, part, singles
from .document import Batch, Document, Labels
from .mask import dense
from .model import RawModel
from .parts import Backbone

STEP = (
    64  # the number of keys is a multiple of it, so that sums over them do not depend on the longest document
)
MOST = 1 << 24  # numbers of a mask of drawn pictures that is kept; a larger one is made part by part
ALONE = 32  # positions of a first reading, at least: smaller products are computed in another order


class LayerCache:
    """Keys and values of one layer: (rows, H, columns, K) and (rows, H, columns, V)."""

    def __init__(self, cache: "Cache"):
        # a circle would keep gigabytes of a GPU until Python looks for circles
        self.cache, self.keys, self.values = weakref.proxy(cache), torch.empty(0), torch.empty(0)

    def __call__(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values of new positions (R, H, Q, ...) -> all that they may see (R, H, C, ...)."""
        cache = self.cache
        if not len(self.keys):
            self.keys, self.values = (
                x.new_zeros(cache.rows, x.shape[1], cache.columns, x.shape[-1]) for x in (key, value)
            )
        rows = slice(cache.row, cache.row + len(key))
        keys, values = self.keys[rows], self.values[rows]
        for stored, new in ((keys, key), (values, value)):
            if isinstance(cache.at, slice):
                stored[:, :, cache.at] = new
            else:
                stored[cache.at[0], :, cache.at[1]] = new.transpose(1, 2)
        return keys[:, :, : cache.used], values[:, :, : cache.used]


def width(room: int, drawn: int) -> int:
    """Columns for documents of `room` positions and a picture of `drawn`."""
    return -(-(1 + drawn + room) // STEP) * STEP


class Cache:
    """The keys and values of documents as far as `model` has read them.

    room: the most positions of a document. drawn: positions of a picture that is drawn at its end."""

    def __init__(self, model: RawModel, documents: int, room: int, drawn: int = 0):
        self.model, self.rows, self.drawn = model, documents, drawn
        self.device = model.words.weight.device
        self.columns = width(room, drawn)
        self.known = [0] * documents  # positions of each document
        self.labels = Labels(
            torch.full((documents, self.columns), -1, device=self.device),
            *(torch.zeros(documents, self.columns, dtype=torch.long, device=self.device) for _ in range(4)),
        )
        backbone = cast(Backbone, model.backbone)
        self.layers = [LayerCache(self) for _ in backbone.layers]
        self.row, self.used, self.words = 0, STEP, None
        self.at: slice | tuple[Tensor, Tensor] = slice(0, 0)
        self.mask = torch.empty(0)
        self.drawing: Tensor | None = None
        self.pictures: Batch | None = None

    def clear(self) -> None:
        """Forget all documents. What the next ones need lies where it lay before."""
        self.known, self.words = [0] * self.rows, None
        self.labels.document.fill_(-1)
        for layer in self.layers:
            layer.keys.zero_()
            layer.values.zero_()

    @torch.inference_mode()
    def read(self, documents: list[Document], row: int = 0) -> Tensor:
        """Compute the new positions of each document, in the rows from `row` on -> hidden vectors of their
        last positions (documents, D).

        What is returned for a document of which nothing is new has no meaning."""
        known = self.known[row : row + len(documents)]
        new = self._new(documents, known)
        counts = [len(one.tokens) for one in new]
        words = all(len(one.tokens) == 1 and not one.placed for one in new)
        length = 1 if max(counts) == 1 else max(ALONE, *counts)
        batch = (
            singles(new) if words else assembled(new, [n * length for n in range(len(new))], len(new), length)
        )
        batch, first = batch.to(self.device), 1 + self.drawn
        if words and len(set(known)) == 1:
            at = slice(first + known[0], first + known[0] + 1)
        else:
            columns = torch.zeros(len(new), length, dtype=torch.long)
            for n, count in enumerate(counts):
                columns[n, :count] = torch.arange(first + known[n], first + known[n] + count)
            at = torch.arange(len(new), device=self.device)[:, None], columns.to(self.device)
        self.known[row : row + len(documents)] = map(sum, zip(known, counts))
        self._enter(batch.labels, row, at, words)
        return self.model.read(batch, self)[batch.last]

    def picture(self, documents: list[Document]) -> Batch:
        """A batch of the last item of each document alone, a picture to be drawn; all of one size."""
        new = self._new(documents, self.known)
        batch = assembled(new, [row * self.drawn for row in range(len(new))], len(new), self.drawn)
        batch, ends = batch.to(self.device), [int(np.ptp(one.labels[0])) for one in new]
        by_part = max(ends) > 0 and len(new) * self.drawn * self.columns > MOST  # not drawn all at once
        self._enter(batch.labels, 0, slice(1, 1 + self.drawn), masked=not by_part)
        if self.pictures is None:
            self.pictures = batch
            self.drawing = None if by_part else self.mask  # (rows, 1 or 2, drawn, used)
        else:  # after `clear`: only these two depend on the documents
            self.pictures.position.copy_(batch.position)
            if self.drawing is not None:
                self.drawing.copy_(self.mask)
        return self.pictures

    def part(self, batch: Batch, rows: int, at: slice) -> Batch:
        """Of a batch of `picture` the first `rows` rows and the positions `at` of each picture. The next call
        of the model computes them; it sees the document, and what was computed of the picture before."""
        self.at = slice(1 + at.start, 1 + at.stop)
        if self.drawing is None:
            new, seen = (
                Labels(*(label[:rows, columns] for label in self.labels))
                for columns in (self.at, slice(0, self.used))
            )
            self.mask = dense(new, seen, **self.model.sparse)  # (rows, 1 or 2, parts, used)
        else:
            self.mask = self.drawing[:rows, :, at]
        return part(batch, rows, at)

    def keep(self, rows: list[int]) -> None:
        """Forget all other documents."""
        at, self.words = torch.tensor(rows, device=self.device), None
        self.known, self.rows = [self.known[row] for row in rows], len(rows)
        self.labels = Labels(*(label[at] for label in self.labels))
        numbers = torch.arange(self.rows, device=self.device)[:, None]
        self.labels = self.labels._replace(document=torch.where(self.labels.document < 0, -1, numbers))
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[at], layer.values[at]

    def _new(self, documents: list[Document], known: list[int]) -> list:
        return [layout(document, self.model.blocks).after(count) for document, count in zip(documents, known)]

    def _enter(
        self,
        labels: Labels,
        row: int,
        at: slice | tuple[Tensor, Tensor],
        words: bool = False,
        masked: bool = True,
    ) -> None:
        """Enter new positions of the rows from `row` on in the columns `at`. words: each is a token of
        text. masked: whether a mask is made for all of them."""
        rows = slice(row, row + len(labels.document))
        labels = labels._replace(document=torch.where(labels.document < 0, -1, labels.document + row))
        for stored, new in zip(self.labels, labels):
            if isinstance(at, slice):
                stored[rows, at] = new
            else:
                stored[rows][at] = new
        self.labels.document[:, 0] = -1  # padding was written there
        self.row, self.at, self.used = row, at, -(-(1 + self.drawn + max(self.known)) // STEP) * STEP
        before, self.words = self.words, (rows, self.used) if words else None
        if words and before == self.words:  # each sees what the token before it saw, and itself
            self.mask[(..., at) if isinstance(at, slice) else (at[0], slice(None), 0, at[1])] = 0
        elif masked:
            keys = Labels(*(label[rows, : self.used] for label in self.labels))
            self.mask = dense(labels, keys, **self.model.sparse)
