"""Image files: read them to exact 8-bit RGB, fit them to a size, write PNGs and contact sheets.

Every file has one defined result, (H, W, 3) uint8; colour profiles are ignored, nothing is dithered:

    8-bit grey, palette, RGB, YCbCr    as Pillow converts them; black and white become 0 and 255
    16-bit grey (I;16*, I)             the upper byte, so 65,536 levels become 256; values outside 16 bits are
                                       clipped first. Pillow itself would clip to 255 and leave 2 levels.
                                       16-bit colour: the upper byte too
    float grey (F)                     times 255 where all values are in -0.1..1.1; clipped to 0..255, rounded
    TIFF: fewer bits used than stored  the upper 8 of these, where a tag says how many (`decoding/tiff.py`)
    TIFF: white is zero                inverted, at every depth
    CMYK                               R = (255 - C)(255 - K) / 255, G and B likewise
    alpha, or one transparent colour   composited on the background (white by default) and rounded
    EXIF orientation                   applied
    animation, several pages           the first frame
"""

import io
import math
import os
import re
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin

from ..system.disk import FULL, open_file, replacing
from ..system.errors import ConfigError, DataError, DiskFullError, printable, starved
from .decoding.files import MEGAPIXELS, decode
from .decoding.modes import Colour

if TYPE_CHECKING:
    from torch import Tensor

# Endings of files that are opened, without the dot: of FORMATS, as Pillow and browsers write them.
ENDINGS = tuple(
    "png jpg jpeg webp bmp gif tif tiff ppm apng jfif jpe jif pjpeg pjp mpo dib pbm pgm pnm pfm avif".split()
)
MEGABYTES = 256  # larger files are refused
WHITE = (255, 255, 255)
CROPS = ("center", "none")
MULTIPLE = 16
BACKGROUND = 238


class ImageError(DataError):
    """Error for an image that cannot be used. `reason` is the message without the path."""

    def __init__(self, reason: str, path: Path | str | None = None) -> None:
        self.reason = printable(reason)
        where = "" if path is None else f"image {printable(str(path))} cannot be read: "
        super().__init__(where + self.reason)


def read_image(source: Path | str | bytes, background: Colour = WHITE) -> np.ndarray:
    """Decode an image file, or the bytes of one, to (H, W, 3) uint8.

    Raises ImageError on anything but a complete image of FORMATS."""
    return np.array(open_image(source, background))


def open_image(source: Path | str | bytes, background: Colour = WHITE) -> Image.Image:
    """Decode as `read_image` does, to an RGB image of Pillow: `fit` is faster on it. Raises ImageError."""
    path = None if isinstance(source, bytes) else source
    try:
        with io.BytesIO(source) if path is None else open_file(path) as file, warnings.catch_warnings():
            size = len(source) if path is None else os.fstat(file.fileno()).st_size
            if size == 0:
                raise ValueError("it is empty (0 bytes)")
            if size > MEGABYTES * 10**6:
                raise ValueError(f"it has {size / 1e6:,.0f} MB; allowed: at most {MEGABYTES}")
            warnings.simplefilter("ignore")  # checked below or harmless
            return decode(file, background)
    except Exception as error:  # Pillow raises almost any type
        if starved(error):
            raise
        raise ImageError(_reason(error), path) from None


def multiple_of(size: int) -> int:
    """What the longer side of a whole picture is a multiple of, where the shorter one is `size`: the largest
    power of two that divides `size`, at most MULTIPLE and a quarter of `size`.

    So patches that divide it divide both sides, and no picture becomes wider or narrower by more than an
    eighth."""
    multiple = math.gcd(size, MULTIPLE)
    while multiple > max(1, size / 4):
        multiple //= 2
    return multiple


def fitted(
    height: int, width: int, size: int, crop: str = "none", multiple: int | None = None
) -> tuple[int, int]:
    """Height and width of a picture after `fit`."""
    if crop == "center" or height == width:
        return size, size
    multiple = multiple or multiple_of(size)
    longer = max(size, round(max(height, width) * size / min(height, width) / multiple) * multiple)
    return (size, longer) if width > height else (longer, size)


def fit(
    picture: np.ndarray | Image.Image,
    size: int,
    crop: str = "none",
    enlarge: bool = False,
    multiple: int | None = None,
) -> np.ndarray:
    """Resize by a Lanczos filter (with antialiasing) until the shorter side is `size` pixels: (H, W, 3)
    uint8.

    picture: (H, W, 3) uint8, or an RGB image of Pillow. crop "none": the whole picture; its longer side
    becomes the nearest multiple of `multiple`, by default of `multiple_of(size)`, so that patches fit. crop
    "center": the largest square in the centre, so the result is (size, size, 3). Where the sides are so
    already, pixels are copied exactly. Raises ImageError where a side is shorter than `size`, unless
    `enlarge`."""
    if crop not in CROPS:
        raise ConfigError(f"crop is '{crop}'; allowed: {', '.join(CROPS)}")
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    width, height = picture.size
    if height == width == size:
        return np.array(picture)
    if min(height, width) < size and not enlarge:
        raise ImageError(
            f"it is {width} x {height} pixels; allowed: at least {size} x {size}; choose a smaller size"
        )
    target = fitted(height, width, size, crop, multiple)[::-1]  # (width, height)
    if crop == "center" and height != width:
        picture = picture.crop(centre(height, width))
    return np.array(picture if picture.size == target else picture.resize(target, Image.Resampling.LANCZOS))


def centre(height: int, width: int) -> tuple[int, int, int, int]:
    """The largest square in the centre of a picture: left, top, right, bottom."""
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return left, top, left + side, top + side


def save_png(image: "np.ndarray | Tensor", path: Path | str, /, **text: str) -> None:
    """Write a (3, H, W) uint8 tensor or an (H, W, 3) uint8 array as a PNG, with `text` as iTXt metadata.

    The file appears whole, by a rename, or not at all. Raises DiskFullError, or ConfigError where it cannot
    be written there."""
    path, metadata = Path(path), PngImagePlugin.PngInfo()
    for name, value in text.items():
        metadata.add_itxt(name, str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8"))
    content = io.BytesIO()
    Image.fromarray(_array(image)).save(content, "PNG", pnginfo=metadata)
    try:
        with replacing(path) as file:
            file.write(content.getbuffer())
    except OSError as error:
        full = error.errno in FULL
        raise (DiskFullError if full else ConfigError)(
            f"cannot write {printable(str(path))}: {error.strerror or error}; "
            + ("free some space" if full else "choose a folder that exists and can be written to")
        ) from None


def contact_sheet(images: list, columns: int, zoom: int = 1, gap: int = 2) -> np.ndarray:
    """Contact sheet of pictures, row by row on light grey: (H, W, 3) uint8.

    images: (3, H, W) uint8 tensors or (H, W, 3) uint8 arrays, of any sizes. Every pixel becomes zoom x
    zoom. Each picture is in the centre of its cell, with `gap` pixels between and around the cells."""
    tiles = [_array(image).repeat(zoom, 0).repeat(zoom, 1) for image in images]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    high, wide = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    sheet = np.full((gap + rows * (high + gap), gap + columns * (wide + gap), 3), BACKGROUND, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top = gap + row * (high + gap) + (high - tile.shape[0]) // 2
        left = gap + column * (wide + gap) + (wide - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def slug(text: str, limit: int = 40) -> str:
    """Part of a file name for any text: at most `limit` characters of a-z, 0-9 and single hyphens.

    "untitled" where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:limit].strip("-") or "untitled"


def _array(image: "np.ndarray | Tensor") -> np.ndarray:
    """A (3, H, W) tensor or (H, W, 3) array as an (H, W, 3) array."""
    return image if isinstance(image, np.ndarray) else image.cpu().numpy().transpose(1, 2, 0)


def _reason(error: Exception) -> str:
    """Message for an error of decoding, without the path."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; give a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MEGAPIXELS} megapixels; make it smaller"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
