"""Lossless codecs of single images: bits of a picture's pixels by each.

    order-0    entropy of the picture's own 256 levels, all channels together: an estimate and no bound, since
               the table of levels is not counted
    PNG, WebP  Pillow's encoders                            upper bounds: each file is decoded and compared
    JPEG XL, JPEG-LS  imagecodecs' (the extra `codecs`)     upper bounds, likewise

Codecs get decoded pixels, never a file: JPEG XL would store the coefficients of a JPEG in fewer bits. Grey
pictures have one channel. No torch here, so that worker processes start fast."""

import io
import math
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image

METHODS = ("order-0", "PNG", "WebP", "JPEG XL", "JPEG-LS")
BOUNDS = METHODS[1:]
INSTALL = "pip install 'rawmm[codecs]'"


def channels(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W) where the picture is grey, i.e. its channels are equal everywhere; else
    unchanged."""
    return pixels[..., 0] if (pixels[..., :1] == pixels[..., 1:]).all() else pixels


def lengths(pixels: np.ndarray, slow: bool) -> dict[str, float | None]:
    """Bits by method of (H, W) or (H, W, 3) uint8; None where a codec is missing, refuses the picture, or
    does not decode it exactly."""
    coders = {"PNG": _png, "WebP": _webp_slow if slow else _webp, "JPEG XL": _jpegxl, "JPEG-LS": _jpegls}
    bits: dict[str, float | None] = {"order-0": entropy(pixels) * pixels.size}
    for name, coder in coders.items():
        bits[name] = None
        with suppress(Exception):  # the codec is missing or broken, or refuses a size
            data, back = coder(pixels)
            bits[name] = 8.0 * len(data) if np.array_equal(back, pixels) else None
    return bits


def entropy(pixels: np.ndarray) -> float:
    """Order-0 entropy of the levels, in bits a byte."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    share = counts[counts > 0] / pixels.size
    return float(-(share * np.log2(share)).sum()) + 0.0


def _png(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "PNG", optimize=True)


def _webp(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "WEBP", lossless=True, exact=True, method=4, quality=75)


def _webp_slow(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "WEBP", lossless=True, exact=True, method=6, quality=100)


def _pillow(pixels: np.ndarray, kind: str, **settings: Any) -> tuple[bytes, np.ndarray]:
    """An image file, and the pixels decoded from it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    with Image.open(io.BytesIO(file.getvalue())) as picture:
        back = np.asarray(picture)
    return file.getvalue(), back if back.ndim == pixels.ndim else channels(back)


def _jpegxl(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    from imagecodecs import jpegxl_decode, jpegxl_encode

    data = jpegxl_encode(pixels, lossless=True, effort=7, numthreads=1)
    return data, jpegxl_decode(data, numthreads=1).reshape(pixels.shape)


def _jpegls(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    from imagecodecs import jpegls_decode, jpegls_encode

    data = bytes(jpegls_encode(pixels, out=2 * pixels.nbytes + 4096))  # noise gets larger than its pixels
    return data, jpegls_decode(data).reshape(pixels.shape)


def mosaic(tiles: list[np.ndarray]) -> dict[str, float | None]:
    """Bits by method of pictures of one shape in one file: a near-square sheet, padded with black."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    blank = [np.zeros_like(tiles[0])] * (rows * columns - len(tiles))
    grid = np.stack([*tiles, *blank]).reshape(rows, columns, *tiles[0].shape)
    return lengths(np.ascontiguousarray(np.concatenate(np.concatenate(grid, 1), 1)), slow=False)
