"""From a prepared set to an endless, reproducible stream of documents, in both directions.

    to draw:  <bos> caption <image> [picture, noised] </image> <eos>
    to read:  <bos> <image> [picture, clean] </image> caption <eos>

Document n is a function of (seed, n) alone: epoch and place in it from n, everything else (direction, which caption,
whether it is dropped for guidance, shift of a read picture) from a generator keyed by (seed, n).
"""

from functools import lru_cache

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


def document(data: Prepared, number: int, seed: int, *, read: float, drop: float, shift: int = 0,
             shift_share: float = 1.0, finished: float = 0.0) -> Document:
    """Document `number` of the stream. read: share of documents that read; drop: share of captions dropped when
    drawing; shift: that share of the read pictures moves by up to so many pixels, edges repeated; finished: share of
    captioned drawing documents that show the picture clean, for only so does the model learn what follows its own."""
    epoch, place = divmod(number, len(data))
    index = int(_order(len(data), seed, epoch)[place])
    dice = random(seed, "document", number)
    reads, dropped, pick = dice.random() < read, dice.random() < drop, dice.integers(1 << 30)
    captions = [caption for caption in data.captions[index] if caption]
    caption = captions[pick % len(captions)] if captions else ""
    pixels = data.image(index)
    if reads and caption:
        if shift and dice.random() < shift_share:
            pixels = shifted(pixels, *(int(step) for step in dice.integers(-shift, shift + 1, 2)))
        return reading(pixels, caption)
    if caption and not dropped and finished and dice.random() < finished:
        return drawing(caption, pixels, 0, draw=False)
    return drawing("" if dropped else caption, pixels, key(seed, "noise", number))


def shifted(pixels: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """(3, H, W) moved by whole pixels; the edge is repeated where nothing was."""
    rows = (torch.arange(pixels.shape[1]) - down).clamp(0, pixels.shape[1] - 1)
    columns = (torch.arange(pixels.shape[2]) - right).clamp(0, pixels.shape[2] - 1)
    return pixels[:, rows][:, :, columns]


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return random(seed, "order", epoch).permutation(size)
