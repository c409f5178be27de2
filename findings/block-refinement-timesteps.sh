#!/bin/sh
# diffusers' BlockRefinementScheduler draws random tokens where one loops over its `timesteps`.
#
# Expected: `for timestep in scheduler.timesteps: step(logits, timestep, sample)` commits a part of the tokens in
#           each step, as with every scheduler of diffusers, and ends with all of them.
# Seen:     `timesteps` counts down, N - 1 to 0, and `step` takes an index that counts up. Without a mask token
#           (uniform noise) everything is committed in the first step, and the last one, 0, starts anew: it
#           forgets what was committed and draws all tokens at random but one in N. EntropyBoundScheduler and
#           DiscreteDDIMScheduler, which take the same calls, count up in both.
# Matters:  one of the three is put in another's place to compare them. The network is called as often, nothing
#           is said, and what is drawn is noise with a few right tokens: the better the schedule, the worse.
# Versions: diffusers 0.42.1, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile diffusers==0.42.1 torch==2.13.0
venv/bin/python - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers import BlockRefinementScheduler, DiscreteDDIMScheduler, EntropyBoundScheduler

print("diffusers", diffusers.__version__, "torch", torch.__version__)
STEPS, LENGTH, TOKENS = 8, 32, 256
torch.manual_seed(0)
truth = torch.randint(0, TOKENS, (16, LENGTH))
logits = 8.0 * torch.nn.functional.one_hot(truth, TOKENS)  # a network that is always right, and 92 % sure


def draw(kind, order):
    """Share of right tokens at the end, and right tokens of a block after each step."""
    generator = torch.Generator().manual_seed(0)
    scheduler = kind()
    scheduler.set_timesteps(STEPS)
    sample = torch.randint(0, TOKENS, truth.shape, generator=generator)
    right = []
    for timestep in scheduler.timesteps if order == "timesteps" else range(STEPS):
        sample = scheduler.step(logits, timestep, sample, generator=generator).prev_sample
        right.append((sample == truth).float().mean().item() * LENGTH)
    return right[-1] / LENGTH, [round(count) for count in right]


shares = {}
for kind in (DiscreteDDIMScheduler, EntropyBoundScheduler, BlockRefinementScheduler):
    for order in ("timesteps", "range"):
        shares[kind.__name__, order], right = draw(kind, order)
        print(f"{kind.__name__:25} over {order:9}: expected > 90 %, seen {shares[kind.__name__, order]:.0%};", end=" ")
        print(f"right of {LENGTH} after each step {right}")
wrong = shares.pop(("BlockRefinementScheduler", "timesteps"))
holds = wrong < 0.3 and min(shares.values()) > 0.9
sys.exit(0 if holds else "changed: the loop over timesteps draws otherwise")
PYTHON
