"""Options, names and folders that commands share. Nothing here imports torch."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.activity import doing
from ..system.threads import use_cpu
from .screen import notify

if TYPE_CHECKING:
    from ..runs.models import Loaded

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="RAWMM_DATA", help="Folder of prepared data sets.")
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", envvar="RAWMM_RUNS", help="Folder of runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; logs go to stderr.")]
Run = Annotated[Optional[str], typer.Option("--run", help="A run, by its name.")]
Model = Annotated[
    Optional[str],
    typer.Option(
        "--model",
        help="A model inside the package, or the folder of one that `rawmm "
        "export` wrote. [default: portraits, unless --run is given]",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DATA, RUNS = Path("data"), Path("runs")
MOST_SEED = 2**63 - 1


def load_model(runs_dir: Path, run: str | None, model: str | None, device: str) -> "Loaded":
    """The model that --run or --model names. Raises ConfigError, CheckpointError."""
    with doing("loading the model"):
        use_cpu()
        from ..config.enough import too_few
        from ..runs import models
        from ..system import machine

        loaded = models.load(models.find(runs_dir, run, model), machine.device(device), notify)
    train = loaded.config.train
    documents = train.documents if train.time else None
    if note := too_few(loaded.documents, train.warmup, train.batch, documents):
        notify(f"{loaded.name} is no model yet: {note}")
    return loaded


def writable_folder(path: Path, what: str) -> Path:
    """Create a folder where it does not exist. Raises ConfigError where that fails or it is read-only."""
    from ..system.errors import ConfigError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{what} {path} cannot be created ({error.strerror}); give a folder that can be written"
        ) from None
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{what} {path} cannot be written; give another folder")
    return path


def run_name(name: str) -> str:
    """The name, unchanged. Raises ConfigError where it cannot be the name of a folder."""
    import re

    from ..config.fields import NAME
    from ..system.errors import ConfigError

    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"run name '{name}' cannot be a folder; allowed: letters, digits, '.', '_' and '-', up to 100"
        )
    return name
