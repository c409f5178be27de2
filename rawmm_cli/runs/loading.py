"""From a run on disk to a model: its settings, its weights, its tokenizer, the codec frozen in it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..config import build, presets
from ..config.explain import nearest
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..core.model import RawModel
from ..core.text_tokenizer import BytePairs, Bytes
from ..system import manifest
from ..system.disk import open_file, read_file
from ..system.errors import CheckpointError
from ..system.figures import counted
from . import checkpoint
from .checkpoint import TOKENIZER
from .folder import read_config
from .sharded import read_sharded

LARGEST = 256_000_000  # bytes of a tokenizer
CODEC = "codec"  # weights of a frozen codec beside an exported model


def find_run(runs: Path, name: str | None) -> Path:
    """A name under `runs`, or a path, or (None) the run that saved a checkpoint last. Raises
    CheckpointError."""
    names = sorted(path.parent.name for path in runs.glob("[!.]*/config.yaml"))
    if name is None:
        if not names:
            raise CheckpointError(f"no run in {runs}; train one first: `rawmm train --preset digits`")
        saved = [path for path in runs.glob("[!.]*/checkpoints") if path.parent.name in names]
        return max(saved or runs.glob("[!.]*/config.yaml"), key=lambda path: path.stat().st_mtime).parent
    run = Path(name) if "/" in name or Path(name, "config.yaml").is_file() else runs / name
    if not (run / "config.yaml").is_file():
        near = nearest(run.name, names)
        listed = (
            f"runs here: {', '.join(names)}"
            if names
            else "there is none yet; `rawmm train --preset digits` makes one"
        )
        raise CheckpointError(f"no run '{name}' in {runs}{near}; {listed}")
    return run


def run_config(run: Path) -> Config:
    """The settings in the config.yaml of a run, or of one of its checkpoints. Raises CheckpointError where it
    trains a codec."""
    config = read_config(run)
    if not isinstance(config, Config):
        raise CheckpointError(
            f"{run} is a run of a codec, not of a model that draws and reads; use it as `rawmm reconstruct "
            f"--codec {run}`, or name another run"
        )
    return config


def load_model(
    run: Path, device: torch.device, warn: Callable[[str], None] = lambda line: None
) -> tuple[RawModel, Config, dict]:
    """A run's averaged weights, ready to sample -> (model in eval mode, its settings, state of the
    checkpoint)."""
    config = run_config(run)
    folder = checkpoint.latest(run, warn)
    if folder is None:
        raise CheckpointError(f"{run} has no checkpoint yet; let `rawmm train` go on until it saves one")
    model = build.model(config, device, stored=stored(folder, "ema"))
    load_weights(model, checked(tensors(folder, "ema"), folder), folder)
    load_frozen(model, run, config)
    saved = checkpoint.state(folder)
    model.tokenizer = text_tokenizer(run, config, saved.get("tokenizer"))
    return for_sampling(model), config, saved


def load_frozen(model: RawModel, folder: Path, config: Config) -> None:
    """Give the codec frozen inside a model its weights: those beside an exported model in `folder`, or those
    of the codec's run. Raises CheckpointError where they are missing, or not those of codec.hash."""
    if not isinstance(config.codec, FrozenCodec):
        return
    stored_in, name = frozen_weights(folder, config.codec)
    if manifest.recorded(stored_in, name) != config.codec.hash:
        raise CheckpointError(
            f"{stored_in} holds another codec than the one that {folder} was trained with (codec.hash = "
            f"{config.codec.hash[:12]}); bring that back, or train the model again"
        )
    load_weights(model.codec.inner, checked(tensors(stored_in, name), stored_in), stored_in)


def frozen_weights(folder: Path, codec: FrozenCodec) -> tuple[Path, str]:
    """Where the weights of the codec of a model lie: a folder with a manifest, and their name there.

    folder: the model's run, or an exported model. Raises CheckpointError where there are none."""
    if (folder / f"{CODEC}.safetensors").is_file():
        return folder, CODEC
    run = codec_run(folder.parent, codec.run)
    if (newest := checkpoint.latest(run)) is None:
        raise CheckpointError(
            f"codec.run = {codec.run}: {run} has no checkpoint yet; let `rawmm train` go on until it saves "
            f"one"
        )
    return newest, "ema"


def codec_run(runs: Path, name: str) -> Path:
    """The folder of codec.run: a name under `runs`, or a path. Raises CheckpointError where there is none."""
    run = Path(name) if "/" in name else runs / name
    if not (run / "config.yaml").is_file():
        names = sorted(path.parent.name for path in runs.glob("[!.]*/config.yaml"))
        known = run.name in presets.names()
        how = f"--preset {run.name}" if known else f"--preset fsq-f8 --run {run.name}"
        raise CheckpointError(
            f"codec.run = {name}: there is no run {run}{nearest(run.name, names)}; bring it back, or train a "
            f"codec: `rawmm train {how}`"
        )
    return run


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors NAME of a checkpoint, whole, whether one process has written them or several."""
    if (folder / name).is_dir():
        return read_sharded(folder / name)
    path = folder / f"{name}.safetensors"
    try:
        open_file(path).close()  # the library would wait for a named pipe
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{path} cannot be read: {reason}") from None


def stored(folder: Path, name: str) -> int:
    """Bytes of the tensors NAME of a checkpoint."""
    files = [folder / f"{name}.safetensors", *(folder / name).glob("*.safetensors")]
    return sum(path.stat().st_size for path in files if path.is_file())


def checked(values: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """The tensors, unchanged. Raises CheckpointError where one is neither fp32 nor whole numbers, or is not
    finite: a checksum that fits does not say that whoever made it meant well."""
    for name, value in values.items():
        if value.dtype not in (torch.float32, torch.int64, torch.bool):
            raise CheckpointError(f"the weights in {folder} are not usable: {name} is {value.dtype}")
        if (
            value.dtype == torch.float32
            and value.numel()
            and not torch.stack(value.aminmax()).isfinite().all()
        ):
            raise CheckpointError(
                f"the weights in {folder} are damaged: {name} holds numbers that are not finite"
            )
    return values


def load_weights(model: torch.nn.Module, values: dict[str, torch.Tensor], folder: Path) -> None:
    """Strict load. Raises CheckpointError with the first name or shape that does not fit."""
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        lines = str(error).splitlines()
        problem = " ".join(lines[1:2]).strip()
        raise CheckpointError(
            f"the weights in {folder} do not fit the settings: {problem[:300]}{'...' * (len(problem) > 300)}"
        ) from None


def text_tokenizer(run: Path, config: Config, expected: str | None) -> Bytes | BytePairs:
    """The tokenizer of a run's texts. expected: SHA-256 of its file, where it has one. Raises
    CheckpointError."""
    if config.text_tokenizer.kind == "bytes":
        return Bytes()
    path = run / TOKENIZER
    try:
        stored = read_file(path, LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise CheckpointError(
            f"{path} cannot be read ({reason}) and the run cannot be used without it; bring it back, or "
            "train again"
        ) from None
    if expected not in (None, digest(stored)):
        raise CheckpointError(
            f"{path} is not the tokenizer that the run was trained with; bring that back, or train again"
        )
    pairs = BytePairs(stored)
    if pairs.vocabulary > config.text_tokenizer.size:
        raise CheckpointError(
            f"{path} has {counted(pairs.vocabulary, 'token')}; allowed by the settings: "
            f"{config.text_tokenizer.size:,}; bring back the tokenizer of this model"
        )
    return pairs


def digest(text: str | None) -> str | None:
    """SHA-256 of a text."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


@torch.no_grad()
def for_sampling(model: RawModel) -> RawModel:
    """The same model, ready to be used and not trained. Matrices that widen lie in memory as their
    transposes: a token of text alone then takes half the time on a CPU (`docs/log.md`), and several rows no
    longer."""
    for module in model.modules():
        if (
            isinstance(module, torch.nn.Linear)
            and module.out_features > module.in_features
            and not module.weight.is_cuda
        ):
            module.weight.data = module.weight.data.t().contiguous().t()
    return model.eval()
