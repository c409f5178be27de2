"""Lossless codecs of single images: bits of a picture's pixels by each.

    order-0    entropy of the picture's own 256 levels, all channels together: an estimate and no bound, since
               the table of levels is not counted
    PNG, WebP  Pillow's encoders                            upper bounds: each file is decoded and compared
    JPEG XL, JPEG-LS  imagecodecs' (the extra `codecs`)     upper bounds, likewise

A codec's file is the smallest of several settings (`SETTINGS`): the highest effort is often not the smallest.

Codecs get decoded pixels, never a file: JPEG XL would store the coefficients of a JPEG in fewer bits. Grey
pictures have one channel. No torch here, so that worker processes start fast."""

import io
import math
import zlib
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

SMALL = 1 << 14  # pixels up to which more settings are tried: more effort often gives larger files there
METHODS = ("order-0", "PNG", "WebP", "JPEG XL", "JPEG-LS")
BOUNDS = METHODS[1:]
INSTALL = "pip install 'rawmm[codecs]'"


class Setting(NamedTuple):
    """Options of an encoder. small, slow: whether it is tried on small pictures alone, and where time does
    not matter alone."""

    name: str
    options: dict[str, Any]
    small: bool = False
    slow: bool = False

    def used(self, area: int, slow: bool) -> bool:
        """Whether it is tried on a picture of `area` pixels."""
        return (area <= SMALL or not self.small) and (slow or not self.slow)


def _effort(method: int, quality: int, small: bool = False, slow: bool = False) -> Setting:
    return Setting(f"method {method}, quality {quality}", {"method": method, "quality": quality}, small, slow)


# On 64-pixel crops of photographs the least of all is 0.6 % (WebP) and 0.5 % (JPEG XL) below the best of them
# alone, 2.6 % below WebP's highest effort and 1.5 % below JPEG XL's effort 7.
SETTINGS = {
    "PNG": (
        Setting("optimised", {"optimize": True}),
        Setting("run lengths", {"compress_type": zlib.Z_RLE}, small=True),
        Setting("Huffman", {"compress_type": zlib.Z_HUFFMAN_ONLY}, small=True),
    ),
    "WebP": (
        _effort(4, 75),
        _effort(3, 75, small=True),
        _effort(1, 75, small=True, slow=True),
        _effort(2, 75, small=True, slow=True),
        _effort(4, 0, slow=True),
        _effort(5, 75, slow=True),
        _effort(6, 100, slow=True),
    ),
    "JPEG XL": (
        Setting("effort 7", {"effort": 7}),
        Setting("effort 8", {"effort": 8}, small=True),
        Setting("effort 9", {"effort": 9}, small=True, slow=True),
        Setting("effort 10", {"effort": 10}, small=True, slow=True),
    ),
    "JPEG-LS": (Setting("as it is", {}),),
}


def channels(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W) where the picture is grey, i.e. its channels are equal everywhere; else
    unchanged."""
    return pixels[..., 0] if (pixels[..., :1] == pixels[..., 1:]).all() else pixels


def lengths(pixels: np.ndarray, slow: bool) -> dict[str, float | None]:
    """Bits by method of (H, W) or (H, W, 3) uint8, each the least of its settings; None where a codec is
    missing, refuses the picture, or does not decode it exactly."""
    return {name: bits for name, (bits, _) in smallest(pixels, slow).items()}


def smallest(pixels: np.ndarray, slow: bool) -> dict[str, tuple[float | None, str | None]]:
    """The same with the setting of the smallest file, by method."""
    coders = {"PNG": _png, "WebP": _webp, "JPEG XL": _jpegxl, "JPEG-LS": _jpegls}
    area, files = pixels.shape[0] * pixels.shape[1], {"order-0": (entropy(pixels) * pixels.size, None)}
    for name, coder in coders.items():
        best: tuple[float | None, str | None] = None, None
        for setting in SETTINGS[name]:
            if not setting.used(area, slow):
                continue
            with suppress(Exception):  # the codec is missing or broken, or refuses a size
                data, back = coder(pixels, **setting.options)
                bits = 8.0 * len(data)
                if np.array_equal(back, pixels) and (best[0] is None or bits < best[0]):
                    best = bits, setting.name
        files[name] = best
    return files


def entropy(pixels: np.ndarray) -> float:
    """Order-0 entropy of the levels, in bits a byte."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    share = counts[counts > 0] / pixels.size
    return float(-(share * np.log2(share)).sum()) + 0.0


def _png(pixels: np.ndarray, **options: Any) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "PNG", **options)


def _webp(pixels: np.ndarray, **options: Any) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "WEBP", lossless=True, exact=True, **options)


def _pillow(pixels: np.ndarray, kind: str, **settings: Any) -> tuple[bytes, np.ndarray]:
    """An image file, and the pixels decoded from it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    with Image.open(io.BytesIO(file.getvalue())) as picture:
        back = np.asarray(picture)
    return file.getvalue(), back if back.ndim == pixels.ndim else channels(back)


def _jpegxl(pixels: np.ndarray, effort: int) -> tuple[bytes, np.ndarray]:
    from imagecodecs import jpegxl_decode, jpegxl_encode

    data = jpegxl_encode(pixels, lossless=True, effort=effort, numthreads=1)
    return data, jpegxl_decode(data, numthreads=1).reshape(pixels.shape)


def _jpegls(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    from imagecodecs import jpegls_decode, jpegls_encode

    data = bytes(jpegls_encode(pixels, out=2 * pixels.nbytes + 4096))  # noise gets larger than its pixels
    return data, jpegls_decode(data).reshape(pixels.shape)


def mosaic(tiles: list[np.ndarray], slow: bool = False) -> dict[str, float | None]:
    """Bits by method of pictures of one shape in one file: a near-square sheet, padded with black."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    blank = [np.zeros_like(tiles[0])] * (rows * columns - len(tiles))
    grid = np.stack([*tiles, *blank]).reshape(rows, columns, *tiles[0].shape)
    return lengths(np.ascontiguousarray(np.concatenate(np.concatenate(grid, 1), 1)), slow)
