"""Runs that trained a codec: loaded for use."""

from pathlib import Path

import torch

from . import build, checkpoint, run_files
from .codec_config import CodecConfig
from .errors import CheckpointError


def load(folder: Path, device: torch.device, warn=lambda line: None) -> torch.nn.Module:
    """The codec of a run in eval mode: the averaged weights of its newest sound checkpoint. Raises CheckpointError where it is
    no run of a codec, or has no checkpoint yet."""
    config = settings(folder)
    newest = checkpoint.latest(folder, warn)
    if newest is None:
        raise CheckpointError(f"{folder} has no checkpoint yet; let `rawmm train` go on until it saves one")
    codec = build.codec(config)
    checkpoint.load_weights(codec, checkpoint.tensors(newest, "ema"), newest)
    return codec.to(device).eval().requires_grad_(False)


def settings(folder: Path) -> CodecConfig:
    """The settings of a run of a codec, or of one of its checkpoints. Raises CheckpointError."""
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"{folder} is not a run: it has no config.yaml; train a codec with `rawmm train --preset fsq-f8`")
    config = run_files.config(folder)
    if not isinstance(config, CodecConfig):
        raise CheckpointError(f"{folder} is a run of a model that draws and reads, not of a codec; train one with `rawmm train "
                              "--preset fsq-f8`")
    return config
