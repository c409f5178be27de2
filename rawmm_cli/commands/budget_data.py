"""The parts of `rawmm entropy-budget` that look at data: pictures, codecs and models."""

import time
from pathlib import Path

import typer

from .common import notify, printable


def progress(total: int, every: float = 10.0):
    """-> told(done): a line now and then of how far the work is."""
    said = time.monotonic()

    def told(done: int) -> None:
        nonlocal said
        if time.monotonic() - said > every and done < total:
            said = time.monotonic()
            notify(f"{done:,} of {total:,} pictures")

    return told


def find(paths: list[Path], data_dir: Path, limit: int) -> list[tuple]:
    """The pictures that are named, at most `limit` of them."""
    from ..core import pictures

    found = pictures.find(paths, data_dir)
    if len(found) > limit:
        notify(f"the first {limit:,} of {len(found):,} pictures; more with --limit")
    return found[:limit]


def images(found: list[tuple], size: int) -> dict:
    """What the pictures hold at most."""
    from ..core import bounds, budget_data

    if bounds.missing():
        notify(f"JPEG XL and JPEG-LS are left out: imagecodecs is not installed; {bounds.INSTALL}")
    result = budget_data.of_images(found, size, progress(len(found)))
    for one in result["skipped"][:5]:
        notify(f"left out {one['file']}: {one['reason']}")
    if len(result["skipped"]) > 5:
        notify(f"left out {len(result['skipped']) - 5:,} more: --json names them")
    return result


def tell_images(result: dict) -> None:
    """A table for each scale."""
    for scale, name in (("own", "at their own sizes"), ("sized", f"at {result['size']} x {result['size']} px")):
        found = result[scale]
        if found is None:
            if result["size"]:
                typer.echo(f"no picture is as large as {result['size']} x {result['size']} px")
            continue
        grey = f", {found['grey']:,} of them grey (one channel)" if found["grey"] else ""
        typer.echo(f"{found['pictures']:,} pictures {name}{grey}; bits a byte:")
        rows = [*found["rows"], {"method": "best", "kind": "upper bound", **found["best"]}]
        table(["", "mean", "p05", "median", "p95", ""], [
            [row["method"], *(f"{row[key]:.3f}" for key in ("mean", "p05", "median", "p95")), row["kind"]] for row in rows])
        if found["mosaic"]:
            listed = ", ".join(f"{name} {value:.3f}" for name, value in found["mosaic"]["bits_per_byte"].items())
            many, files = found["mosaic"]["pictures"], found["mosaic"]["files"]
            typer.echo(f"  as mosaics, {many:,} small pictures in {files:,} files: {listed}")


def table(heads: list[str], rows: list[list[str]]) -> None:
    """Rows on stdout; all but the first column to the right."""
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None, header_style="bold", padding=(0, 1))
    for n, head in enumerate(heads):
        made.add_column(head, justify="left" if n == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*map(printable, row))
    console = Console(highlight=False, markup=False)
    console.width = console.width if console.is_terminal else 160
    console.print(made)
