#!/bin/sh
# torch's MultiheadAttention over nothing but padding is 0 while it trains and NaN when it samples.
#
# Expected: one answer for a row whose keys are all masked, whichever way it is computed.
# Seen:     with need_weights=False the output is the bias of the output projection (attention 0) if gradients
#           are on, and NaN in `eval()` under `no_grad`, where another kernel is used. With need_weights=True
#           it is NaN in both. `scaled_dot_product_attention` itself gives 0.
# Matters:  an empty caption, as in classifier-free guidance, is such a row. Training looks healthy, and the
#           first picture that is drawn is NaN.
# Versions: torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import torch
import torch.nn.functional as F

warnings.simplefilter("ignore")
print("torch", torch.__version__)
torch.manual_seed(0)
attention = torch.nn.MultiheadAttention(16, 2, batch_first=True).eval()
tokens = torch.randn(2, 4, 16)
padding = torch.tensor([[False, False, True, True], [True, True, True, True]])
seen = {}
for gradients in (True, False):
    for weights in (False, True):
        with torch.set_grad_enabled(gradients):
            output, _ = attention(tokens, tokens, tokens, key_padding_mask=padding, need_weights=weights)
        assert not output[0].isnan().any()
        largest = output[1].abs().max().item()
        seen[gradients, weights] = "NaN" if output[1].isnan().all() else f"largest {largest:.3f}"
        print(
            f"gradients {gradients!s:5} need_weights {weights!s:5}: all padding: {seen[gradients, weights]}"
        )
heads = tokens.view(2, 4, 2, 8).transpose(1, 2)
mask = ~padding[:, None, None, :].expand(2, 1, 4, 4)
plain = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)
print(f"scaled_dot_product_attention: largest {plain[1].abs().max().item():.3f}")
holds = list(seen.values()) == ["largest 0.000", "NaN", "NaN", "NaN"] and plain[1].abs().max().item() == 0
sys.exit(0 if holds else "changed: rows of padding alone have other outputs")
PYTHON
