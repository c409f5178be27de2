"""Time: seconds of training over all processes, speed of the last steps, seconds that remain."""

import time
from collections import deque

from ..config.model import Train


def crossed(documents: int, before: int, every: int) -> bool:
    """Whether a multiple of `every` lies after `before` and not after `documents`."""
    return documents // every > before // every


class Clock:
    """Seconds of training: those of earlier processes and those since this one began."""

    def __init__(self, earlier: float):
        self.earlier, self.began = earlier, time.perf_counter()

    def seconds(self) -> float:
        """Seconds of training until now."""
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


def remaining(train: Train, documents: int, seconds: float, documents_per_second: float) -> float:
    """Seconds until a run of settings `train` is done, after `documents` and `seconds`, at this speed; never
    negative."""
    seconds_left = (
        train.time - seconds if train.time else (train.documents - documents) / documents_per_second
    )
    return max(0.0, seconds_left)
