#!/bin/sh
# vector-quantize-pytorch's `kmeans_init` leaves zero vectors where the first batch has fewer vectors than codes.
#
# Expected: codes that are vectors of the batch, some of them twice: the warning says that "duplicates will be
#           sampled".
# Seen:     they are sampled, and then the codebook is made anew from sums and counts of the clusters, which are
#           zero for duplicates: one code for each vector of the batch, and all the others exactly zero.
# Matters:  16,384 codes and a first batch of a few small pictures start with most codes at the origin. Without
#           `threshold_ema_dead_code` (0 switches it off) they stay there.
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
from vector_quantize_pytorch import VectorQuantize

for package in ("vector-quantize-pytorch", "torch"):
    print(package, importlib.metadata.version(package))
zeros = {}
for vectors in (1024, 64, 5):
    torch.manual_seed(0)
    quantizer = VectorQuantize(dim=4, codebook_size=32, kmeans_init=True, threshold_ema_dead_code=0)
    quantizer(torch.randn(1, vectors, 4))
    zeros[vectors] = int((quantizer._codebook.embed[0] == 0).all(-1).sum())
    print(f"{vectors} vectors, 32 codes: {zeros[vectors]} codes are zero, expected 0")
holds = zeros[1024] == 0 and zeros[5] == 27
sys.exit(0 if holds else "changed: codes without vectors are not zero")
PYTHON
