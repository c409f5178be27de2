"""Checkpoints that can be trusted: safetensors and JSON, a manifest of SHA-256 sums, a rename as the commit
point.

    runs/NAME/config.yaml                      the resolved settings
    runs/NAME/checkpoints/step_00000500/       model, ema, optimizer: one .safetensors each, or a folder of
                                               shards each; config.yaml, state.json and, over all of these,
                                               MANIFEST.json

A checkpoint is written into a new hidden folder, synced, and renamed; it is never changed afterwards.
`loading.py` takes the newest one whose manifest verifies. An old one is deleted only after the one just
written was read back from the disk and verified; it takes a hidden name first, so that what is half deleted
is never taken for a checkpoint. No pickle anywhere.

Formats 1 to FORMAT are read. Whatever a later format changes, state.json with its `format` and the form of
MANIFEST.json stay, so that an older rawmm can tell a newer checkpoint from a damaged one."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..system import disk, manifest
from ..system.errors import CheckpointError, DiskFullError
from ..system.stored import Shape, read_json

FORMAT = 3  # 1: no sub-folders; 2: another fingerprint of the data
STATE, CONFIG, TOKENIZER = "state.json", "config.yaml", "tokenizer.json"
Say = Callable[[str], None]
_silent: Say = str  # says nothing


# ----------------------------------------------------------------------------------------------------- saving


def save(
    run: Path,
    step: int,
    tensors: dict[str, dict[str, torch.Tensor]],
    state: dict,
    keep: int,
    warn: Say = _silent,
) -> Path:
    """Write checkpoint `step` with one safetensors file per entry of `tensors`, then drop all but the newest
    `keep`.

    Several processes do the same in three steps: the first one calls `begin`, each writes its files into that
    folder under `all_or_nothing`, and when all have, the first one calls `commit`. Raises DiskFullError; then
    nothing has changed."""
    needed = size(tensors)
    partial = begin(run, step, needed)
    with all_or_nothing(partial, needed):
        for name, values in tensors.items():
            write_tensors(partial, name, values)
        return commit(run, partial, step, state, keep, warn)


def size(tensors: dict[str, dict[str, torch.Tensor]]) -> int:
    """Bytes that a checkpoint of these tensors takes, names and small files included. A DTensor counts as a
    whole."""
    values = [item for part in tensors.values() for item in part.items()]
    return sum(value.numel() * value.element_size() + len(name) + 256 for name, value in values) + (1 << 16)


def begin(run: Path, step: int, needed: int = 0) -> Path:
    """A new hidden folder for the files of checkpoint `step`. Raises DiskFullError where less than `needed`
    is free."""
    _crash_here("before")
    partial = run / "checkpoints" / f".step_{step:08d}.partial"
    with all_or_nothing(partial, needed):
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(partial.parent).free < needed:
            raise _no_room(partial, needed)
        partial.mkdir()
    return partial


@contextmanager
def all_or_nothing(partial: Path, needed: int = 0):
    """Where writing into `partial` fails, nothing half-written stays. Raises DiskFullError where there is no
    room."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in disk.FULL:
            raise _no_room(partial, needed, os.strerror(error.errno)) from None
        raise


def write_tensors(partial: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """NAME.safetensors with whole tensors, into the folder that `begin` gave."""
    path = partial / f"{name}.safetensors"
    try:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, str(path))
    except SafetensorError as error:  # it names the number of the system's error in its text
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise


def commit(run: Path, partial: Path, step: int, state: dict, keep: int, warn: Say = _silent) -> Path:
    """Make the files in `partial` checkpoint `step`, drop old ones -> its folder. `warn` hears what did it no
    harm."""
    _crash_here("after_tensors")
    final = run / "checkpoints" / f"step_{step:08d}"
    with all_or_nothing(partial):
        shutil.copyfile(run / CONFIG, partial / CONFIG)
        (partial / STATE).write_text(json.dumps({"format": FORMAT, "step": step, **state}, indent=1) + "\n")
        manifest.sync_files(partial)
        _crash_here("before_marker")
        manifest.seal(partial)
        _crash_here("after_marker")
        if final.exists():  # damaged, or another future of the same past
            final.rename(_hidden(final))
            _crash_here("during_replace")
        partial.rename(final)
        disk.sync(final.parent)
    _crash_here("before_prune")
    _prune(run, final, keep, warn)
    return final


def _prune(run: Path, final: Path, keep: int, warn: Say) -> None:
    """Delete all but the newest `keep` up to `final`, if that can be read back from the disk."""
    steps = _steps(run)
    now = steps.index(final)  # what stands behind it is damaged: the run went on before it
    old = steps[: now + 1][:-keep] + steps[now + 1 :]
    if old and (problem := verify(final, fresh=True)):
        return warn(
            f"checkpoint {final.name} cannot be read back ({problem}); no earlier one is deleted; check the "
            f"disk"
        )
    try:
        for folder in old:
            folder.rename(_hidden(folder))
        _crash_here("during_prune")
        for rest in final.parent.glob(".step_*.deleted"):
            shutil.rmtree(rest)
    except OSError as error:
        warn(f"an old checkpoint cannot be deleted and still takes room: {error}")


def _hidden(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.deleted")


def sweep(run: Path) -> None:
    """After a killed process: a checkpoint that only lacks its name gets it, what is half written or half
    deleted goes, wherever in the run. Only the process that holds the run's lock may do this."""
    for partial in (run / "checkpoints").glob(".step_*.partial"):
        final = partial.with_name(partial.stem[1:])
        if not final.exists() and verify(partial) is None:
            partial.rename(final)
            disk.sync(final.parent)
    for pattern in "checkpoints/.step_*.partial", "checkpoints/.step_*.deleted", "averages/.*.partial":
        for rest in run.glob(pattern):
            shutil.rmtree(rest, ignore_errors=True)
    for folder in (run, run / "samples", *(run / "samples").glob("*/")):
        disk.sweep(folder)


def _no_room(partial: Path, needed: int, reason: str = "No space left on device") -> DiskFullError:
    amount = f"it needs {needed:,} bytes and " if needed else ""
    earlier = "the earlier ones are intact" if _steps(partial.parents[1]) else "it is the first of this run"
    return DiskFullError(
        f"no room to save checkpoint {partial.stem[1:]} in {partial.parent} ({reason}): {amount}"
        f"{shutil.disk_usage(partial.parent).free:,} are free; {earlier}; make room and run the same command "
        "again"
    )


def _crash_here(point: str) -> None:
    """For tests: die here, as by kill -9, where the environment says so."""
    if os.environ.get("RAWMM_TEST_CRASH_AT") == f"ckpt:{point}":
        os._exit(137)


# -------------------------------------------------------------------------------------------------- verifying


def latest(run: Path, warn: Say = _silent) -> Path | None:
    """The newest checkpoint that verifies, or None where there is none at all. `warn` hears of damaged ones.

    Raises CheckpointError where every one that exists is damaged, or the newest is of another version."""
    damage = []
    for folder in reversed(_steps(run)):
        problem = verify(folder)
        if not folder.exists():  # the process that trains has just deleted it: look again
            return latest(run, warn)
        if problem is None:
            state(folder)  # of a version that can be read
            return folder
        damage.append(problem)
        warn(f"checkpoint {folder.name} is damaged ({problem}); trying the one before it")
    if damage:
        raise CheckpointError(
            f"every checkpoint of {run} is damaged; newest: {damage[0]}; delete {run} and train again"
        )
    return None


def verify(folder: Path, fresh: bool = False) -> str | None:
    """None where every file is there with the right sum, else the first thing that is wrong. fresh: see
    manifest.problems."""
    return next((f"{name} {what}" for name, what in problems(folder, fresh).items()), None)


def problems(folder: Path, fresh: bool = False) -> dict[str, str]:
    """File -> what is wrong with it; empty where the checkpoint is sound. Raises CheckpointError where
    reading is denied."""
    if damaged := manifest.problems(folder, (STATE, CONFIG), fresh):
        return damaged
    saved, number = _state(folder), int(re.search(r"step_(\d+)", folder.name)[1])
    if type(saved.get("format")) is not int:
        return {STATE: "is not the state of a checkpoint"}
    return {} if saved.get("step") == number else {STATE: f"is of step {saved.get('step')}"}


def survey(run: Path, step: int | None = None) -> list[dict]:
    """Facts of each checkpoint, oldest first: step, documents, bytes, problems (see
    `problems`).

    Raises CheckpointError where there is none, or not the one asked for."""
    steps = {int(folder.name[5:]): folder for folder in _steps(run)}
    if not steps:
        raise CheckpointError(f"{run} has no checkpoint yet; let `rawmm train` go on until it saves one")
    if step is not None and step not in steps:
        raise CheckpointError(
            f"{run} has no checkpoint of step {step}; there are: {', '.join(map(str, steps))}"
        )
    chosen = {number: folder for number, folder in steps.items() if step in (None, number)}
    entries = [
        {
            "step": number,
            "folder": str(folder),
            "documents": _state(folder).get("documents"),
            "bytes": disk.used(folder),
            "problems": problems(folder),
        }
        for number, folder in chosen.items()
    ]
    return [entry for entry in entries if Path(entry["folder"]).exists()]  # training deletes old ones


def state(folder: Path) -> dict:
    """state.json of a checkpoint: documents, step, seconds and data, the fingerprint of what it was trained
    on. Raises CheckpointError where it cannot be read, or belongs to another version of rawmm."""
    saved = _state(folder)
    form = saved.get("format")
    if type(form) is not int:
        raise CheckpointError(
            f"{folder / STATE} cannot be read or is no state of a checkpoint; delete that checkpoint"
        )
    if not 1 <= form <= FORMAT:
        age, remedy = (
            ("a newer", "update rawmm")
            if form > FORMAT
            else ("an older", "go on with the version that wrote it, or train again")
        )
        raise CheckpointError(
            f"checkpoint {folder} was written by {age} rawmm (format {form}, this one reads 1 to {FORMAT}); "
            f"{remedy}"
        )
    return read_json(folder / STATE, _State, CheckpointError, "delete that checkpoint")


class _State(Shape):
    documents: int = Field(ge=0, lt=2**63)
    step: int = Field(ge=0, lt=2**63)
    seconds: float = Field(ge=0)
    data: str
    tokenizer: str | None = None
    flops: float | None = Field(None, ge=0)  # of all steps; None: begun before they were counted


def _steps(run: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    folders = (run / "checkpoints").glob("step_*")
    named = (path for path in folders if re.fullmatch(r"step_\d{8,}", path.name))
    return sorted(named, key=lambda path: int(path.name[5:]))


def _state(folder: Path) -> dict:
    """Contents of state.json, {} where it cannot be read."""
    try:
        return read_json(folder / STATE, dict[str, Any], CheckpointError, "")
    except CheckpointError:
        return {}
