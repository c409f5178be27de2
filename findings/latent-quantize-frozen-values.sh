#!/bin/sh
# The learnable levels of vector-quantize-pytorch's LatentQuantize never receive a gradient.
#
# Expected: optimize_values=True, the default, makes the level values parameters, and training moves them to
#           the data.
# Seen:     they are in `parameters()`, but the straight-through estimate detaches them, and neither loss
#           reaches them: `grad` stays None and the values are the first ones after any number of steps.
# Matters:  the class is chosen over FSQ for its learned levels; the parameter count and the optimizer show
#           them, and an ablation of "learned against fixed levels" compares two equal things.
# Versions: vector-quantize-pytorch 1.32.0, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile vector-quantize-pytorch==1.32.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import torch
from vector_quantize_pytorch import LatentQuantize

for package in ("vector-quantize-pytorch", "torch"):
    print(package, importlib.metadata.version(package))
torch.manual_seed(0)
quantizer = LatentQuantize(levels=[5, 5], dim=2)
first = [values.detach().clone() for values in quantizer.values_per_latent]
optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
for _ in range(100):
    latents = (2 + torch.randn(4, 2, 8, 8)).requires_grad_()  # around 2; the first levels are -0.5 to 0.5
    output, _, loss = quantizer(latents)
    (loss + (output - latents).square().mean()).backward()
    optimizer.step()
count = sum(values.numel() for values in quantizer.parameters())
gradients = [values.grad for values in quantizer.values_per_latent]
moved = max((now - then).abs().max().item() for now, then in zip(quantizer.values_per_latent, first))
print(f"{count} trainable values; data around 2; expected: the values move there")
print(f"seen after 100 steps: gradients {gradients}, largest change of a value {moved}")
print(f"values: {[value.tolist() for value in quantizer.values_per_latent]}")
holds = count == 10 and gradients == [None, None] and moved == 0
sys.exit(0 if holds else "changed: the level values learn")
PYTHON
