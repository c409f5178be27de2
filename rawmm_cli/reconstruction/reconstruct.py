"""Pictures there and back through one codec after another, and what was lost on the way.

    pictures.find -> (name, source)                     what the person named
    pictures.read, batches -> (n, 3, H, W) uint8        of one size
    choices.Choice.go -> Trip                           there and back, with bits and codes
    metrics -> numbers a picture                        pixels, edges, features
    ocr.Reader -> text before and after                 what can still be read
    summary.row, summary.findings                       in sum, and in words

Every picture meets every codec while it is in memory, and is then forgotten: what is kept are numbers, and
files where they are wanted. Next: summary.py, and reconstruct_page.py, which shows the files side by side.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data import pictures
from ..data.images import slug
from ..data.pictures import Location, NamedPicture, Skipped, batches, none_left, read
from ..metrics import features, pixels
from ..metrics.text import plain, readable, survival, words
from ..system import disk
from ..system.errors import ConfigError, DataError
from . import summary
from .choices import Choice, Trip

FAINT, FULL = 0, 64  # levels of 255: the ends of the colours of error maps
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
AGAIN = 16  # pictures that are read twice, to see whether the engine says the same


@dataclass
class Tally:
    """What one codec adds up to. codes: of every picture, (L,), beside its numbers. edges: energy of what
    came back and of the originals."""

    counts: Tensor | None = None
    seconds: float = 0.0
    squares: int = 0
    values: int = 0
    codes: list[tuple[dict, Tensor]] = field(default_factory=list)
    edges: list[float] = field(default_factory=lambda: [0.0, 0.0])
    features: list[Tensor] = field(default_factory=list)


def run(
    found: list[Location],
    choices: list[Choice],
    out: Path | None = None,
    reader: Callable | None = None,
    network=None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict:
    """The pictures of `pictures.find` through all codecs -> {"each": what became of every picture, "rows":
    codecs in sum, ...}.

    out: a folder for files. reader: (H, W, 3) arrays -> texts. network: pictures -> pooled features and
    layers. Raises DataError where no picture can be read, or a codec cannot take one."""
    skipped: list[Skipped] = []
    each: list[dict] = []
    tallies, before = {choice.word: Tally() for choice in choices}, []
    files = Files(out, [choice.word for choice in choices]) if out else None
    again = [0, 0]
    for group in batches(read(found, skipped)):
        images = torch.stack([picture.pixels for picture in group])
        known = pixels.edges(images), *(network(images) if network else (None, None))
        before.append(known[1])
        entries = [_entry(picture) for picture in group]
        backs = {}
        for choice in choices:
            trip = _trip(choice, images, tallies[choice.word])
            _measure(entries, choice.word, trip, images, tallies[choice.word], network, known)
            backs[choice.word] = trip.back
        if reader:
            again = _read_texts(entries, images, backs, reader, again)
        if files:
            files.write(group, backs)
        each += entries
        progress(len(each))
    if not each:
        raise none_left(skipped)
    each.sort(key=lambda entry: entry["number"])
    return summary.results(
        each, skipped, choices, tallies, torch.cat(before) if network else None, reader is not None, again
    )


def _entry(picture: NamedPicture) -> dict:
    height, width = picture.pixels.shape[1:]
    known = {} if picture.text is None else {"written": picture.text}
    return {
        "number": picture.index,
        "name": picture.name,
        "file": picture.file,
        "height": height,
        "width": width,
        **known,
        "codecs": {},
    }


def _trip(choice: Choice, images: Tensor, tally: Tally) -> Trip:
    """There and back, timed, and counted where there are codes. Raises DataError where a codec does not do as
    it should."""
    began = time.perf_counter()
    height, width = images.shape[2:]
    try:
        trip = choice.go(images)
    except ValueError as error:
        raise DataError(
            f"--codec {choice.word} cannot take a picture of {width}x{height} pixels: {error}"
        ) from None
    trip = replace(trip, seconds=time.perf_counter() - began)
    tally.seconds += trip.seconds
    if trip.back.shape != images.shape or trip.back.dtype != torch.uint8:
        raise DataError(
            f"--codec {choice.word} gave back {trip.back.dtype} of shape {tuple(trip.back.shape)}; allowed: "
            f"torch.uint8 of shape {tuple(images.shape)}"
        )
    if trip.codes is not None:
        if (
            not 0 <= int(trip.codes.min()) <= int(trip.codes.max()) < choice.vocabulary
            or trip.codes[0].numel() != trip.tokens[0]
        ):
            raise DataError(
                f"--codec {choice.word} gave {trip.codes[0].numel():,} codes of {int(trip.codes.min())} to "
                f"{int(trip.codes.max())}; by its own words: {trip.tokens[0]:,} of 0 to "
                f"{choice.vocabulary - 1}"
            )
        counts = torch.bincount(trip.codes.flatten(), minlength=choice.vocabulary)
        tally.counts = counts if tally.counts is None else tally.counts + counts
    return trip


def _measure(
    entries: list[dict], word: str, trip: Trip, images: Tensor, tally: Tally, network, known: tuple
) -> None:
    """Numbers of every picture of a batch into its entry, and into what the codec adds up to. known: edges,
    pooled features and layers of the originals."""
    edges, _, layers = known
    area, error, after = images[0, 0].numel(), pixels.mse(trip.back, images), pixels.edges(trip.back)
    found = {
        "mse": error,
        "psnr": pixels.psnr_of(error),
        "ssim": pixels.ssim(trip.back, images),
        "exact_values": pixels.exact_values(trip.back, images),
        "exact_pixels": pixels.exact_pixels(trip.back, images),
        "sharpness": pixels.sharpness_of(after, edges),
    }
    if network:
        pooled, shown = network(trip.back)
        tally.features.append(pooled)
        found["feature_distance"] = features.layers(shown, layers)
    columns = {name: values.tolist() for name, values in found.items()}
    for n, entry in enumerate(entries):
        bits = trip.bits[n]
        entry["codecs"][word] = {
            "tokens": trip.tokens[n],
            "bits": bits,
            "milliseconds": 1000 * trip.seconds / len(entries),
            "bits_per_pixel": None if bits is None else bits / area,
            **{name: summary.number(values[n]) for name, values in columns.items()},
            "exact": columns["mse"][n] == 0,
            **({"padded": list(trip.padded)} if trip.padded else {}),
            **({"tiles": trip.tiles} if trip.tiles > 1 else {}),
            **({"over_budget": True} if trip.over and trip.over[n] else {}),
        }
    if trip.codes is not None:
        tally.codes += [(entry["codecs"][word], codes) for entry, codes in zip(entries, trip.codes.int())]
    tally.squares += round(float(error.sum()) * images[0].numel())
    tally.values += images.numel()
    tally.edges = [total + area * float(energy.sum()) for total, energy in zip(tally.edges, (after, edges))]


def _read_texts(
    entries: list[dict], images: Tensor, backs: dict[str, Tensor], reader: Callable, again: list[int]
) -> list[int]:
    """What is read before and after, into the entries -> (how many were read twice, how many of them said the
    same)."""
    count, twice = len(images), max(0, min(len(images), AGAIN - again[0]))
    shown = [
        picture.permute(1, 2, 0).contiguous().numpy()
        for picture in chain(images, images[:twice], *backs.values())
    ]
    texts = [plain(text) for text in reader(shown)]
    first, second, texts = texts[:count], texts[count : count + twice], texts[count + twice :]
    for n, entry in enumerate(entries):
        entry["text"] = first[n]
        if "written" in entry:
            entry["clean"] = {
                "survival": survival(first[n], entry["written"]),
                "words": _words(first[n], entry["written"]),
            }
        for m, word in enumerate(backs):
            text, known = texts[m * count + n], entry["codecs"][word]
            known["text"] = text
            if readable(first[n]):
                known |= {"text_survival": survival(text, first[n]), "word_survival": words(text, first[n])}
            if "written" in entry:
                known |= {
                    "right_letters": survival(text, entry["written"]),
                    "right_words": _words(text, entry["written"]),
                }
    return [again[0] + twice, again[1] + sum(one == other for one, other in zip(first, second))]


def _words(text: str, written: str) -> float | None:
    return words(text, written) if written.split() else None


# ------------------------------------------------------------------------------------------------------ files


class Files:
    """A folder of files: original/NAME.png, CODEC/NAME.png, CODEC/errors/NAME.png; PNGs of little
    compression, written fast."""

    def __init__(self, folder: Path, words: list[str]):
        self.folder, self.places = folder, places(words)
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            disk.write(folder / pictures.RESULTS, '{"unfinished": true}\n')  # the folder is ours from here on
            for place in ("original", *self.places.values()):
                (folder / place / ("errors" if place != "original" else "")).mkdir(
                    parents=True, exist_ok=True
                )

    def write(self, group: list[NamedPicture], backs: dict[str, Tensor]) -> None:
        """Originals, what came back, and error maps of a batch."""
        with _writing(self.folder):
            for n, picture in enumerate(group):
                self._save(Image.fromarray(_array(picture.pixels)), f"original/{picture.name}.png")
                for word, back in backs.items():
                    self._save(Image.fromarray(_array(back[n])), f"{self.places[word]}/{picture.name}.png")
                    self._save(
                        error_map(picture.pixels, back[n]), f"{self.places[word]}/errors/{picture.name}.png"
                    )

    def _save(self, picture: Image.Image, name: str) -> None:
        picture.save(self.folder / name, compress_level=1)


def places(words: list[str]) -> dict[str, str]:
    """--codec words -> names of folders, all different."""
    found: dict[str, str] = {}
    for word in words:
        name = slug(word, 60) if slug(word) != "original" else "codec-original"
        found[word] = name if name not in found.values() else f"{name}-{len(found)}"
    return found


def error_map(one: Tensor, other: Tensor) -> Image.Image:
    """Largest difference of a pixel's three values, in colours: black for none, light yellow for FULL levels
    or more, by the root, so that small ones are seen. The scale is the same for all pictures and codecs."""
    differs = (one.short() - other.short()).abs().amax(0).clamp(max=FULL).numpy()
    picture = Image.fromarray(np.rint(255 * np.sqrt(differs / FULL)).astype(np.uint8), "L").convert("P")
    picture.putpalette(
        np.rint(
            [
                np.interp(np.linspace(0, len(COLOURS) - 1, 256), range(len(COLOURS)), [c[k] for c in COLOURS])
                for k in range(3)
            ]
        )
        .astype(np.uint8)
        .T.tobytes()
    )
    return picture


def _array(picture: Tensor) -> np.ndarray:
    return picture.permute(1, 2, 0).contiguous().numpy()


def _writing(folder: Path):
    return disk.room_for(f"the reconstructions in {folder}")


def check_report(path: Path) -> None:
    """Raises ConfigError where a report could not be written there; before the work, which may be long."""
    parent = path.parent
    problem = (
        "is a folder"
        if path.is_dir()
        else f"cannot be made: {parent} is no folder"
        if not parent.is_dir()
        else "cannot be written"
        if not os.access(path if path.exists() else parent, os.W_OK)
        else "has no ending of a page"
        if path.suffix.lower() not in (".html", ".htm")
        else None
    )
    if problem:
        raise ConfigError(
            f"report {path} {problem}; give a file in a folder that can be written, as --report out.html"
        )


def check_out(folder: Path, locations: list[Location]) -> None:
    """Raises ConfigError where files of somebody else would be written over: the folder holds some, or
    pictures that are read."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    inside = folder.resolve()
    if any(one.row is None and inside in one.store.resolve().parents for one in locations):
        raise ConfigError(
            f"output folder {folder} holds pictures that are to be read; give another folder with --out"
        )
    if not (folder / pictures.RESULTS).is_file():
        raise ConfigError(f"output folder {folder} holds other files; give a new one with --out")
