#!/bin/sh
# safetensors.numpy writes a transposed array as other numbers under the right shape.
#
# Expected: an array comes back as it was, or, as with safetensors.torch, saving one that is not contiguous is
#           an error.
# Seen:     `save_file` takes the bytes in memory order and the shape of the view, so a picture turned from
#           height, width, channel to channel, height, width and a crop of it come back scrambled. No warning.
#           The docstring asks for contiguous arrays, and nothing checks it.
# Matters:  exactly this transpose stands before most image arrays and weights; the file has the right names,
#           shapes, types and sizes.
# Versions: safetensors 0.8.0, numpy 2.4.6
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__)
picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
arrays = {
    "whole": picture,
    "transposed": picture.transpose(2, 0, 1),
    "crop": picture[2:6, 2:6],
    "transposed, copied": np.ascontiguousarray(picture.transpose(2, 0, 1)),
}
equal = {}
for name, array in arrays.items():
    save_file({"picture": array}, "picture.safetensors")
    loaded = load_file("picture.safetensors")["picture"]
    equal[name] = bool(np.array_equal(loaded, array))
    print(f"{name}: shape {loaded.shape}, equal {equal[name]}, a row {array[1, 0][:6]} -> {loaded[1, 0][:6]}")
stated = {"whole": True, "transposed": False, "crop": False, "transposed, copied": True}
sys.exit(0 if equal == stated else f"changed: stated {stated}")
PYTHON
