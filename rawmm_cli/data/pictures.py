"""The pictures that a person names: files, folders of files, prepared sets. Read one after the other, as
exact RGB; what cannot be read is left out and named.

Text that is known to be written on a picture comes along: of a prepared set whose card says that captions are
what is written (`rawmm prepare text-images`), or from NAME.gt.txt beside NAME.png, the habit of OCR's
training sets."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import torch
from PIL import Image
from torch import Tensor

from ..system.errors import DataError
from . import prepared
from .datasets.folder import EXTENSIONS
from .images import ImageError, read_image, slug

RESULTS = "results.json"  # `reconstruct` writes it: a folder with it is one of ours
BATCH = 1 << 18  # pixels that go through a codec together
HELD = 1 << 25  # pixels that may wait for others of their size


@dataclass(frozen=True)
class Shown:
    """One picture. name: unique, can be a file name. file: where it came from. text: what is written on it,
    where that is known."""

    number: int
    name: str
    file: str
    pixels: Tensor  # (3, H, W) uint8
    text: str | None = None


def find(paths: list[Path], data: Path) -> list[tuple]:
    """Every picture that is named -> (name, Path, None), or (name, prepared split, number in it). Raises
    DataError where a path holds none."""
    found: list[tuple] = []
    for path in paths:
        folder = (
            path if (path / "card.json").is_file() or path.exists() or len(path.parts) > 1 else data / path
        )
        if (folder / "card.json").is_file():
            split = prepared.load(folder, "held_out")
            if split.stories:
                raise DataError(
                    f"{folder} is a set of documents; allowed: pictures, folders and prepared sets of "
                    f"pictures"
                )
            found += [(slug(split.source(n), 60), split, n) for n in range(len(split))]
        else:
            inside = [path] if not path.is_dir() else sorted(_inside(path))
            if not inside:
                raise DataError(f"{path} holds no pictures; allowed: files ending in {' '.join(EXTENSIONS)}")
            found += [
                (slug(file.stem, 100) if len(file.stem) > 100 else file.stem, file, None) for file in inside
            ]
    names = [name for name, *_ in found]
    clash = len({name.casefold() for name in names}) < len(names)
    return [(f"{n:05d}-{name}" if clash else name, *rest) for n, (name, *rest) in enumerate(found)]


def _inside(folder: Path) -> Iterator[Path]:
    """Files that end as pictures do, to the bottom, but for what `reconstruct` wrote; folders that cannot be
    read, which are then named as pictures that cannot be."""
    unread: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=lambda error: unread.append(Path(error.filename))):
        if RESULTS in files and "original" in folders:
            folders.clear()
        else:
            yield from (Path(here) / file for file in files if Path(file).suffix[1:].lower() in EXTENSIONS)
    yield from unread


def area(found: list[tuple]) -> int:
    """Pixels of all together."""
    return sum(height * width for height, width in _sides(found))


def typical_side(found: list[tuple]) -> int:
    """Median of the longer sides; 0 where none can be read."""
    longer = [max(sides) for sides in _sides(found)]
    return median_low(longer) if longer else 0


def _sides(found: list[tuple]) -> Iterator[tuple[int, int]]:
    """Heights and widths, by the headers of files alone, of those that can be read."""
    for _, source, number in found:
        if number is not None:
            yield int(source.heights[number]), int(source.widths[number])
            continue
        with (
            suppress(Exception),
            Image.open(source) as picture,
        ):  # what is wrong with it is told when it is read
            yield picture.height, picture.width


def read(found: list[tuple], skipped: list[dict]) -> Iterator[Shown]:
    """The pictures that can be read; of others {file, reason} goes into `skipped`."""
    for n, (name, source, number) in enumerate(found):
        if number is not None:
            written = source.card.get("captions_are_written") and source.captions[number]
            yield Shown(n, name, source.source(number), source.image(number), written[0] if written else None)
            continue
        try:
            pixels = torch.from_numpy(read_image(source).transpose(2, 0, 1).copy())
        except ImageError as error:
            skipped.append({"file": str(source), "reason": error.reason})
            continue
        yield Shown(n, name, str(source), pixels, _beside(source))


def batches(pictures: Iterator[Shown]) -> Iterator[list[Shown]]:
    """Pictures of one size together, each of these lists as soon as it is large enough."""
    waiting: dict[tuple, list[Shown]] = {}
    total = lambda group: len(group) * group[0].pixels[0].numel()  # noqa: E731
    for picture in pictures:
        size = tuple(picture.pixels.shape[1:])
        group = waiting.setdefault(size, [])
        group.append(picture)
        if total(group) >= BATCH or len(group) >= 64:
            yield waiting.pop(size)
        elif sum(map(total, waiting.values())) > HELD:
            yield waiting.pop(max(waiting, key=lambda size: total(waiting[size])))
    yield from waiting.values()


def _beside(file: Path) -> str | None:
    """What NAME.gt.txt says."""
    try:
        return file.with_suffix(".gt.txt").read_text(encoding="utf-8-sig").strip() or None
    except (OSError, ValueError):
        return None
