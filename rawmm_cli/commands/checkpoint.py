"""`rawmm checkpoint verify`: which checkpoints of a run are sound, and what is wrong with the others."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from . import tables
from .common import RUNS, Json, RunsDir
from .screen import emit, notify

group = typer.Typer(no_args_is_help=True, help="Check the checkpoints of a run.")


@group.command()
def verify(
    run: Annotated[
        Optional[str],
        typer.Argument(help="Name under the runs folder, or a path. [default: the newest run]"),
    ] = None,
    step: Annotated[
        Optional[int], typer.Argument(min=0, max=10**15, help="Only the checkpoint of this step.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Compare every file of every checkpoint with its checksum. Exit code 4 if one is damaged."""
    from ..runs import checkpoint, loading

    folder = loading.find_run(runs_dir, run)
    surveyed = checkpoint.survey(folder, step)
    damaged = [item for item in surveyed if item["problems"]]
    if json:
        emit(
            {
                "run": folder.name,
                "folder": str(folder),
                "sound": len(surveyed) - len(damaged),
                "damaged": len(damaged),
                "checkpoints": surveyed,
            }
        )
    else:
        _show(surveyed)
    if damaged:
        notify(_remedy(folder, surveyed, damaged))
    raise typer.Exit(4 if damaged else 0)


def _remedy(folder: Path, surveyed: list[dict], damaged: list[dict]) -> str:
    """What is damaged, and what to do, in one line."""
    names = ", ".join(Path(item["folder"]).name for item in damaged[:3])
    names += f" and {len(damaged) - 3:,} more" if len(damaged) > 3 else ""
    if len(damaged) == len(surveyed):
        return f"damaged: {names}; every checkpoint of {folder} is; delete the run and train again"
    if surveyed[-1] in damaged:
        return (
            f"damaged: {names}; rawmm uses the newest sound one; `rawmm train` resumes from it and then "
            "deletes the damaged ones after it"
        )
    return f"damaged: {names}; the newest one is sound, and rawmm uses it; delete the damaged ones"


def _show(surveyed: list[dict]) -> None:
    """Print a line for each checkpoint and, under a damaged one, a line for each file."""
    rows = []
    for item in surveyed:
        documents, problems = item["documents"], item["problems"]
        damage = "\n".join(["damaged", *(f"{name} {what}" for name, what in problems.items())])
        rows.append(
            [
                f"{item['step']:,}",
                f"{documents:,}" if isinstance(documents, int) else "?",
                _size(item["bytes"]),
                tables.text(damage, "red", keep="\n") if problems else tables.text("sound", "green"),
            ]
        )
    tables.write(("step", "documents", "size", ""), rows, numbers=range(3))


def _size(count: int) -> str:
    """14,567,890 -> 14.6 MB."""
    for least, unit in (1e9, "GB"), (1e6, "MB"), (1e3, "kB"):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count} B"
