"""From prepared sets to an endless, reproducible stream of documents, in both directions.

    to draw:  <bos> caption <image> [picture, noised] </image> <eos>
    to read:  <bos> <image> [picture, clean] </image> caption <eos>
    a set of documents: as they are, <bos> text <image> [picture] </image> text ... <eos>; text alone: a
    window of it

Document n is a function of (seed, n) alone: set, epoch and place in it from n, everything else (direction,
which caption, whether it is dropped for guidance, shift of a read picture) from numbers that are a hash of
(seed, n)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..config.model import Data
from ..core.document import Document, Picture
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from ..system.seeds import key, random, uniforms

if TYPE_CHECKING:
    from .prepared import Prepared, PreparedDocuments

Encode = Callable[[str], list[int]]  # text -> tokens
BLOCK = 1000  # documents among which sets are mixed by their shares


def drawing(
    caption: str, pixels: torch.Tensor, noise_key: int, draw: bool = True, encode: Encode = encode
) -> Document:
    """Caption, then the picture to draw (or, where not `draw`, as it looks when it is finished)."""
    return [BOS, *encode(caption), IMAGE, Picture(pixels, draw, noise_key), END_IMAGE, EOS]


def reading(pixels: torch.Tensor, caption: str, encode: Encode = encode) -> Document:
    """The picture to read, then its caption."""
    return [BOS, IMAGE, Picture(pixels, False), END_IMAGE, *encode(caption), EOS]


class Sketch(NamedTuple):
    """All that is decided about a document before its pixels are fetched."""

    number: int
    set: int  # which set
    row: int  # which row of it
    text: list[int]  # its caption as tokens: none where there is none or it was dropped
    reads: bool  # read the picture and write the caption, or the other way round
    draw: bool  # the picture is noised
    moved: tuple[int, int]  # pixels that a read picture moves down and right
    key: int  # of the picture's noise


class Stream:
    """Numbered documents of one set, or of several by their shares.

    sets: `prepared.Prepared` or `prepared.PreparedDocuments`. shares: of each set, summing to one. length:
    positions that a document may have at most; only text alone is cut to it."""

    def __init__(
        self,
        sets: Sequence,
        seed: int,
        settings: Data,
        *,
        shares: Sequence[float] = (1.0,),
        length: int = 1 << 30,
        encode: Callable[[str], list[int]] = encode,
    ):
        self.sets, self.seed, self.settings, self.shares = list(sets), seed, settings, list(shares)
        self.length, self.encode = length, encode

    def place(self, number: int) -> tuple[int, int]:
        """-> (set, row) of document `number`. Every epoch of a set is a permutation of its own."""
        which, within = _turn(number, tuple(self.shares), self.seed) if len(self.sets) > 1 else (0, number)
        return which, picture_of(within, len(self.sets[which]), self.seed + which)

    def sketch(self, number: int) -> Sketch:
        """Document `number` of the stream, without its pixels.

        read: share of documents that read; drop: share of captions dropped when drawing; shift: that share of
        the read pictures moves by up to so many pixels, edges repeated; finished: share of captioned drawing
        documents that show the picture clean, for only so does the model learn what follows its own."""
        return self.sketch_of(*self.place(number), number)

    def sketch_of(self, which: int, row: int, number: int) -> Sketch:
        """The sketch of document `number` where it holds that row of that set."""
        data, settings = self.sets[which], self.settings
        read, dropped, pick, moves, down, right, finished, window = uniforms(self.seed, "document", number)
        noise = key(self.seed, "noise", number)
        if data.holds_documents:
            return Sketch(number, which, row, self._window(data, row, window), False, False, (0, 0), noise)
        captions = [caption for caption in data.captions[row] if caption]
        text = self.encode(captions[int(pick * len(captions))]) if captions else []
        if read < settings.read and text:
            steps = 2 * settings.shift + 1
            moved = (
                (int(down * steps) - settings.shift, int(right * steps) - settings.shift)
                if settings.shift and moves < settings.shift_share
                else (0, 0)
            )
            return Sketch(number, which, row, text, True, False, moved, 0)
        if text and dropped >= settings.drop and finished < settings.finished:
            return Sketch(number, which, row, text, False, False, (0, 0), 0)
        return Sketch(number, which, row, [] if dropped < settings.drop else text, False, True, (0, 0), noise)

    def size(self, plan: Sketch, blocks: Callable) -> int:
        """Positions of the document, as `batch.size` counts them. blocks: as there."""
        from ..core.batch import size

        data = self.sets[plan.set]
        if data.holds_documents:
            return size(self._told(plan, blank=True), blocks)
        picture = len(blocks(int(data.heights[plan.row]), int(data.widths[plan.row])).block)
        # <bos>, <image>, </image>, <eos>; a drawn picture ends its document
        return len(plan.text) + picture + 4

    def finish(self, plan: Sketch, pixels: torch.Tensor | None = None) -> Document:
        """A sketch with its pixels, or with others of the same size."""
        data = self.sets[plan.set]
        if data.holds_documents:
            return self._told(plan)
        pixels = data.image(plan.row) if pixels is None else pixels
        if plan.reads:
            shown = shifted(pixels, *plan.moved) if any(plan.moved) else pixels
            return [BOS, IMAGE, Picture(shown, False, 0, self._stretch(shown)), END_IMAGE, *plan.text, EOS]
        return [
            BOS,
            *plan.text,
            IMAGE,
            Picture(pixels, plan.draw, plan.key, self._stretch(pixels)),
            END_IMAGE,
            EOS,
        ]

    def _stretch(self, pixels: torch.Tensor) -> tuple[float, float]:
        """How far its rows and columns stand apart (`document.Picture`)."""
        if not self.settings.stretch:
            return 1.0, 1.0
        return tuple(self.settings.size / side for side in pixels.shape[1:])

    def document(self, number: int) -> Document:
        """Document `number` of the stream."""
        return self.finish(self.sketch(number))

    def _window(self, data: "PreparedDocuments", row: int, share: float) -> list[int]:
        """Tokens of a document of text alone; where they are more than fit, a window of them that starts
        anywhere."""
        pieces = data.pieces(row)
        if any(not isinstance(piece, str) for piece in pieces):
            return []
        tokens = [token for piece in pieces for token in self.encode(piece)]
        room = self.length - 2
        start = int(share * (len(tokens) - room + 1)) if len(tokens) > room else 0
        return tokens[start : start + room]

    def _told(self, plan: Sketch, blank: bool = False) -> Document:
        """A document of a set of documents; `blank`: pictures of the right size without content."""
        if plan.text:
            return [BOS, *plan.text, EOS]
        data, told, shown = self.sets[plan.set], [BOS], 0
        for piece in data.pieces(plan.row):
            if isinstance(piece, str):
                told += self.encode(piece)
                continue
            height, width, draw = piece
            pixels = (
                torch.zeros(1, 1, 1, dtype=torch.uint8).expand(3, height, width)
                if blank
                else data.image(plan.row, shown)
            )
            noise = key(plan.key, "picture", shown) if draw else 0
            told += [IMAGE, Picture(pixels, draw, noise, self._stretch(pixels)), END_IMAGE]
            shown += 1
        return [*told, EOS]


def document(data: "Prepared | PreparedDocuments", number: int, seed: int, **settings: Any) -> Document:
    """Document `number` of one set; settings as in `config.Data`."""
    return Stream([data], seed, Data(**settings)).document(number)


def picture_of(number: int, size: int, seed: int) -> int:
    """Which row of a set of `size` its document `number` holds: every epoch is a permutation of its own."""
    epoch, place = divmod(number, size)
    return int(_order(size, seed, epoch)[place])


def shifted(pixels: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """(3, H, W) moved by whole pixels; the edge is repeated where nothing was."""
    rows = (torch.arange(pixels.shape[1]) - down).clamp(0, pixels.shape[1] - 1)
    columns = (torch.arange(pixels.shape[2]) - right).clamp(0, pixels.shape[2] - 1)
    return (
        pixels.permute(1, 2, 0).index_select(0, rows).index_select(1, columns).permute(2, 0, 1)
    )  # as they lie in memory


def _turn(number: int, shares: tuple[float, ...], seed: int) -> tuple[int, int]:
    """Whose turn document `number` is -> (set, number of its own documents before). In every BLOCK documents
    each set has its share of them, in an order of that block's own."""
    block, place = divmod(number, BLOCK)
    sets, before = _block(block, shares, seed)
    which = int(sets[place])
    return which, block * _counts(shares)[which] + int(before[place])


@lru_cache(maxsize=8)
def _block(block: int, shares: tuple[float, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For every place of a block: the set, and how many of that set stand before it."""
    sets = np.repeat(np.arange(len(shares)), _counts(shares))
    sets = sets[random(seed, "mixture", block).permutation(BLOCK)]
    before = np.zeros(BLOCK, np.int64)
    for which in range(len(shares)):
        before[sets == which] = np.arange((sets == which).sum())
    return sets, before


@lru_cache(maxsize=8)
def _counts(shares: tuple[float, ...]) -> tuple[int, ...]:
    """Documents of each set in a block: whole numbers that sum to BLOCK."""
    edges = np.rint(np.cumsum(shares) / sum(shares) * BLOCK).astype(int)
    return tuple(np.diff(edges, prepend=0).tolist())


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return random(seed, "order", epoch).permutation(size)
