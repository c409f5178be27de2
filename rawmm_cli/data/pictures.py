"""Pictures that are named on the command line: files, folders of files, prepared sets. They are read one
after the other, as exact RGB; a file that cannot be read is skipped and reported.

The text on a picture comes along where it is known: from a prepared set whose card says that its captions
are the text on the pictures (`rawmm prepare text-images`), or from NAME.gt.txt beside NAME.png, as in
training sets for OCR."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median_low

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..system.disk import open_file, read_file
from ..system.errors import DataError, printable
from ..system.figures import counted
from . import prepared
from .decoding.files import sides as header_sides
from .images import ENDINGS, ImageError, read_image, slug

RESULTS = "results.json"  # a folder with this file was written by `rawmm reconstruct`
BATCH = 1 << 18  # pixels of a group of pictures
WAITING = 1 << 25  # most pixels that wait for others of their size
TRUTH = 1_000_000  # bytes of a text on a picture
UNREAD = (
    "heic heif jxl svg psd nef cr2 cr3 arw dng orf rw2".split()
)  # endings of pictures that Pillow cannot read


@dataclass(frozen=True)
class Location:
    """Place of a picture: a file, or row `row` of a split of a prepared set.

    name: unique, and fit for a file name."""

    name: str
    store: Path | prepared.Prepared
    row: int | None = None

    @property
    def file(self) -> str:
        """Path of the file; in a prepared set the source of the picture."""
        return str(self.store) if self.row is None else self.store.source(self.row)

    @property
    def captions(self) -> list[str]:
        """Captions in a prepared set; [] for a file."""
        return [] if self.row is None else self.store.captions[self.row]


@dataclass(frozen=True)
class NamedPicture:
    """A picture that was read.

    index: its place in the list of locations. pixels: (3, H, W) uint8. text: the text on it, where that is
    known."""

    index: int
    name: str
    file: str
    pixels: Tensor  # (3, H, W) uint8
    text: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that cannot be used, and the reason."""

    file: str
    reason: str


def find(paths: list[Path], data: Path) -> list[Location]:
    """Locations of all pictures below the paths. A plain name may also be a prepared set in the folder
    `data`.

    Raises DataError where a path holds no pictures."""
    locations: list[Location] = []
    for path in paths:
        known = (path / "card.json").is_file() or path.exists() or len(path.parts) > 1
        folder = path if known else data / path
        locations += _of_a_set(folder) if (folder / "card.json").is_file() else _of_files(path)
    names = [location.name for location in locations]
    if len({name.casefold() for name in names}) < len(names):
        names = [f"{n:05d}-{name}" for n, name in enumerate(names)]
    return [Location(name, one.store, one.row) for name, one in zip(names, locations)]


def _of_a_set(folder: Path) -> list[Location]:
    split = prepared.load(folder, "held_out")
    if split.holds_documents:
        raise DataError(
            f"{folder} is a set of documents; allowed: pictures, folders and prepared sets of pictures"
        )
    return [Location(slug(split.source(n), 60), split, n) for n in range(len(split))]


def _of_files(path: Path) -> list[Location]:
    files = [path] if not path.is_dir() else sorted(_inside(path))
    if not files:
        raise DataError(f"{path} holds no pictures; allowed: files ending in {' '.join(ENDINGS)}")
    return [Location(slug(file.stem, 100) if len(file.stem) > 100 else file.stem, file) for file in files]


def _inside(folder: Path) -> Iterator[Path]:
    """Image files at any depth, without those that `rawmm reconstruct` wrote.

    Folders that cannot be read come last, so that reading them reports why."""
    unreadable: list[Path] = []
    for parent, folders, files in os.walk(
        folder, onerror=lambda error: unreadable.append(Path(error.filename))
    ):
        if RESULTS in files and "original" in folders:
            folders.clear()
        else:
            yield from (Path(parent) / file for file in files if _ending(Path(file)) in (*ENDINGS, *UNREAD))
    yield from unreadable


def _ending(path: Path) -> str:
    return path.suffix[1:].lower()


def first(
    paths: list[Path], data: Path, most: int, size: int | None
) -> tuple[list[Location], tuple[str, ...]]:
    """The first `most` pictures below the paths, and notes on which they are and how large. size:
    longer side that they are shrunk to."""
    locations = find(paths, data)
    notes = of_sets(locations)
    if len(locations) > most:
        notes.append(f"the first {most:,} of {counted(len(locations), 'picture')}; more with --limit")
    return locations[:most], (*notes, *of_sizes(locations[:most], size))


def of_sets(locations: list[Location]) -> list[str]:
    """A note for each prepared set: only its held-out pictures are among the locations."""
    sets = {id(one.store): one.store for one in locations if one.row is not None}
    return [
        f"of the set '{one.folder.name}' the {counted(len(one), 'held-out picture')}, which no model is "
        f"trained on ({counted(one.card['count']['train'], 'other')} for training)"
        for one in sets.values()
    ]


def of_sizes(locations: list[Location], size: int | None) -> list[str]:
    """A note on the sizes of the pictures. size: longer side that they are shrunk to."""
    each = sorted((max(one), min(one)) for one in sides(locations))
    if not each:
        return []
    (least, _), (longest, shortest) = each[0], each[-1]
    sizes = (
        f"with longer sides of {least:,} to {longest:,} pixels"
        if least < longest
        else f"of {longest:,} x {shortest:,} pixels"
    )
    larger = sum(one > size for one, _ in each) if size else 0
    how = f"{larger:,} of them shrunk to {size:,}; nothing is cropped" if size else "as they are"
    return [f"{counted(len(each), 'picture')} {sizes}, {how}"]


def digest(location: Location) -> str:
    """SHA-256 of a picture and of the text that is known to be on it; of a file its bytes. Raises OSError."""
    total = hashlib.sha256()
    if location.row is None:
        with open_file(location.store) as file:
            while piece := file.read(1 << 20):
                total.update(piece)
    else:
        pixels = location.store.image(location.row)
        total.update(repr(tuple(pixels.shape)).encode() + pixels.contiguous().numpy().tobytes())
    total.update(repr(written(location)).encode())
    return total.hexdigest()


def area(locations: list[Location]) -> int:
    """Total number of pixels of all pictures."""
    return sum(height * width for height, width in sides(locations))


def typical_side(locations: list[Location]) -> int:
    """Median of the longer sides in pixels; 0 where no picture can be read."""
    longer = [max(sides) for sides in sides(locations)]
    return median_low(longer) if longer else 0


def sides(locations: list[Location]) -> Iterator[tuple[int, int]]:
    """(height, width) of the pictures that can be read; files by their headers alone."""
    for location in locations:
        if location.row is not None:
            yield int(location.store.heights[location.row]), int(location.store.widths[location.row])
            continue
        with suppress(Exception), open_file(location.store) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield header_sides(file)  # reading it will report the error


def read(locations: list[Location], skipped: list[Skipped]) -> Iterator[NamedPicture]:
    """Read the pictures, in order; those that cannot be read are appended to `skipped`."""
    for index, location in enumerate(locations):
        if location.row is not None:
            pixels = location.store.image(location.row)
            yield NamedPicture(index, location.name, location.file, pixels, written(location))
            continue
        if (ending := _ending(location.store)) in UNREAD:
            skipped.append(
                Skipped(location.file, f"files of .{ending} are not read; convert it to PNG or JPEG")
            )
            continue
        try:
            pixels = torch.from_numpy(read_image(location.store).transpose(2, 0, 1).copy())
        except ImageError as error:
            skipped.append(Skipped(location.file, error.reason))
            continue
        yield NamedPicture(index, location.name, location.file, pixels, written(location))


def shrunk(picture: NamedPicture, size: int) -> NamedPicture:
    """The whole picture with a longer side of `size` pixels at most (Lanczos, antialiased)."""
    height, width = picture.pixels.shape[1:]
    scale = size / max(height, width)
    if scale >= 1:
        return picture
    image = Image.fromarray(picture.pixels.permute(1, 2, 0).contiguous().numpy())
    sides = max(1, round(scale * width)), max(1, round(scale * height))
    array = np.array(image.resize(sides, Image.Resampling.LANCZOS))
    return replace(picture, pixels=torch.from_numpy(array).permute(2, 0, 1).contiguous())


def none_left(skipped: list[Skipped], what: str = "read") -> DataError:
    """Error for the case that every picture was skipped: it names the first."""
    file, reason = printable(skipped[0].file), skipped[0].reason
    return DataError(f"no picture is left: image {file} cannot be {what}: {reason}")


def batches(pictures: Iterator[NamedPicture]) -> Iterator[list[NamedPicture]]:
    """Groups of pictures of one size, each as soon as it has BATCH pixels or 64 pictures."""
    waiting: dict[tuple, list[NamedPicture]] = {}

    def total(group: list[NamedPicture]) -> int:
        return len(group) * group[0].pixels[0].numel()

    for picture in pictures:
        size = tuple(picture.pixels.shape[1:])
        group = waiting.setdefault(size, [])
        group.append(picture)
        if total(group) >= BATCH or len(group) >= 64:
            yield waiting.pop(size)
        elif sum(map(total, waiting.values())) > WAITING:
            yield waiting.pop(max(waiting, key=lambda size: total(waiting[size])))
    yield from waiting.values()


def written(location: Location) -> str | None:
    """Text that is known to be on a picture. Raises DataError where its file cannot be read."""
    if location.row is None:
        return _beside(location.store)
    text = location.store.card.get("captions_are_written") and location.captions
    return text[0] if text else None


def _beside(file: Path) -> str | None:
    """Content of NAME.gt.txt, None where there is none or it is blank. Raises DataError where it cannot be
    read."""
    path = file.with_suffix(".gt.txt")
    try:
        return read_file(path, TRUTH).decode("utf-8-sig").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise DataError(f"{printable(str(path))} cannot be read: {reason}; mend it or move it away") from None
