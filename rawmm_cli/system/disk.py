"""Files: those of others opened with care; our own written whole and synced.

What is written has a hidden name first, FILE.partial or FOLDER.partial, under a lock that the system takes
away from a process that ends; then it is renamed. So whoever finds such a name without a lock may delete it:
`sweep` and `new_folder` do."""

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DiskFullError, LockedError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the share of it that is ours, the file are full

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial|\..+\.[0-9]+\.partial")  # the second: of earlier versions
OPENING = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)


def open_file(path: Path | str, most: int | None = None) -> BinaryIO:
    """Open a regular file for reading, at once: every file that a person names or brings is opened here.

    Raises OSError, with the reason as its `strerror`, where the path is a named pipe, a device or anything
    else that may have no end, or where the file has more than `most` bytes. Opened first and asked
    afterwards, so nothing can take its place in between; a pipe that nobody writes to is not waited for."""
    flags = os.O_RDONLY | sum(
        getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
    )
    handle = os.open(path, flags)
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            if stat.S_ISDIR(state.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            kind = KINDS.get(stat.S_IFMT(state.st_mode), "no file")
            raise OSError(errno.EINVAL, f"it is {kind}; allowed: a file", str(path))
        if most is not None and state.st_size > most:
            raise _too_large(path, state.st_size, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: Path | str, most: int) -> bytes:
    """Content of a regular file of at most `most` bytes, whatever it says of its size. Raises OSError as
    `open_file` does."""
    with open_file(path, most) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)  # not `most + 1` at once: memory for it is taken in any case
        if len(content) > size:
            content += file.read(most + 1 - len(content))
    if len(content) > most:
        raise _too_large(path, len(content), most)
    return content


def lines_of(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """Lines of an open file with their ends. Raises OSError at one of more than `longest` bytes."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest:
            reason = f"line {number:,} has more than {longest:,} bytes; allowed: that many"
            raise OSError(errno.EINVAL, reason, file.name)
        yield line


def _too_large(path: Path | str, count: int, most: int) -> OSError:
    return OSError(errno.EINVAL, f"it has {count:,} bytes; allowed: at most {most:,}", str(path))


@contextmanager
def room_for(what: str):
    """Raise DiskFullError, which says that `what` does not fit, where the block finds the disk full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(
            f"no room on the disk for {what} ({os.strerror(error.errno)}); make room and run the same "
            "command again"
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A hidden file, open for writing, that becomes `path` by a rename where the block ends well: a reader
    sees the old file or the new one, never a part, whatever stops this process. Where the block fails,
    nothing stays. Raises OSError where the path is a device, a named pipe or a folder, which a rename would
    destroy."""
    with suppress(FileNotFoundError, NotADirectoryError):
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind != stat.S_IFREG:
            what = "a folder" if kind == stat.S_IFDIR else KINDS.get(kind, "no file")
            raise OSError(errno.EINVAL, f"it is {what}; allowed: a file", str(path))
    with _hidden_file(path) as file:
        partial = Path(file.name)
        try:
            yield file
            file.flush()
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise


def _hidden_file(path: Path) -> BinaryIO:
    """A new hidden file beside `path`, locked. An error names `path`."""
    while True:
        try:
            file = open(path.with_name(f".{secrets.token_hex(8)}.partial"), "xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        if _lock(file.fileno()) is not False and _is(Path(file.name), file.fileno()):
            return file
        file.close()  # `sweep` came in between


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file by a rename, synced: it survives the machine. Raises DiskFullError."""
    with room_for(str(path)), replacing(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, as `write` does."""
    write(path, json.dumps(value, indent=1) + "\n")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to write into, which becomes `folder`, so far absent or empty, where the block ends
    well; where it fails, nothing stays. What a killed process left there goes first. Raises LockedError where
    another process writes the same folder, DiskFullError."""
    partial = folder.with_name(f".{folder.name}.partial")
    with room_for(str(folder)):
        partial.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_RDONLY)
        try:
            if _lock(handle) is False or not _is(partial, handle):
                raise LockedError(f"another process writes {folder}; wait for it, or give another name")
            try:
                for rest in partial.iterdir():
                    rest.unlink() if rest.is_symlink() or not rest.is_dir() else shutil.rmtree(rest)
                yield partial
                partial.rename(folder)
                sync(folder.parent)
            except BaseException as error:
                shutil.rmtree(partial, ignore_errors=True)
                if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise LockedError(f"another process has written {folder}; give another name") from None
                raise
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Delete files that a killed process left half written in `folder`; those that somebody is writing now
    are locked, and stay."""
    with suppress(OSError):
        for path in folder.iterdir():
            if not PARTIAL.fullmatch(path.name) or path.is_symlink() or not path.is_file():
                continue
            with suppress(OSError):
                handle = os.open(path, OPENING)
                try:
                    if _lock(handle) is True:
                        path.unlink()
                finally:
                    os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock an open file or folder for as long as it is open -> whether nobody else has; None where the system
    knows no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # elsewhere than on POSIX; some network file systems
        return None
    return True


def _is(path: Path, handle: int) -> bool:
    """Whether a path still leads to what was opened by it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


@contextmanager
def alone_in(folder: Path):
    """Let one process at a time into the block, where the system can lock a folder. Writes nothing."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # elsewhere than on POSIX
        yield
        return
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Return when a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def used(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
