#!/bin/sh
# Pillow swaps the bytes of float and signed samples of a TIFF that is big-endian and compressed.
#
# Expected: the same values whether a file is compressed or not.
# Seen:     libtiff has already put the samples into the order of the machine, and Pillow turns them round
#           again: 0.5 becomes 8.8e-44, and 1 becomes 4.6e-41. Unsigned samples of 16 bits are right, and so
#           is everything that is not compressed.
# Matters:  elevation models and measurements are float, and big-endian files come from ImageJ and Java. All
#           values are nearly 0 or NaN, so the picture is black.
# Versions: Pillow 13.0.0, tifffile 2026.3.3, on a little-endian machine
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

assert sys.byteorder == "little"
print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
right = {}
for name, samples in (
    ("float", np.array([[0.5, 1, 100]], np.float32)),
    ("signed 16 bits", np.array([[1, 256, 1000]], np.int16)),
    ("unsigned 16 bits", np.array([[1, 256, 1000]], np.uint16)),
):
    for compression in (None, "zlib"):
        file = io.BytesIO()
        tifffile.imwrite(file, samples, byteorder=">", compression=compression, metadata=None)
        file.seek(0)
        assert (tifffile.imread(file) == samples).all()
        with Image.open(file) as picture:
            values = np.asarray(picture)
        right[name, compression] = bool((values == samples).all())
        print(f"{name}, {compression or 'uncompressed'}: {values[0].tolist()}; expected {samples[0].tolist()}")
holds = [key for key, value in right.items() if not value] == [("float", "zlib"), ("signed 16 bits", "zlib")]
sys.exit(0 if holds else "changed: compressed samples are in order")
PYTHON
