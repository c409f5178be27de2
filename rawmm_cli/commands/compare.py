"""`rawmm compare`: systems on equal terms, with error bars."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .common import DATA, RUNS, DataDir, Device, Json, RunsDir, seconds_of, writable_folder
from .screen import emit, notify, printable

if TYPE_CHECKING:
    from ..comparison.cells import Cell, Table

COMPARISONS = Path("comparisons")


def compare(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME_OR_FILE", help="A comparison that ships, or a YAML file of your own."),
    ],
    data: Annotated[
        Optional[str],
        typer.Option("--data", "-d", help="Name of a prepared set. [default: the comparison's]"),
    ] = None,
    seeds: Annotated[
        Optional[int],
        typer.Option(min=1, max=100, help="How many seeds of training. [default: the comparison's]"),
    ] = None,
    budget: Annotated[
        Optional[str],
        typer.Option(help="Time of each system, the training of its codec included, as in 90s, 5m or 2h."),
    ] = None,
    documents: Annotated[
        Optional[int], typer.Option(min=1, help="Instead of --budget: documents that each model sees.")
    ] = None,
    flops: Annotated[
        Optional[float], typer.Option(min=1, help="Instead of --budget: FLOPs of training of each system.")
    ] = None,
    sweep: Annotated[
        Optional[int],
        typer.Option(
            min=0, max=7, help="Trials of the learning rate, for each system. [default: the comparison's]"
        ),
    ] = None,
    only: Annotated[Optional[list[str]], typer.Option(help="Work on this system alone; may repeat.")] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="Cells side by side on this machine, with a share of its cores each."
        ),
    ] = 1,
    launcher: Annotated[
        str,
        typer.Option(help="local: this machine; slurm: a job of a cluster for each cell (extra `cluster`)."),
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say how long it takes, how many FLOPs and how much disk.")
    ] = False,
    device: Device = "auto",
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    comparisons_dir: Annotated[
        Path, typer.Option("--comparisons-dir", envvar="RAWMM_COMPARISONS", help="Folder of comparisons.")
    ] = COMPARISONS,
    json: Json = False,
) -> None:
    """Compare systems: each preset trained, its sampler searched, all measured, with several seeds.

    Run the same command again to go on. Writes results.json and report.html below comparisons/NAME."""
    changes = _changes(data, seeds, sweep, {"time": budget, "documents": documents, "flops": flops})
    table = _table(name, changes, (comparisons_dir, data_dir, runs_dir))
    chosen = _chosen(table, only or [])
    result = _work(table, chosen, jobs, launcher, device)
    if json:
        return emit(result)
    typer.echo(printable(f"{table.folder / 'results.json'}"))


def _changes(
    data: str | None, seeds: int | None, sweep: int | None, budget: dict[str, Any]
) -> dict[str, Any]:
    """Settings of the comparison that options give. Raises ConfigError."""
    from ..system.errors import ConfigError

    given = {key: value for key, value in budget.items() if value is not None}
    if len(given) > 1:
        names = " and ".join({"time": "--budget"}.get(key, f"--{key}") for key in given)
        raise ConfigError(f"{names} are given; allowed: one of --budget, --documents, --flops")
    if "time" in given:
        given["time"] = seconds_of(given["time"])
    every = {"data": data, "seeds": seeds, "sweep": sweep, "budget": given or None}
    return {key: value for key, value in every.items() if value is not None}


def _table(name: str, changes: dict[str, Any], folders: tuple[Path, Path, Path]) -> "Table":
    from ..comparison.cells import Table
    from ..config import comparison

    settings = comparison.load(name, **changes)
    return Table(settings, folders[0] / settings.name, *folders[1:])


def _chosen(table: "Table", only: list[str]) -> "list[Cell]":
    """Cells that are worked on. Raises ConfigError for an unknown system."""
    from ..config.explain import nearest
    from ..system.errors import ConfigError

    names = [system.name for system in table.comparison.systems]
    for name in only:
        if name not in names:
            raise ConfigError(f"--only {name}{nearest(name, names)}; allowed: {', '.join(names)}")
    return [cell for cell in table.cells if not only or cell.system in only]


def _work(table: "Table", chosen: "list[Cell]", jobs: int, launcher: str, device: str) -> dict[str, Any]:
    """Work through the cells, and write the results."""
    from ..comparison import launch, results
    from ..system.threads import cores

    writable_folder(table.folder, "folder of comparisons")
    threads = max(1, cores() // jobs) if jobs > 1 else 0
    launch.run(
        table, chosen, lambda cell: launch.Process(table, cell, device, threads), jobs, lambda running: None
    )
    return results.write(table)
