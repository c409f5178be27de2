"""sampler.json: the grids that `rawmm tune-sampler` found, {number of steps: settings and errors}."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from ..config.choices import Solver
from ..config.fields import Share
from ..system import disk, manifest
from ..system.errors import CheckpointError
from ..system.stored import Shape, read_json

SAMPLER = "sampler.json"
FACTS = "model.json"  # of an exported model, whose files have checksums


def _falling(times: list[float]) -> list[float]:
    if (times[0], times[-1]) != (1, 0) or any(late >= early for early, late in pairwise(times)):
        raise ValueError("its times do not fall from 1 to 0")
    return times


def _fit(grids: dict[str, "_Tuned"]) -> dict[str, "_Tuned"]:
    for steps, tuned in grids.items():
        if len(tuned.settings.grid) != int(steps) + 1:
            raise ValueError(f"{steps} steps have {len(tuned.settings.grid)} times; allowed: one more")
    return grids


class _Settings(Shape):
    model_config = ConfigDict(extra="forbid")  # they become settings of a drawing
    solver: Solver
    grid: Annotated[list[Share], Field(min_length=2), AfterValidator(_falling)]
    interval: Annotated[list[Share], Field(min_length=2, max_length=2)]


class _Tuned(Shape):
    settings: _Settings
    error: float
    before: float
    reference: int


Grids = Annotated[
    dict[Annotated[str, Field(pattern="^[1-9][0-9]{0,2}$")], _Tuned],
    Field(max_length=1000),
    AfterValidator(_fit),
]


def read(folder: Path, warn: Callable[[str], None] = lambda line: None) -> dict:
    """The grids beside a model, {} where `rawmm tune-sampler` was not run.

    In an exported model, grids whose checksum does not fit are left out, and `warn` hears of it: the process
    that wrote them was killed. Raises CheckpointError where they have another shape than ours."""
    path = folder / SAMPLER
    if not path.exists():
        return {}
    if (folder / FACTS).exists() and (problem := manifest.problem(folder, SAMPLER)):
        warn(f"{path} {problem}: its grids are left out; `rawmm tune-sampler {folder}` finds them again")
        return {}
    return read_json(
        path, Grids, CheckpointError, "delete it, and run `rawmm tune-sampler` again to have tuned grids"
    )


def add(folder: Path, grids: dict) -> None:
    """Keep more grids beside a model, those of other numbers of steps stay. In an exported model the manifest
    is written anew, for this file alone."""
    with disk.alone_in(folder):
        disk.sweep(folder)
        disk.write_json(folder / SAMPLER, {**read(folder), **grids})
        if (folder / FACTS).exists():
            manifest.reseal(folder, SAMPLER)
