"""Controls that tokenizers are compared with: fewer pixels, and image files of as many bits.

resized       down to at most N x N pixels and up again: N N 3 values of 8 bits
file          JPEG, WebP or AVIF by Pillow within a budget of bits: the picture is shrunk, coded at the
              highest quality that fits, and enlarged again, at the scale of SCALES with the highest PSNR.
              Headers count, as a decoder needs them; for a small picture they are the larger part
"""

import io
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

FORMATS = {"jpeg": {"optimize": True}, "webp": {"method": 6}, "avif": {"speed": 6, "max_threads": 1}}
QUALITIES = range(1, 101)
SCALES = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8, 3 / 32, 1 / 16, 3 / 64, 1 / 32)
Sides = tuple[int, int]  # (height, width)


class File(NamedTuple):
    """A picture that was read back from an image file. bits: of the file. scale: of its sides to those of the
    picture."""

    back: Tensor
    bits: int
    scale: float


def sides(size: int, height: int, width: int) -> Sides:
    """Sides (height, width) of a picture shrunk to `size`; neither grows."""
    return min(size, height), min(size, width)


def resized(images: Tensor, size: int) -> Tensor:
    """Shrink pictures (n, 3, H, W) uint8 (bicubic, antialiased) to 8-bit values, and enlarge them again
    (bicubic)."""
    shape = tuple(images.shape[2:])
    return _enlarged(_shrunk(images, sides(size, *shape)), shape)


def file(image: Tensor, kind: str, budget: float) -> File:
    """Decode a picture (3, H, W) uint8 from a file of at most `budget` bits, at the scale with the highest
    PSNR. Where none is so small, the smallest file of all scales.

    A scale is not tried where shrinking alone, without coding, loses more than the best file so far."""
    shape, best, least = tuple(image.shape[1:]), None, None
    error = float("inf")
    for scale in SCALES:
        small = tuple(max(1, round(scale * side)) for side in shape)
        shrunk = _shrunk(image[None], small)
        if best and _error(_enlarged(shrunk, shape)[0], image) >= error:
            break
        picture = Image.fromarray(shrunk[0].permute(1, 2, 0).contiguous().numpy())
        data = highest(picture, kind, budget)
        if least is None or len(data) < len(least[0]):
            least = data, scale
        if 8 * len(data) > budget:
            continue
        back = _decoded(data, shape)
        if (loss := _error(back, image)) < error:
            error, best = loss, File(back, 8 * len(data), scale)
    return best or File(_decoded(least[0], shape), 8 * len(least[0]), least[1])


def highest(picture: Image.Image, kind: str, budget: float) -> bytes:
    """File of the highest quality of at most `budget` bits; that of the lowest quality where none is."""
    low, high, best = QUALITIES[0], QUALITIES[-1], written(picture, kind, QUALITIES[0])
    while low <= high and 8 * len(best) < budget:  # sizes grow with quality, but for a few bytes
        middle = (low + high) // 2
        data = written(picture, kind, middle)
        if 8 * len(data) <= budget:
            low, best = middle + 1, max(data, best, key=len)
        else:
            high = middle - 1
    return best


def written(picture: Image.Image, kind: str, quality: int) -> bytes:
    """Image file by Pillow's encoder."""
    data = io.BytesIO()
    picture.save(data, kind.upper(), quality=quality, **FORMATS[kind])
    return data.getvalue()


def _decoded(data: bytes, shape: Sides) -> Tensor:
    decoded = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB")))
    return _enlarged(decoded.permute(2, 0, 1)[None], shape)[0]


def _shrunk(images: Tensor, shape: Sides) -> Tensor:
    """Pictures (n, 3, H, W) uint8 at a smaller size (bicubic, antialiased)."""
    if tuple(images.shape[2:]) == shape:
        return images
    return _values(F.interpolate(images.float(), shape, mode="bicubic", antialias=True, align_corners=False))


def _enlarged(images: Tensor, shape: Sides) -> Tensor:
    """Pictures (n, 3, h, w) uint8 at a larger size (bicubic)."""
    if tuple(images.shape[2:]) == shape:
        return images
    return _values(F.interpolate(images.float(), shape, mode="bicubic", align_corners=False))


def _values(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


def _error(one: Tensor, other: Tensor) -> float:
    """Mean squared error."""
    return float((one.float() - other.float()).square().mean())
