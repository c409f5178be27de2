"""`rawmm export`: write the model of a run into a folder of its own, to keep or to publish."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..system.figures import counted
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
    name: Annotated[Optional[str], typer.Option(help="Name of the model. [default: the folder's]")] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Write the averaged weights of a run into a folder, with all that is needed to draw.

    That is settings, tokenizer, tuned grids, what it has seen, evaluation, model card and checksums.

    `rawmm sample --model FOLDER` draws with it."""
    use_cpu()
    from ..runs import loading, models
    from .common import run_name

    folder = loading.find_run(runs_dir, run)
    target = out or Path("models") / folder.name
    facts = models.export(folder, target, run_name(name or target.name), data_dir, notify)
    size = sum(path.stat().st_size for path in target.iterdir())
    if json:
        return emit({**facts, "folder": str(target), "bytes": size})
    typer.echo(
        printable(
            f"{target}: {counted(facts['parameters'], 'parameter')}, {size / 1e6:.1f} MB; "
            f'try it: rawmm sample "..." --model {target}'
        )
    )
