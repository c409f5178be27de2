"""`rawmm demo`: a page of what a model draws and reads, of own pictures with --path."""

import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from ..common import DATA, RUNS, DataDir, Json, RunsDir, open_page, run_name, seconds_of, writable_folder
from ..screen import emit, notify

PORTRAITS = 20_000  # that --long trains on


def demo(
    settings: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings over those of what is trained: presets digits and portraits32, or own pictures.",
        ),
    ] = None,
    path: Annotated[
        Optional[Path],
        typer.Option("--path", help="Folder of your own pictures, with or without captions beside them."),
    ] = None,
    time: Annotated[
        str, typer.Option("--time", help="With --path: how long to train, as in 90s, 2m or 1h.")
    ] = "2m",
    size: Annotated[
        int,
        typer.Option(min=8, max=256, help="With --path: side that all pictures are made to fit, in pixels."),
    ] = 32,
    long: Annotated[
        bool,
        typer.Option(
            "--long", help=f"Also train a model on {PORTRAITS:,} drawn portraits, about 20 minutes."
        ),
    ] = False,
    run: Annotated[
        Optional[str],
        typer.Option(
            "--run",
            help="Name of the run; portraits have NAME-portraits. [default: demo; with --path FOLDER-demo]",
        ),
    ] = None,
    portraits: Annotated[
        Optional[int],
        typer.Option(
            min=0, max=1_000_000, help="Training portraits, as with --long; 0: only the digits, no portraits."
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser at the end.")
    ] = True,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Train, draw, read and open one page: real digits in minutes, or --path of your own pictures."""
    from ...system.errors import ConfigError
    from . import builtin, own

    if path is not None and (long or portraits is not None):
        raise ConfigError(
            f"--path {path} and {'--long' if long else '--portraits'}: portraits are part of the demo "
            "without --path; leave out one of them"
        )
    for place in (runs_dir, data_dir) if path is not None else ():
        if path.resolve() in (place.resolve(), *place.resolve().parents):
            raise ConfigError(
                f"{place} would lie inside --path {path}, among the pictures; run the command in another "
                "folder, or give --runs-dir and --data-dir"
            )
    limit = seconds_of(time)
    name = run_name(run or ("demo" if path is None else _name(path)))
    folder = writable_folder(runs_dir, "runs folder") / name
    if path is None:
        count = PORTRAITS if long and portraits is None else portraits
        result = builtin.execute(folder, settings or [], count, data_dir, quiet=json)
    else:
        result = own.execute(path, folder, limit, size, settings or [], data_dir, quiet=json)
    if json:
        return emit(result)
    notify(f"all of it: {result['total_seconds']:.0f} s")
    for what, command in result["next"]:
        notify(f"{what}: {command}")
    open_page(result["page"], browser)


def _name(path: Path) -> str:
    """Name of the set and run of a folder's pictures: that of the folder, as far as it can be one."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-._")[:80]
    return f"{words or 'pictures'}-demo"
