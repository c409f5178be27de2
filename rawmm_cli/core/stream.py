"""From a prepared set to an endless, reproducible stream of documents, in both directions.

    to draw:  <bos> caption <image> [picture, noised] </image> <eos>
    to read:  <bos> <image> [picture, clean] </image> caption <eos>

Document n is a function of (seed, n) alone: epoch and place in it from n, everything else (direction, which caption,
whether it is dropped for guidance, shift of a read picture) from a generator keyed by (seed, n).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from .document import Document, Picture
from .noise import key, random
from .prepared import Prepared
from .text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode


def drawing(caption: str, pixels: torch.Tensor, noise_key: int, draw: bool = True) -> Document:
    """Caption, then the picture to draw (or, where not `draw`, as it looks when it is finished)."""
    return [BOS, *encode(caption), IMAGE, Picture(pixels, draw, noise_key), END_IMAGE, EOS]


def reading(pixels: torch.Tensor, caption: str) -> Document:
    """The picture to read, then its caption."""
    return [BOS, IMAGE, Picture(pixels, False), END_IMAGE, *encode(caption), EOS]


class Sketch(NamedTuple):
    """All that is decided about a document before its pixels are fetched."""

    picture: int                                        # which picture of the set
    caption: str                                        # "" where there is none, or where it was dropped
    reads: bool                                         # read the picture and write the caption, or the other way round
    draw: bool                                          # the picture is noised
    moved: tuple[int, int]                              # pixels that a read picture moves down and right
    key: int                                            # of the picture's noise


def sketch(data: Prepared, number: int, seed: int, *, read: float, drop: float, shift: int = 0,
           shift_share: float = 1.0, finished: float = 0.0) -> Sketch:
    """Document `number` of the stream. read: share of documents that read; drop: share of captions dropped when
    drawing; shift: that share of the read pictures moves by up to so many pixels, edges repeated; finished: share of
    captioned drawing documents that show the picture clean, for only so does the model learn what follows its own."""
    index = picture_of(number, len(data), seed)
    dice = random(seed, "document", number)
    reads, dropped, pick = dice.random() < read, dice.random() < drop, dice.integers(1 << 30)
    captions = [caption for caption in data.captions[index] if caption]
    caption = captions[pick % len(captions)] if captions else ""
    if reads and caption:
        moves = shift and dice.random() < shift_share
        moved = tuple(int(step) for step in dice.integers(-shift, shift + 1, 2)) if moves else (0, 0)
        return Sketch(index, caption, True, False, moved, 0)
    if caption and not dropped and finished and dice.random() < finished:
        return Sketch(index, caption, False, False, (0, 0), 0)
    return Sketch(index, "" if dropped else caption, False, True, (0, 0), key(seed, "noise", number))


def finish(data: Prepared, plan: Sketch, pixels: torch.Tensor | None = None) -> Document:
    """A sketch with its pixels, or with others of the same size."""
    pixels = data.image(plan.picture) if pixels is None else pixels
    if plan.reads:
        return reading(shifted(pixels, *plan.moved) if any(plan.moved) else pixels, plan.caption)
    return drawing(plan.caption, pixels, plan.key, plan.draw)


def document(data: Prepared, number: int, seed: int, **settings) -> Document:
    """Document `number` of the stream; settings as in `sketch`."""
    return finish(data, sketch(data, number, seed, **settings))


def sizing(data: Prepared, plan: Sketch) -> Document:
    """The document with a picture that has the size of the real one and no content: enough to count its positions."""
    blank = torch.zeros(1, 1, 1, dtype=torch.uint8).expand(3, int(data.heights[plan.picture]), int(data.widths[plan.picture]))
    return drawing(plan.caption, blank, 0, plan.draw) if not plan.reads else reading(blank, plan.caption)


def picture_of(number: int, size: int, seed: int) -> int:
    """Which picture of a set of `size` document `number` holds: every epoch is a permutation of its own."""
    epoch, place = divmod(number, size)
    return int(_order(size, seed, epoch)[place])


def shifted(pixels: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """(3, H, W) moved by whole pixels; the edge is repeated where nothing was."""
    rows = (torch.arange(pixels.shape[1]) - down).clamp(0, pixels.shape[1] - 1)
    columns = (torch.arange(pixels.shape[2]) - right).clamp(0, pixels.shape[2] - 1)
    return pixels[:, rows][:, :, columns]


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return random(seed, "order", epoch).permutation(size)
