"""An image file without what its pixels do not need: profiles, texts, EXIF, previews, animations.

Pillow refuses a whole picture where such a part is damaged or large. What a reduced file has left is copied
byte for byte, so damaged pixels stay damaged. Nothing is unpacked."""

import struct
import zlib
from collections.abc import Iterator

from .signatures import format_of

PNG = b"\x89PNG\r\n\x1a\n"
CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # of PNG, that are needed
TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # of PNG, that may hold an orientation
SMALL = 1 << 20  # most bytes of what is kept for an orientation
# Tags of TIFF that are needed: sizes, samples, compressions, places, colour maps, orientation (274).
TAGS = {
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    280,
    281,
    284,
    292,
    293,
    297,
    301,
    317,
}
TAGS |= {318, 319, 320, 321, 322, 323, 324, 325, 332, 334, 336, 338, 339, 340, 341, 347, 50706, 50717}
DESCRIPTION = 270  # may say how many bits samples use (OME)
TAGS |= {*range(512, 522), *range(529, 533)}  # JPEG; YCbCr


def reduced(data: bytes) -> Iterator[bytes]:
    """The file with ever less of what is not needed, where its format has such parts.

    First what may turn or scale the picture is kept, then only pixels."""
    kind, before = format_of(data), data
    for orienting in (True, False):
        try:
            after = _REDUCE[kind](data, orienting) if kind in _REDUCE else data
        except (IndexError, struct.error):  # it ends in the middle
            return
        if after != before:
            yield after
        before = after


def _png(data: bytes, orienting: bool) -> bytes:
    kept, position = [PNG], len(PNG)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + 12 + length]
        if kind in CHUNKS or (orienting and _turns(kind, chunk)):
            kept.append(chunk)
        position += 12 + length
    return b"".join(kept)


def _turns(kind: bytes, chunk: bytes) -> bool:
    """Whether a chunk of PNG is whole, small, and of a kind that may hold an orientation."""
    body = chunk[8:-4]
    texts = kind in (b"tEXt", b"zTXt", b"iTXt") and body.startswith(TEXTS)
    whole = chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
    return (kind == b"eXIf" or texts) and len(body) <= SMALL and whole


def _jpeg(data: bytes, orienting: bool) -> bytes:
    """Segments up to the first scan but APPn and comments. JFIF and Adobe say what the colours are."""
    kept, position = [data[:2]], 2
    while data[position] == 0xFF and (marker := data[position + 1]) != 0xDA:
        if marker == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        segment = data[position : position + 2 + length]
        body = segment[4:]
        colours = (marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14) or marker == 0xEE
        exif = orienting and marker == 0xE1 and body.startswith(b"Exif\0\0")
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or colours or exif:
            kept.append(segment)
        position += 2 + length
    return b"".join([*kept, data[position:]])


def _gif(data: bytes, orienting: bool) -> bytes:
    """Extensions before the first picture but that of its transparency."""
    position = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    kept = [data[:position]]
    while data[position] == 0x21:
        end = position + 2
        while data[end]:
            end += 1 + data[end]
        if data[position + 1] == 0xF9:
            kept.append(data[position : end + 1])
        position = end + 1
    return b"".join([*kept, data[position:]])


def _tiff(data: bytes, orienting: bool) -> bytes:
    """The first directory without tags that are not needed, and without further pages. Not of BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    version, start = struct.unpack_from(f"{order}HI", data, 2)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    if version != 42:
        return data
    entries = [data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    needed = TAGS | {DESCRIPTION} if orienting else TAGS
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in needed]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + directory.ljust(6 + 12 * count, b"\0") + data[start + 6 + 12 * count :]


def _avif(data: bytes, orienting: bool) -> bytes:
    """Its EXIF item with another type; the orientation of an AVIF is a property of its picture."""
    return data.replace(b"Exif", b"none")


_REDUCE = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "TIFF": _tiff, "AVIF": _avif}
