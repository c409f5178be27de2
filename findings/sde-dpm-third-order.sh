#!/bin/sh
# The third order of diffusers' SDE-DPM-Solver++ is the least accurate of the three.
#
# Expected: with an exact network, a higher order is nearer to the data's spread at the same number of steps,
#           as with dpmsolver++ without noise.
# Seen:     in "sde-dpmsolver++" with `solver_order=3` the last constant has the sign of the deterministic
#           rule: the second difference is counted about -1 times where a third of the (small) step is right.
#           What is drawn is too noisy: 14 % too wide in 32 steps, where the second order is 3 % off, and after
#           256 steps the third is still behind the first. With the other sign it is the best of the three.
# Matters:  tables of solvers against steps. Pictures look grainy, which is put down to the noise of the SDE.
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
from diffusers import DPMSolverMultistepScheduler

print("diffusers", diffusers.__version__, "torch", torch.__version__)
DATA = 0.5  # standard deviation of the data, which is normal around 0


class Mended(DPMSolverMultistepScheduler):
    """The third order with the sign of the derivation: alpha * D2 comes back."""

    def multistep_dpm_solver_third_order_update(self, outputs, *args, sample, noise=None, **kwargs):
        result = super().multistep_dpm_solver_third_order_update(outputs, *args, sample=sample, noise=noise, **kwargs)
        sigmas = [self.sigmas[self.step_index + offset] for offset in (1, 0, -1, -2)]
        now, *before = [torch.log(alpha / sigma) for alpha, sigma in map(self._sigma_to_alpha_sigma_t, sigmas)]
        h, first, second = now - before[0], before[0] - before[1], before[1] - before[2]
        slope = (outputs[-1] - outputs[-2]) * h / first
        earlier = (outputs[-2] - outputs[-3]) * h / second
        return result + self._sigma_to_alpha_sigma_t(sigmas[0])[0] * (slope - earlier) * h / (first + second)


def spread(kind, steps, **settings):
    """Standard deviation of what is drawn, without sampling: every draw is linear in its noises, one a row."""
    scheduler = kind(use_flow_sigmas=True, prediction_type="flow_prediction", **settings)
    scheduler.set_timesteps(steps)
    sigma = scheduler.sigmas[0].double()
    sample = torch.zeros(steps + 1, 1, 1, 1, dtype=torch.float64)
    sample[0] = ((1 - sigma) ** 2 * DATA**2 + sigma**2).sqrt()
    for step, time in enumerate(scheduler.timesteps):
        sigma, noise = scheduler.sigmas[step].double(), torch.zeros_like(sample)
        noise[step + 1] = 1
        variance = (1 - sigma) ** 2 * DATA**2 + sigma**2
        velocity = (sigma - (1 - sigma) * DATA**2) / variance * sample  # E[noise - data | sample]
        sample = scheduler.step(velocity, time, sample, variance_noise=noise).prev_sample.double()
    return sample.square().sum().sqrt().item()


errors = {}
for name, kind, algorithm in (
    ("dpmsolver++", DPMSolverMultistepScheduler, "dpmsolver++"),
    ("sde-dpmsolver++", DPMSolverMultistepScheduler, "sde-dpmsolver++"),
    ("sde, mended", Mended, "sde-dpmsolver++"),
):
    for steps in (32, 64, 128, 256):
        seen = [spread(kind, steps, algorithm_type=algorithm, solver_order=order) for order in (1, 2, 3)]
        errors[name, steps] = [abs(value / DATA - 1) for value in seen]
        text = ", ".join(f"{value:.4f}" for value in seen)
        print(f"{name:15} {steps:3} steps: expected {DATA}, seen at orders 1, 2, 3: {text}")
holds = all(
    errors["sde-dpmsolver++", steps][2] > 2 * errors["sde-dpmsolver++", steps][1]
    and errors["sde-dpmsolver++", steps][2] > 2 * errors["sde, mended", steps][2]
    for steps in (32, 64, 128, 256)
)
sys.exit(0 if holds else "changed: the third order is no longer behind the second")
PYTHON
