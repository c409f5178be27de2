#!/bin/sh
# A damaged header in the middle of a tar file ends it without an error; the rest of the set is gone.
#
# Expected: an error, or what GNU tar does: it says so, goes on with the next header and exits with 2.
# Seen:     Python's tarfile takes a header whose checksum does not fit for the end of the archive. So do
#           datasets' webdataset loader and the package webdataset: one changed bit in the name of the fifth
#           of eight samples leaves four, and nothing is said.
# Matters:  shards of a training set are large and copied often. A shard that lost half of its samples looks
#           like a smaller shard; the end mark (two blocks of zeros) is not asked for either.
# Versions: Python 3.11.7, datasets 5.2.0, webdataset 1.0.2, Pillow 13.0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile datasets==5.2.0 pillow==13.0.0
venv/bin/pip install -q --no-compile webdataset==1.0.2
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import io
import platform
import sys
import tarfile

import datasets
import webdataset
from PIL import Image

datasets.disable_progress_bars()
print("Python", platform.python_version(), "datasets", datasets.__version__)
png = io.BytesIO()
Image.new("RGB", (4, 4)).save(png, "PNG")
with tarfile.open("whole.tar", "w") as tar:
    for number in range(8):
        for suffix, content in (("png", png.getvalue()), ("txt", b"caption")):
            member = tarfile.TarInfo(f"{number}.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
data = bytearray(open("whole.tar", "rb").read())
data[data.index(b"4.png\0")] ^= 1  # 4.png becomes 5.png, and the checksum of its header no longer fits
open("damaged.tar", "wb").write(data)


def samples(name):
    """Samples that tarfile, datasets and webdataset find in a tar."""
    with tarfile.open(name) as tar:
        names = tar.getnames()
    rows = datasets.load_dataset("webdataset", data_files={"train": name}, split="train", streaming=True)
    shard = webdataset.WebDataset(name, shardshuffle=False)
    return len(names) // 2, len(list(rows)), len(list(shard))


seen = {name: samples(f"{name}.tar") for name in ("whole", "damaged")}
for name, counts in seen.items():
    print(f"{name}.tar: tarfile, datasets, webdataset find {counts} of 8 samples")
sys.exit(0 if seen == {"whole": (8, 8, 8), "damaged": (4, 4, 4)} else "changed: stated 8 and 4 samples")
PYTHON
