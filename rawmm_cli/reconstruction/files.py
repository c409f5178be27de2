"""Files of `rawmm reconstruct --out`: originals, reconstructions and error maps.

original/NAME.png, CODEC/NAME.png, CODEC/errors/NAME.png, results.json"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..data.images import slug
from ..data.pictures import RESULTS, Location, NamedPicture
from ..system import disk
from ..system.errors import ConfigError

FULL = 64  # difference, in levels of 255, that has the last colour of an error map; 0 has the first
COLOURS = (
    (0, 0, 4),
    (40, 11, 84),
    (101, 21, 110),
    (159, 42, 99),
    (212, 72, 66),
    (245, 125, 21),
    (250, 193, 39),
    (252, 255, 164),
)


class Files:
    """Folder of the files, made with the first of them, so that an error before leaves none; threads may
    write at once. PNGs have little compression, so that they are written fast."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.folder, self.places, self.lock, self.begun = folder, places(words), threading.Lock(), False

    def _begin(self) -> None:
        folder = self.folder
        with self.lock, _writing(folder):
            if self.begun:
                return
            folder.mkdir(parents=True, exist_ok=True)
            disk.write(folder / RESULTS, '{"unfinished": true}\n')  # marks the folder for `check_out`
            (folder / "original").mkdir(exist_ok=True)
            for place in self.places.values():
                (folder / place / "errors").mkdir(parents=True, exist_ok=True)
            self.begun = True

    def write(self, group: list[NamedPicture], backs: dict[str, Tensor]) -> None:
        """Write originals, reconstructions (n, 3, H, W) by codec, and error maps of a batch."""
        self._begin()
        with _writing(self.folder):
            for n, picture in enumerate(group):
                self._save(Image.fromarray(array(picture.pixels)), f"original/{picture.name}.png")
                for word, back in backs.items():
                    place = self.places[word]
                    self._save(Image.fromarray(array(back[n])), f"{place}/{picture.name}.png")
                    self._save(error_map(picture.pixels, back[n]), f"{place}/errors/{picture.name}.png")

    def _save(self, picture: Image.Image, name: str) -> None:
        picture.save(self.folder / name, compress_level=1)


def places(words: list[str]) -> dict[str, str]:
    """Distinct names of folders, by --codec word."""
    folders: dict[str, str] = {}
    for word in words:
        name = slug(word, 60) if slug(word) != "original" else "codec-original"
        folders[word] = name if name not in folders.values() else f"{name}-{len(folders)}"
    return folders


def file_names(words: list[str]) -> Callable[[str, str], list[str]]:
    """Function of a codec's word and a picture's name -> files of the reconstruction, below the folder."""
    folders = places(words)

    def names(word: str, name: str) -> list[str]:
        return [f"{folders[word]}/{name}.png", f"{folders[word]}/errors/{name}.png"]

    return names


def error_map(one: Tensor, other: Tensor) -> Image.Image:
    """Largest difference of a pixel's three values, as a colour: black for 0, light yellow for FULL levels
    or more. Colours follow the square root, which shows small differences; the scale is the same for all
    pictures and codecs."""
    differs = (one.short() - other.short()).abs().amax(0).clamp(max=FULL).numpy()
    picture = Image.fromarray(np.rint(255 * np.sqrt(differs / FULL)).astype(np.uint8), "L").convert("P")
    at, known = np.linspace(0, len(COLOURS) - 1, 256), range(len(COLOURS))
    channels = [np.interp(at, known, [colour[k] for colour in COLOURS]) for k in range(3)]
    picture.putpalette(np.rint(channels).astype(np.uint8).T.tobytes())
    return picture


def array(picture: Tensor) -> np.ndarray:
    """(3, H, W) -> contiguous array (H, W, 3)."""
    return picture.permute(1, 2, 0).contiguous().numpy()


def _writing(folder: Path) -> AbstractContextManager[None]:
    return disk.room_for(f"the reconstructions in {folder}")


def check_report(path: Path) -> None:
    """Raise ConfigError where a report could not be written, before the work begins."""
    parent = path.parent
    problem = (
        "is a folder"
        if path.is_dir()
        else f"cannot be created: {parent} is not a folder"
        if not parent.is_dir()
        else "cannot be written"
        if not os.access(path if path.exists() else parent, os.W_OK)
        else "does not end in .html"
        if path.suffix.lower() not in (".html", ".htm")
        else None
    )
    if problem:
        raise ConfigError(
            f"report {path} {problem}; give a file in a folder that can be written, as --report out.html"
        )


def check_out(folder: Path, locations: list[Location]) -> None:
    """Raise ConfigError where other files would be overwritten: the folder has some, or holds pictures to
    read."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(
            f"output folder {folder} cannot be created ({nearest} is a file); give a folder that can be "
            "written"
        )
    if not os.access(nearest, os.W_OK):
        raise ConfigError(f"output folder {folder} cannot be written; give another folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    inside = folder.resolve()
    if any(one.row is None and inside in one.store.resolve().parents for one in locations):
        raise ConfigError(
            f"output folder {folder} holds pictures to reconstruct; give another folder with --out"
        )
    if not (folder / RESULTS).is_file():
        raise ConfigError(f"output folder {folder} holds other files; give a new one with --out")
