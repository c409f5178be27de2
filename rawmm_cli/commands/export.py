"""`rawmm export`: take the model out of a run, to keep it or to pass it on."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..system.threads import use_cpu
from .common import DATA, RUNS, DataDir, Json, RunsDir
from .screen import emit, notify, printable


def export(
    run: Annotated[
        Optional[str], typer.Argument(help="Name under the runs folder, or a path. [default: the newest run]")
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option("--out", help="A new folder for the model. [default: models/RUN]")
    ] = None,
    name: Annotated[
        Optional[str], typer.Option(help="What the model is called. [default: the folder's name]")
    ] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Take the averaged weights of a run out into a folder: settings, tokenizer, tuned grids, evaluation, a
    model card, checksums.

    `rawmm sample --model FOLDER` draws with it."""
    use_cpu()
    from ..runs import loading, models
    from .common import run_name

    folder = loading.find_run(runs_dir, run)
    target = out or Path("models") / folder.name
    called = run_name(name or target.name)
    facts = models.export(folder, target, called, data_dir, notify)
    size = sum(path.stat().st_size for path in target.iterdir())
    if json:
        return emit({**facts, "folder": str(target), "bytes": size})
    typer.echo(
        printable(
            f"{target}: {facts['parameters']:,} parameters, {size / 1e6:.1f} MB; "
            f'try it: rawmm sample "..." --model {target}'
        )
    )
