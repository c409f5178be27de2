"""`rawmm tune-sampler`: the best time grid of few denoising steps for one model."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..system.figures import counted
from ..system.threads import use_cpu
from .common import MOST_SEED, RUNS, Device, Json, RunsDir, writable_folder
from .screen import emit, notify, printable


def tune_sampler(
    run: Annotated[
        Optional[str],
        typer.Argument(
            help="A run, by its name or path; a model inside the package; or the folder of an exported "
            "model. [default: the newest run]"
        ),
    ] = None,
    steps: Annotated[
        Optional[list[int]],
        typer.Option("--steps", min=1, max=50, help="Number of steps to tune for; may repeat. [default: 10]"),
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(
            min=2, max=1000, help="Pictures to draw in each trial: half to tune on, half to measure on."
        ),
    ] = 32,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of prompts and noise.")] = 0,
    device: Device = "auto",
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Search for the times of few denoising steps that come closest to 200 steps.

    When guidance acts is searched for as well.

    The result is stored beside the model (sampler.json); `rawmm sample` uses it for that number of steps."""
    use_cpu()
    from dataclasses import asdict

    from ..config import build
    from ..runs import abilities, loading, models
    from ..sampling import tune
    from ..system import machine

    exported = run and (
        (Path(run) / models.FACTS).is_file() or (run in models.shipped() and not (runs_dir / run).exists())
    )
    folder = models.find(runs_dir, None, run) if exported else loading.find_run(runs_dir, run)
    writable_folder(folder, "folder of the model")
    loaded = models.load(folder, machine.device(device), notify)
    abilities.diffusion_head(loaded, "tune-sampler")
    usual, results = build.sampling(loaded.config), {}
    documents = tune.prompts(loaded.model, usual, pictures, seed)
    for number in steps or [10]:
        tuned = tune.tune(loaded.model, usual.changed(steps=number), documents, seed, notify)
        results[str(number)] = asdict(tuned) | {"pictures": len(documents), "reference": tune.REFERENCE}
        models.store_tuned(folder, results)
    if json:
        return emit({"model": loaded.name, "stored": str(folder / models.SAMPLER), "steps": results})
    for number, tuned in results.items():
        typer.echo(
            printable(
                f"{counted(int(number), 'step')}: error {tuned['error']:.2f} levels of 255 (before "
                f"{tuned['before']:.2f}), "
                f"{tuned['settings']['solver']}, times "
                f"{' '.join(f'{t:.3f}' for t in tuned['settings']['grid'])}"
            )
        )
