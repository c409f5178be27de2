"""Threads and memory of this process, chosen before torch starts, and when it began. torch is imported inside
the functions."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import OutOfMemoryError, address_space
from .figures import size
from .sharing import core_ticks

if TYPE_CHECKING:
    import torch

FEW = 8  # rows
ADDRESSES = 3 << 29  # bytes; torch and the libraries beside it take most of these (numpy alone: a third)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cpu(threads: int = 0, here: int = 1) -> None:
    """Choose the threads of matmuls and how they wait for each other, before torch starts; then import it.

    Threads that wait by spinning are a third faster on idle cores, but beside another busy process they waste
    their turns. So they spin briefly where the cores are free and sleep where they are not (figures in
    `docs/log.md`); `sharing.py` looks again while training. What the person has set in the environment wins.
    `here`: processes that share this machine's cores, each its part."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        name, value = ("OMP_WAIT_POLICY", "PASSIVE") if _busy_cores() > 0.3 else ("GOMP_SPINCOUNT", "10000")
        os.environ[name] = value
    _keep_memory()
    check_address_space(ADDRESSES)
    import torch

    if threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or max(1, cores() // here))


def check_address_space(least: int = 1 << 29) -> None:
    """Raise OutOfMemoryError where this process may use fewer than `least` bytes of addresses: libraries end
    a process that has too few, with exit codes of their own, or wait for ever."""
    if (limit := address_space()) is not None and limit < least:
        raise OutOfMemoryError(
            f"this process may use {size(limit)} of addresses (ulimit -v); allowed: at least {size(least)}; "
            "raise the limit"
        )


def _busy_cores(seconds: float = 0.1) -> float:
    """How many of the cores this process may use are at work for others now; 0 where the system does not
    tell."""
    try:
        before = core_ticks()
        time.sleep(seconds)
        spent = [[b - a for a, b in zip(*pair)] for pair in zip(before, core_ticks())]
    except (OSError, AttributeError, KeyError, ValueError):
        return 0.0
    return sum(1 - (row[3] + row[4]) / max(1, sum(row[:8])) for row in spent)  # idle and waiting for disk


def _keep_memory() -> None:
    """Memory that a step gives back stays with the process for the next step (glibc; elsewhere nothing
    happens).

    Else large tensors are fresh pages every time, which the kernel must clear first (figures in
    `docs/log.md`)."""
    import ctypes  # here: `--help` has no use for it

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_max = -1, -4  # names and numbers of mallopt(3)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


@contextmanager
def threads_for(rows: int, device: "torch.device") -> Iterator[None]:
    """One thread on a CPU while products have so few rows that they wait for the weights to come from memory,
    and threads for each other: as fast, and much faster where the cores are not free (`docs/log.md`)."""
    import torch

    before = torch.get_num_threads()
    if device.type != "cpu" or rows > FEW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def process_began() -> float:
    """When this process was started, on the clock of time.perf_counter; where that is not known, now."""
    now = time.perf_counter()
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])  # field 22 of proc(5)
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return now
    return now - age if 0 <= age < 3600 else now
