"""`rawmm demo`: prepare, train, draw and read, twice, with nothing to download: real handwritten digits, then
drawn portraits."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .common import DATA, RUNS, DataDir, Json, RunsDir, load_model, run_name, writable_folder
from .screen import emit, notify

if TYPE_CHECKING:
    from ..config.model import Config

PROMPTS = 400  # captions to draw portraits from, and portraits to caption


def demo(
    settings: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings over the presets digits and portraits32."),
    ] = None,
    run: Annotated[
        str, typer.Option("--run", help="Name of the run of digits; the portraits have NAME-portraits.")
    ] = "demo",
    portraits: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Training portraits; 0: only the digits.")
    ] = 20_000,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Prepare, train, draw, read, report: real digits in minutes, then portraits from captions."""
    from ..config import presets
    from ..system.errors import ConfigError

    chosen = {
        name: presets.load(name, settings or []) for name in ("digits", *["portraits32"] * bool(portraits))
    }
    for name, config in chosen.items():
        if config.data.set != name:
            raise ConfigError(
                f"data.set = {config.data.set}; the demo trains on digits and portraits only; use "
                "`rawmm train` for other sets"
            )
    name = run_name(run)
    folder = writable_folder(runs_dir, "runs folder") / name
    started = time.perf_counter()
    result = _digits(chosen["digits"], folder, data_dir, quiet=json)
    result["total_seconds"] = round(time.perf_counter() - started, 1)
    if not json:
        _show("digits", result)
    if portraits:
        result["portraits"] = _portraits(
            chosen["portraits32"], folder.with_name(f"{name}-portraits"), portraits, data_dir, json
        )
        result["total_seconds"] = round(time.perf_counter() - started, 1)
    if json:
        return emit(result)
    if portraits:
        _show("portraits", result["portraits"])
    notify(f"all of it: {result['total_seconds']:.0f} s")
    picture = folder / "samples" / "read" / "0000.png"
    notify(
        f'next: rawmm sample "seven" --run {name} --count 16   or   '
        f"rawmm sample --run {name} --task caption --image {picture}"
    )


def _digits(config: "Config", folder: Path, data_dir: Path, quiet: bool) -> dict:
    """Prepare, train and evaluate the digits -> the results of `evaluate`, and paths of two sheets."""
    from ..sampling.request import Request
    from . import evaluate, prepare, sample, train

    notify("digits 1/4 prepare: the real handwritten digits inside scikit-learn")
    prepare.run("digits", data_dir=data_dir)
    notify("digits 2/4 train: one model that draws digits from their names and names the digits it reads")
    train.execute(config, data_dir, folder, "auto", quiet=quiet)
    notify("digits 3/4 draw and read: 10 denoising steps a picture; the same weights caption held-out digits")
    result = evaluate.execute(folder, Request(), data_dir)
    notify("digits 4/4 write: the model continues an empty prompt")
    loaded = load_model(folder.parent, str(folder), None, "auto")
    drawn = sample.execute(loaded, Request(count=16), folder / "samples" / "prompted")
    return result | {"sheet": str(folder / "samples" / "drawn.png"), "prompted": drawn["sheet"]}


def _portraits(config: "Config", folder: Path, count: int, data_dir: Path, quiet: bool) -> dict:
    """Prepare, train and evaluate the portraits -> the results of `evaluate`, on combinations of attributes
    that were held out."""
    from ..sampling.request import Request
    from . import evaluate, prepare, train

    notify(f"portraits 1/3 prepare: {count:,} drawn portraits with captions")
    prepare.run(
        "portraits", {"count": count, "size": config.data.size}, name=config.data.set, data_dir=data_dir
    )
    notify("portraits 2/3 train: one model that draws portraits from captions and captions portraits")
    train.execute(config, data_dir, folder, "auto", quiet=quiet)
    notify(
        "portraits 3/3 draw and read: captions and portraits it has never seen; first, judges are trained "
        "to classify them"
    )
    result = evaluate.execute(folder, Request(), data_dir, prompts=PROMPTS)
    return result | {"sheet": str(folder / "samples" / "drawn.png")}


def _show(what: str, result: dict) -> None:
    """Print the figures and the paths of the sheet and the page."""
    from . import evaluate

    evaluate.show(result)
    notify(f"drawn {what}: {result['sheet']}   report: {result['report']}")
