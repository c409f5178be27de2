"""Settings that are `auto`: a new run measures them on the pictures of its set, one that has begun keeps its
own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..config.model import Config
from ..config.noise_law import Noise, is_settled, law, settle
from ..data.prepared import Prepared, PreparedDocuments, evenly_spaced
from ..data.streamed import Set
from ..metrics.spectrum import spectrum
from ..runs.folder import read_settings, setting
from ..system.activity import doing
from ..system.distributed import broadcast
from ..system.figures import finite
from .state import Run

PICTURES = 256  # that are measured


def settled(run: Run) -> Run:
    """The run with numbers in place of `auto`, the same on every rank; a line says which and why.

    Measured is the set data.set, also where others are mixed in."""
    config, ranks, noise = run.config, run.ranks, None
    if is_settled(config):
        return run
    if ranks.first:
        noise = _of_run(run.folder)
        if noise is None:
            noise = measure(run.data[0], config.data.size)
            run.notify(_line(settle(config, noise), noise))
    return replace(run, config=settle(config, Noise(*broadcast(ranks, list(noise or ())))))


@doing("measuring the pictures")
def measure(data: Set, side: int) -> Noise:
    """What the law says of a set whose pictures are drawn at side x side pixels."""
    return law(spectrum(pictures(data), side))


def pictures(data: Set, most: int = PICTURES) -> Iterator[np.ndarray]:
    """At most `most` pictures to train on, (H, W, 3) uint8: at equal distances, of a stream the first
    ones."""
    if not isinstance(data, (Prepared, PreparedDocuments)):
        data = data.first_pictures("train", most)
    for row in evenly_spaced(len(data), most):
        images = range(len(data.heights[row])) if data.holds_documents else [None]
        for number in images:
            image = data.image(row) if number is None else data.image(row, number)
            yield image.permute(1, 2, 0).numpy()


def _of_run(folder: Path) -> Noise | None:
    """The numbers of a run that has begun."""
    if not any((folder / "checkpoints").glob("step_*")):
        return None
    values = read_settings(folder)
    keys = (("head", "time_mean"), ("head", "time_spread"), ("loss", "image"))
    numbers = [setting(values, *key) for key in keys]
    return Noise(*numbers) if all(finite(number) for number in numbers) else None


def _line(config: Config, noise: Noise) -> str:
    head, loss = config.head, config.loss
    return (
        f"head.time_mean={head.time_mean:g} head.time_spread={head.time_spread:g} loss.image={loss.image:g}: "
        f"{noise.reason}"
    )
