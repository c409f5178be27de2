"""Search the times of few denoising steps, and when guidance may rest, against the model's own many steps.

Every candidate draws the same pictures from the same noise as the reference, so that pictures are compared
one by one: the error is the root mean square difference, in levels of 255. First guesses come from the named
grids and from a trajectory of REFERENCE steps: the cost of one long step between any two of its times is
known, and the cheapest path of a number of steps follows by dynamic programming (Watson et al. 2021, arXiv
2106.03802; Chen et al. 2024, arXiv 2405.11326). Then each time is moved a little, as long as that helps. The
gain is measured at the end, on other noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.document import Document
from ..core.drawing import Sampling, Watch, draw
from ..core.generate import in_chunks
from ..core.model import RawModel
from ..core.solvers import GRIDS, grid
from ..core.text_tokenizer import BOS, IMAGE
from ..system.errors import DataError
from ..system.figures import counted
from ..system.seeds import key

REFERENCE, STOPS = 200, 50  # steps of the reference; its times among which a path is searched
SOLVERS = ("euler", "dpm2m", "ab2")  # those that evaluate the network once a step
INTERVALS = ((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.0, 0.95), (0.1, 0.95), (0.2, 0.95))
MOVES = (0.3, -0.3, 0.12, -0.12, 0.05, -0.05)  # in units of the distance to the neighbouring time


@dataclass(frozen=True)
class Tuned:
    """Settings (solver, grid, interval) and their error, in levels of 255, on noise that the search did not
    see; before: the error of the usual settings on it."""

    settings: dict
    error: float
    before: float


def prompts(model: RawModel, sampling: Sampling, count: int, seed: int) -> list[Document]:
    """Up to `count` documents that the model begins by itself, each up to its `<image>`. Raises DataError
    where it opens no picture."""
    quick = sampling.changed(temperature=1.0, steps=1, guidance=1.0, max_pictures=1)
    keys = [key(seed, "tune", n) for n in range(4 * count)]
    written = (
        document[: document.index(IMAGE) + 1]
        for document in in_chunks(model, [[BOS]] * len(keys), keys, quick)
        if IMAGE in document
    )
    captioned = [document for document in written if len(document) > 2][:count]
    if not captioned:
        raise DataError(
            "the model opens no picture after an empty prompt; train it on captions before their pictures"
        )
    return captioned


def tune(
    model: RawModel,
    sampling: Sampling,
    documents: list[Document],
    seed: int = 0,
    notify: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """Search the settings of `sampling.drawing.steps` steps on half of the documents, and measure them on the
    other half."""
    half, other = documents[::2], documents[1::2] or documents
    trial = Trial(model, sampling, half, seed)
    notify(f"{len(half)} pictures in {REFERENCE} steps: the reference")
    steps = sampling.drawing.steps
    starts = [*(grid(name, steps, model.head) for name in GRIDS), trial.cheapest(steps)]
    guesses = [
        (trial.error(sampling.changed(solver=solver, grid=tuple(times))), solver, times)
        for solver in SOLVERS
        for times in starts
    ]
    error, solver, times = min(guesses)
    notify(f"{counted(len(guesses), 'first guess')}: error {error:.2f} with {solver}")
    best = _moved(trial, sampling.changed(solver=solver, grid=tuple(times)), error, notify)
    for interval in INTERVALS if sampling.guidance != 1 else ():
        if (changed := trial.error(best.changed(interval=interval))) < error:
            best, error = best.changed(interval=interval), changed
    drawing, fresh = best.drawing, Trial(model, sampling, other, seed + 1)
    settings = {"solver": drawing.solver, "grid": list(drawing.grid), "interval": list(drawing.interval)}
    return Tuned(settings, fresh.error(best), fresh.error(sampling))


def _moved(trial: "Trial", best: Sampling, error: float, notify: Callable[[str], None]) -> Sampling:
    """Move each inner time a little earlier or later, as long as that helps."""
    for turn in range(4):
        before = error
        for at in range(1, len(best.drawing.grid) - 1):
            for move in MOVES:
                times = list(best.drawing.grid)
                times[at] += move * (times[at] - times[at + 1] if move < 0 else times[at - 1] - times[at])
                candidate = best.changed(grid=tuple(times))
                if (changed := trial.error(candidate)) < error:
                    best, error = candidate, changed
        notify(f"round {turn + 1}: error {error:.2f}")
        if error > 0.995 * before:
            break
    return best


class Trial:
    """Pictures that are drawn again and again from the same noise, and compared with the reference."""

    def __init__(self, model: RawModel, sampling: Sampling, documents: list[Document], seed: int):
        self.model, self.documents = model, documents
        self.keys = [key(seed, "noise of tuning", n) for n in range(len(documents))]
        self.path: list[tuple[float, Tensor, Tensor]] = []
        exact = sampling.changed(steps=REFERENCE, solver="euler", grid="uniform")
        times = grid("uniform", REFERENCE, model.head)

        def keep(step: int, noised: Tensor, clean: Tensor) -> None:
            if step % (REFERENCE // STOPS) == 0:
                self.path.append((times[step], noised, clean))

        self.reference = self._draw(exact, keep)

    def _draw(self, sampling: Sampling, keep: Watch | None = None) -> Tensor:
        drawn = draw(self.model, self.documents, self.keys, sampling, keep)
        return torch.stack([picture.pixels for picture in drawn]).float()

    def error(self, sampling: Sampling) -> float:
        """Root mean square difference from the reference."""
        return float((self._draw(sampling) - self.reference).square().mean().sqrt())

    def cheapest(self, steps: int) -> list[float]:
        """Times of Euler steps, `steps` of them, whose errors along the reference have the least sum."""
        times = [time for time, _, _ in self.path] + [0.0]
        clean = np.stack([clean.float().numpy().ravel()[::7] for _, _, clean in self.path])
        count = len(times)
        cost = np.full((count, count), np.inf)
        for i in range(count - 1):
            for j in range(i + 1, count):
                between = clean[i:j]  # a long step keeps the first of these estimates
                cost[i, j] = (times[i] - times[j]) ** 2 * np.square(between - between[0]).mean()
        return [times[at] for at in cheapest_path(cost, steps)]


def cheapest_path(cost: np.ndarray, steps: int) -> list[int]:
    """Path of least cost from place 0 to place n - 1 in `steps` steps (at most n - 1).

    cost: (n, n), of a step from i to j, infinite where there is none. Returns the steps + 1 places."""
    count = len(cost)
    steps = min(steps, count - 1)
    least = np.full((steps + 1, count), np.inf)
    previous, least[0, 0] = np.zeros((steps + 1, count), int), 0.0
    for step in range(1, steps + 1):
        total = least[step - 1][:, None] + cost
        previous[step], least[step] = total.argmin(0), total.min(0)
    path = [count - 1]
    for step in range(steps, 0, -1):
        path.append(int(previous[step][path[-1]]))
    return path[::-1]
