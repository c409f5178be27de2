"""The peer's side, one process: train transfusion-pytorch as its MNIST example does, and print the
measurements as JSON.

The driver runs it with the Python of the peer's virtual environment. A step is that of the example: a batch
from a shuffling DataLoader, loss, backward, clipping at 0.5, Adam, moving average, and reading the loss."""

import argparse
import json
import time
from pathlib import Path

from . import documents
from .clocks import Window
from .settings import BATCH, CHANNELS, CLASSES, HEAD_WIDTH, HEADS, MODES, PATCH, PATCHES, SIZE, WARM


def build(width: int, depth: int):
    """The model of its MNIST example, with two differences: three channels, and no label is dropped for
    guidance (nor by rawmm's preset)."""
    from einops.layers.torch import Rearrange
    from torch import nn
    from transfusion_pytorch import Transfusion

    class Scale(nn.Module):
        def forward(self, x):
            return x * 2 - 1

    side = SIZE // PATCH
    patches = Rearrange("... c (h p) (w q) -> ... (p q c) h w", p=PATCH, q=PATCH)
    pixels = Rearrange("... (p q c) h w -> ... c (h p) (w q)", p=PATCH, q=PATCH, c=CHANNELS)
    return Transfusion(
        num_text_tokens=CLASSES,
        dim_latent=CHANNELS * PATCH**2,
        channel_first_latent=True,
        modality_default_shape=(side, side),
        modality_num_dim=2,
        add_pos_emb=True,
        prob_uncond=0.0,
        modality_encoder=nn.Sequential(patches, Scale()),
        modality_decoder=pixels,
        transformer={"dim": width, "depth": depth, "heads": HEADS, "dim_head": HEAD_WIDTH},
    )


def tensors(pictures, labels) -> list[tuple]:
    """Documents as in the example's data set: (label (1,) long, picture (3, 28, 28) float in [0, 1])."""
    import torch

    return [
        (torch.tensor([label]), torch.from_numpy(picture).permute(2, 0, 1) / 255)
        for picture, label in zip(pictures, labels.tolist())
    ]


def fingerprint(data: list[tuple]) -> str:
    """Fingerprint of the documents as the model gets them, converted back to bytes."""
    return documents.fingerprint(
        (picture.permute(1, 2, 0).mul(255).round().byte().numpy(), label.item()) for label, picture in data
    )


def endless(data: list[tuple], model):
    """Shuffled batches without end."""
    loader = model.create_dataloader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        yield from loader


def stepper(model, batches, mode: str):
    """A function that takes one training step and returns the loss."""
    import torch

    average, adam = model.create_ema(), torch.optim.Adam(model.parameters(), lr=3e-4)
    if mode.endswith("compiled"):
        model.transformer.compile()

    def step() -> float:
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=mode.startswith("bf16")):
            loss = model(next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        adam.step()
        adam.zero_grad()
        average.update()
        return loss.item()

    return step


def measure(step, seconds: float) -> dict:
    """Take WARM steps, then steps for `seconds` -> documents, seconds, disturbance and losses."""
    began = time.perf_counter()
    first = [step() for _ in range(WARM)][-1]
    count, window, started = 0, Window(), time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        last, count = step(), count + 1
    return {
        "documents": count * BATCH,
        "seconds": elapsed,
        "others": window.others(elapsed),
        "warm_up_seconds": started - began,
        "first_loss": first,
        "last_loss": last,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=" ".join(__doc__.partition("\n\n")[0].split()))
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--mode", choices=MODES, required=True)
    for name, kind in (("width", int), ("depth", int), ("threads", int), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = build(options.width, options.depth)
    lengths = set()
    watch = model.transformer.register_forward_pre_hook(
        lambda module, inputs: lengths.add(inputs[0].shape[1])
    )
    data = tensors(*documents.load(options.documents))
    batches = endless(data, model)
    with torch.no_grad():
        model(next(batches))  # counts positions, before the model is compiled
    watch.remove()
    measured = measure(stepper(model, batches, options.mode), options.seconds)
    print(
        json.dumps(
            {
                **measured,
                "positions": lengths.pop(),
                "patches": PATCHES,
                "torch": torch.__version__,
                "parameters": sum(p.numel() for p in model.transformer.parameters()),
                "fingerprint": fingerprint(data),
            }
        )
    )


if __name__ == "__main__":
    main()
