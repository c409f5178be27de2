"""`rawmm compare`: systems on equal terms, with error bars."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..system.figures import duration, size
from ..system.threads import use_cpu
from . import tables
from .common import DATA, RUNS, DataDir, Device, Json, RunsDir, seconds_of, writable_folder
from .screen import console, emit, notify, printable

if TYPE_CHECKING:
    from rich.console import Group

    from ..comparison.cells import Cell, Table

COMPARISONS = Path("comparisons")
MINUTE = 60.0  # seconds between two lines, where there is no terminal


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
        Optional[int],
        typer.Option(min=1, max=10**12, help="Instead of --budget: documents that each model sees."),
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
    called: Annotated[
        Optional[str],
        typer.Option("--name", help="Name of the comparison's folder. [default: that of the file]"),
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
    """Compare systems on equal terms: each is trained, its sampler is searched, and all are measured.

    The same command again goes on. Writes results.json and report.html below comparisons/NAME."""
    from ..comparison import checks, orders

    changes = _changes(data, seeds, sweep, called, {"time": budget, "documents": documents, "flops": flops})
    table, sets = _table(name, changes, (comparisons_dir, data_dir, runs_dir))
    chosen = _chosen(table, only or [])
    if dry_run:
        return _estimate(table, device, jobs, json)
    orders.renew(table, chosen)
    if any(not table.finished(cell) for cell in chosen):
        checks.check_split(table, sets)
        _work(table, chosen, (launcher, jobs, device), quiet=json)
    result, page = _write(table)
    if json:
        return emit({**result, "report": str(page)})
    _say(result)
    typer.echo(printable(str(page)))


def _changes(
    data: str | None, seeds: int | None, sweep: int | None, called: str | None, budget: dict[str, Any]
) -> dict[str, Any]:
    """Settings of the comparison that options give. Raises ConfigError."""
    from ..system.errors import ConfigError

    given = {key: value for key, value in budget.items() if value is not None}
    if len(given) > 1:
        names = " and ".join({"time": "--budget"}.get(key, f"--{key}") for key in given)
        raise ConfigError(f"{names} are given; allowed: one of --budget, --documents, --flops")
    if "time" in given:
        given["time"] = seconds_of(given["time"], "--budget")
    every = {"data": data, "seeds": seeds, "sweep": sweep, "name": called, "budget": given or None}
    return {key: value for key, value in every.items() if value is not None}


def _table(name: str, changes: dict[str, Any], folders: tuple[Path, Path, Path]) -> "tuple[Table, list[str]]":
    """The cells of the comparison, all settings of which are sound, and the names of its sets. Raises
    ConfigError, DataError."""
    from ..comparison import checks
    from ..comparison.cells import Table
    from ..config import comparison

    settings = comparison.load(name, **changes)
    table = Table(settings, folders[0] / settings.name, *folders[1:])
    return table, checks.check(table)


def _chosen(table: "Table", only: list[str]) -> "list[Cell]":
    """Cells that are worked on. Raises ConfigError for an unknown system."""
    from ..config.explain import nearest
    from ..system.errors import ConfigError

    names = [system.name for system in table.comparison.systems]
    for name in only:
        if name not in names:
            raise ConfigError(f"--only {name}{nearest(name, names)}; allowed: {', '.join(names)}")
    every = [*table.sweeps, *table.cells]
    return [cell for cell in every if not only or cell.system in only]


def _estimate(table: "Table", device: str, jobs: int, json: bool) -> None:
    """Print how long it takes, how many FLOPs, how much disk."""
    use_cpu()
    from ..comparison import estimates
    from ..system import machine

    costs = estimates.estimates(table, machine.device(device))
    seconds = sum(one.seconds for one in costs) / jobs
    totals = {
        "seconds": seconds,
        "flops": sum(one.flops for one in costs),
        "disk": sum(one.disk for one in costs),
    }
    if json:
        return emit({"name": table.comparison.name, "systems": [one._asdict() for one in costs], **totals})
    rows = [
        (
            one.system,
            f"{one.parameters:,}",
            ", ".join(f"{count:,}" for count in sorted(set(one.documents.values()))),
            f"{one.cells}",
            duration(one.seconds),
            f"{one.flops:.2g}",
            size(one.disk),
        )
        for one in costs
    ]
    heads = ("system", "parameters", "documents", "cells", "time", "FLOPs", "disk")
    tables.write(heads, rows, numbers=range(1, len(heads)))
    side = f", {jobs} cells side by side" if jobs > 1 else ""
    notify(
        f"about {duration(seconds)} in all{side}, {totals['flops']:.2g} FLOPs of training, "
        f"{size(totals['disk'])}; "
        "nothing was trained"
    )


def _work(table: "Table", chosen: "list[Cell]", how: tuple[str, int, str], quiet: bool) -> None:
    """Work through the cells, with a table of where they stand. Raises ConfigError where none could be
    trained."""
    from ..comparison import launch
    from ..system.errors import ConfigError

    launcher, jobs, device = how
    writable_folder(table.folder, "folder of comparisons")
    with launch.alone(table.folder), _shown(table, chosen, jobs, quiet) as show:
        begin, most = launch.beginner(table, launcher, jobs, device)
        launch.run(table, chosen, begin, most, show)
    failed = [(cell, table.result(cell)) for cell in chosen]
    failed = [(cell, result) for cell, result in failed if result.get("state") == "failed"]
    if failed and not any(table.finished(cell) for cell in table.cells):
        cell, result = failed[0]
        raise ConfigError(f"no cell could be trained; {cell.name}: {result['message']}")


@contextmanager
def _shown(
    table: "Table", chosen: "list[Cell]", jobs: int, quiet: bool
) -> "Iterator[Callable[[set[Cell]], None]]":
    """A function of the cells under way that shows where all stand: a table that stays in place on a
    terminal, elsewhere a line for each cell that ends, and one a minute."""
    from ..comparison import progress

    clock = progress.Clock()
    if quiet:
        yield lambda running: None
    elif console().is_terminal:
        from rich.live import Live

        with Live(console=console(), refresh_per_second=2) as live:
            yield lambda running: live.update(
                _live(table, chosen, running, clock.left(table, chosen, running, jobs))
            )
    else:
        ended = {cell for cell in chosen if table.finished(cell)}
        said = time.monotonic()

        def show(running: "set[Cell]") -> None:
            nonlocal said
            left = clock.left(table, chosen, running, jobs)
            after = f"; about {duration(round(left))} left" if left is not None else ""
            for cell in chosen:
                state = table.result(cell).get("state")
                if cell not in ended and cell not in running and state:
                    ended.add(cell)
                    notify(f"{cell.name} {state}, {len(ended)} of {len(chosen)}{after}")
            if time.monotonic() - said > MINUTE:
                said = time.monotonic()
                now = ", ".join(f"{cell.name} {progress.doing(table, cell)}" for cell in running)
                notify(f"{len(ended)} of {len(chosen)} cells; {now}{after}")

        yield show


def _live(table: "Table", chosen: "list[Cell]", running: "set[Cell]", left: float | None) -> "Group":
    """Where all systems stand, as a table for the terminal."""
    from rich.console import Group
    from rich.table import Table as Grid

    from ..comparison import progress

    rows = progress.rows(table, running)
    titles = list(dict.fromkeys(title for row in rows for title in row.metrics))
    grid = Grid(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("system", "equal", "cells", *titles, "now"):
        grid.add_column(head, no_wrap=True)
    for row in rows:
        shares = [tables.number(row.metrics.get(title), "{:.1%}".format) for title in titles]
        cells = [row.system, row.budget, f"{row.done} of {row.count}", *shares, row.now]
        grid.add_row(*map(tables.text, cells))
    done = sum(table.finished(cell) for cell in chosen)
    eta = "" if left is None else f", about {duration(round(left))} left"
    return Group(grid, tables.text(f"{done} of {len(chosen)} cells{eta}", "dim"))


def _write(table: "Table") -> "tuple[dict[str, Any], Path]":
    """results.json and the page -> the results, and where the page is."""
    from ..comparison import gather

    result, path = gather.write(table), table.folder / "report.html"
    if not path.is_file() or path.stat().st_mtime < (table.folder / "results.json").stat().st_mtime:
        from ..pages import compare as page

        page.write(table.folder, result)
    return result, path


def _say(result: dict[str, Any]) -> None:
    """Print the answer, and why a cell is not done."""
    for cell in result["cells"]:
        if cell["state"] in ("diverged", "failed"):
            notify(
                f"{cell['system']}, seed {cell['seed']}, {cell['budget']}: {cell['state']}: {cell['message']}"
            )
    for sentence in result["answer"]:
        typer.echo(printable(sentence))
