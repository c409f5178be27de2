"""An open image file -> RGB."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import IO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import PREFIXES

from ...system.errors import starved
from . import png, ppm, tiff
from .extras import reduced
from .modes import Colour, bits_used, levels, marked, to_rgb
from .signatures import HEAD, advice, format_of

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
T = TypeVar("T")
TIFF = tuple(PREFIXES)
MEGAPIXELS = 64  # larger pictures are refused
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF tag 0x0112 -> the transposition that undoes it


def decode(file: IO[bytes], background: Colour) -> Image.Image:
    """Decode an open file to RGB. What its pixels do not need cannot spoil it.

    Raises ValueError with words for the user, DecompressionBombError, or any error of Pillow."""
    return _tried(file, partial(_decode, background=background))


def sides(file: IO[bytes]) -> tuple[int, int]:
    """Height and width of an open file by its header, before its orientation. Raises as `decode`."""

    def of(file: IO[bytes], head: bytes) -> tuple[int, int]:
        with _opened(file, head) as picture:
            return picture.height, picture.width

    return _tried(file, of)


def _tried(file: IO[bytes], read: Callable[[IO[bytes], bytes], T]) -> T:
    """Result of read(file, its first bytes); where it fails, of the file without what pixels do not need."""
    head = file.read(HEAD)
    file.seek(0)
    try:
        return read(file, head)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        if starved(error):
            raise
        last = error
        file.seek(0)
        for part in reduced(file.read()):
            try:
                return read(BytesIO(part), head)
            except Exception as error:
                last = error
        if isinstance(last, UnidentifiedImageError):
            raise ValueError(advice(head, FORMATS, _reason(file, head))) from None
        raise last from None


def _reason(file: IO[bytes], head: bytes) -> str:
    """What Pillow's reader of the format of a file says about it; "" where it says nothing."""
    name = format_of(head)
    file.seek(0)
    try:
        if name in FORMATS:
            Image.OPEN[name][0](file, "")
    except Exception as error:
        return (str(error).splitlines() or [""])[0]
    return ""


def _opened(file: IO[bytes], head: bytes) -> Image.Image:
    return tiff.Tiff(file) if head.startswith(TIFF) else Image.open(file, formats=FORMATS)


def _decode(file: IO[bytes], head: bytes, background: Colour) -> Image.Image:
    with _opened(file, head) as picture:
        if picture.width * picture.height > MEGAPIXELS * 10**6:
            raise Image.DecompressionBombError
        if picture.format == "PPM" and (deep := ppm.upper_bytes(picture)):
            return deep
        clear = None
        if picture.format == "PNG" and "transparency" in picture.info:
            png.scale_transparent(picture)
            clear = png.transparent_16_bit(file, picture)
        picture.load()
        turn = ORIENTATIONS.get(_orientation(picture))
        result = _colour(picture, file, background, clear)
        return result if turn is None else marked(result.transpose(turn), result.info.get("bits_used"))


def _colour(
    picture: Image.Image, file: IO[bytes], background: Colour, clear: np.ndarray | None
) -> Image.Image:
    """RGB of a loaded picture. clear: its transparent pixels, where Pillow cannot tell them."""
    if picture.mode == "RGB" and "transparency" not in picture.info and not isinstance(picture, tiff.Tiff):
        return picture
    if clear is not None:
        pixels = np.array(picture)
        pixels[clear] = background
        return Image.fromarray(pixels)
    if not isinstance(picture, tiff.Tiff) or not picture.depth or picture.mode not in ("RGB", "RGBA"):
        return to_rgb(picture, background)
    samples = np.asarray(picture).astype(np.uint16) << 8 | np.asarray(picture.low_bytes(file))
    bits = bits_used(picture, samples)
    if bits is None:
        return to_rgb(picture, background)
    return marked(to_rgb(Image.fromarray(levels(samples, bits)), background), bits)


def _orientation(picture: Image.Image) -> int | None:
    """EXIF orientation of a loaded picture; None where there is none that can be read."""
    if picture.format == "JPEG" and picture.info.keys().isdisjoint(("exif", "xmp")):
        return None  # as below, sooner
    try:
        return picture.getexif().get(0x0112)
    except Exception:  # its EXIF is damaged
        return None
