"""Prepared sets as an endless, reproducible stream of documents, in both directions.

    drawing             <bos> caption <image> [picture, noised] </image> <eos>
    reading             <bos> <image> [picture, clean] </image> caption <eos>
    a set of documents  as they are: <bos> text <image> [picture] </image> text ... <eos>
    text alone          a window of it

Document n is a function of (seed, n) alone. Its set, epoch and row follow from n; everything else (direction,
choice of caption, whether it is dropped for guidance, shift of a read picture) from a hash of (seed, n)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..config.data import Data
from ..core.batch import BlocksOf, size
from ..core.document import Document, Picture
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from ..system.seeds import key, random, uniforms

if TYPE_CHECKING:
    from .prepared import Prepared, PreparedDocuments

Encode = Callable[[str], list[int]]  # text -> tokens
BLOCK = 1000  # consecutive documents in which every set has exactly its share


def drawing(
    caption: str,
    pixels: torch.Tensor,
    noise_key: int,
    draw: bool = True,
    encode: Encode = encode,
    settings: Data = Data(),
) -> Document:
    """Document that draws: the caption, then the picture.

    pixels: (3, H, W) uint8. draw: False shows the picture clean, as it is when it is finished. settings: of
    the run, which place the picture."""
    picture = Picture(pixels, draw, noise_key, stretch(settings, pixels))
    return [BOS, *encode(caption), IMAGE, picture, END_IMAGE, EOS]


def reading(pixels: torch.Tensor, caption: str, encode: Encode = encode, settings: Data = Data()) -> Document:
    """Document that reads: the picture, clean, then its caption. pixels: (3, H, W) uint8. settings: of the
    run, which place the picture."""
    picture = Picture(pixels, False, 0, stretch(settings, pixels))
    return [BOS, IMAGE, picture, END_IMAGE, *encode(caption), EOS]


def stretch(settings: Data, pixels: torch.Tensor) -> tuple[float, float]:
    """How far rows and columns of a picture stand apart in a run (`core.document.Picture`)."""
    if not settings.stretch:
        return 1.0, 1.0
    return tuple(settings.size / side for side in pixels.shape[1:])


class Plan(NamedTuple):
    """Everything about a document but its pixels."""

    number: int
    set: int  # index of the set
    row: int  # row of the set
    text: list[
        int
    ]  # tokens of the caption, or of the window of a text; [] where there is none or it is dropped
    reads: bool  # the picture is read and the caption written, instead of the other way round
    draw: bool  # the picture is noised; of documents with several, the one that ends them
    shift: tuple[int, int]  # pixels that a read picture moves down and right
    key: int  # of the picture's noise


class Stream:
    """Numbered documents of one set, or of several sets by their shares.

    sets: `prepared.Prepared` or `prepared.PreparedDocuments`. shares: of every set, summing to 1. length:
    most positions of a document of text alone, which is cut to it. encode: text -> tokens. blocks: of
    pictures, for documents that are cut (data.long)."""

    def __init__(
        self,
        sets: Sequence,
        seed: int,
        settings: Data,
        *,
        shares: Sequence[float] = (1.0,),
        length: int = 1 << 30,
        encode: Encode = encode,
        blocks: BlocksOf | None = None,
    ) -> None:
        self.sets, self.seed, self.settings, self.shares = list(sets), seed, settings, list(shares)
        self.length, self.encode, self.blocks = length, encode, blocks
        self.rows = [None] * len(self.sets)  # of every set those that are used; None for all
        self.long = [{}] * len(self.sets)  # of every set {row: captions that are left out}
        self.cuts = blocks is not None and settings.long == "cut"  # whether documents are cut to `length`
        self.notes = []  # lines for the user about documents that are cut or left out

    def place(self, number: int) -> tuple[int, int]:
        """(set, row) of document `number`. Every epoch of a set is a permutation of its own."""
        index, turn = _turn(number, tuple(self.shares), self.seed) if len(self.sets) > 1 else (0, number)
        rows = self.rows[index]
        if rows is None:
            return index, picture_of(turn, len(self.sets[index]), self.seed + index)
        return index, int(rows[picture_of(turn, len(rows), self.seed + index)])

    def plan(self, number: int) -> Plan:
        """Plan of document `number` of the stream.

        Settings: `read` is the share of documents that read; `drop` the share of captions that are dropped
        when drawing. The share `shift_share` of read pictures moves by up to `shift` pixels, with edges
        repeated. The share `finished` of captioned drawing documents, and of documents that end in a picture
        to be drawn, shows that picture clean: only so does the model learn what follows one of its own."""
        return self.plan_of(*self.place(number), number)

    def plan_of(self, index: int, row: int, number: int) -> Plan:
        """Plan of document `number`, given its set and its row."""
        data, settings = self.sets[index], self.settings
        read, dropped, choice, moves, down, right, finished, window = uniforms(self.seed, "document", number)
        noise = key(self.seed, "noise", number)
        if data.holds_documents:
            draw = finished >= settings.finished
            return Plan(number, index, row, self._window(data, row, window), False, draw, (0, 0), noise)
        long = self.long[index].get(row, ())
        captions = [caption for n, caption in enumerate(data.captions[row]) if caption and n not in long]
        text = self.encode(captions[int(choice * len(captions))]) if captions else []
        if self.cuts:
            picture = len(self.blocks(int(data.heights[row]), int(data.widths[row])).block)
            text = cut_text(text, self.length - picture - 4)
        if read < settings.read and text:
            return Plan(number, index, row, text, True, False, self._shift(moves, down, right), 0)
        if text and dropped >= settings.drop and finished < settings.finished:
            return Plan(number, index, row, text, False, False, (0, 0), 0)
        return Plan(number, index, row, [] if dropped < settings.drop else text, False, True, (0, 0), noise)

    def _shift(self, moves: float, down: float, right: float) -> tuple[int, int]:
        """Pixels that a read picture moves, by three numbers from [0, 1)."""
        most = self.settings.shift
        if not most or moves >= self.settings.shift_share:
            return 0, 0
        return int(down * (2 * most + 1)) - most, int(right * (2 * most + 1)) - most

    def size(self, plan: Plan, blocks: BlocksOf) -> int:
        """Number of positions of a document, as `core.batch.size` counts them."""
        data = self.sets[plan.set]
        if data.holds_documents:
            return size(self._interleaved(plan, empty=True), blocks)
        picture = len(blocks(int(data.heights[plan.row]), int(data.widths[plan.row])).block)
        # <bos>, <image>, </image>, <eos>; a drawn picture ends its document
        return len(plan.text) + picture + 4

    def finish(self, plan: Plan, pixels: torch.Tensor | None = None) -> Document:
        """The document of a plan, with its own pixels or with others of the same size: (3, H, W) uint8."""
        data = self.sets[plan.set]
        if data.holds_documents:
            return self._interleaved(plan)
        if pixels is None:
            picture = self._picture(data, (plan.row,), plan.draw, plan.key, plan.shift)
        else:
            pixels = shifted(pixels, *plan.shift)
            picture = Picture(pixels, plan.draw, plan.key, stretch(self.settings, pixels))
        if plan.reads:
            return [BOS, IMAGE, picture, END_IMAGE, *plan.text, EOS]
        return [BOS, *plan.text, IMAGE, picture, END_IMAGE, EOS]

    def _picture(
        self, data: Any, place: tuple[int, ...], draw: bool, noise: int, shift: tuple[int, int]
    ) -> Picture:
        """A picture of a set: by its tokens, where they are kept and it does not move, else by its pixels."""
        kept = getattr(data, "kept", None)
        if kept is None or any(shift):
            pixels = shifted(data.image(*place), *shift)
            return Picture(pixels, draw, noise, stretch(self.settings, pixels))
        heights, widths = data.heights[place[0]], data.widths[place[0]]
        sides = (heights[place[1]], widths[place[1]]) if data.holds_documents else (heights, widths)
        pixels = blank(*map(int, sides))
        return Picture(pixels, draw, noise, stretch(self.settings, pixels), kept.picture(*place))

    def document(self, number: int) -> Document:
        """Document `number` of the stream."""
        return self.finish(self.plan(number))

    def _window(self, data: "PreparedDocuments", row: int, share: float) -> list[int]:
        """Tokens of a document of text alone, [] where it has pictures.

        Where they do not fit, a window of them; `share` in 0..1 says where it begins."""
        pieces = data.pieces(row)
        if any(not isinstance(piece, str) for piece in pieces):
            return []
        tokens = [token for piece in pieces for token in self.encode(piece)]
        room = self.length - 2
        start = int(share * (len(tokens) - room + 1)) if len(tokens) > room else 0
        return tokens[start : start + room]

    def _interleaved(self, plan: Plan, empty: bool = False) -> Document:
        """A document of a set of documents. empty: pictures have the right size and no content."""
        if plan.text:
            return [BOS, *plan.text, EOS]
        data, items, pictures = self.sets[plan.set], [BOS], 0
        pieces = data.pieces(plan.row)
        for number, piece in enumerate(pieces, 1):
            if isinstance(piece, str):
                items += self.encode(piece)
                continue
            height, width, draw = piece
            draw = draw and (plan.draw or number < len(pieces))
            noise = key(plan.key, "picture", pictures) if draw else 0
            if empty:
                pixels = blank(height, width)
                picture = Picture(pixels, draw, noise, stretch(self.settings, pixels))
            else:
                moves = uniforms(plan.key, "shift", pictures, count=3)
                shift = (0, 0) if draw else self._shift(*moves)
                picture = self._picture(data, (plan.row, pictures), draw, noise, shift)
            items += [IMAGE, picture, END_IMAGE]
            pictures += 1
        return cut_document([*items, EOS], self.length, self.blocks) if self.cuts else [*items, EOS]


def blank(height: int, width: int) -> torch.Tensor:
    """Pixels of no content (3, H, W), which take no memory."""
    return torch.zeros(1, 1, 1, dtype=torch.uint8).expand(3, height, width)


def document(data: "Prepared | PreparedDocuments", number: int, seed: int, **settings: Any) -> Document:
    """Document `number` of one set, with settings as in `config.model.Data`."""
    return Stream([data], seed, Data(**settings)).document(number)


def cut_text(tokens: list[int], room: int) -> list[int]:
    """The first tokens of a text, at most `room`, and no part of a character that is spelled in bytes."""
    while 0 < room < len(tokens) and 128 <= tokens[room] < 192:  # a byte that continues a character
        room -= 1
    return tokens[: max(0, room)]


def cut_document(document: Document, length: int, blocks: BlocksOf) -> Document:
    """The longest beginning of a document that fits into `length` positions, with its end; pictures stay
    whole."""
    kept = document[:-1]
    while (excess := size([*kept, EOS], blocks) - length) > 0:
        if kept[-1] == END_IMAGE:
            del kept[-3:]
            continue
        text = next((n for n, item in enumerate(reversed(kept)) if item == END_IMAGE), len(kept) - 1)
        kept = [*kept[: len(kept) - text], *cut_text(kept[len(kept) - text :], text - excess)]
    return [*kept, EOS]


def picture_of(number: int, size: int, seed: int) -> int:
    """Row that document `number` of a set of `size` rows takes: every epoch is a permutation of its own."""
    epoch, position = divmod(number, size)
    return int(_order(size, seed, epoch)[position])


def shifted(pixels: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """A picture (3, H, W) moved by whole pixels; its edges are repeated."""
    if not (down or right):
        return pixels
    rows = (torch.arange(pixels.shape[1]) - down).clamp(0, pixels.shape[1] - 1)
    columns = (torch.arange(pixels.shape[2]) - right).clamp(0, pixels.shape[2] - 1)
    pixels = pixels.permute(1, 2, 0)  # (H, W, 3), the order in memory
    return pixels.index_select(0, rows).index_select(1, columns).permute(2, 0, 1)


def _turn(number: int, shares: tuple[float, ...], seed: int) -> tuple[int, int]:
    """Set of document `number`, and how many documents of that set come before it.

    Of every BLOCK documents each set has its share, in an order of that block's own."""
    block, position = divmod(number, BLOCK)
    sets, before = _block(block, shares, seed)
    index = int(sets[position])
    return index, block * _counts(shares)[index] + int(before[position])


@lru_cache(maxsize=8)
def _block(block: int, shares: tuple[float, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For every position of a block its set, and how many of that set come before it: (BLOCK,) both."""
    sets = np.repeat(np.arange(len(shares)), _counts(shares))
    sets = sets[random(seed, "mixture", block).permutation(BLOCK)]
    before = np.zeros(BLOCK, np.int64)
    for index in range(len(shares)):
        before[sets == index] = np.arange((sets == index).sum())
    return sets, before


@lru_cache(maxsize=8)
def _counts(shares: tuple[float, ...]) -> tuple[int, ...]:
    """Number of documents of every set in a block; they sum to BLOCK."""
    edges = np.rint(np.cumsum(shares) / sum(shares) * BLOCK).astype(int)
    return tuple(np.diff(edges, prepend=0).tolist())


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the rows of a set in one epoch: (size,)."""
    return random(seed, "order", epoch).permutation(size)
