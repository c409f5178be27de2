"""`rawmm average`: an average of a run's weights whose width is chosen after training."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..system.figures import counted
from ..system.threads import use_cpu
from .common import RUNS, Json, RunsDir, run_name, writable_folder
from .screen import emit, notify


def average(
    run: Annotated[
        str, typer.Argument(help="Name of a run trained with train.ema.kind=power, or its folder.")
    ],
    width: Annotated[
        float,
        typer.Option(
            "--width", help="Standard deviation of the average's profile as a share of the run, up to 0.25."
        ),
    ],
    name: Annotated[
        Optional[str], typer.Option("--name", help="Name of the new run. [default: RUN-WIDTH]")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Average the weights of a run at another width, into a new run to sample from and to evaluate."""
    from ..runs import loading

    use_cpu()
    from ..training import posthoc

    source = loading.find_run(runs_dir, run)
    target = writable_folder(runs_dir, "runs folder") / run_name(name or f"{source.name}-{width:g}")
    result = posthoc.write(source, width, target)
    if json:
        return emit(result)
    notify(
        f"{result['folder']}: the average of width {width:g}, from "
        f"{counted(result['snapshots'], 'snapshot')}; "
        f"next: `rawmm evaluate {Path(result['folder']).name}`"
    )
