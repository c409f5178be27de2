"""What a codec is, as a hash: two codecs of one key give the same reconstructions.

raw, resize@N           the word itself
jpeg@BITS ...           the word, the key of the codec whose bits it has, the version of Pillow
a run                   its settings and the manifest of its newest checkpoint
public:NAME             its commit on the hub
hf:./FOLDER             its settings and weights
any other               its weights, and what it makes of a test picture"""

import hashlib
from pathlib import Path
from typing import Any

import PIL
import torch
from torch import nn

from ..runs import checkpoint, public
from ..system.manifest import MANIFEST
from . import controls
from .round_trip import Trip

SETTINGS = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


def on_disk(words: list[str], run_of: Any) -> dict[str, str] | None:
    """Keys of codecs by their words, without loading any; None where one is known only when it is loaded.
    run_of: word -> folder of a run."""
    keys: dict[str, str] = {}
    for word in sorted(words, key=lambda one: one.partition("@")[0] in controls.FORMATS):
        kind, at, amount = word.partition("@")
        if word == "raw" or (at and kind == "resize"):
            keys[word] = word
        elif at and kind in controls.FORMATS:
            keys[word] = of_file(kind, keys.get(amount, amount))
        elif word.startswith("hf:") and word[3:4] in (".", "/", "~"):
            keys[word] = _of_folder(Path(word[3:]).expanduser())
        elif word.startswith(public.PREFIX) and (commit := public.facts(word)["commit"]):
            keys[word] = _sum([word, commit])
        elif word == "ode" or word.startswith(("hf:", "python:", "public:")):
            return None
        elif key := of_run(run_of(word)):
            keys[word] = key
        else:
            return None
    return keys


def of_file(kind: str, amount: str) -> str:
    """Key of an image file. amount: bits, or the key of the codec whose bits it has."""
    return _sum([kind, amount, PIL.__version__])


def of_run(folder: Path) -> str | None:
    """Key of a run: its newest sound checkpoint; None where there is none yet."""
    newest = checkpoint.latest(folder)
    return newest and _sum([(folder / "config.yaml").read_bytes(), (newest / MANIFEST).read_bytes()])


def of_model(loaded: Any, steps: int) -> str:
    """Key of the ODE of a model in so many steps."""
    return _sum([_weights(loaded.model).hexdigest(), repr(loaded.config), str(steps)])


def of_loaded(codec: Any, go: Any) -> str:
    """Key of a loaded codec. go: its round trip."""
    total = _weights(codec) if isinstance(codec, nn.Module) else hashlib.sha256()
    images = torch.arange(3 * 64 * 64).reshape(1, 3, 64, 64).mul(37).remainder(251).to(torch.uint8)
    try:
        trip: Trip = go(images)
        total.update(trip.back.numpy().tobytes())
    except ValueError:  # a size that does not fit: its weights alone
        pass
    return total.hexdigest()


def _weights(module: nn.Module) -> Any:
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total


def _of_folder(folder: Path) -> str:
    files = sorted(file for pattern in SETTINGS for file in folder.glob(pattern))
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode())
        with file.open("rb") as stream:
            while piece := stream.read(1 << 22):
                total.update(piece)
    return total.hexdigest()


def _sum(parts: list[str | bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()
