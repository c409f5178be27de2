#!/bin/sh
# Pictures directly inside train/ and test/ get the names of the splits as their classes, and the training
# pictures None.
#
# Expected: train/ and test/ are splits. Pictures directly inside them have no class.
# Seen:     there is a column `label` with the classes "test" and "train". It is None for every picture of the
#           training split, which is looked at first, and "test" for those of the test split. No warning.
# Matters:  a set that nobody labelled trains a classifier, or makes captions, of a column that is empty in
#           one split and constant in the other.
# Versions: datasets 5.2.0, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile datasets==5.2.0 pillow==13.0.0
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import pathlib
import sys

import datasets
from PIL import Image

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
root = pathlib.Path("pictures")
for name in ("train/0", "train/1", "test/0", "test/1"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(root / f"{name}.png")
splits = datasets.load_dataset("imagefolder", data_dir=str(root))
classes = getattr(splits["train"].features.get("label"), "names", None)
seen = {split: list(rows["label"]) if classes else None for split, rows in splits.items()}
print(f"classes: expected none, seen {classes}\nlabels: expected none, seen {seen}")
stated = (["test", "train"], {"train": [None, None], "test": [0, 0]})
sys.exit(0 if (classes, seen) == stated else f"changed: stated {stated}")
PYTHON
