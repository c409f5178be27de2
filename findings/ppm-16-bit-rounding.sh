#!/bin/sh
# Pillow reads one picture of 16-bit colour as other pixels from PPM than from PNG or TIFF.
#
# Expected: 8-bit pixels that depend on the picture, not on the lossless format that it is stored in.
# Seen:     of PNG and TIFF the upper byte of each sample (v // 256), of PPM round(v / 65535 * 255), for P6 as
#           for P3. A quarter of all values differ, by one level.
# Matters:  a set that was converted from PPM to PNG is another set: checksums, exact duplicates and errors
#           that are meant to be 0 differ.
# Versions: pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image

print("pillow", PIL.__version__)
samples = np.arange(65535, dtype=">u2").reshape(1, -1, 3)  # every value but the last


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


width = samples.shape[1]
header = struct.pack(">IIBBBBB", width, 1, 16, 2, 0, 0, 0)  # 16 bits, RGB
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
png += chunk(b"IDAT", zlib.compress(b"\0" + samples.tobytes())) + chunk(b"IEND", b"")
raw = b"P6 %d 1 65535\n" % width + samples.tobytes()
plain = b"P3 %d 1 65535\n" % width + " ".join(map(str, samples.ravel())).encode() + b"\n"
pixels = [np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (png, raw, plain)]
upper, rounded = samples.astype(int) // 256, np.rint(samples.astype(int) / 257).astype(int)
differ = pixels[1] != pixels[0]
print(f"samples that differ between PNG and PPM: {differ.mean():.1%}, by {abs(pixels[1] - pixels[0]).max()}")
holds = (pixels[0] == upper).all() and all((one == rounded).all() for one in pixels[1:]) and differ.any()
sys.exit(0 if holds else "changed: PNG and PPM are read by another rule")
PYTHON
