"""Worker processes: results in the order of tasks; Ctrl-C is the parent's affair, and workers end with it.

A block that is left by an error, Ctrl-C among them, does not wait for tasks that are under way: the parent
closes a pipe, and each worker leaves as soon as it sees that, unless it is handing over a result (a result
that is cut short would leave the executor waiting for the rest of it)."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from .errors import RankError

T = TypeVar("T")

_idle = threading.Lock()  # in a worker: held but while it computes


class Workers:
    """`count` processes, started anew and not forked; `with Workers(...) as workers`.

    process, remedy: what RankError says where one dies: "a `process` died, perhaps for lack of memory;
    `remedy`"."""

    def __init__(self, count: int, process: str, remedy: str) -> None:
        self.count, self.death = count, f"a {process} died, perhaps for lack of memory; {remedy}"
        spawn = multiprocessing.get_context("spawn")
        end, self.lifeline = spawn.Pipe(duplex=False)
        self.pool = ProcessPoolExecutor(count, spawn, _begin, (end,))

    def map(self, function: Callable[..., T], tasks: Iterable[tuple]) -> Iterator[T]:
        """function(*task) of all tasks, in their order; only a few tasks are taken ahead of their results.
        Raises what `function` raises, and RankError where a process dies."""
        tasks = iter(tasks)
        try:
            pending = deque(self.pool.submit(_run, function, task) for task in islice(tasks, 3 * self.count))
            while pending:
                yield pending.popleft().result()
                pending.extend(self.pool.submit(_run, function, task) for task in islice(tasks, 1))
        except BrokenProcessPool:
            raise RankError(self.death) from None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind:
            self.lifeline.close()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.lifeline.close()


def _begin(lifeline: Connection) -> None:
    """In a new worker: ignore Ctrl-C, and watch the parent and its pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _idle.acquire()
    parent = multiprocessing.parent_process().sentinel

    def watch() -> None:
        if parent not in wait([parent, lifeline]):
            _idle.acquire()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(function: Callable[..., T], task: tuple) -> T:
    _idle.release()
    try:
        return function(*task)
    finally:
        _idle.acquire()
