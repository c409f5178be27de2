#!/bin/sh
# diffusers' VaeImageProcessor takes uint8 arrays for pictures between 0 and 1.
#
# Expected: a picture as a PIL image and the same pixels as a uint8 array give the same input between -1 and
#           1, or an error.
# Seen:     arrays and tensors are not divided by 255, whatever their type, so pixels come out between -1 and
#           509. There is a warning for values below 0, none for values above 1.
# Matters:  uint8 is what numpy and image loaders hold. The autoencoder returns a picture for such input too,
#           and the reconstruction looks like that of a bad codec.
# Versions: diffusers 0.42.1, torch 2.13.0, numpy 2.4.6, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile diffusers==0.42.1 torch==2.13.0 numpy==2.4.6 pillow==13.0.0
venv/bin/python - <<'PYTHON'
import sys
import warnings

import diffusers
import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

print("diffusers", diffusers.__version__, "torch", torch.__version__)
pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, -1)
processor = VaeImageProcessor()
inputs = {
    "PIL image": Image.fromarray(pixels),
    "float array, 0 to 1": pixels[None].astype(np.float32) / 255,
    "uint8 array": pixels[None],
    "uint8 tensor": torch.from_numpy(pixels).permute(2, 0, 1)[None],
}
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, picture in inputs.items():
        values = processor.preprocess(picture)
        seen[name] = (values.min().item(), values.max().item())
        print(f"{name}: expected -1.0 to 1.0, seen {seen[name][0]} to {seen[name][1]}")
print(f"warnings: {len(caught)}")
holds = list(seen.values()) == [(-1, 1), (-1, 1), (-1, 509), (-1, 509)] and not caught
sys.exit(0 if holds else "changed: uint8 arrays are taken otherwise")
PYTHON
