"""`rawmm train`: train a preset into a run folder; the same command again resumes it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.activity import doing
from ..system.figures import counted
from ..system.threads import use_cpu
from . import common
from . import dry_run as dry
from .common import (
    DATA,
    RUNS,
    DataDir,
    DataSet,
    Device,
    Json,
    Preset,
    RunsDir,
    run_name,
    seconds_of,
    writable_folder,
)
from .screen import Training, emit, notify

if TYPE_CHECKING:
    from ..config.codecs import CodecConfig
    from ..config.model import Config


def train(
    context: typer.Context,
    settings: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings over the preset's, as in train.batch=64; `rawmm presets NAME` shows all of them.",
        ),
    ] = None,
    preset: Preset = None,
    data: DataSet = None,
    run: Annotated[
        Optional[str], typer.Option("--run", help="Name of the run. [default: the preset's or the set's]")
    ] = None,
    gpus: Annotated[
        Optional[int],
        typer.Option(
            "--gpus",
            min=1,
            max=1024,
            help="Number of GPUs of this machine, with a process each (with --device cpu: of processes; "
            "with --device cuda:0: of processes that share this GPU, for tests).",
        ),
    ] = None,
    time_limit: Annotated[
        Optional[str],
        typer.Option(
            "--time",
            help="Let the command take a time instead of a number of documents, as in 90s, 10m, 2h30m or 1d; "
            "the learning rate schedule ends with it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", help="Print the resolved settings and sizes; allocate and train nothing."
        ),
    ] = False,
    card: Annotated[
        Optional[str],
        typer.Option(
            "--card",
            help="With --dry-run: time and memory on this card, which need not be here, as in h100 or 4090; "
            "all: compare all cards.",
        ),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Train a model. Run the same command again to resume."""
    from ..config.codecs import CodecConfig
    from ..system import launch
    from ..system.errors import ConfigError

    words = [*(settings or []), *([f"train.time={seconds_of(time_limit)}"] if time_limit is not None else [])]
    preset, config = common.choose(preset, data, words)
    codec = isinstance(config, CodecConfig)
    if codec and gpus and gpus > 1:
        raise ConfigError(f"--gpus {gpus}: a codec trains in one process; leave out --gpus")
    if card is not None and (codec or not dry_run):
        raise ConfigError(
            f"--card {card}: "
            + (f"preset {preset} trains a codec; allowed: presets of models" if codec else "add --dry-run")
        )
    folder = runs_dir / run_name(run or common.usual_name(preset, config))
    common.check_read(config, words, data_dir)
    config, reasons = common.settle(config, data_dir, folder, device, gpus or 1)
    if dry_run:
        return (
            dry.show_codec(config, json)
            if codec
            else dry.show(config, data_dir, device, gpus or 1, card, json, reasons)
        )
    writable_folder(runs_dir, "runs folder")
    if gpus and gpus > 1 and not launch.joined():
        _check_gpus(config, gpus, device)
        with _true_words(folder):
            return launch.launch(sys.argv[1:], gpus, context.obj, common.values_of(config, reasons))
    result = execute(config, data_dir, folder, device, quiet=json, began=launch.began(context.obj))
    if os.environ.get("RANK", "0") == "0":
        emit(result | ({"reasons": reasons} if reasons else {})) if json else _show(result, folder, codec)


def _show(result: dict, folder: Path, codec: bool) -> None:
    """Print how the run ended, and what to do next."""
    then = (
        f"`rawmm reconstruct ... --codec {folder}` or `rawmm report {folder.name}`"
        if codec
        else f'`rawmm evaluate {folder.name}` or `rawmm sample "..." --run {folder.name}`'
    )
    if result["too_few"]:
        then = "the same command with a longer --time or more train.documents"
        notify(f"{folder} is no model yet: {result['too_few']}; next: {then}")
    else:
        notify(f"{folder} {result['status']}; next: {then}")


def _check_gpus(config: "Config", gpus: int, device: str) -> None:
    """Raise ConfigError where `gpus` ranks cannot be started."""
    import torch

    from ..data.loader import check_shares
    from ..system import machine
    from ..system.distributed import Ranks
    from ..system.errors import ConfigError

    have = torch.cuda.device_count()
    if device.startswith("cuda:"):
        machine.device(device)  # processes that share it
    elif device != "cpu" and gpus > have:
        remedy = (
            f"give --gpus {have}"
            if have > 1
            else f"add --device cpu to train with {counted(gpus, 'process')} on the CPU"
        )
        raise ConfigError(f"--gpus {gpus}: this machine has {have or 'no'} GPU{'s' * (have != 1)}; {remedy}")
    check_shares(config, Ranks(0, gpus))


def execute(
    config: "Config | CodecConfig",
    data_dir: Path,
    folder: Path,
    device: str,
    quiet: bool = False,
    began: float | None = None,
) -> dict:
    """Train, with a progress bar unless `quiet` -> the last record and the run's status. began: when the
    command was started, on the clock of time.perf_counter; None: now.

    In a process that a launcher started, train as one of its ranks."""
    from ..system.launch import joined

    began = time.perf_counter() if began is None else began
    with doing("loading"):
        use_cpu(config.train.threads, here=int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if joined() else 1)
        from ..config.codecs import CodecConfig
        from ..config.enough import too_few
        from ..runs.records import read
        from ..system import distributed, machine
        from ..training import train
        from ..training.train_codec import train_codec

    ranks = distributed.from_environment(device)
    if isinstance(config, CodecConfig):
        records = train_codec(config, data_dir, folder, machine.device(device), notify, began)
    else:
        records = train.train(
            config,
            data_dir,
            folder,
            machine.device(device, ranks.local if ranks.grouped else None),
            notify,
            ranks,
            began,
        )
    record: dict = {}
    shown = Training(config.train, began) if not quiet and ranks.first else nullcontext()
    with _true_words(folder), shown as line:
        for record in records:
            if line:
                line(record)
    status = "trained" if record else "was trained already"
    if not record:
        record = (read(folder / "records.jsonl") or [{}])[-1]
    train, seen = config.train, record.get("documents", 0)
    few = too_few(seen, train.warmup, train.batch, train.documents if train.time else None)
    return {"run": folder.name, "folder": str(folder), "status": status, "too_few": few or None, **record}


@contextmanager
def _true_words(run: Path) -> Iterator[None]:
    """An error says that the last checkpoint is intact; where a run has none yet, it says that."""
    from ..system.errors import RawmmError

    try:
        yield
    except RawmmError as error:
        if not any((run / "checkpoints").glob("step_*")):
            error.args = (str(error).replace("the last checkpoint is intact", "it has no checkpoint yet"),)
        raise
