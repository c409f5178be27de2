"""Real handwritten digits: the 1,797 pictures of 8 x 8 pixels inside scikit-learn.

The original 17 levels of grey (0..16) become 0..255, three equal channels. A fixed fifth is held out, the
same share of every digit. Source: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998),
CC BY 4.0.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ..images import Colour
from ..items import Item, Source

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT = 360


def digits() -> Source:
    """Source of all 1,797 digits; needs no download and no options."""
    return Source(
        items=_items,
        state="digits",
        open=_pixels,
        count=len(_load()[0]),
        resizes=False,
        card={
            "source": "scikit-learn load_digits (UCI optdigits test set)",
            "licence": "CC BY 4.0",
            "url": "https://archive.ics.uci.edu/dataset/80",
            "labels": list(NAMES),
        },
    )


def _items(start: int) -> Iterator[Item]:
    levels, classes, held_out = _load()
    for n in range(start, len(levels)):
        yield Item(
            f"load_digits/{n}",
            levels[n].tobytes(),
            (NAMES[classes[n]],),
            int(classes[n]),
            split="held_out" if n in held_out else "train",
        )


def _pixels(levels: bytes, background: Colour) -> np.ndarray:
    """64 grey levels -> (8, 8, 3) uint8."""
    grey = np.frombuffer(levels, np.uint8).reshape(8, 8)
    return np.repeat(grey[..., None], 3, -1)


@lru_cache(maxsize=1)
def _load() -> tuple[np.ndarray, np.ndarray, frozenset[int]]:
    """Grey levels (1797, 8, 8) uint8, classes (1797,), and the numbers of the held-out pictures."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    levels = np.rint(data.images * (255 / 16)).astype(np.uint8)
    _, held_out = train_test_split(
        np.arange(len(levels)), test_size=HELD_OUT, random_state=0, stratify=data.target
    )
    return levels, data.target, frozenset(held_out.tolist())
