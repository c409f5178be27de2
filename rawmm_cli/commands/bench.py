"""`rawmm bench`: how fast this machine trains, draws or makes batches with these settings."""

from enum import Enum
from typing import Annotated, Optional

import typer

from ..system.threads import use_cpu
from . import tables
from .common import DATA, DataDir, DataSet, Device, Json, Preset, choose, settle
from .screen import emit, notify


class What(str, Enum):
    """What is measured."""

    train = "train"
    sample = "sample"
    data = "data"


def bench(
    what: Annotated[
        What, typer.Argument(help="train: training steps; sample: drawing and writing; data: batches.")
    ],
    settings: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings over the preset's, as in train.precision=fp32 train.compile=no.",
        ),
    ] = None,
    preset: Preset = None,
    data: DataSet = None,
    steps: Annotated[
        int, typer.Option("--steps", min=3, max=100_000, help="Steps to measure (train, data).")
    ] = 20,
    count: Annotated[
        int, typer.Option("--count", min=1, max=100_000, help="Pictures in one batch (sample).")
    ] = 16,
    device: Device = "auto",
    data_dir: DataDir = DATA,
    json: Json = False,
) -> None:
    """Measure speed: positions/s, pictures/s, MFU, memory and waiting for data."""
    from ..config.model import Config
    from ..system.errors import ConfigError

    preset, config = choose(preset, data, settings or [])
    if not isinstance(config, Config):
        raise ConfigError(
            f"preset {preset} trains a codec; allowed: presets of models that draw and read; "
            f"`rawmm train --preset {preset} --time 30s` prints the pictures/s of a codec"
        )
    use_cpu(config.train.threads)
    config, _ = settle(config, data_dir, None, device, 1)
    from ..profiling import bench
    from ..system import machine

    on = machine.device(device)
    if what is What.train:
        result = bench.train(config, data_dir, on, steps, notify)
    elif what is What.sample:
        result = bench.sample(config, on, count)
    else:
        result = bench.batches_alone(config, data_dir, steps, on)
    result = {"preset": preset, "settings": settings or [], "device": str(on), **result}
    emit(result) if json else _show(result)


def _show(result: dict) -> None:
    """Print the figures as a table."""
    from ..system.figures import duration, number, size

    forms = {
        "step_seconds": duration,
        "seconds_per_picture_alone": duration,
        "seconds_per_step": duration,
        "peak_memory": size,
        "mfu": "{:.1%}".format,
        "data_wait": "{:.1%}".format,
        "fill": "{:.1%}".format,
        "flops_per_second": lambda rate: f"{rate / 1e9:,.1f} G",
        "matmul_flops_per_second": lambda rate: f"{rate / 1e9:,.1f} G",
    }
    rows = []
    for name, value in result.items():
        if (
            name in ("estimate", "estimate_over_measured", "settings")
            or value is None
            or isinstance(value, bool)
        ):
            continue
        text = forms.get(name, number)(value) if isinstance(value, (int, float)) else str(value)
        if estimate := result.get("estimate", {}).get(name):
            ratio = result["estimate_over_measured"][name]
            text += f"  (estimated: {forms[name](estimate)}, {ratio:.2f} times as much)"
        rows.append((tables.text(name.replace("_", " "), "bold"), text))
    tables.write(("", ""), rows)
