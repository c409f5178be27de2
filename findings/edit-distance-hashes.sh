#!/bin/sh
# editdistance and rapidfuzz compare the hashes of tokens, never the tokens: two tensors are always alike.
#
# Expected: the edit distance of two sequences of tokens is the same for lists, arrays and tensors of them, or
#           tensors are an error.
# Seen:     the elements of a torch tensor are new objects whose hash is their address, and as each is freed
#           before the next is made, all have the same one. editdistance then gives the difference of the two
#           lengths, whatever the tokens are; so does rapidfuzz mostly. Python's hash of -1 is that of -2, so
#           editdistance takes these two for the same number, and rapidfuzz does in numpy arrays.
# Matters:  error rates of drawn or read text and of image codes. A forgotten `.tolist()` gives an error rate
#           of nearly 0 to a model that has learned nothing; signed codes and ignored positions are -1 and -2.
# Versions: editdistance 0.8.1, rapidfuzz 3.14.6, torch 2.13.0, numpy 2.4.6
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile editdistance==0.8.1 rapidfuzz==3.14.6 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import random
import sys

import editdistance
import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

for package in ("editdistance", "rapidfuzz", "torch", "numpy"):
    print(package, importlib.metadata.version(package))


def reference(one, other):
    """Edit distance by comparing tokens (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for n, token in enumerate(one, 1):
        above, row[0] = row[0], n
        for m, wanted in enumerate(other, 1):
            above, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, above + (token != wanted))
    return row[-1]


random.seed(0)
pairs = [[random.choices(range(1000), k=random.randint(5, 20)) for _ in range(2)] for _ in range(50)]
expected = sum(reference(*pair) for pair in pairs)
lengths = sum(abs(len(one) - len(other)) for one, other in pairs)
print(f"50 pairs of unlike tokens: expected distances {expected} in all; differences of length {lengths}")
seen = {}
for name, distance in (("editdistance", editdistance.eval), ("rapidfuzz", Levenshtein.distance)):
    for kind, convert in (("lists", list), ("numpy", np.array), ("torch", torch.tensor)):
        seen[name, kind] = sum(distance(convert(one), convert(other)) for one, other in pairs)
    print(f"  {name:12} lists {seen[name, 'lists']}, numpy {seen[name, 'numpy']}, torch {seen[name, 'torch']}")
signed = {
    "editdistance, lists": editdistance.eval([-1, 3, -1], [-2, 3, -2]),
    "rapidfuzz, lists": Levenshtein.distance([-1, 3, -1], [-2, 3, -2]),
    "rapidfuzz, numpy": Levenshtein.distance(np.array([-1, 3, -1]), np.array([-2, 3, -2])),
}
for name, distance in signed.items():
    print(f"-1 3 -1 and -2 3 -2: expected 2, {name} {distance}")
holds = (
    seen["editdistance", "lists"] == seen["rapidfuzz", "lists"] == expected
    and seen["editdistance", "torch"] == lengths
    and seen["rapidfuzz", "torch"] < 0.8 * expected
    and list(signed.values()) == [0, 2, 0]
)
sys.exit(0 if holds else "changed: other distances of tensors, or of -1 and -2")
PYTHON
