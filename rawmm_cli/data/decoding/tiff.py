"""TIFF: Pillow's reader, and the right reading of files that it gets wrong.

white is zero, more than 8 bits or several samples    read as if black were zero, and inverted after
12 bits; fewer bits used than stored, by a tag        scaled: `Tiff.depth`
big-endian signed or float samples, compressed        libtiff gives them in the order of the machine
16-bit colour in separate planes, not compressed      planes of 16 bits, not of 8
colour map of 8-bit numbers                           as such, as libtiff does
everything that Pillow cannot read                    ValueError that says what it is
"""

import re
import sys
from typing import IO, NoReturn

from PIL import ImagePalette
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile

SIDE, WIDTHS, PHOTOMETRIC, DESCRIPTION, SAMPLES, COMPRESSION = 256, 258, 262, 270, 277, 259
MAX_SAMPLE, S_MAX_SAMPLE, PLANES, COLOUR_MAP, EXTRA, FORMAT = 281, 341, 284, 320, 338, 339
SUBFILE, DNG, WHITE_LEVEL = 254, 50706, 50717  # the latter two of DNG
FORMATS = {1: "unsigned", 2: "signed", 3: "float", 4: "untyped", 5: "complex", 6: "complex float"}
NATIVE = {"I;16BS": "I;16NS", "I;16S": "I;16NS", "I;32BS": "I;32NS", "I;32S": "I;32NS"}
NATIVE |= {"F;32BF": "F;32NF", "F;32F": "F;32NF"}
SIGNIFICANT = re.compile(r'SignificantBits="(\d{1,2})"')  # of OME-XML
DESCRIBED = 1_000_000  # characters that are searched for it


class Tiff(TiffImageFile):
    """The first page of a TIFF file.

    inverted: whether what was decoded must be inverted. depth: bits that a sample of more than 8 uses, where
    the file says so. signed: whether 8-bit samples are. unsigned: whether 32-bit ones are. Raises ValueError
    on a layout that Pillow cannot read."""

    inverted, depth, signed, unsigned = False, None, False, False

    def _setup(self) -> None:
        tags = self.tag_v2
        if DNG in tags and tags.get(SUBFILE, 0) & 1:
            raise ValueError("it is DNG, a raw photograph whose first page is a small preview; convert it")
        if SIDE not in tags:
            raise ValueError(
                "it is TIFF without the size of its picture: damaged, or a raw photograph; convert it"
            )
        width, samples = max(tags.get(WIDTHS, (1,))), tags.get(SAMPLES, 1)
        form = max(tags.get(FORMAT, (1,)))
        if tags.get(PHOTOMETRIC) == 0 and (width > 8 or samples != 1 or form != 1):
            self.inverted, tags[PHOTOMETRIC] = True, 1
        self.signed, self.unsigned = (width, form) == (8, 2), (width, form) == (32, 1)
        try:
            super()._setup()
        except (SyntaxError, KeyError, IndexError):
            self._refuse()
        if tags.get(PLANES, 1) == 2 and samples > 1:
            self._set_planes(width)
        if self.tile and self.tile[0].codec_name == "libtiff":
            raw, *rest = self.tile[0].args
            self.tile = [self.tile[0]._replace(args=(NATIVE.get(raw, raw), *rest))]
        if self.mode in ("P", "PA") and max(tags[COLOUR_MAP]) < 256:
            self.palette = ImagePalette.raw("RGB;L", bytes(tags[COLOUR_MAP]))
        self.depth = {8: None, 12: 12}.get(width, self._depth())

    def _set_planes(self, width: int) -> None:
        """Raw modes of separate planes: Pillow takes those of 8 bits for all. Raises ValueError."""
        bands = self.getbands()
        if bands[:3] != ("R", "G", "B") and (bands != ("C", "M", "Y", "K") or width != 8):
            self._refuse()
        if self.tile[0].codec_name != "raw":
            if (
                width == 16 and (self._depth() or 16) < 16
            ):  # of compressed planes, Pillow gives no lower bytes
                self._refuse()
            return
        end = {8: "", 16: ";16B" if self.tag_v2.prefix == b"MM" else ";16L"}.get(width)
        count, rest = divmod(len(self.tile), len(bands))
        if end is None or rest or max(self.tag_v2.get(EXTRA, (0,))) == 1:
            self._refuse()
        self.tile = [
            tile._replace(args=(bands[number // count] + end, *tile.args[1:]))
            for number, tile in enumerate(self.tile)
        ]

    def _depth(self) -> int | None:
        """Bits of a sample that a tag names: a greatest value 2^bits - 1, or the significant bits of OME."""
        for tag in (S_MAX_SAMPLE, MAX_SAMPLE, WHITE_LEVEL):
            value = self.tag_v2.get(tag)
            greatest = max(value) if isinstance(value, tuple) else value
            for bits in range(9, 33):
                if greatest == 2**bits - 1:
                    return bits
        description = str(self.tag_v2.get(DESCRIPTION, ""))[:DESCRIBED]
        match = SIGNIFICANT.search(description)
        return int(match[1]) if match and 8 < int(match[1]) < 33 else None

    def low_bytes(self, file: IO[bytes]) -> "Tiff":
        """The same picture of 16-bit colour again, decoded to the lower bytes of its samples."""
        file.seek(0)
        low = Tiff(file)
        low.tile = [tile._replace(args=(_other(tile.args[0]), *tile.args[1:])) for tile in low.tile]
        return low

    def _refuse(self) -> NoReturn:
        """Raise ValueError that describes the file."""
        tags = self.tag_v2
        samples, width = tags.get(SAMPLES, 1), max(tags.get(WIDTHS, (1,)))
        words = [f"{samples} {'sample' if samples == 1 else 'samples'} of {width} bits"]
        words.append(FORMATS.get(max(tags.get(FORMAT, (1,))), "of an unknown type"))
        words.append("big-endian" if tags.prefix == b"MM" else "little-endian")
        words += ["in separate planes"] if tags.get(PLANES, 1) == 2 else []
        words.append(f"compression {COMPRESSION_INFO.get(tags.get(COMPRESSION, 1), 'unknown')}")
        raise ValueError(
            f"it is TIFF with {', '.join(words)}, which is not read; allowed: grey of 8, 16 or 32 bits, "
            f"colour of 8 or 16; convert it"
        )


def _other(raw: str) -> str:
    """Raw mode of 16-bit samples in the other byte order, whose upper byte is the lower one of this."""
    native = "L" if sys.byteorder == "little" else "B"
    return raw[:-1] + {"L": "B", "B": "L"}[native if raw[-1] == "N" else raw[-1]]
