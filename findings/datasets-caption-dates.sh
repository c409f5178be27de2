#!/bin/sh
# Captions that are dates come back as datetimes from datasets' imagefolder.
#
# Expected: JSON has no dates; a caption written as a string in metadata.jsonl is read as that string.
# Seen:     if every caption reads as an ISO date or time, the column is a timestamp, the rows are datetimes,
#           and two different captions become equal. One caption that is no date, and the column is text.
# Matters:  sets of date stamps, receipts, meter readings and other pictures of text: the target that a
#           reading model must write is lost, and whether it is depends on the other rows of the file.
# Versions: datasets 5.2.0, pyarrow 26.0.1, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile datasets==5.2.0 pyarrow==26.0.1 pillow==13.0.0
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import json
import pathlib
import sys

import datasets
import pyarrow
from PIL import Image

datasets.disable_progress_bars()
print("datasets", datasets.__version__, "pyarrow", pyarrow.__version__)


def read(folder, captions):
    pathlib.Path(folder).mkdir()
    rows = [{"file_name": f"{i}.png", "text": caption} for i, caption in enumerate(captions)]
    for row in rows:
        Image.new("RGB", (4, 4)).save(pathlib.Path(folder, row["file_name"]))
    pathlib.Path(folder, "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = datasets.load_dataset("imagefolder", data_dir=folder, split="train")
    print(f"written  {captions}\nread     {loaded['text'][:]}\nas       {loaded.features['text']}")
    return loaded


dates = read("dates", ["2024-01-01", "2024-01-01T00:00:00"])
mixed = read("mixed", ["2024-01-01", "2024-01-01T00:00:00", "no date"])
holds = (
    dates.features["text"].dtype.startswith("timestamp")
    and dates["text"][0] == dates["text"][1]
    and mixed["text"][:] == ["2024-01-01", "2024-01-01T00:00:00", "no date"]
)
sys.exit(0 if holds else "changed: captions that are dates stay text")
PYTHON
