"""Cores that are shared: how many threads a step uses while other processes come and go.

Threads of one matmul wait for each other. Where another process has one of the cores, all of them wait for
the thread that stands in its queue, and two threads are slower than one (figures in `docs/log.md`). So a
training loop says after each step how long it took; where others are at work, or no longer, another number of
threads is tried for a few steps, and the faster one stays."""

import math
import os
import time
from collections.abc import Callable, Sequence

BUSY = 0.3  # cores that others use, from which on fewer threads are tried
LOOK = 1.0  # seconds over which the work of others is measured
TRIAL = 4  # steps of a trial; the first, in which threads start and compiled code is fetched, does not count
AGAIN = 15.0, 60.0  # seconds until the same number is tried again: at first, and at most


class Threads:
    """The number of threads of a training step, between one and `most`.

    change: sets it. others: how many cores are at work for other processes, since it was asked last.
    clock: seconds."""

    def __init__(
        self,
        most: int,
        change: Callable[[int], None],
        others: Callable[[], float],
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.most, self.now, self.change, self.others, self.clock = most, most, change, others, clock
        self.wanted = most  # at the last look
        self.recent: list[float] = []  # seconds of the steps since then
        self.trial: list[float] | None = None  # seconds of a trial, where one is under way
        self.before, self.before_seconds = most, 0.0  # threads to go back to, and their step
        self.looked, self.next, self.wait = clock(), 0.0, AGAIN[0]

    def after(self, seconds: float) -> None:
        """A step took `seconds`: go on so, try another number of threads, or end a trial."""
        if self.trial is not None:
            self.trial.append(seconds)
            return self._judge()
        self.recent.append(seconds)
        now = self.clock()
        if now - self.looked < LOOK:
            return
        busy, steps = self.others(), self.recent
        self.looked, self.recent, asked = now, [], self.wanted
        self.wanted = max(1, self.most - math.ceil(busy - BUSY)) if busy > BUSY else self.most
        if self.now != self.wanted == asked and now >= self.next:  # twice: all of `steps` were in this state
            self.before, self.before_seconds, self.trial = self.now, _median(steps), []
            self._use(self.wanted)

    def _judge(self) -> None:
        """Keep the number that is tried where it is faster. A step of four times the time tells enough."""
        steps = self.trial[1:]
        lost = bool(steps) and steps[-1] > 4 * self.before_seconds
        if len(self.trial) < TRIAL and not lost:
            return
        self.trial = None
        if _median(steps) < self.before_seconds:
            self.wait = AGAIN[0]
        else:
            self.wait = min(2 * self.wait, AGAIN[1])
            self._use(self.before)
        self.looked = self.clock()
        self.next = self.looked + self.wait
        self.others()  # the trial is not counted

    def _use(self, threads: int) -> None:
        self.now = threads
        self.change(threads)


def _median(values: Sequence[float]) -> float:
    """The middle one; the module `statistics` takes longer to import than `--help` has."""
    return sorted(values)[len(values) // 2]


def threads(chosen: bool) -> Threads | None:
    """Threads of this process' steps. None where the person has `chosen` their number, in the settings or by
    OMP_NUM_THREADS, where there is one, or where the system does not tell what others do."""
    import torch

    if chosen or "OMP_NUM_THREADS" in os.environ or torch.get_num_threads() == 1:
        return None
    others = Others()
    return Threads(torch.get_num_threads(), torch.set_num_threads, others) if others.known else None


class Others:
    """How many of the cores that this process may use were at work for others, since the last call."""

    def __init__(self) -> None:
        self.last = self._read()
        self.known = self.last is not None

    def __call__(self) -> float:
        before, self.last = self.last, self._read()
        if before is None or self.last is None:
            return 0.0
        seconds, busy, own = (new - old for new, old in zip(self.last, before))
        return max(0.0, (busy - own) / seconds) if seconds > 0 else 0.0

    def _read(self) -> tuple[float, float, float] | None:
        """-> (seconds, busy seconds of the cores, processor time of this process and its workers)."""
        try:
            ticks = core_ticks()
        except (OSError, AttributeError, KeyError, ValueError):
            return None
        busy = sum(sum(row[:8]) - row[3] - row[4] for row in ticks) / os.sysconf("SC_CLK_TCK")
        used = os.times()
        own = used.user + used.system + used.children_user + used.children_system
        return time.perf_counter(), busy, own


def core_ticks() -> list[list[int]]:
    """What each core that this process may use has done so far, in clock ticks: proc(5), `/proc/stat`. Idle
    and waiting for a disk are numbers 3 and 4."""
    with open("/proc/stat", encoding="ascii") as file:
        rows = {row.split()[0]: [int(n) for n in row.split()[1:]] for row in file if row.startswith("cpu")}
    return [rows[f"cpu{n}"] for n in os.sched_getaffinity(0)]
