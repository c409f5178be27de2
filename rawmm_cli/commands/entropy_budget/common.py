"""Options and notes that the files of `rawmm entropy-budget` share. Nothing here imports torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ...system.figures import counted
from ..screen import notify

if TYPE_CHECKING:
    from ...data.pictures import Location, Skipped
    from ...information.bounds import Method
    from ...runs.models import Loaded

Length = Annotated[Optional[str], typer.Option("--L", help="Tokens of a picture, as 256 or 16x16.")]
Vocabulary = Annotated[Optional[str], typer.Option("--V", help="Codes of a token, as 16384 or 2^14.")]
Plot = Annotated[Optional[Path], typer.Option("--plot", metavar="OUT.png", help="Write a plot.")]
Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...", help="Pictures, folders of pictures, or prepared sets (their held-out pictures)."
    ),
]
RunOrModel = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run by its name or folder, an exported model, or a model inside the package."
    ),
]
Limit = Annotated[Optional[int], typer.Option(min=1, max=1_000_000, help="Pictures at most.")]
IMAGES, MODEL, STEPS = 1000, 32, 16  # defaults: pictures at most, the same for a model, steps of its ODE


def find(paths: list[Path], data_dir: Path, limit: int | None) -> "list[Location]":
    """Locations of the pictures below the paths, at most `limit`. Raises DataError."""
    from ...data import pictures

    locations = pictures.find(paths, data_dir)
    if limit and len(locations) > limit:
        notify(f"the first {limit:,} of {counted(len(locations), 'picture')}; more with --limit")
    return locations[:limit]


def square(size: str) -> int:
    """The side that a --size gives. Raises ConfigError where it gives two different ones."""
    from ...information import numerals
    from ...system.errors import ConfigError

    height, width = numerals.sides(size)
    if height != width:
        raise ConfigError(
            f"--size is {width}x{height}; allowed: one number, because pictures are cropped to a square"
        )
    return height


def loaded(word: str, runs_dir: Path, device: str) -> "Loaded":
    """A model inside the package, an exported one or a run by its folder, or a run by its name."""
    from ...runs import models
    from ...system import machine

    folder = word in models.shipped() or (Path(word) / "config.yaml").is_file()
    path = models.find(runs_dir, None if folder else word, word if folder else None)
    return models.load(path, machine.device(device), notify)


def note_skipped(skipped: "list[Skipped]") -> None:
    """Name the first files that were left out."""
    for one in skipped[:5]:
        notify(f"left out {one.file}: {one.reason}")
    if len(skipped) > 5:
        notify(f"left out {len(skipped) - 5:,} more: --json names them")


def note_missing(rows: "list[Method]") -> None:
    """Name the codecs that gave no file, and what installs them."""
    from ...information import bounds, lossless

    if names := bounds.missing(rows):
        notify(
            f"{' and '.join(names)} left out: imagecodecs is missing, is broken, or did not decode its own "
            f"file; {lossless.INSTALL}"
        )
