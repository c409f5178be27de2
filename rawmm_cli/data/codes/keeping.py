"""Encode all pictures of a prepared set once, and keep their tokens with it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...config.fields import CodecSettings
from ...system import disk, manifest
from ...system.errors import DataError
from ..prepared import Prepared, PreparedDocuments
from . import kept

TOGETHER = 64  # pictures of one size that are encoded at a time
Splits = dict[str, Prepared | PreparedDocuments]


def pictures(splits: Splits) -> int:
    """How many pictures the splits have."""
    return sum(len(kept.sides(data)[0]) for data in splits.values())


def keep(
    folder: Path,
    splits: Splits,
    codec: Any,
    settings: CodecSettings,
    of: dict[str, str],
    progress: Callable[[int], None] = lambda done: None,
) -> dict:
    """Keep the tokens of the set in `folder` -> facts about them.

    settings: of the codec, which know the tokens of a size. of: {"run", "hash"} of the codec. progress:
    called with the number of pictures done. Raises DataError where a picture does not fit the codec,
    DiskFullError. What is kept already and sound stays as it is."""
    target = kept.place(folder, of["hash"])
    card = next(iter(splits.values())).card
    facts = kept.read(target, of["hash"], card["fingerprint"])
    before = facts is not None and not manifest.problems(target)
    if not before:
        for data in splits.values():
            _check(data, codec)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        facts = {
            "format": kept.FORMAT,
            **of,
            "fingerprint": card["fingerprint"],
            "vocabulary": codec.vocabulary if codec.discrete else None,
            "pictures": {name: len(kept.sides(data)[0]) for name, data in splits.items()},
            "tokens": sum(int(kept.starts(data, settings)[-1]) for data in splits.values()),
        }
        with disk.new_folder(target) as partial:
            done = 0
            for name, data in splits.items():
                done = _write(partial / f"{name}.npy", data, codec, settings, done, progress)
            disk.write_json(partial / kept.FACTS, facts)
            manifest.sync_files(partial)
            manifest.seal(partial)
    stored = sum(path.stat().st_size for path in target.glob("*.npy"))
    return {"folder": str(target), **facts, "bytes": stored, "kept_before": before}


def _check(data: Prepared | PreparedDocuments, codec: Any) -> None:
    """Raise DataError where a picture does not fit the codec."""
    for height, width in sorted(set(zip(*map(np.ndarray.tolist, kept.sides(data))))):
        try:
            codec.grid(height, width)
        except ValueError as error:
            raise DataError(
                f"set '{data.folder.name}': {error}; prepare it again with --size and --crop center, or take "
                f"another codec"
            ) from None


def _write(
    path: Path, data: Any, codec: Any, settings: CodecSettings, done: int, progress: Callable[[int], None]
) -> int:
    """Tokens of one split into a file -> pictures done in all."""
    starts = kept.starts(data, settings)
    kind = kept.kind(codec.vocabulary) if codec.discrete else np.dtype(np.float32)
    each = codec.codes if codec.discrete else codec.values
    tokens = np.lib.format.open_memmap(path, "w+", kind, (int(starts[-1]), each))
    device = next((p.device for p in codec.parameters()), torch.device("cpu"))
    for numbers, images in _groups(data):
        for number, values in zip(numbers, codec.encode(images.to(device)).cpu().numpy(), strict=True):
            tokens[starts[number] : starts[number + 1]] = values
        done += len(numbers)
        progress(done)
    tokens.flush()
    return done


def _groups(data: Any) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Numbers of pictures of one size, and their pixels (m, 3, H, W) uint8."""
    waiting: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = {}
    for number, place in enumerate(kept.places(data)):
        picture = data.image(*place)
        group = waiting.setdefault(tuple(picture.shape), [])
        group.append((number, picture))
        if len(group) == TOGETHER:
            yield _together(waiting.pop(tuple(picture.shape)))
    yield from map(_together, waiting.values())


def _together(group: list[tuple[int, torch.Tensor]]) -> tuple[list[int], torch.Tensor]:
    numbers, images = zip(*group)
    return list(numbers), torch.stack(images)
