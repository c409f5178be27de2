#!/bin/sh
# datasets forgets what was drawn into, or cut from, a picture in place.
#
# Expected: `map` and `from_dict` store the picture that they are given.
# Seen:     a picture that Pillow opened from a file is stored as the file's path, so `paste`, `thumbnail`,
#           `ImageDraw` and other changes in place are gone. The same change on `picture.copy()` is kept.
# Matters:  masks, watermarks, stamped captions and thumbnails that a preprocessing function makes in place
#           never reach training, and nothing says so.
# Versions: datasets 5.2.0, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile datasets==5.2.0 pillow==13.0.0
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import sys

import datasets
import PIL
from PIL import Image

datasets.disable_progress_bars()
print("datasets", datasets.__version__, "Pillow", PIL.__version__)
Image.new("RGB", (32, 32), (0, 0, 255)).save("blue.png")
rows = datasets.Dataset.from_dict({"image": ["blue.png"]}).cast_column("image", datasets.Image())


def paint(row):
    row["image"].paste((255, 0, 0), (0, 0, 16, 16))
    return row


def paint_copy(row):
    return paint({"image": row["image"].copy()})


def shrink(row):
    row["image"].thumbnail((8, 8))
    return row


picture = Image.open("blue.png")
picture.paste((255, 0, 0), (0, 0, 16, 16))
stored = datasets.Dataset.from_dict({"image": [picture]})
red, blue = (255, 0, 0), (0, 0, 255)
seen = {
    "map, paste: colour": (red, rows.map(paint)[0]["image"].getpixel((5, 5))),
    "map, thumbnail: size": ((8, 8), rows.map(shrink)[0]["image"].size),
    "from_dict, paste: colour": (red, stored[0]["image"].getpixel((5, 5))),
    "map, paste into a copy: colour": (red, rows.map(paint_copy)[0]["image"].getpixel((5, 5))),
}
for case, (expected, got) in seen.items():
    print(f"{case}: expected {expected}, seen {got}")
holds = [got for _, got in seen.values()] == [blue, (32, 32), blue, red]
sys.exit(0 if holds else "changed: some edits in place are stored now")
PYTHON
