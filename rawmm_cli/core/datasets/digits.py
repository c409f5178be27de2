"""The handwritten digits inside scikit-learn: 1,797 real ones of 8 x 8 pixels, with their names as captions.

The grey levels 0..16 become 0..255 (rounded), the three channels are equal. A fixed fifth, the same share of every
digit, is held out (UCI Optical Recognition of Handwritten Digits; Alpaydin and Kaynak 1998; CC BY 4.0).
"""

import numpy as np

from ..prepared import row

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT = 360


def digits() -> tuple[dict[str, list[dict]], dict]:
    """-> (rows by split, card)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    levels = np.rint(data.images * (255 / 16)).astype(np.uint8)             # (1797, 8, 8)
    pixels = np.repeat(levels[..., None], 3, -1)                            # (1797, 8, 8, 3)
    train, held_out = train_test_split(np.arange(len(levels)), test_size=HELD_OUT, random_state=0,
                                       stratify=data.target)
    rows = {split: [row(pixels[i], [NAMES[data.target[i]]], int(data.target[i]), f"load_digits/{i}")
                    for i in sorted(index.tolist())]
            for split, index in (("train", train), ("held_out", held_out))}
    card = {"name": "digits", "source": "scikit-learn load_digits (UCI optdigits test set)", "licence": "CC BY 4.0",
            "size": [8, 8], "labels": list(NAMES)}
    return rows, card
