"""A codec, ready to use: of a run that trained it, of a published model, or of a Python module."""

from collections.abc import Callable
from pathlib import Path

import torch

from ..config import build
from ..config.codecs import CodecConfig
from ..system.errors import CheckpointError
from . import checkpoint, loading
from .folder import read_config


def load_codec(
    folder: Path, device: torch.device, warn: Callable[[str], None] = lambda line: None
) -> torch.nn.Module:
    """The codec of a run in eval mode: the averaged weights of its newest sound checkpoint. Raises
    CheckpointError where it is no run of a codec, or has no checkpoint yet."""
    config = codec_settings(folder)
    newest = checkpoint.latest(folder, warn)
    if newest is None:
        raise CheckpointError(f"{folder} has no checkpoint yet; let `rawmm train` go on until it saves one")
    codec = build.codec(config, stored=loading.stored(newest, "ema"))
    loading.load_weights(codec, loading.checked(loading.tensors(newest, "ema"), newest), newest)
    return codec.to(device).eval().requires_grad_(False)


def open_codec(
    name: str, device: torch.device, warn: Callable[[str], None] = lambda line: None
) -> torch.nn.Module:
    """`hf:OWNER/NAME[/SUBFOLDER]`, `hf:./FOLDER`, `python:MODULE:FACTORY`, `public:NAME`, or the folder of a
    run -> a codec, ready to use."""
    kind, colon, rest = name.partition(":")
    if colon and kind == "hf":
        from ..codecs import pretrained

        return pretrained.load(rest, device)
    if colon and kind == "python":
        from ..codecs import adapter

        return adapter.load(rest, device)
    if colon and kind == "public":
        from . import public

        return public.open_public(rest, device)
    return load_codec(Path(name), device, warn)


def codec_settings(folder: Path) -> CodecConfig:
    """The settings of a run of a codec, or of one of its checkpoints. Raises CheckpointError."""
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(
            f"{folder} is not a run: it has no config.yaml; train a codec with `rawmm train --preset fsq-f8`"
        )
    config = read_config(folder)
    if not isinstance(config, CodecConfig):
        raise CheckpointError(
            f"{folder} is a run of a model that draws and reads, not of a codec; train one with `rawmm train "
            "--preset fsq-f8`"
        )
    return config
