"""Files: those of others opened with care; our own written whole, synced, and checked by a manifest of
SHA-256 sums.

Every format that carries numbers loads a flipped bit without a word, safetensors too. So a folder that must
be trusted has a MANIFEST.json, {path below the folder: {size, sha256}} of all its other files. It is written
last, after they were synced: a folder in which it does not fit is a folder that somebody was still writing,
or that was damaged since."""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from .errors import CheckpointError, DiskFullError

MANIFEST = "MANIFEST.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the share of it that is ours, the file are full

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
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


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file by a rename: a reader sees the old one or the new one, never a part, whatever stops
    this process or the machine. Raises DiskFullError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with room_for(str(path)):
        try:
            partial.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            sync(partial)
            os.replace(partial, path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, as `write` does."""
    write(path, json.dumps(value, indent=1) + "\n")


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


def sync_files(folder: Path) -> None:
    """Sync every file below `folder`, and let others read it as far as the umask allows (safetensors writes
    0600)."""
    mask = os.umask(0)
    os.umask(mask)
    for path in _files(folder):
        path.chmod(0o666 & ~mask)
        sync(path)


def seal(folder: Path) -> None:
    """Write MANIFEST.json over the files below `folder`, which are synced, and sync it and every folder."""
    entries = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in _files(folder)
    }
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    for path in [folder / MANIFEST, *(path for path in folder.rglob("*") if path.is_dir()), folder]:
        sync(path)


def problems(folder: Path, required: tuple[str, ...] = (), fresh: bool = False) -> dict[str, str]:
    """File -> what is wrong with it, by the manifest; empty where all is as it was written and `required` is
    listed.

    fresh: read the files from the disk and not from the memory that the system keeps of them, where it can be
    told so. Raises CheckpointError where a file may not be read."""
    try:
        entries = _entries((folder / MANIFEST).read_text(encoding="utf-8"))
        states = {name: _wrong(folder / name, *entry, fresh) for name, entry in entries.items()}
    except FileNotFoundError:
        return {MANIFEST: "is missing"}
    except PermissionError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read: {error.strerror}; allow reading it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {MANIFEST: f"cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"}
    tensors = [
        path.relative_to(folder).as_posix() for path in _files(folder) if path.suffix == ".safetensors"
    ]
    unlisted = {name: f"is not listed in {MANIFEST}" for name in [*required, *tensors] if name not in entries}
    return {name: what for name, what in states.items() if what} | unlisted


def _entries(text: str) -> dict[str, tuple[int, str]]:
    """The text of a manifest -> {path: (size, sum)}. Raises ValueError and others where it is none."""
    entries = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in json.loads(text).items()}
    for name in entries:
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or str(path) != name
            or not re.fullmatch(r"[\w./-]+", name)
        ):
            raise ValueError("a path that leads out of the folder")
    return entries


def _wrong(path: Path, size: int, digest: str, fresh: bool) -> str | None:
    if not path.is_file():
        return "is missing"
    if (now := path.stat().st_size) != size:
        return f"has {now:,} bytes, not {size:,}"
    try:
        return None if _sha256(path, fresh) == digest else "does not match its checksum"
    except PermissionError:
        raise
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def recorded(folder: Path, prefix: str) -> str:
    """One SHA-256 over those of all files in the manifest whose names begin with `prefix`."""
    entries = _entries((folder / MANIFEST).read_text(encoding="utf-8"))
    return hashlib.sha256(
        "".join(digest for name, (_, digest) in sorted(entries.items()) if name.startswith(prefix)).encode()
    ).hexdigest()


def used(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _files(folder: Path) -> list[Path]:
    """Every file below a folder but the manifest, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _sha256(path: Path, fresh: bool = False) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if fresh and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
