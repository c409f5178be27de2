#!/bin/sh
# Pillow loses the transparent value of a PNG of 2- or 4-bit grey, and of 16-bit colour.
#
# Expected: pixels that have the value of the tRNS chunk become transparent with `convert("RGBA")`, at each
#           depth.
# Seen:     samples of 2 and 4 bits are scaled to 0..255 when they are decoded, and the transparent value is
#           not: no pixel has it, unless it is 0. Of 16-bit colour the upper bytes are kept and compared with
#           the lower bytes of the transparent colour: other pixels vanish. Grey of 1 and 8 bits is right.
# Matters:  optimisers store drawings and icons this way. Composed on white, the background stays dark.
# Versions: Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile pillow==13.0.0
venv/bin/python - <<'PYTHON'
import io
import struct
import sys
import zlib

import PIL
from PIL import Image

print("Pillow", PIL.__version__)


def png(width, depth, colour, row, clear):
    """A PNG of one row, by its specification."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)),
        (b"tRNS", clear),
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def transparent(data):
    """Which pixels of the row are transparent."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    return [n for n in range(picture.width) if picture.getpixel((n, 0))[3] == 0]


seen = {}
for name, data in (
    ("1 bit", png(2, 1, 0, bytes([0b01000000]), struct.pack(">H", 1))),  # samples 0, 1
    ("2 bits", png(4, 2, 0, bytes([0b00011011]), struct.pack(">H", 1))),  # samples 0, 1, 2, 3
    ("4 bits", png(2, 4, 0, bytes([0x01]), struct.pack(">H", 1))),  # samples 0, 1
    ("8 bits", png(2, 8, 0, bytes([0, 1]), struct.pack(">H", 1))),
    ("16-bit colour", png(2, 16, 2, struct.pack(">6H", 256, 256, 256, 1, 1, 1), struct.pack(">3H", 1, 1, 1))),
):
    seen[name] = transparent(data)
    print(f"{name}: transparent pixels {seen[name]}, expected [1]")
holds = seen == {"1 bit": [1], "2 bits": [], "4 bits": [], "8 bits": [1], "16-bit colour": [0]}
sys.exit(0 if holds else "changed: the value is compared at the depth of the file")
PYTHON
