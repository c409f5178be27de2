"""PPM: colour of more than 8 bits a sample, which Pillow rounds to 8 where the upper byte is meant."""

import numpy as np
from PIL import Image


def upper_bytes(picture: Image.Image) -> Image.Image | None:
    """RGB of an opened PPM of more than 8 bits a sample, None for other pictures.

    As of 16-bit PNG and TIFF: samples as 16 bits, whatever the greatest value is, and the upper byte of
    these. Pillow reads them so as grey of three times the width."""
    tile = picture.tile[0] if picture.tile else None
    if picture.mode != "RGB" or tile is None or not isinstance(tile.args, tuple) or tile.args[-1] < 256:
        return None
    width, height = picture.size
    picture._mode, picture._size = "I", (3 * width, height)
    picture.tile = [tile._replace(extents=(0, 0, *picture.size), args=("I", tile.args[-1]))]
    samples = np.asarray(picture).reshape(height, width, 3)
    return Image.fromarray((samples >> 8).astype(np.uint8))
