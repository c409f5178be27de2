#!/bin/sh
# N steps of diffusers' FlowMatchEulerDiscreteScheduler do the work of N - 1.
#
# Expected: set_timesteps(N) cuts the way from noise to picture into N parts: 1, (N - 1) / N, ..., 1 / N, then
#           0.
# Seen:     the N times are spread from 1 to 0.001, and 0 is appended, so the last evaluation of the network
#           covers a thousandth of the way. Two steps are 1 -> 0.001 -> 0: one step, paid twice. Sigmas that
#           the caller gives are used as they are, which is what some pipelines do.
# Matters:  few-step models and tables of quality against steps. The closed form below (standard normal data,
#           its exact velocity) has spread 1; the scheduler's own N steps give what N - 1 even ones do.
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
from diffusers import FlowMatchEulerDiscreteScheduler

print("diffusers", diffusers.__version__, "torch", torch.__version__)
noise = torch.randn(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def spread(**times):
    """Standard deviation of samples whose data is N(0, 1), drawn with the exact velocity; the truth is 1."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(**times)
    sample = noise
    for step, time in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[step].double()
        clean = (1 - sigma) * sample / ((1 - sigma) ** 2 + sigma**2)  # E[data | sample]
        added = sigma * sample / ((1 - sigma) ** 2 + sigma**2)  # E[noise | sample]
        sample = scheduler.step(added - clean, time, sample).prev_sample.double()
    return sample.std().item(), scheduler.sigmas.tolist()


def even(count):
    return [1 - i / count for i in range(count)]


holds = True
for count in (2, 3, 4, 8):
    own, sigmas = spread(num_inference_steps=count)
    given = spread(sigmas=even(count))[0]
    fewer = spread(sigmas=even(count - 1))[0]
    print(f"{count} steps, sigmas {[round(sigma, 3) for sigma in sigmas]}")
    print(f"  spread {own:.3f}; {count} even steps {given:.3f}; {count - 1} even steps {fewer:.3f}")
    holds = holds and sigmas[-2] < 0.002 and abs(own - fewer) < 0.005 and given > own + 0.01
sys.exit(0 if holds else "changed: the last step is no longer spent at 0.001")
PYTHON
