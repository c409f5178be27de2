"""Controls that tokenizers are compared with: fewer pixels, and image files of as many bits.

resized       down to at most N x N pixels and up again: N N 3 values of 8 bits
file          JPEG, WebP or AVIF by Pillow, at the highest quality whose file fits into a budget of bits.
              Headers count, as a decoder needs them; for a small picture they are the larger part
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

FORMATS = {"jpeg": {"optimize": True}, "webp": {"method": 6}, "avif": {"speed": 6, "max_threads": 1}}
QUALITIES = range(1, 101)


def sides(size: int, height: int, width: int) -> tuple[int, int]:
    """Sides (height, width) of a picture shrunk to `size`; neither grows."""
    return min(size, height), min(size, width)


def resized(images: Tensor, size: int) -> Tensor:
    """Shrink pictures (n, 3, H, W) uint8 (bicubic, antialiased) to 8-bit values, and enlarge them again
    (bicubic)."""
    shape, small = images.shape[2:], sides(size, *images.shape[2:])
    if tuple(shape) == small:
        return images
    down = (
        F.interpolate(images.float(), small, mode="bicubic", antialias=True, align_corners=False)
        .round()
        .clamp(0, 255)
    )
    return (
        F.interpolate(down, tuple(shape), mode="bicubic", align_corners=False)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
    )


def file(image: Tensor, kind: str, budget: float) -> tuple[Tensor, int]:
    """Decode a picture (3, H, W) uint8 from a file of at most `budget` bits -> the picture, and the bits of
    the file. The file of the lowest quality is taken where even that has more bits."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    low, high, best = QUALITIES[0], QUALITIES[-1], written(picture, kind, QUALITIES[0])
    while low <= high and 8 * len(best) < budget:  # sizes grow with quality, but for a few bytes
        middle = (low + high) // 2
        data = written(picture, kind, middle)
        if 8 * len(data) <= budget:
            low, best = middle + 1, max(data, best, key=len)
        else:
            high = middle - 1
    decoded = np.array(Image.open(io.BytesIO(best)).convert("RGB"))
    return torch.from_numpy(decoded).permute(2, 0, 1), 8 * len(best)


def written(picture: Image.Image, kind: str, quality: int) -> bytes:
    """Image file by Pillow's encoder."""
    data = io.BytesIO()
    picture.save(data, kind.upper(), quality=quality, **FORMATS[kind])
    return data.getvalue()
