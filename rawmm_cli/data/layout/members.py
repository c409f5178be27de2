"""What a member of an archive may be: a plain file of a usual size and name, inside of the archive's folder.

All functions raise DataError, which names the archive and the member."""

import tarfile
import zipfile
from pathlib import Path

from ...system.errors import DataError, printable

MEMBERS = 10_000_000  # most members of an archive
NAME, MEGABYTES = 1_000, 256  # most characters of a member's name, most megabytes of a member
RATIO, SMALL = 200, 10 * 10**6  # largest compression ratio, checked from SMALL bytes on


def check_tar(info: tarfile.TarInfo, path: Path | str) -> None:
    """Raise DataError where a member of a tar file is not safe. Folders and plain files are."""
    _check_name(info.name, path)
    if not (info.isreg() or info.isdir()):
        kind = "link" if info.issym() or info.islnk() else "device or pipe"
        raise _wrong(path, info.name, f"is a {kind}; allowed: plain files")
    if info.issparse():
        raise _wrong(path, info.name, "is a sparse file; allowed: plain files")
    _check_size(info.size, path, info.name)


def check_zip(info: zipfile.ZipInfo, path: Path) -> None:
    """Raise DataError where a member of a zip file is not safe. Folders and plain files are."""
    _check_name(info.filename, path)
    kind = info.external_attr >> 28  # the upper bits of a Unix mode
    if kind not in (0, 4, 8):
        raise _wrong(path, info.filename, "is a link, device or pipe; allowed: plain files")
    if info.flag_bits & 1:
        raise _wrong(path, info.filename, "is encrypted; allowed: archives without a password")
    _check_size(info.file_size, path, info.filename)
    if info.file_size > SMALL and info.file_size > RATIO * info.compress_size:
        raise _wrong(
            path,
            info.filename,
            f"is more than {RATIO} times as large as in the archive; unpack it yourself if you trust it",
        )


def check_count(number: int, path: Path | str) -> None:
    """Raise DataError where an archive has so many members."""
    if number > MEMBERS:
        raise DataError(f"archive {printable(str(path))} has more than {MEMBERS:,} members; split it")


def _check_name(name: str, path: Path | str) -> None:
    plain = name.replace("\\", "/")
    if len(name) > NAME:
        raise _wrong(
            path, name[:40] + "...", f"has a name of {len(name):,} characters; allowed: up to {NAME:,}"
        )
    if plain.startswith("/") or ".." in plain.split("/") or plain[1:2] == ":" or "\0" in name:
        raise _wrong(path, name, "leads out of the archive's folder; allowed: names inside it")


def _check_size(size: int, path: Path | str, name: str) -> None:
    if size > MEGABYTES * 10**6:
        raise _wrong(path, name, f"has {size / 1e6:,.0f} MB; allowed: at most {MEGABYTES}")


def check_ratio(unpacked: int, size: int, path: Path, name: str) -> None:
    """Raise DataError where all members so far are too large for an archive of `size` bytes."""
    if unpacked > SMALL and unpacked > RATIO * size:
        raise _wrong(
            path,
            name,
            f"makes it more than {RATIO} times as large as the archive; unpack it yourself if you trust it",
        )


def _wrong(path: Path | str, name: str, problem: str) -> DataError:
    return DataError(f"archive {printable(str(path))} is refused: its member '{printable(name)}' {problem}")
