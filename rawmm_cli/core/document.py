"""The two data types that everything else speaks: Document and Batch.

A document is a list of text tokens (int) and pictures, in reading order. A batch is several documents packed
into rows.

Letters: B rows, L positions in a row, M pictures in the batch, T positions of all pictures together, K
predicted tokens. Next: `batch.py` makes a Batch of Documents, `mask.py` says who may look at whom."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any, NamedTuple, Union

import torch
from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """pixels: (3, H, W) uint8. draw: noised and learned; otherwise read clean. key: the seed of its noise.

    stretch: its rows and columns stand so far apart (1 as learned; less where a larger picture has the place
    of a smaller). positions: how: linear, or in the frequencies of their rotation, ntk or yarn
    (`layers.rotation`). tokens: (N, P) or (N, G), what the codec makes of it, where that is kept; of its
    pixels only the size then counts."""

    pixels: Tensor
    draw: bool
    key: int = 0
    stretch: tuple[float, float] = (1.0, 1.0)
    tokens: Tensor | None = None
    positions: str = "linear"


Document = list[Union[int, Picture]]


@dataclass(frozen=True)
class Canvas:
    """A picture that is there before drawing begins. pixels: (3, H, W) uint8.

    mask: (H, W) bool, what is drawn; the rest stays to the bit. strength: how much changes, 1 is all."""

    pixels: Tensor
    mask: Tensor | None = None
    strength: float = 1.0


class Known(NamedTuple):
    """A canvas as image tokens."""

    tokens: Tensor  # (N, P) or (N, G)
    keep: Tensor | None  # the same shape, bool: stays as it is
    strength: float


class Labels(NamedTuple):
    """Who may look at whom (`mask.py`): document, block, private, picture, row, each (B, L)."""

    document: Tensor
    block: Tensor
    private: Tensor
    picture: Tensor  # 0 at text, else 1 + the picture's first block: not the same for two of a document
    row: Tensor  # positions of a row of a picture that has a block a position, else 0


class Pictures(NamedTuple):
    """What a head may know of the pictures in a batch: their positions in flat order (T), pictures in group
    order (M)."""

    picture_of: Tensor  # (T,) long: which picture a position belongs to
    index: Tensor  # (T,) long: the number of the position in its picture
    drawn: Tensor  # (M,) bool: corrupted and learned
    keys: tuple[int, ...]  # M seeds of all that is random
    grids: tuple[tuple[int, int], ...]  # M times rows and columns
    # On the host, since reading a tensor would wait for the GPU:
    counts: tuple[int, ...]  # M times positions
    draws: tuple[bool, ...]  # M times `drawn`

    def read(self) -> "Pictures":
        """The same pictures, all of them clean."""
        return self._replace(drawn=torch.zeros_like(self.drawn), draws=(False,) * len(self.draws))

    def behind_first(self) -> tuple["Pictures", Tensor]:
        """The pictures without the first position of each, and the places (K,) of the others."""
        parts, start = [self.index[:0]], 0
        for count, same in groupby(self.counts):  # of equal counts together, on the device
            end = start + len(list(same)) * count
            places = torch.arange(start, end, device=self.index.device)
            parts.append(places.view(-1, count)[:, 1:].flatten())
            start = end
        at, counts = torch.cat(parts), tuple(count - 1 for count in self.counts)
        return self._replace(picture_of=self.picture_of[at], index=self.index[at] - 1, counts=counts), at

    def sources(self) -> tuple[int | None, ...]:
        """M seeds, None where nothing is random since the picture is read."""
        return tuple(key if draw else None for key, draw in zip(self.keys, self.draws))


class Corrupted(NamedTuple):
    """Image tokens as a head shows them to the network, a row a position.

    inputs: (T, ...) what it sees. time: (M,) of each picture, 0 for one that is read. target: (T, ...) what
    it should say. weight: (T,) 0 where there is nothing to learn."""

    inputs: Tensor
    time: Tensor
    target: Tensor
    weight: Tensor


class Condition(NamedTuple):
    """What the blocks of a backbone may be modulated by.

    vectors: (M, D) of the pictures. of: (B, L) long, 0 where text or padding stands, else 1 + the number of
    the picture."""

    vectors: Tensor
    of: Tensor


@dataclass(frozen=True)
class Batch:
    """Packed documents. Images of one size stand together in one group; flat patch order is group, picture,
    patch."""

    tokens: Tensor  # (B, L) long, 0 where a patch sits
    images: tuple[Tensor, ...]  # groups of (m, 3, H, W) uint8; of tokens (m, N, ...) where they are kept
    pictures: Pictures
    patch_at: Tensor  # (T,) long: flat position (row * L + column) of each position of a picture
    predict_at: Tensor  # (K,) long: flat positions whose next token is learned
    predict: Tensor  # (K,) long: that next token
    labels: Labels
    position: Tensor  # (B, L, 3) fp32: order, row, column; (B, L, 7) where frequencies change (`layers.py`)
    last: Tensor  # (documents,) long: flat position of the last item of each document

    @property
    def filled(self) -> int:
        """Positions that carry data; the others are padding."""
        return int((self.labels.document >= 0).sum())

    @property
    def learned(self) -> tuple[int, int]:
        """How many tokens are predicted and how many patches are drawn: what the two losses are means
        over."""
        return len(self.predict), sum(n for n, draw in zip(self.pictures.counts, self.pictures.draws) if draw)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which it moves to a GPU faster."""
        return replace(
            self, **{f.name: _each(getattr(self, f.name), torch.Tensor.pin_memory) for f in fields(self)}
        )

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with every tensor on `device`. Towards a GPU nobody waits; from there one does,
        or the numbers might be read before they are there."""
        away = torch.device(device).type != "cpu"
        return replace(
            self,
            **{
                f.name: _each(getattr(self, f.name), lambda x: x.to(device, non_blocking=away))
                for f in fields(self)
            },
        )


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest of tuples with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple):
        changed = [_each(item, change) for item in value]
        return type(value)(*changed) if hasattr(value, "_fields") else tuple(changed)
    return value
