"""`rawmm doctor`: what this machine and this installation can do, and the command that adds what is
missing."""

import os

from .common import DATA, RUNS, DataDir, Json, RunsDir, emit, use_cpu


def doctor(data_dir: DataDir = DATA, runs_dir: RunsDir = RUNS, json: Json = False):
    """Show versions, devices, speeds, free disk, and for every feature whether it works or the command that
    adds it."""
    given = tuple(
        name for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ
    )
    use_cpu()
    from ..profiling.doctor import examine

    found = examine(data_dir, runs_dir, given)
    if json:
        return emit(found)
    _show(found)


def _show(found: dict) -> None:
    """Three tables for people: the facts, the devices, the features."""
    from rich.console import Console

    screen = Console(highlight=False)
    for table in (_facts(found), _devices(found), _features(found)):
        screen.print(table)
        if table.title != "features":
            screen.print()


def _table(title: str, *columns: str):
    from rich.table import Table

    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        padding=(0, 2, 0, 0),
        show_header=any(columns),
    )


def _plain(text):
    """A cell that rich takes as it is: no markup, no control characters."""
    from rich.text import Text

    from ..system.errors import printable

    return Text(printable(str(text)), overflow="fold")  # a long path is broken, not cut


def _facts(found: dict):
    from ..system.figures import size

    there = lambda count: "unknown" if count is None else size(count)  # noqa: E731
    cpu, threads, memory, disk = (found[key] for key in ("cpu", "threads", "memory", "disk"))
    wait = ", ".join(f"{name}={value}" for name, value in threads["wait"].items())
    chosen = f"; set by you: {', '.join(threads['from_environment'])}" if threads["from_environment"] else ""
    rows = {
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version),
        "system": found["system"]["os"],
        "CPU": f"{cpu['name']}, {cpu['cores']} cores for this process",
        "features": f"{' '.join(cpu['features']) or 'unknown'}; torch uses {cpu['torch']['kernels']}",
        "threads": f"{threads['count']}, {wait}{chosen}",
        "memory": f"{there(memory['available'])} available of {there(memory['total'])}",
    }
    for name in ("data", "runs"):
        one = disk[name]
        state = (
            ", cannot be written" if not one["writable"] else "" if one["exists"] else ", made when needed"
        )
        rows[f"{name} folder"] = f"{one['folder']}: {there(one['free'])} free{state}"
    rows["/dev/shm"] = (
        f"{size(disk['shm']['free'])} free of {size(disk['shm']['total'])}" if disk["shm"] else "none"
    )
    rows["C++ compiler"] = (
        found["compiler"]["version"] or f"{found['compiler']['command']} {found['compiler']['error']}"
    )
    rows["distributed"] = ", ".join(found["distributed"]) or "none"
    table = _table("machine", "", "")
    table.columns[0].no_wrap = True
    for name, value in rows.items():
        table.add_row(name, _plain(value))
    return table


def _devices(found: dict):
    from ..system.figures import short, size

    table = _table("devices, FLOP/s of a matmul", "", "", *found["devices"][0]["dtypes"])
    for one in found["devices"]:
        about = one["name"]
        if "memory" in one:
            about += f", {size(one['memory'])}, capability {'.'.join(map(str, one['capability']))}"
        rates = [
            short(kind["flops_per_second"]) if kind["works"] else kind["error"]
            for kind in one["dtypes"].values()
        ]
        table.add_row(one["device"], *map(_plain, [about, *rates]))
    return table


def _features(found: dict):
    from rich.text import Text

    table = _table("features", "", "", "")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for one in found["features"]:
        detail = _plain(one["detail"])
        if one["add"]:
            detail.append("\nadd it: ", "dim").append(_plain(one["add"]))
        table.add_row(
            one["feature"], Text("works", "green") if one["works"] else Text("missing", "yellow"), detail
        )
    return table
