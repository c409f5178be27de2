#!/bin/sh
# open_clip's preprocessing picks single pixels out of palette pictures, and pads them with the first colour.
#
# Expected: a palette PNG or GIF and the same pixels as RGB give the same input to CLIP: bicubic, antialiased,
#           padded with black where `resize_mode="longest"` asks for it.
# Seen:     the picture is resized before it is converted to RGB, and of a palette picture Pillow can only take
#           the nearest pixel, whatever filter is asked for. The padding of "longest" is entry 0 of the palette,
#           which may be any colour: here it is white.
# Matters:  CLIP scores and labels of drawings kept as small PNG or GIF files, of charts, logos and screenshots.
#           Two sets of the same pictures, one saved with a palette, get other scores.
# Versions: open_clip_torch 3.3.0, torchvision 0.28.0, torch 2.13.0, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile open_clip_torch==3.3.0 torchvision==0.28.0 torch==2.13.0 pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import io
import sys

import numpy as np
from open_clip.transform import image_transform
from PIL import Image

for package in ("open_clip_torch", "torchvision", "torch", "pillow"):
    print(package, importlib.metadata.version(package))
y, x = np.mgrid[:448, :896]
board = ((x + y) % 2 * 255).astype(np.uint8)  # black and white fields of a pixel each: grey from a distance
palette = Image.fromarray(board).convert("P")
colours = palette.getpalette()
colours[:3], colours[765:] = [255, 255, 255], [0, 0, 0]  # a negative: entry 0 is white, entry 255 black
palette.putpalette(colours)
file = io.BytesIO()
palette.save(file, "PNG")
palette = Image.open(file)
rgb = palette.convert("RGB")
seen = {}
for mode in ("squash", "shortest", "longest"):
    transform = image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode)
    values = [transform(picture)[0] for picture in (rgb, palette)]
    seen[mode] = [((image[112] - 0.5).abs().mean().item(), image[0].mean().item()) for image in values]
    for kind, (contrast, edge) in zip(("RGB", palette.mode), seen[mode]):
        print(f"{mode:8} {kind:3}: middle row off grey by {contrast:.3f}, first row {edge:.3f} on average")
holds = all(rgb[0] < 0.1 and palette[0] > 0.45 for rgb, palette in seen.values())
holds = holds and seen["longest"][0][1] < 0.01 and seen["longest"][1][1] > 0.99
sys.exit(0 if holds else "changed: palette pictures are resized and padded otherwise")
PYTHON
