"""PNG: the picture without the chunks that are not needed, and one transparent value of any depth."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
ORIENTING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts that may hold an EXIF orientation
TEXT = 1 << 20  # most bytes of a text or EXIF that is kept for its orientation
SAMPLE = {"L;2": (3, 85), "L;4": (15, 17)}  # raw mode -> greatest sample, levels of one


def reduced(data: bytes) -> Iterator[bytes]:
    """A PNG file with ever less of what its pixels do not need: profiles, texts, animations, EXIF.

    First what may turn the picture is kept, where its checksum is right; then only pixels."""
    yield _with(data, orienting=True)
    yield _with(data, orienting=False)


def _with(data: bytes, orienting: bool) -> bytes:
    kept, position = [SIGNATURE], len(SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + 12 + length]
        if kind in NEEDED or (orienting and _may_turn(kind, chunk)):
            kept.append(chunk)
        position += 12 + length
    return b"".join(kept)


def _may_turn(kind: bytes, chunk: bytes) -> bool:
    """Whether a chunk is whole, small, and of a kind that may hold an orientation."""
    body = chunk[8:-4]
    texts = kind in (b"tEXt", b"zTXt", b"iTXt") and body.startswith(ORIENTING)
    return (
        (kind == b"eXIf" or texts)
        and len(body) <= TEXT
        and chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
    )


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
