"""Weights of a published checkpoint, by their names.

safetensors, or a file of `torch.save`, which is read as tensors, numbers and containers alone
(`weights_only`): anything else in it is refused, and nothing of it is run."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

INSIDE = ("state_dict", "model")  # where training frameworks put the weights
EMA = "model_ema."  # averages of SEED-Voken, by names without dots


def read(file: Path) -> dict[str, Tensor]:
    """{name: tensor}: the averaged weights, as fp32, where there are any. Raises ValueError where there are
    no weights, and what torch and safetensors raise."""
    if file.suffix == ".safetensors":
        contents: Any = load_file(str(file))
    else:
        try:
            contents = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            if isinstance(error, (OSError, RuntimeError, MemoryError)):
                raise
            raise ValueError(f"{file.name} holds more than weights, or is damaged") from None
    for key in INSIDE:
        if isinstance(contents, dict) and isinstance(contents.get(key), dict):
            contents = contents[key]
    if not isinstance(contents, dict):
        raise ValueError(f"{file.name} holds no weights by name")
    tensors = {key: value for key, value in contents.items() if isinstance(value, Tensor)}
    averages = {key[len(EMA) :]: value for key, value in tensors.items() if key.startswith(EMA)}
    values = {
        key: averages.get(key.replace(".", ""), value)
        for key, value in tensors.items()
        if not key.startswith(EMA)
    }
    return {key: value.float() if value.is_floating_point() else value for key, value in values.items()}


def part(weights: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The weights whose names begin with one of the prefixes."""
    return {key: value for key, value in weights.items() if key.startswith(prefixes)}


def children(weights: dict[str, Tensor], prefix: str) -> list[str]:
    """Names that follow `prefix.`, in order: "0", "1", ... of a list of layers."""
    start = len(prefix) + 1
    names = {key[start:].partition(".")[0] for key in weights if key.startswith(prefix + ".")}
    return sorted(names, key=lambda name: (len(name), name))
