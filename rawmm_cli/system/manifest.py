"""Folders that can be trusted: a manifest of SHA-256 sums.

Every format that carries numbers loads a flipped bit without a word, safetensors too. So a folder that must
be trusted has a MANIFEST.json, {path below the folder: {size, sha256}} of all its other files but hidden
ones. It is written last, by a rename, after they were synced: a folder in which it does not fit is a folder
that somebody was still writing, or that was damaged since."""

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath

from .disk import open_file, read_file, replacing, sync
from .errors import CheckpointError

MANIFEST = "MANIFEST.json"
LARGEST = 100_000_000  # bytes of a manifest; one of a million files


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
    entries = {path.relative_to(folder).as_posix(): _entry(path) for path in _files(folder)}
    _write(folder, entries)
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        sync(path)


def reseal(folder: Path, name: str) -> None:
    """Write the manifest anew with another entry for the file `name`; those of the other files stay, whatever
    became of the files. Raises CheckpointError where there is no manifest."""
    path = folder / MANIFEST
    try:
        entries = json.loads(read_file(path, LARGEST))
        entries[name] = _entry(folder / name)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be used ({type(error).__name__}); bring it back") from None
    _write(folder, entries)


def _entry(path: Path) -> dict[str, int | str]:
    return {"size": path.stat().st_size, "sha256": _sha256(path)}


def _write(folder: Path, entries: dict) -> None:
    with replacing(folder / MANIFEST) as file:
        file.write((json.dumps(entries, indent=1) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def problems(folder: Path, required: tuple[str, ...] = (), fresh: bool = False) -> dict[str, str]:
    """File -> what is wrong with it, by the manifest; empty where all is as it was written and `required` is
    listed.

    fresh: read the files from the disk and not from the memory that the system keeps of them, where it can be
    told so. Raises CheckpointError where a file may not be read."""
    entries, states = _survey(folder, None, fresh)
    if entries is None:
        return states
    tensors = [
        path.relative_to(folder).as_posix() for path in _files(folder) if path.suffix == ".safetensors"
    ]
    unlisted = {name: f"is not listed in {MANIFEST}" for name in [*required, *tensors] if name not in entries}
    return states | unlisted


def problem(folder: Path, name: str) -> str | None:
    """What is wrong with one file, by the manifest, or with the manifest; None where nothing is."""
    entries, states = _survey(folder, name)
    if entries is not None and name not in entries:
        return f"is not listed in {MANIFEST}"
    return next(iter(states.values()), None)


def _survey(folder: Path, only: str | None, fresh: bool = False) -> tuple[dict | None, dict[str, str]]:
    """(the entries of the manifest, what is wrong with each file, or with the file `only`); (None, what is
    wrong with the manifest) where it cannot be read."""
    try:
        entries = _entries(read_file(folder / MANIFEST, LARGEST))
        states = {
            name: _wrong(folder / name, *entry, fresh)
            for name, entry in entries.items()
            if only in (None, name)
        }
    except FileNotFoundError:
        return None, {MANIFEST: "is missing"}
    except PermissionError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read: {error.strerror}; allow reading it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return None, {MANIFEST: f"cannot be read ({reason})"}
    return entries, {name: what for name, what in states.items() if what}


def _entries(text: bytes) -> dict[str, tuple[int, str]]:
    """The text of a manifest -> {path: (size, sum)}. Raises ValueError and others where it is none."""
    entries = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in json.loads(text).items()}
    for name, (size, _) in entries.items():
        path = PurePosixPath(name)
        if not 0 <= size < 2**63:
            raise ValueError("a size that no file has")
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
    entries = _entries(read_file(folder / MANIFEST, LARGEST))
    return hashlib.sha256(
        "".join(digest for name, (_, digest) in sorted(entries.items()) if name.startswith(prefix)).encode()
    ).hexdigest()


def _files(folder: Path) -> list[Path]:
    """Every file below a folder but the manifest and hidden ones, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path != folder / MANIFEST
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _sha256(path: Path, fresh: bool = False) -> str:
    digest = hashlib.sha256()
    with open_file(path) as file:
        if fresh and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
