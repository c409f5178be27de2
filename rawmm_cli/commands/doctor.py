"""`rawmm doctor`: what works on this machine and in this installation, and how to add the rest."""

import os

import typer

from ..system.figures import counted
from ..system.threads import use_cpu
from . import tables
from .common import DATA, RUNS, DataDir, Json, RunsDir
from .screen import emit


def doctor(data_dir: DataDir = DATA, runs_dir: RunsDir = RUNS, json: Json = False) -> None:
    """Show what works on this machine, how fast, and which commands add the rest."""
    environment = tuple(
        name for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ
    )
    use_cpu()
    from ..profiling.doctor import examine

    facts = examine(data_dir, runs_dir, environment)
    if json:
        return emit(facts)
    _show(facts)


def _show(facts: dict) -> None:
    """Print three tables: machine, devices, features."""
    tables.write(("", ""), _facts(facts).items(), title="machine")
    typer.echo()
    kinds = list(facts["devices"][0]["dtypes"])
    tables.write(("", "", *kinds), map(_device, facts["devices"]), title="devices, FLOP/s of a matmul")
    typer.echo()
    tables.write(("", "", ""), map(_feature, facts["features"]), title="features")


def _facts(facts: dict) -> dict[str, str]:
    from ..system.figures import size

    cpu, threads, memory, disk = (facts[key] for key in ("cpu", "threads", "memory", "disk"))
    available, total = (
        "unknown" if memory[key] is None else size(memory[key]) for key in ("available", "total")
    )
    wait = ", ".join(f"{name}={value}" for name, value in threads["wait"].items())
    chosen = f"; set by you: {', '.join(threads['from_environment'])}" if threads["from_environment"] else ""
    compiler, shm = facts["compiler"], disk["shm"]
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version),
        "system": facts["system"]["os"],
        "CPU": f"{cpu['name']}, {counted(cpu['cores'], 'core')} for this process",
        "features": f"{' '.join(cpu['features']) or 'unknown'}; torch uses {cpu['torch']['kernels']}",
        "threads": f"{threads['count']}, {wait}{chosen}",
        "memory": f"{available} available of {total}",
        "data folder": _folder(disk["data"]),
        "runs folder": _folder(disk["runs"]),
        "/dev/shm": f"{size(shm['free'])} free of {size(shm['total'])}" if shm else "none",
        "C++ compiler": compiler["version"] or f"{compiler['command']} {compiler['error']}",
        "distributed": ", ".join(facts["distributed"]) or "none",
    }


def _folder(facts: dict) -> str:
    from ..system.figures import size

    free = "unknown" if facts["free"] is None else size(facts["free"])
    state = ", read-only" if not facts["writable"] else "" if facts["exists"] else ", created when needed"
    return f"{facts['folder']}: {free} free{state}"


def _device(facts: dict) -> list[str]:
    """A row: name, description, rate of a matmul in each precision."""
    from ..system.figures import short, size

    about = facts["name"]
    if "memory" in facts:
        about += f", {size(facts['memory'])}, capability {'.'.join(map(str, facts['capability']))}"
    rates = (
        short(kind["flops_per_second"]) if kind["works"] else kind["error"]
        for kind in facts["dtypes"].values()
    )
    return [facts["device"], about, *rates]


def _feature(facts: dict) -> list:
    """A row: name, whether it works, details; where it does not work, the command that adds it."""
    detail = tables.text(facts["detail"])
    if facts["add"]:
        detail.append("\nadd it: ", "dim").append(tables.text(facts["add"]))
    state = tables.text("works", "green") if facts["works"] else tables.text("missing", "yellow")
    return [facts["feature"], state, detail]
