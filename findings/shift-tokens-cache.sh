#!/bin/sh
# x-transformers' key/value cache and `shift_tokens` do not go together, and `generate` caches by default.
#
# Expected: the same tokens with `cache_kv=True` and `cache_kv=False`, or no caching: networks that cannot be
#           cached say so in `can_cache_kv`, and are then computed in full.
# Seen:     with token shift a layer reads half of its channels from the token before. With the cache only the
#           newest token is passed on, so these channels are zero in every step after the first. `can_cache_kv`
#           stays True. A model that continues Fibonacci sequences without a fault gets most tokens wrong.
# Matters:  training loss and validation loss are right, only what is drawn is bad, which is put down to the
#           model: exposure bias, sampling, too little training.
# Versions: x-transformers 2.31.10, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile x-transformers==2.31.10 torch==2.13.0
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import torch
from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

for package in ("x-transformers", "torch"):
    print(package, importlib.metadata.version(package))
TOKENS, LENGTH = 7, 24


def sequences(count):
    """Fibonacci sequences modulo TOKENS, (count, LENGTH), from two random tokens."""
    tokens = torch.randint(0, TOKENS, (count, 2))
    while tokens.shape[1] < LENGTH:
        tokens = torch.cat([tokens, tokens[:, -2:].sum(1, keepdim=True) % TOKENS], dim=1)
    return tokens


shares = {}
for shift in (0, 1):
    torch.manual_seed(0)
    layers = Decoder(dim=64, depth=2, heads=2, attn_dim_head=32, shift_tokens=shift, rotary_pos_emb=True)
    network = TransformerWrapper(num_tokens=TOKENS, max_seq_len=LENGTH, attn_layers=layers)
    model = AutoregressiveWrapper(network)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = model(sequences(64))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    tokens = sequences(100)
    for cache in (False, True):
        drawn = model.generate(tokens[:, :8], LENGTH - 8, temperature=0.0, cache_kv=cache)
        shares[shift, cache] = (drawn == tokens[:, 8:]).float().mean().item()
    print(f"shift_tokens={shift}: last loss {loss.item():.4f}, can_cache_kv {network.can_cache_kv}, right tokens", end=" ")
    print(f"without the cache {shares[shift, False]:.1%}, with it {shares[shift, True]:.1%}")
holds = min(shares[0, False], shares[0, True], shares[1, False]) > 0.95 and shares[1, True] < 0.5
sys.exit(0 if holds else "changed: the cache and token shift agree, or the training failed")
PYTHON
