#!/bin/sh
# diffusers' tiny autoencoder (TAESD): `model(x)` is not decode(encode(x)), and its encoder does not learn.
#
# Expected: `forward` is encode, then decode, as in AutoencoderKL: a loss on `model(x).sample` trains both halves.
# Seen:     `forward` clamps the latents to -3..3 and rounds each number to one of 256 levels in between, "as if in an
#           RGBA image". Rounding to bytes cuts the gradient: every parameter of the encoder has none, without an error.
# Matters:  fine-tuning through `forward`, where half of the network stays as it was; comparing VAEs by `forward`, where
#           this one has 8 bits a number and the others 32. Call encode and decode instead.
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
from diffusers import AutoencoderKL, AutoencoderTiny

print("diffusers", diffusers.__version__, "torch", torch.__version__)
torch.manual_seed(0)
tiny = AutoencoderTiny(
    encoder_block_out_channels=(16, 16),
    decoder_block_out_channels=(16, 16),
    num_encoder_blocks=(1, 1),
    num_decoder_blocks=(1, 1),
)
kl = AutoencoderKL(
    block_out_channels=(16, 16),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=8,
)
images = torch.rand(2, 3, 32, 32) * 2 - 1


def learns(model, output):
    """Shares of the encoder's and of the decoder's parameters that a loss on the output reaches."""
    model.zero_grad(set_to_none=True)
    (output - images).square().mean().backward()
    shares = []
    for half in (model.encoder, model.decoder):
        gradients = [p.grad is not None for p in half.parameters()]
        shares.append(sum(gradients) / len(gradients))
    return shares


seen = {
    "AutoencoderKL(x)": learns(kl, kl(images).sample),
    "AutoencoderTiny, decode(encode(x))": learns(tiny, tiny.decode(tiny.encode(images).latents).sample),
    "AutoencoderTiny(x)": learns(tiny, tiny(images).sample),
}
for name, (encoder, decoder) in seen.items():
    print(f"{name}: gradients for {encoder:.0%} of the encoder and {decoder:.0%} of the decoder; expected 100% and 100%")
with torch.no_grad():
    latents = 40 * torch.randn(1, 4, 8, 8)  # wider than -3..3, as those of a bright picture may be
    stored = tiny.unscale_latents((tiny.scale_latents(latents) * 255).round() / 255)
print(f"latents up to {latents.abs().max():.0f} are stored as at most {stored.abs().max():.0f}, in 256 levels")
holds = seen["AutoencoderTiny(x)"] == [0.0, 1.0] and all(
    each == [1.0, 1.0] for name, each in seen.items() if name != "AutoencoderTiny(x)"
)
sys.exit(0 if holds else "changed: forward of the tiny autoencoder reaches its encoder")
PYTHON
