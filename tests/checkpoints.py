"""Small checkpoints whose values are a function of their step."""

import torch

from rawmm_cli.runs import checkpoint

FILES = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "config.yaml",
    "state.json",
    "MANIFEST.json",
)


def tensors(step):
    dice = torch.Generator().manual_seed(step)
    return {
        name: {
            "a/b": torch.randn(4, 3, generator=dice),
            "c": torch.tensor(float(step)),
            "t": torch.randn(5, 2, generator=dice).T,
        }
        for name in ("model", "ema", "optimizer")
    }


def save(run, step, keep=2):
    return checkpoint.save(
        run, step, tensors(step), {"documents": 16 * step, "seconds": 1.5, "data": "abc"}, keep
    )


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())
