#!/bin/sh
# transformers' Janus image tokenizer looks for the nearest code in one space and decodes in another.
#
# Expected: the index that `encode` gives is the one whose decoder input is nearest to the latent. Both
#           normalise, or neither.
# Seen:     the search compares latents and codes as they are; `decode` scales every code to length 1. With
#           codes of unequal length, a large share of the indices is not the nearest one to the decoder. With
#           codes of length 1 the two agree.
# Matters:  tokenizing for training and fine-tuning the codebook, whose lengths nothing keeps at 1. Random
#           weights here: how far published weights are concerned depends on the lengths of their codes.
# Versions: transformers 5.23.0, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile transformers==5.23.0 torch==2.13.0
venv/bin/python - <<'PYTHON'
import sys

import torch
import torch.nn.functional as F
import transformers
from transformers import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAEVectorQuantizer

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.manual_seed(0)
codes, width, side = 512, 8, 16
config = JanusVQVAEConfig(embed_dim=width, num_embeddings=codes, num_patches=side)
quantizer = JanusVQVAEVectorQuantizer(config).eval()
directions = F.normalize(torch.randn(codes, width), dim=-1)
latents = torch.randn(8, width, side, side)
rows = F.normalize(latents.permute(0, 2, 3, 1).reshape(-1, width), dim=-1)
shares = {}
for name, lengths in (("1", torch.ones(codes, 1)), ("0.5 to 2", torch.linspace(0.5, 2, codes)[:, None])):
    with torch.no_grad():
        quantizer.embedding.weight.copy_(directions * lengths)
        indices = quantizer(latents)[2]
        entries = quantizer.get_codebook_entry(indices.view(8, -1)).permute(0, 2, 3, 1).reshape(-1, width)
    best = (rows @ directions.T).argmax(-1)
    shares[name] = (indices != best).float().mean().item()
    distance = (rows - entries).square().sum(-1).mean().item()
    least = (rows - directions[best]).square().sum(-1).mean().item()
    print(f"codes of length {name}: not the nearest {shares[name]:.1%}, expected 0.0%;", end=" ")
    print(f"squared distance to what is decoded {distance:.3f}, possible {least:.3f}")
holds = shares["1"] < 0.001 and shares["0.5 to 2"] > 0.3
sys.exit(0 if holds else "changed: the search and the decoder use other lengths")
PYTHON
