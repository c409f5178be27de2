"""The lock of a run folder: taken by the process that trains, and read by others."""

import os
import socket
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..system.errors import LockedError


@contextmanager
def locked(folder: Path):
    """The run belongs to this process alone while the block runs. Raises LockedError that names the owner."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / ".lock"), folder / ".owner"
    try:
        lock.acquire(timeout=1)  # a report that looks whether anyone trains holds it for an instant
    except Timeout:
        holder = owner.read_text(encoding="utf-8").strip() if owner.is_file() else "another process"
        raise LockedError(
            f"{holder} is training in {folder}; wait for it, or use another --run name"
        ) from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_training(run: Path) -> bool:
    """Whether a process holds the lock of the run now. Asks for a shared lock for a moment, and writes
    nothing."""
    try:
        import fcntl

        handle = os.open(run / ".lock", os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
