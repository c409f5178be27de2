"""PNG: one transparent value or colour, of any depth."""

import io
from typing import IO

import numpy as np
from PIL import Image

SAMPLE = {"L;2": (3, 85), "L;4": (15, 17)}  # raw mode -> greatest sample, levels of one


def scale_transparent(picture: Image.Image) -> None:
    """Transparent value of an opened grey PNG of 2 or 4 bits in the levels that Pillow decodes to."""
    clear = picture.info.get("transparency")
    raw = picture.tile[0].args if picture.tile else None
    if isinstance(clear, int) and raw in SAMPLE:
        greatest, levels = SAMPLE[raw]
        picture.info["transparency"] = (clear & greatest) * levels


def transparent_16_bit(file: IO[bytes], picture: Image.Image) -> np.ndarray | None:
    """(H, W) bool: pixels of the transparent colour in a PNG of 16-bit RGB; None for other pictures.

    Pillow drops the lower bytes before it compares; here both are decoded. picture: opened from `file`, not
    loaded."""
    clear = picture.info.get("transparency")
    if not isinstance(clear, tuple) or picture.tile[0].args != "RGB;16B":
        return None
    file.seek(0)
    equal = np.ones(picture.size[::-1], bool)
    for mode, shift in (("RGB;16B", 8), ("RGB;16L", 0)):
        with Image.open(io.BytesIO(file.read()), formats=("PNG",)) as half:
            half.tile = [tile._replace(args=mode) for tile in half.tile]
            half.info.pop("transparency")
            equal &= (np.asarray(half) == [sample >> shift & 255 for sample in clear]).all(-1)
        file.seek(0)
    return equal
