"""A codec, ready to use: of a run that trained it, of a published model, or of a Python module; and what the
settings of a model say of the run whose codec is frozen in it."""

from collections.abc import Callable
from pathlib import Path

import torch

from ..config import build, presets
from ..config.codecs import CodecConfig
from ..config.fields import AUTO, CodecSettings
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..system import manifest
from ..system.errors import CheckpointError, ConfigError
from . import checkpoint, loading
from .folder import read_config
from .lock import is_training


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


def look_up(config: Config, run: Path) -> Config:
    """Settings of a model in which everything that follows from codec.run is filled in.

    run: the folder of the model's run, beside which the codec's lies; where it has a checkpoint, the codec
    must be that with which it was begun. Raises CheckpointError where the codec is missing, still in training
    or another one, ConfigError where it does not fit."""
    if not isinstance(config.codec, FrozenCodec):
        return config
    config = _as_begun(config, run)
    codec, folder = config.codec, loading.codec_run(run.parent, config.codec.run)
    learned = codec_settings(folder)
    if learned.codec.kind != codec.kind:
        raise ConfigError(
            f"codec.kind = {codec.kind}, and the codec of {folder} has codec.kind = {learned.codec.kind}; "
            f"set codec.kind={learned.codec.kind}"
        )
    newest, name = loading.frozen_weights(run, codec)
    digest = manifest.recorded(newest, name)
    if codec.hash not in (AUTO, digest):
        raise CheckpointError(
            f"{folder} holds another codec than the one that {run} was begun with (codec.hash = "
            f"{codec.hash[:12]}, now {digest[:12]}); bring that back, or train under another --run name"
        )
    if codec.hash == AUTO and is_training(folder):
        raise CheckpointError(
            f"codec.run = {codec.run} is still being trained, and a codec stays as it is inside a model; "
            f"wait until it has ended"
        )
    own = learned.codec.model_dump(mode="json")
    return presets.changed(
        config, {"codec.hash": digest, "codec.size": learned.data.size, "codec.learned": own}
    )


def _as_begun(config: Config, run: Path) -> Config:
    """The settings, with the codec with which the run was begun, where it is of the same run of a codec."""
    if not any(run.glob("checkpoints/step_*")) or not isinstance(saved := read_config(run), Config):
        return config
    asked, begun = (each.codec.model_dump(mode="json") for each in (config, saved))
    if asked["run"] != begun.get("run"):
        return config  # the comparison of all settings names it
    kept = {key: begun.get(key, AUTO) for key, value in asked.items() if value == AUTO}
    return presets.changed(config, {f"codec.{key}": value for key, value in kept.items()})


def with_hash(runs: Path, name: str, device: torch.device) -> tuple[torch.nn.Module, CodecSettings, str]:
    """The codec of a run by its name or folder, ready to use; its settings; the SHA-256 of its weights."""
    folder = loading.codec_run(runs, name)
    codec, newest = load_codec(folder, device), checkpoint.latest(folder)
    return codec, codec_settings(folder).codec, manifest.recorded(newest, "ema")


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
