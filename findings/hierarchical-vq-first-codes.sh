#!/bin/sh
# vector-quantize-pytorch's `HierarchicalVQ` takes the first codes of its shared table from the coarsest scale alone.
#
# Expected: `kmeans_init=True` (the default) makes the first codes centres of the vectors of all scales that share the
#           table.
# Seen:     the table is made when it is first called, which is for the coarsest scale: one mean vector a picture. Of
#           more codes than pictures the others are zero, and finer scales, whose vectors are larger, have no code
#           near them.
# Matters:  16 pictures, scales 1 2 4 and 64 codes: 336 vectors, and 16 codes that are not zero. Call the table once
#           with the vectors of all scales before the first step, or give each scale its own (`shared_codebook=False`).
# Versions: vector-quantize-pytorch 1.32.0, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile vector-quantize-pytorch==1.32.0 torch==2.13.0
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import torch
from vector_quantize_pytorch import HierarchicalVQ

for package in ("vector-quantize-pytorch", "torch"):
    print(package, importlib.metadata.version(package))
torch.manual_seed(0)
pictures = torch.randn(16, 8, 4, 4)
nonzero, longest = {}, {}
for shared in (True, False):
    quantizer = HierarchicalVQ(
        dim=8, codebook_size=64, scales=(1, 2, 4), shared_codebook=shared, accept_image_fmap=True
    ).eval()
    quantizer(pictures)
    codes = quantizer.get_vq(2)._codebook.embed[0]
    nonzero[shared], longest[shared] = int((codes != 0).any(-1).sum()), codes.norm(dim=-1).max().item()
    name = "shared" if shared else "the finest scale's own"
    print(f"{name} table: {nonzero[shared]} of 64 codes are not zero, the longest is {longest[shared]:.2f}")
print(f"vectors of the finest scale: {pictures.norm(dim=1).mean():.2f} on average")
holds = nonzero[True] <= 16 and nonzero[False] == 64 and longest[True] < longest[False]
sys.exit(0 if holds else "changed: first codes come from more than the coarsest scale")
PYTHON
