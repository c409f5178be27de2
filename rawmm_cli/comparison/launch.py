"""Cells worked through: one after the other or side by side on this machine, or each as a job of a cluster.

A cell that needs a number of the reference waits for its cells. Whoever shows how it goes is called now and
then."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from ..config.explain import nearest
from ..system import disk
from ..system.errors import ConfigError, LockedError
from ..system.threads import cores
from . import orders
from .cells import Cell, Table

LOOK, SHOW = 0.1, 0.5  # seconds between two looks at the processes, and between two of who shows them
GRACE = 120.0  # seconds in which processes save what they have
LAUNCHERS, MANY = ["local", "slurm"], 10_000  # jobs of a cluster at a time
Show = Callable[[set[Cell]], None]


class Job(Protocol):
    """A cell that is worked on."""

    def ended(self) -> bool: ...

    def stop(self) -> None: ...


class Process:
    """A cell in a process of this machine, which stops where this one ends. threads: of it, 0: its own
    choice."""

    def __init__(self, table: Table, cell: Cell, device: str, threads: int):
        place = table.place(cell)
        command = [sys.executable, "-m", f"{__package__}.cell", str(place), str(table.data), device]
        chosen = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        with open(place / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ, **chosen}
            )

    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self.process.poll() is not None

    def stop(self) -> None:
        """Let it save, and wait for that."""
        if self.ended():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()


def run(
    table: Table,
    chosen: Sequence[Cell],
    begin: Callable[[Cell], Job],
    jobs: int,
    show: Show,
) -> None:
    """Work through the cells that are not finished, `jobs` of them at a time. begin: starts one. show: called
    with the cells under way.

    Ends where nothing is left that can be begun: cells whose budget follows from a reference that is not
    among them, and is not done, stay as they are."""
    waiting = [cell for cell in chosen if not table.finished(cell)]
    running: dict[Cell, Job] = {}
    shown = 0.0
    try:
        while waiting or running:
            for cell in [cell for cell, job in running.items() if job.ended()]:
                del running[cell]
                _account(table, cell)
            while len(running) < jobs and (cell := _next(table, waiting)):
                waiting.remove(cell)
                running[cell] = begin(cell)
            if not running:
                break
            if time.monotonic() - shown > SHOW:
                shown = time.monotonic()
                show(set(running))
            time.sleep(LOOK)
        show(set())
    finally:
        for job in running.values():
            job.stop()


def _account(table: Table, cell: Cell) -> None:
    """Note a cell whose process has ended without a word, as one does that runs out of memory."""
    place = table.place(cell)
    if not (place / "result.json").is_file():
        message = f"its process ended without a result; the last lines of {place / 'log.txt'} may tell why"
        disk.write_json(place / "result.json", {"state": "failed", "message": message, "results": {}})


def _next(table: Table, waiting: Sequence[Cell]) -> Cell | None:
    """The first cell whose budget is known, with its order written; None where there is none."""
    for cell in waiting:
        if (task := orders.order(table, cell)) is None:
            continue
        orders.write(table, cell, task)
        (table.place(cell) / "result.json").unlink(missing_ok=True)  # of a cell that failed
        return cell
    return None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The comparison belongs to this process while the block runs. Raises LockedError."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(f"another process works on {folder}; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def beginner(table: Table, launcher: str, jobs: int, device: str) -> tuple[Callable[[Cell], Job], int]:
    """What begins a cell, and how many of them at a time. Raises ConfigError where there is no such launcher,
    or its cluster does not answer."""
    if launcher == "local":
        threads = max(1, cores() // jobs) if jobs > 1 else 0
        return lambda cell: Process(table, cell, device, threads), jobs
    if launcher != "slurm":
        raise ConfigError(
            f"--launcher {launcher}{nearest(launcher, LAUNCHERS)}; allowed: {', '.join(LAUNCHERS)}"
        )
    executor = cluster(launcher, table.folder / "jobs", table.comparison.cluster)
    return lambda cell: submit(executor, table, cell, device), MANY


# --------------------------------------------------------------------------------------------- a cluster


class Submitted:
    """A cell as a job of a cluster."""

    def __init__(self, job: Any):
        self.job = job

    def ended(self) -> bool:
        """Whether the job is over, however it ended."""
        return self.job.done()

    def stop(self) -> None:
        """Jobs go on where this command ends: the same command finds them."""


def cluster(kind: str, folder: Path, settings: dict[str, Any]) -> Any:
    """An executor of submitit. kind: slurm, or local: processes of this machine. settings: what
    `update_parameters` takes. Raises ConfigError where submitit is missing, the cluster does not answer, or a
    setting is unknown."""
    try:
        import submitit
    except ImportError:
        raise ConfigError(
            f"--launcher {kind} needs submitit, which is not installed; pip install 'rawmm[cluster]'"
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=kind)
    except RuntimeError as error:
        raise ConfigError(
            f"--launcher {kind}: no cluster answers here ({error}); run it where `srun` is, or give "
            "--launcher local"
        ) from None
    try:
        executor.update_parameters(**{"timeout_min": 24 * 60, **settings})
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(
            f"cluster: {' '.join(str(error).split())[:300]}; allowed: what submitit's update_parameters "
            "takes, as in slurm_partition: gpu"
        ) from None
    return executor


def submit(executor: Any, table: Table, cell: Cell, device: str) -> Submitted:
    """Hand a cell to a cluster. Raises ConfigError where that does not take it."""
    from .cell import work

    executor.update_parameters(name=cell.name[:100])
    try:
        return Submitted(executor.submit(work, table.place(cell).resolve(), table.data.resolve(), device))
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        raise ConfigError(
            f"the cluster did not take {cell.name} ({' '.join(str(error).split())[:200]}); mend the settings "
            "below cluster: and run the same command again"
        ) from None
