#!/bin/sh
# One word in a file or folder name makes datasets' imagefolder leave out all other pictures.
#
# Expected: a folder of pictures is loaded whole. Names decide at most which split a picture lands in.
# Seen:     as soon as one file or class folder is called "test", "train", "dev" or the like, also as a part
#           of a longer name ("steam-train.png"), the pictures without such a word are in no split. No
#           warning.
# Matters:  class folders "test" and "control" lose the whole control group; a folder of captioned pictures
#           shrinks to those that happen to show a train.
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
cases = {
    "class folders": ["test/0", "test/1", "control/0", "control/1", "control/2"],
    "file names": ["cat-on-mat", "dog", "eye-test", "steam-train"],
    "one name": ["bridge", "dev-board", "river"],
}
seen = {}
for case, names in cases.items():
    root = pathlib.Path(case.replace(" ", "-"))
    for name in names:
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    splits = datasets.load_dataset("imagefolder", data_dir=str(root))
    seen[case] = {split: len(rows) for split, rows in splits.items()}
    print(f"{case}: {', '.join(names)}\n  expected {len(names)} pictures, seen {seen[case]}")
stated = {
    "class folders": {"test": 2},
    "file names": {"train": 1, "test": 1},
    "one name": {"validation": 1},
}
sys.exit(0 if seen == stated else f"changed: stated {stated}")
PYTHON
