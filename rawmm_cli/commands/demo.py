"""`rawmm demo`: the whole path on real handwritten digits, with nothing to download."""

import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import DATA, RUNS, DataDir, Json, RunsDir, emit, notify, run_name, writable_folder


def demo(
    settings: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...",
                                                            help="Settings over preset digits.")] = None,
    run: Annotated[str, typer.Option("--run", help="Name of the run.")] = "demo",
    data_dir: DataDir = DATA, runs_dir: RunsDir = RUNS, json: Json = False,
):
    """Prepare real digits, train on them, draw and read them, and leave a report: the main job, in minutes."""
    from ..core import config as configuration
    from ..core.errors import ConfigError
    from . import evaluate, prepare, sample, train

    config = configuration.load("digits", settings or [])
    if config.data.set != "digits":
        raise ConfigError(f"data.set = {config.data.set}; the demo is about digits; use `rawmm train` for other sets")
    name = run_name(run)
    folder = writable_folder(runs_dir, "runs folder") / name
    started = time.perf_counter()
    notify("1/4 prepare: the real handwritten digits inside scikit-learn")
    prepare.run("digits", data_dir=data_dir)
    notify("2/4 train: one model that draws digits from their names and names digits it sees")
    train.execute(config, data_dir, folder, "auto", quiet=json)
    notify("3/4 draw and read: 10 denoising steps a picture; held-out digits captioned by the same weights")
    result = evaluate.execute(str(folder), 0, 100, "auto", data_dir, runs_dir)
    notify("4/4 write: the model continues an empty prompt by itself")
    drawn = sample.execute(sample.Request(run=str(folder), count=16, out=folder / "samples" / "prompted"), "auto", runs_dir)
    result |= {"sheet": str(folder / "samples" / "drawn.png"), "prompted": drawn["sheet"],
               "total_seconds": round(time.perf_counter() - started, 1)}
    if json:
        return emit(result)
    evaluate.show(result)
    notify(f"drawn digits: {result['sheet']}   the whole run: {result['total_seconds']:.0f} s")
    notify(f"next: rawmm sample \"seven\" --run {name} --count 16   or   rawmm sample --run {name} --task caption --image "
           f"{Path(folder / 'samples' / 'read' / '0000.png')}")
