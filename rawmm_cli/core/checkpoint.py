"""Checkpoints that can be trusted: safetensors and JSON, a manifest of SHA-256 sums, a rename as the commit point.

    runs/NAME/config.yaml                      the resolved settings
    runs/NAME/checkpoints/step_00000500/       model, ema, optimizer .safetensors, config.yaml, state.json, MANIFEST.json

A checkpoint is written into a new hidden folder, synced, and renamed; it is never changed afterwards. Loading takes the
newest one whose manifest verifies. No pickle anywhere.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from . import build
from . import config as configuration
from .config import Config
from .errors import CheckpointError, ConfigError, DiskFullError
from .model import RawModel

FORMAT = 1
MANIFEST = "MANIFEST.json"


# ------------------------------------------------------------------------------------------------------------ saving


def save(run: Path, step: int, tensors: dict[str, dict[str, torch.Tensor]], state: dict, keep: int) -> Path:
    """Write checkpoint `step` with one safetensors file per entry of `tensors`, then drop all but the newest `keep`."""
    folder = run / "checkpoints"
    final, partial = folder / f"step_{step:08d}", folder / f".step_{step:08d}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, values in tensors.items():
            contiguous = {key: value.detach().cpu().contiguous() for key, value in values.items()}
            save_file(contiguous, str(partial / f"{name}.safetensors"))
        shutil.copyfile(run / "config.yaml", partial / "config.yaml")
        (partial / "state.json").write_text(json.dumps({"format": FORMAT, "step": step, **state}, indent=1) + "\n")
        manifest = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(partial.iterdir())}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        _publish(partial, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise DiskFullError(f"no room to save checkpoint {final.name} in {folder}; the earlier ones are intact; "
                                "make room and run the same command again") from None
        raise
    steps = _steps(run)
    now = steps.index(final)                            # what stands behind it is damaged: the run went on before it
    for old in steps[now + 1:] + steps[:now + 1][:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _publish(partial: Path, final: Path) -> None:
    """Sync every file, make them readable by others as the umask allows, rename, sync the folder."""
    mask = os.umask(0)
    os.umask(mask)
    for path in partial.iterdir():
        path.chmod(0o666 & ~mask)                       # safetensors writes 0600 whatever the umask
        _sync(path)
    _sync(partial)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ----------------------------------------------------------------------------------------------------------- loading


def find_run(runs: Path, name: str | None) -> Path:
    """A name under `runs`, or a path, or (None) the run that saved a checkpoint last. Raises CheckpointError."""
    names = sorted(path.parent.name for path in runs.glob("*/config.yaml"))
    if name is None:
        if not names:
            raise CheckpointError(f"no run in {runs}; train one first: `rawmm train --preset digits`")
        saved = [path for path in runs.glob("*/checkpoints") if path.parent.name in names]
        return max(saved or runs.glob("*/config.yaml"), key=lambda path: path.stat().st_mtime).parent
    run = Path(name) if "/" in name or Path(name, "config.yaml").is_file() else runs / name
    if not (run / "config.yaml").is_file():
        near = configuration.nearest(run.name, names)
        listed = f"runs here: {', '.join(names)}" if names else "there is none yet; `rawmm train --preset digits` makes one"
        raise CheckpointError(f"no run '{name}' in {runs}{near}; {listed}")
    return run


def latest(run: Path, warn=lambda message: None) -> Path | None:
    """The newest checkpoint that verifies, or None where there is none at all. `warn` hears of damaged ones.

    Raises CheckpointError where checkpoints exist and every one is damaged."""
    steps = _steps(run)
    for folder in reversed(steps):
        problem = verify(folder)
        if problem is None:
            return folder
        warn(f"checkpoint {folder.name} is damaged ({problem}); trying the one before it")
    if steps:
        raise CheckpointError(f"every checkpoint of {run} is damaged; newest: {verify(steps[-1])}; "
                              f"delete {run} and train again")
    return None


def sweep(run: Path) -> None:
    """Remove what a killed process left half written. Only the process that holds the run's lock may do this."""
    for partial in (run / "checkpoints").glob(".step_*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def verify(folder: Path) -> str | None:
    """None where every file is there with the right sum, else what is wrong in a few words."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if missing := [name for name in ("state.json", "config.yaml") if name not in manifest]:
            return f"{MANIFEST} does not list {missing[0]}"
        for name, entry in manifest.items():
            path = folder / Path(name).name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"] or _sha256(path) != entry["sha256"]:
                return f"{name} does not match its checksum"
        saved = json.loads((folder / "state.json").read_text())
        if saved["format"] != FORMAT:
            return f"its format is {saved['format']}, this rawmm reads {FORMAT}"
    except PermissionError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}; allow reading it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} or state.json cannot be read: {type(error).__name__}"
    return None


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of one file of a checkpoint."""
    return load_file(str(folder / f"{name}.safetensors"))


def state(folder: Path) -> dict:
    """state.json of a checkpoint: documents, step, seconds and data, the fingerprint of what it was trained on."""
    saved = json.loads((folder / "state.json").read_text())
    if missing := {"documents", "step", "seconds", "data"} - set(saved):
        raise CheckpointError(f"state.json of {folder} lacks {', '.join(sorted(missing))}; delete that checkpoint")
    return saved


def run_config(run: Path) -> Config:
    """The settings in the config.yaml of a run, or of one of its checkpoints."""
    try:
        return configuration.build(configuration.parse_yaml((run / "config.yaml").read_text(encoding="utf-8"), "config.yaml"))
    except (OSError, UnicodeDecodeError, ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run / 'config.yaml'} cannot be used: {error}") from None


def load_model(run: Path, device: torch.device, warn=lambda message: None) -> tuple[RawModel, Config, dict]:
    """A run's averaged weights, ready to sample -> (model in eval mode, its settings, state of the checkpoint)."""
    config = run_config(run)
    folder = latest(run, warn)
    if folder is None:
        raise CheckpointError(f"{run} has no checkpoint yet; let `rawmm train` go on until it saves one")
    model = build.model(config, device)
    load_weights(model, tensors(folder, "ema"), folder)
    return model.eval(), config, state(folder)


def load_weights(model: torch.nn.Module, values: dict[str, torch.Tensor], folder: Path) -> None:
    """Strict load. Raises CheckpointError with the first name or shape that does not fit."""
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise CheckpointError(f"the weights in {folder} do not fit the settings: {' '.join(lines[1:2]).strip()}") from None


def _steps(run: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    folder = run / "checkpoints"
    found = [path for path in folder.iterdir() if re.fullmatch(r"step_\d{8,}", path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name[5:]))
