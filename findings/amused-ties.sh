#!/bin/sh
# diffusers' AmusedScheduler ends its schedule at once where the network is sure and the temperature is 0.
#
# Expected: after each step as many tokens stay masked as the schedule says (of 64 in 8 cosine steps 62, 59, 53,
#           45, 35, 24, 12, 0), whatever the network says.
# Seen:     where probabilities of the chosen tokens are equal, as 1.0 in fp32 of a network that is sure, none of
#           them is below the cut, so none stays masked: all 64 are accepted after the first step, and the other
#           seven change nothing. A little noise of the order (the default temperature) breaks the ties.
# Matters:  temperature 0 is how one asks for reproducible steps, and fp16 probabilities tie from 0.9998 on: the
#           steps that are paid for do nothing, and tokens that depend on each other are drawn at once.
# Versions: diffusers 0.42.1, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 diffusers==0.42.1
venv/bin/python - <<'PYTHON'
import sys

import diffusers
import torch

print("diffusers", diffusers.__version__, "torch", torch.__version__)
MASK = 16
torch.manual_seed(0)
sure = 40.0 * torch.nn.functional.one_hot(torch.randint(0, 16, (1, 64)), 16)
unsure = sure / 8 + 0.01 * torch.randn(1, 64, 16)
seen = {}
for name, logits in (("sure", sure), ("unsure", unsure)):
    for temperature in ((0, 0), (2, 0)):
        scheduler = diffusers.AmusedScheduler(mask_token_id=MASK)
        scheduler.set_timesteps(8, temperature)
        state, masked = torch.full((1, 64), MASK), []
        for timestep in scheduler.timesteps.tolist():
            state = scheduler.step(logits, timestep, state).prev_sample
            masked.append((state == MASK).sum().item())
        seen[name, temperature] = masked
        print(f"{name:6} temperature {temperature}: masked after each step {masked}")
schedule = [62, 59, 53, 45, 35, 24, 12, 0]
holds = seen.pop(("sure", (0, 0))) == [0] * 8 and all(masked == schedule for masked in seen.values())
sys.exit(0 if holds else "changed: other numbers of tokens stay masked")
PYTHON
