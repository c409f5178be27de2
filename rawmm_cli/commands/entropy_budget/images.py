"""`rawmm entropy-budget images`: upper bounds of the bits that the user's pictures hold."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .. import tables
from ..common import DATA, DataDir, Json
from ..screen import emit, progress
from . import formula
from .common import IMAGES, Length, Limit, Paths, Plot, Vocabulary, find, note_missing, note_skipped, square

if TYPE_CHECKING:
    from ...information.bounds import Method, Summary
    from ...information.picture_bits import Pictures


def images(
    paths: Paths,
    length: Length = None,
    vocabulary: Vocabulary = None,
    size: Annotated[
        Optional[str],
        typer.Option(
            "--size",
            help="Side of the tokenizer's pictures: crop to squares, shrink to this side. [default: 64]",
        ),
    ] = None,
    limit: Limit = IMAGES,
    plot: Plot = None,
    data_dir: DataDir = DATA,
    json: Json = False,
) -> None:
    """Upper bounds of H for your own pictures, by lossless codecs.

    With --L or --V the other follows; with both, the capacity is compared with the smallest file of every
    picture."""
    from ...information import budget, picture_bits

    if plot:
        formula.check_plot(plot)
    side = budget.SIDE if size is None else square(size)
    known = formula.numbers(length, vocabulary)
    locations = find(paths, data_dir, limit)
    measured = picture_bits.measure(locations, side, progress(len(locations)))
    note_skipped(measured.skipped)
    note_missing(measured.own.rows)
    result = picture_bits.judge(budget.solve(*known, picture_bits.need(measured)), measured)
    if plot:
        formula.draw(plot, result, known, measured)
    if json:
        emit({**budget.as_json(result), "images": picture_bits.as_json(measured)})
    else:
        show(measured)
        formula.show(result, plot)


def show(measured: "Pictures") -> None:
    """Print a table for the pictures' own sizes and one for the tokenizer's size."""
    own = "at its own size" if measured.own.pictures == 1 else "at their own sizes"
    sized = f"at {measured.size} x {measured.size} px"
    if not measured.sized:
        _show_size(measured.own, own)
        typer.echo(f"no picture is at least {measured.size} x {measured.size} px")
        return
    if measured.own.rows != measured.sized.rows:  # else all pictures are of that size
        _show_size(measured.own, own)
    _show_size(measured.sized, sized)


def _show_size(summary: "Summary", name: str) -> None:
    from ...system.figures import counted

    grey = f", {summary.grey:,} of them grey (one channel)" if summary.grey else ""
    typer.echo(f"{counted(summary.pictures, 'picture')} {name}{grey}; bits a byte:")
    rows = [(row.method, row, row.kind, _settings(row)) for row in summary.rows]
    rows.append(("best", summary.best, "upper bound", ""))
    cells = [
        [name, *(f"{value:.3f}" for value in (one.mean, one.p05, one.median, one.p95)), kind, settings]
        for name, one, kind, settings in rows
    ]
    tables.write(["", "mean", "p05", "median", "p95", "", "smallest by"], cells, numbers=range(1, 5))
    if mosaic := summary.mosaic:
        rates = ", ".join(f"{name} {rate:.3f}" for name, rate in mosaic.bits_per_byte.items())
        files = counted(mosaic.files, "file")
        typer.echo(f"  as mosaics, {counted(mosaic.pictures, 'small picture')} in {files}: {rates}")


def _settings(row: "Method") -> str:
    """The settings whose files were the smallest, with the number of pictures where there are several."""
    if len(row.settings) == 1:
        return next(iter(row.settings))
    return "; ".join(f"{name}: {count:,}" for name, count in row.settings.items())
