"""What the commands share: options, threads, output. No torch here."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[Path, typer.Option("--data-dir", envvar="RAWMM_DATA", help="Folder of prepared data sets.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", envvar="RAWMM_RUNS", help="Folder of runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; logs go to stderr.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DATA, RUNS = Path("data"), Path("runs")


def console():
    """A rich console on stderr: progress, notes and tables never mix with data on stdout."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def notify(message: str) -> None:
    """One line for the person at the terminal."""
    console().print(printable(message), style="dim", markup=False)


def emit(result: dict[str, Any]) -> None:
    """The one JSON object of `--json`."""
    typer.echo(json.dumps(result, ensure_ascii=True, default=str))


def printable(text: str) -> str:
    """Text that is safe for any terminal, line ends and tabs kept."""
    from ..core.errors import printable

    return printable(text, keep="\n\t")


def use_cpu(threads: int = 0) -> None:
    """Choose threads and their wait policy before torch starts, then import it.

    Waiting threads sleep instead of spinning: beside another busy process spinning ones slow a run many times over
    (`docs/log.md` has the figures). What the person has set in the environment wins."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or cores())


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def writable_folder(path: Path, what: str) -> Path:
    """Make a folder, or say in one line why that cannot be."""
    from ..core.errors import ConfigError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be made ({error.strerror}); give a folder that can be written") from None
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{what} {path} cannot be written; give another folder")
    return path


def run_name(name: str) -> str:
    """A run's name must be a plain folder name."""
    import re

    from ..core.errors import ConfigError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"run name '{name}' cannot be a folder; allowed: letters, digits, '.', '_' and '-', up to 100")
    return name
