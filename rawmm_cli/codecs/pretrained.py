"""Ready-made codecs of diffusers and transformers, from the hub or from a folder in its layout:
`hf:OWNER/NAME[/SUBFOLDER]`, `hf:./FOLDER`.

    VQModel, AutoencoderKL, AutoencoderKLFlux2, diffusers, by `_class_name` in config.json
    AutoencoderDC, AutoencoderTiny
    Emu3VQVAE, JanusVQVAE                       transformers, by `model_type`: emu3_vqgan, janus_vqgan; or
                                                emu3, janus, of which only the part `vqmodel` is read

Only config.json, preprocessor_config.json and .safetensors files are fetched; a local folder may have a .bin
instead, of which tensors alone are read. No code is run. Weights are fp32. Codecs that no library loads are
in `published/`."""

import json
from importlib.util import find_spec
from math import isfinite
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ..system.disk import open_file, read_file
from ..system.errors import CheckpointError, ConfigError, printable
from .published.families import FAMILIES, MODELS
from .published.model import Pretrained

# What libraries raise where files or settings do not fit.
FAILURES = (ImportError, OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError)
LARGEST = 10_000_000  # bytes of a file of settings
FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


def load(name: str, device: torch.device) -> Pretrained:
    """Codec of `OWNER/NAME[/SUBFOLDER]` of the hub, or of a folder (./FOLDER, /FOLDER), in eval mode.

    Raises ConfigError where a package is missing, CheckpointError where there is no such model or it is of
    another class."""
    folder = _folder(name)
    try:
        config = json.loads(read_file(folder / "config.json", LARGEST))
        kind = config.get("_class_name") or MODELS.get(config.get("model_type"), config.get("model_type"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"hf:{printable(name)} cannot be used: its config.json is missing or not readable "
            f"({type(error).__name__}); name the subfolder of the codec, as in hf:OWNER/NAME/vae"
        ) from None
    if kind not in FAMILIES:
        raise CheckpointError(
            f"hf:{printable(name)} is of class {printable(str(kind))}; allowed: {', '.join(FAMILIES)}; write "
            f"an adapter for any other: docs/tokenizers.md"
        )
    family = FAMILIES[kind]
    need(family.package)
    try:
        for file in (*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.bin")):
            open_file(file).close()  # the libraries would wait for a named pipe
        model = (
            _diffusers(folder, kind) if family.package == "diffusers" else _transformers(folder, kind, config)
        )
    except (*FAILURES, SafetensorError) as error:
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise CheckpointError(f"hf:{printable(name)} cannot be loaded as {kind}: {reason}") from None
    mean, spread = _pixels(folder)
    return Pretrained(model.float(), family, mean, spread).to(device).eval().requires_grad_(False)


def _diffusers(folder: Path, kind: str) -> nn.Module:
    import diffusers

    diffusers.logging.set_verbosity_error()  # `load` reports errors
    safe = any(
        folder.glob("*.safetensors")
    )  # else, in a local folder, a .bin: tensors alone are read from it
    return getattr(diffusers, kind).from_pretrained(
        str(folder), use_safetensors=safe, low_cpu_mem_usage=False
    )


def _transformers(folder: Path, kind: str, config: dict) -> nn.Module:
    """The model, or the part `vqmodel` of one that writes and draws. A missing weight is an error."""
    import transformers

    settings = getattr(transformers, f"{kind}Config")(
        **{
            key: value
            for key, value in config.get("vq_config", config).items()
            if key != "transformers_version"
        }
    )
    model, values = getattr(transformers, kind)(settings), {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:  # of a language model, only its tokenizer is read
            for key in tensors.keys():
                _, part, after = key.rpartition("vqmodel.")
                if part or "vq_config" not in config:
                    values[after if part else key] = tensors.get_tensor(key)
    model.load_state_dict(values)
    return model


def _pixels(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by which pixels are normalised; 0.5 each where the folder has none."""
    try:
        settings = json.loads(read_file(folder / "preprocessor_config.json", LARGEST))
        mean, spread = ([float(value) for value in settings[key]] for key in ("image_mean", "image_std"))
        if len(mean) == len(spread) == 3 and all(spread) and all(map(isfinite, mean + spread)):
            return mean, spread
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return [0.5] * 3, [0.5] * 3


def _folder(name: str) -> Path:
    """Folder of the files, which are fetched first where the hub has them."""
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise CheckpointError(
                f"hf:{printable(name)} is not a folder; give one with a config.json, or hf:OWNER/NAME of the "
                f"hub"
            )
        return folder
    owner, _, rest = name.partition("/")
    repo, _, inside = rest.partition("/")
    if not owner or not repo:
        raise ConfigError(
            f"codec hf:{printable(name)} is not a name; allowed: hf:OWNER/NAME, hf:OWNER/NAME/SUBFOLDER, "
            "hf:./FOLDER"
        )
    need("huggingface_hub")
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            f"{owner}/{repo}", allow_patterns=[f"{inside}/{file}" if inside else file for file in FILES]
        )
    except Exception as error:  # of almost any type
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise CheckpointError(
            f"hf:{printable(name)} cannot be fetched ({reason}); check the name and the network, or give a "
            "local copy: hf:./FOLDER"
        ) from None
    return Path(path) / inside


def need(package: str) -> None:
    """Raise ConfigError where a package of ready-made codecs is not installed."""
    if find_spec(package) is None:
        raise ConfigError(
            f"ready-made codecs need '{package}', which is not installed; pip install 'rawmm[pretrained]'"
        )
