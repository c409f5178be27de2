"""CPU time of a process and of the whole machine, which show how much other processes disturb a timing."""

import os
import statistics
import time


def busy() -> float | None:
    """CPU seconds that the cores of this process have worked since start-up, for all processes; None where
    the system has no /proc/stat."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            rows = {
                row.split()[0]: [int(n) for n in row.split()[1:9]] for row in file if row.startswith("cpu")
            }
        ticks = sum(
            sum(rows[f"cpu{n}"]) - rows[f"cpu{n}"][3] - rows[f"cpu{n}"][4] for n in os.sched_getaffinity(0)
        )
    except (OSError, AttributeError, KeyError, IndexError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")  # without idle and iowait


def own(process: int | str = "self") -> float:
    """CPU seconds of a process and its threads; 0 where the system has no /proc."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Window:
    """A span of time: `others()` is the share of this process's cores that other processes took in it."""

    def __init__(self, process: int | str = "self"):
        self.process, self.busy, self.own = process, busy(), own(process)

    def others(self, seconds: float) -> float | None:
        """0 (undisturbed) to 1, over the `seconds` since the window was opened; None where unknown."""
        if self.busy is None:
            return None
        used = busy() - self.busy - (own(self.process) - self.own)
        return round(min(1.0, max(0.0, used / (seconds * len(os.sched_getaffinity(0))))), 3)


def middle(work, repeats: int) -> float:
    """Median seconds of `repeats` calls, after one that is not timed."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
