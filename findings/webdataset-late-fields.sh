#!/bin/sh
# datasets' webdataset loader drops every field that first appears after the fifth sample of a tar.
#
# Expected: each sample has its own files, so a field that some samples lack is None there, or the loader says
#           that it cannot take such a tar.
# Seen:     the columns are fixed by the first five samples. A field that starts with the sixth vanishes
#           without a word; the same field with a gap among the first five is a ValueError; a gap after them
#           is None.
# Matters:  tars with uncaptioned pictures first, or with captions of another kind (.json) later, train
#           without them.
# Versions: datasets 5.2.0, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile datasets==5.2.0 pillow==13.0.0
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import io
import sys
import tarfile

import datasets
from PIL import Image

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
png = io.BytesIO()
Image.new("RGB", (4, 4)).save(png, "PNG")


def load(name, captioned):
    """The column `txt` of a tar of eight pictures, of which those in `captioned` have a caption."""
    with tarfile.open(name, "w") as tar:
        for i in range(8):
            for suffix, content in (("png", png.getvalue()), ("txt", b"caption %d" % i)):
                if suffix == "txt" and i not in captioned:
                    continue
                member = tarfile.TarInfo(f"{i}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    try:
        rows = datasets.load_dataset("webdataset", data_files={"train": name}, split="train", streaming=True)
        return [row.get("txt", "no such column") for row in rows]
    except ValueError as error:
        return type(error).__name__


seen = {}
for name, captioned in (("late", range(5, 8)), ("early-gap", range(1, 8)), ("late-gap", range(5))):
    seen[name] = load(f"{name}.tar", captioned)
    print(f"captions on samples {list(captioned)} of 0..7: {seen[name]}")
holds = (
    seen["late"] == ["no such column"] * 8
    and seen["early-gap"] == "ValueError"
    and seen["late-gap"] == [f"caption {i}" for i in range(5)] + [None] * 3
)
sys.exit(0 if holds else "changed: fields that start late are no longer dropped")
PYTHON
