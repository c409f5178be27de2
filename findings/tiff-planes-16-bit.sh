#!/bin/sh
# Pillow reads uncompressed 16-bit colour TIFF in separate planes as noise.
#
# Expected: the picture that the same samples give interleaved, or compressed, or an error.
# Seen:     for PlanarConfiguration 2 without compression every plane is read with the unpacker of 8-bit bands:
#           the bytes of a row's first half become its pixels. No error, no warning. Compressed planes, which
#           libtiff reads, and 8-bit planes are right.
# Matters:  ImageJ and scientific writers store colour in planes. Such files look like texture, so a look at
#           a few pictures of a data set may not show it.
# Versions: Pillow 13.0.0, tifffile 2026.3.3
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

print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
colour = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
deep = colour.astype(np.uint16) * 257  # the upper byte is the 8-bit picture
right = {}
for name, samples, options in (
    ("16 bits, interleaved", deep, {"planarconfig": "contig"}),
    ("16 bits, planes, zlib", deep, {"planarconfig": "separate", "compression": "zlib"}),
    ("8 bits, planes", colour, {"planarconfig": "separate"}),
    ("16 bits, planes", deep, {"planarconfig": "separate"}),
):
    if options["planarconfig"] == "separate":
        samples = np.ascontiguousarray(samples.transpose(2, 0, 1))
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric="rgb", metadata=None, **options)
    file.seek(0)
    assert (tifffile.imread(file) == samples).all()
    with Image.open(file) as picture:
        difference = np.abs(np.asarray(picture).astype(int) - colour).max()
    right[name] = bool(difference == 0)
    print(f"{name}: greatest difference {difference}, expected 0")
holds = list(right.values()) == [True, True, True, False]
sys.exit(0 if holds else "changed: planes of 16 bits are read, or refused")
PYTHON
