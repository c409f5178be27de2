#!/bin/sh
# torchmetrics' mean squared and mean absolute errors of uint8 pictures wrap around at 256.
#
# Expected: the errors of the pictures, or an error about the type.
# Seen:     differences are taken in uint8, so 3 - 5 is 254, and squares are taken modulo 256. MSE is too
#           small, MAE far too large, with no warning. PSNR of the same tensors is right, because it converts
#           first.
# Matters:  uint8 is what image loaders give, and a reconstruction that is rounded to uint8 before it is
#           measured gets a plausible, wrong figure.
# Versions: torchmetrics 1.9.0, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torchmetrics==1.9.0 torch==2.13.0
venv/bin/python - <<'PYTHON'
import math
import sys

import torch
import torchmetrics
from torchmetrics.functional import mean_absolute_error, mean_squared_error
from torchmetrics.functional.image import peak_signal_noise_ratio

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
generator = torch.Generator().manual_seed(0)
picture = torch.randint(20, 236, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
noise = torch.randint(-20, 21, picture.shape, generator=generator)
other = (picture + noise).to(torch.uint8)
difference = other.double() - picture.double()
expected = {
    "MSE": difference.square().mean().item(),
    "MAE": difference.abs().mean().item(),
    "PSNR": 10 * math.log10(255**2 / difference.square().mean().item()),
}
seen = {
    "MSE": mean_squared_error(other, picture).item(),
    "MAE": mean_absolute_error(other, picture).item(),
    "PSNR": peak_signal_noise_ratio(other, picture, data_range=255.0).item(),
}
for name in seen:
    print(f"{name}: expected {expected[name]:.3f}, seen {seen[name]:.3f}")
holds = (
    seen["MSE"] < 0.9 * expected["MSE"]
    and seen["MAE"] > 5 * expected["MAE"]
    and abs(seen["PSNR"] - expected["PSNR"]) < 1e-3
)
sys.exit(0 if holds else "changed: the errors of uint8 pictures are other ones")
PYTHON
