"""`rawmm report`: a run on one HTML page, also while it trains."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..system.figures import counted
from .common import RUNS, Json, RunsDir
from .screen import emit, printable


def report(
    run: Annotated[
        Optional[str], typer.Argument(help="Name under the runs folder, or a path. [default: the newest run]")
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option("--out", dir_okay=False, help="HTML file. [default: RUN/report.html]")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Write one HTML page about a run: curves, samples, captions, settings. It needs no network.

    A run that still trains is shown as far as it has come."""
    from ..pages import report
    from ..runs.loading import find_run

    folder = find_run(runs_dir, run)
    path = report.write(folder, out)
    state = report.state(folder)
    if json:
        return emit({"run": folder.name, "report": str(path), **state})
    typer.echo(printable(f"{path}  ({state['status']}, {counted(state['documents'], 'document')})"))
