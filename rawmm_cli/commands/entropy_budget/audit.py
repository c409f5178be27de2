"""`rawmm entropy-budget audit`: whether a model's input is lossless, bit for bit."""

from typing import TYPE_CHECKING

import typer

from ...system.threads import use_cpu
from ..common import DATA, RUNS, DataDir, Device, Json, RunsDir
from ..screen import emit
from .common import Limit, Paths, RunOrModel, find, loaded, note_skipped

if TYPE_CHECKING:
    from ...information.audit import Audit


def audit(
    run: RunOrModel,
    paths: Paths,
    limit: Limit = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check that a model's input gives pictures back bit for bit. Exit code 1 names the first difference."""
    locations = find(paths, data_dir, limit)
    use_cpu()
    from ...information import audit as auditing

    result = auditing.audit(loaded(run, runs_dir, device), locations)
    note_skipped(result.skipped)
    emit(auditing.as_json(result)) if json else show(result)


def show(result: "Audit") -> None:
    """Print what was compared, and how."""
    from ...system.figures import counted

    pictures, sizes = counted(result.pictures, "picture"), counted(len(result.sizes), "size")
    typer.echo(
        f"lossless: {pictures} of {sizes}, {result.values:,} values, and "
        f"{counted(result.tests, 'test picture')} of "
        f"every mode came out of the model's input bit for bit"
    )
    if converted := result.converted:
        typer.echo(
            f"{len(converted):,} hold more than 8-bit RGB (16 bits, alpha, CMYK): they were converted when "
            f"read, and are exact from then on"
        )
    if refused := result.not_admitted:
        typer.echo(f"{len(refused):,} do not fit the model's input (--json names them)")
    layer = result.first_layer
    typer.echo(f"the first layer has rank {layer.rank:,} for the {layer.values:,} values of a patch")
