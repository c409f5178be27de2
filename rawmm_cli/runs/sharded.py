"""Tensors that several ranks hold in parts, as a folder of safetensors files: each rank writes the parts it
holds.

torch's distributed checkpoint does the work (`HuggingFaceStorageWriter`): a shard is a plain safetensors file
whose header says where each part begins in its whole tensor, so that any number of ranks reads it, one
process among them. A tensor that every rank holds whole (AdamW's `step`, of no dimension) is written once.
Its pickled `.metadata` is not written."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..system.errors import CheckpointError


def write_sharded(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors, DTensors by their parts. Every rank of the process group must call it, with the same
    names.

    Raises on every rank what went wrong on the first that failed: an OSError where the disk is full,
    CheckpointError where the first rank does not see the files of another."""
    import torch.distributed.checkpoint as dcp

    class Writer(dcp.HuggingFaceStorageWriter):
        def finish(self, metadata: Any, results: list):  # on the first rank, when every rank has written
            _wait_for(folder, {result.storage_data.relative_path for rank in results for result in rank})

    values = {name: value.detach().contiguous() for name, value in tensors.items()}
    _together(dcp.save, values, storage_writer=Writer(str(folder), save_distributed=True))


def _wait_for(folder: Path, names: set[str], seconds: int = 60) -> None:
    """Wait until the files `names` are there: a network file system may show late what another machine has
    written. Raises CheckpointError where they do not come: the folder is not shared."""
    for remaining in range(seconds, -1, -1):
        missing = sorted(name for name in names if not (folder / name).is_file())
        if not missing:
            return
        if remaining:
            time.sleep(1)
    raise CheckpointError(
        f"the first rank does not see {folder / missing[0]}, which another rank has written; the runs "
        "folder must be one that all machines share"
    )


def read_sharded(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, whole, on the CPU. One process is enough; others take no notice."""
    values = {
        name: torch.empty(stored.size, dtype=stored.properties.dtype)
        for name, stored in _contents(folder).items()
    }
    _load(folder, values, alone=True)
    return values


def read_into(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Fill tensors and DTensors in place, each rank its own parts, whatever the number of ranks that wrote
    them. Every rank of the process group, where there is one, must call it.

    Raises CheckpointError where names or shapes differ; then nothing was filled."""
    stored = _contents(folder)
    for name in sorted(stored.keys() ^ tensors.keys()):
        raise CheckpointError(
            f"{folder} {'lacks' if name in tensors else 'holds an unknown'} tensor '{name}'; "
            "it belongs to other settings"
        )
    for name, value in tensors.items():
        if stored[name].size != value.shape:
            raise CheckpointError(
                f"tensor '{name}' in {folder} is {tuple(stored[name].size)}, the settings want "
                f"{tuple(value.shape)}"
            )
    _load(folder, {name: value.detach() for name, value in tensors.items()}, alone=False)


def _contents(folder: Path) -> dict:
    """Name -> shape, dtype and parts. Raises CheckpointError where a part is missing or a file is no
    safetensors file."""
    from safetensors import SafetensorError
    from torch.distributed.checkpoint import HuggingFaceStorageReader

    try:
        stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the shards in {folder} cannot be read: {error}") from None
    for name, tensor in stored.items():
        if sum(part.sizes.numel() for part in tensor.chunks) != tensor.size.numel():
            raise CheckpointError(f"a part of tensor '{name}' is missing in {folder}")
    return stored


def _load(folder: Path, values: dict[str, Tensor], alone: bool) -> None:
    import torch.distributed.checkpoint as dcp

    if values:
        _together(dcp.load, values, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=alone)


def _together(act: Callable, values: dict[str, Tensor], **options: Any) -> None:
    """dcp.save or dcp.load, without its note that one process is alone, and with what failed on the first
    rank as the error."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            act(values, **options)
    except CheckpointException as error:
        raise error.failures[min(error.failures)][0] from None
