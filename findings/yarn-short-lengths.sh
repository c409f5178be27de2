#!/bin/sh
# YaRN of transformers changes no frequency where the length learned is short.
#
# Expected: pairs that turn less than once over the length learned are interpolated (divided by the factor),
#           as the paper defines by wavelength. With four positions learned these are all pairs.
# Seen:     the ramp between "as learned" and "divided" runs over indices of pairs. Its end is the index of
#           the pair that turns once, which is cut off from above but not from below: with four positions or
#           fewer that index is negative, the ramp runs backwards, and every pair keeps its frequency.
# Matters:  axes of pictures (rows, columns, frames) have few positions: a picture of twice the side is then
#           drawn by extrapolation under a setting that promises the contrary, with attention scaled for it.
# Versions: transformers 5.23.0, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile transformers==5.23.0 torch==2.13.0
venv/bin/python - <<'PYTHON'
import math
import sys

import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

print("transformers", transformers.__version__, "torch", torch.__version__)
WIDTH, BASE, FACTOR = 64, 10000.0, 2.0
learned = BASE ** (-torch.arange(0, WIDTH, 2) / WIDTH)


def slower(length):
    """How many times as slow each pair of a key becomes."""
    config = LlamaConfig(
        hidden_size=WIDTH,
        num_attention_heads=1,
        num_hidden_layers=1,
        max_position_embeddings=int(FACTOR * length),
        rope_parameters={
            "rope_type": "yarn",
            "factor": FACTOR,
            "rope_theta": BASE,
            "original_max_position_embeddings": length,
        },
    )
    frequency, scaling = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    return learned / frequency, scaling


holds = True
for length in (2, 3, 4, 8, 16):
    times, scaling = slower(length)
    once = int((length * learned / (2 * math.pi) < 1).sum())
    divided = int((times > 1.99).sum())
    print(f"{length:2} positions learned: {once} of {len(learned)} pairs turn less than once; {divided} are divided; "
          f"cos and sin times {scaling:.3f}")
    if length <= 4:
        holds = holds and once == len(learned) and divided == 0 and scaling > 1
    else:
        holds = holds and divided >= once - 1
sys.exit(0 if holds else "changed: short lengths are interpolated")
PYTHON
