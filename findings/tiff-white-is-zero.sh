#!/bin/sh
# Pillow reads grey TIFF of 16 bits or float whose zero is white as a negative; of 8 bits it does not.
#
# Expected: PhotometricInterpretation 0 (WhiteIsZero) says that 0 is white, at every depth. A picture saved with
#           it looks the same at 8 and at 16 bits.
# Seen:     `Image.open` inverts samples of 1 to 8 bits and gives those of 16 bits and float as they are, with
#           nothing in `mode` or `info` that says so. Big-endian 16 bits cannot be opened at all.
# Matters:  scans, X-ray and microscopy come this way. A data set of mixed depths is half negatives.
# Versions: Pillow 13.0.0, tifffile 2026.3.3
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
grey = np.linspace(0, 1, 5)[None]  # 0 is white
first = {}
for name, samples, white in (
    ("8 bits", (grey * 255).astype(np.uint8), 255),
    ("16 bits", (grey * 65535).astype(np.uint16), 65535),
    ("float", grey.astype(np.float32), 1.0),
):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric="miniswhite", metadata=None)
    file.seek(0)
    with tifffile.TiffFile(file) as pages:
        assert pages.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    with Image.open(file) as picture:
        values = np.asarray(picture)
        print(f"{name}: mode {picture.mode}, {values[0].tolist()}; expected {white} first and 0 last")
        first[name] = bool(values[0, 0] == white and values[0, -1] == 0)
holds = first == {"8 bits": True, "16 bits": False, "float": False}
sys.exit(0 if holds else "changed: all depths are read alike")
PYTHON
