"""Time: seconds of a run over all its commands, speed of the last steps, what follows them, what remains.

A run of `train.time` seconds takes that long from the start of the command to its end: loading, compiling and
what follows the last step are inside. So its steps end earlier, by what the rest is expected to take, and the
learning rate ends with them."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..config.codecs import CodecTrain
from ..config.model import Train
from ..system.activity import doing
from ..system.errors import ConfigError

MOST = 0.2  # of a run's time is kept for what follows its steps, at most
BETWEEN = 0.1  # of the time gone, at most, for checkpoints and sheets between the steps of a run by time


def crossed(documents: int, before: int, every: int) -> bool:
    """Whether a multiple of `every` lies after `before` and not after `documents`."""
    return documents // every > before // every


class Clock:
    """Seconds of a run: those of earlier commands, and those since this one began.

    began: of time.perf_counter. reserve: seconds that this rank will need after its last step."""

    def __init__(self, earlier: float, began: float | None = None):
        self.earlier, self.began = earlier, time.perf_counter() if began is None else began
        self.reserve = 0.0

    def seconds(self) -> float:
        """Seconds of the run until now."""
        return self.earlier + time.perf_counter() - self.began


class Speed:
    """Throughput of the last steps; the first step, which compiles, is left out. Positions are those with
    data.

    `rate`: FLOP/s that a plain matmul reaches on all ranks together; the share that the model's own FLOPs
    make is the MFU (model FLOPs utilisation, Chowdhery et al. 2022, arXiv 2204.02311)."""

    def __init__(self, rate: float, steps: int = 50):
        self.steps, self.steps_seen, self.rate = deque(maxlen=steps), 0, rate

    def __call__(self, seconds: float, waited: float, record: dict) -> dict[str, float]:
        self.steps_seen += 1
        if self.steps_seen == 2:
            self.steps.clear()
        self.steps.append(
            (seconds, waited, *(record.pop(name) for name in ("step_documents", "positions", "flops")))
        )
        total, waited, documents, positions, work = map(sum, zip(*self.steps))
        return {
            "documents_per_second": documents / total,
            "positions_per_second": positions / total,
            "mfu": work / total / self.rate,
            "data_wait": waited / total,
        }


class Plan:
    """What a run does besides its steps, and how long that and the rest of the run will take.

    expected: name -> (steps, seconds): what it costs until it has been measured, in seconds of a step and in
    seconds. every: name -> documents between two of them; a name that has none comes once, at the end."""

    FEW = 3  # steps that tell how long one takes
    WINDOW, MANY = 30.0, 20  # the last so many seconds of steps count, or so many steps

    def __init__(
        self, train: Train | CodecTrain, expected: dict[str, tuple[float, float]], every: dict[str, int]
    ):
        self.train, self.expected, self.every = train, expected, every
        self.measured: dict[str, float] = {}
        self.steps: deque[float] = deque(maxlen=500)
        self.steps_seen, self.spent = 0, 0.0

    def step(self, seconds: float) -> None:
        """Note a step. The first one, which may compile, is forgotten when there is a second."""
        self.steps_seen += 1
        if self.steps_seen == 2:
            self.steps.clear()
        self.steps.append(seconds)
        while len(self.steps) > self.MANY and sum(self.steps) > self.WINDOW:
            self.steps.popleft()

    def step_seconds(self) -> float:
        """Mean of the last steps without those that take much longer than most, as one that compiles anew
        does."""
        if not self.steps:
            return 0.0
        middle = sorted(self.steps)[len(self.steps) // 2]
        usual = [seconds for seconds in self.steps if seconds <= 2 * middle]
        return sum(usual) / len(usual)

    def seconds(self, name: str) -> float:
        """What `name` takes: as measured the last time, or as expected."""
        steps, seconds = self.expected[name]
        return self.measured.get(name, steps * self.step_seconds() + seconds)

    @contextmanager
    def timed(self, name: str, said: str) -> Iterator[None]:
        """Do `name`, say so, and note how long it takes."""
        started = time.perf_counter()
        with doing(said):
            yield
        self.measured[name] = time.perf_counter() - started
        self.spent += self.measured[name]

    def reserve(self) -> float:
        """Seconds that a run by time keeps for what follows its last step, and for half a step, since steps
        end when half a step more would be too late."""
        if not self.train.time:
            return 0.0
        return min(sum(map(self.seconds, self.expected)), MOST * self.train.time) + self.step_seconds() / 2

    def affords(self, name: str, seconds: float) -> bool:
        """Whether there is time for `name` between the steps of a run that has come to so many seconds."""
        return not self.train.time or self.spent + self.seconds(name) <= BETWEEN * seconds

    def outlook(self, documents: int, seconds: float) -> dict[str, float]:
        """`eta` of a record, where it is known."""
        left = self.left(documents, seconds)
        return {} if left is None else {"eta": left}

    def left(self, documents: int, seconds: float) -> float | None:
        """Seconds until the run is done, after `documents` and `seconds`; never negative. None where it is
        not known yet."""
        if self.train.time:
            return max(0.0, self.train.time - seconds)
        rest = self.train.documents - documents
        if rest > 0 and self.steps_seen <= self.FEW:
            return None
        tails = sum(self.seconds(name) * self._times(name, documents) for name in self.expected)
        return max(0.0, -(-rest // self.train.batch) * self.step_seconds() + tails)

    def _times(self, name: str, documents: int) -> int:
        """How often `name` is still to come in a run by documents: at each multiple and at the end."""
        total = self.train.documents
        every = self.every.get(name, total)
        return max(0, -(-total // every) - documents // every)


def too_short(limit: float, seconds: float, step: float) -> ConfigError:
    """The error to raise where a run of `limit` seconds has come to its end, at `seconds`, after one step."""
    least = 60 * -(-(seconds - step + 30 * step) // 60)
    return ConfigError(
        f"train.time = {limit:g} s is too short to train: a step takes {step:.2g} s, and loading took "
        f"{max(0.0, seconds - step):.2g} s; give at least --time {least / 60:.0f}m"
    )
