"""Members of .tar, .tar.gz and .zip files, read into memory one by one. Nothing is ever extracted to disk.

An archive is refused as a whole where one member would leave its folder, is not a plain file, or is far
larger than it looks: nothing of a suspicious archive is used. Archives inside archives are ordinary
members."""

import gzip
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..system.errors import DataError, RawmmError, printable

ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")
MEMBERS = 10_000_000  # most members of an archive
NAME, MEGABYTES = 1_000, 256  # most characters of a member's name, most megabytes of a member
RATIO, SMALL = 200, 10 * 10**6  # largest compression ratio, checked from SMALL bytes on
HEADER = 1 << 20  # most bytes of an extended header, which holds a long name for example
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
Member = tuple[str, Callable[[], bytes]]  # name and reader


def members(path: Path) -> Iterator[Member]:
    """Plain files of an archive, in order.

    Raises DataError, which names the archive and the member, where a member is not safe, or the archive is
    damaged or encrypted. Readers of members raise it too."""

    def read_safely(read: Callable[[], bytes]) -> bytes:
        with _data_errors(path):
            return read()

    with _data_errors(path):
        for name, read in (_zip if path.name.lower().endswith(".zip") else _tar)(path):
            yield name, partial(read_safely, read)


@contextmanager
def _data_errors(path: Path) -> Iterator[None]:
    """Turn errors while an archive is read into a DataError that names the archive."""
    try:
        yield
    except RawmmError:
        raise
    except Exception as error:  # damage raises almost any type
        problem = printable(str(error) or type(error).__name__)
        raise DataError(
            f"archive {printable(str(path))} cannot be read to its end ({problem[:200]}); fetch it again, "
            "or take it out"
        ) from None


class Info(tarfile.TarInfo):
    """Header of a tar file that refuses huge extended headers before memory is allocated for them."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.size > HEADER and info.type in HEADERS:
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info


def check(info: tarfile.TarInfo, path: Path | str) -> None:
    """Raise DataError where a member of a tar file is not safe. Folders and plain files are."""
    _check_name(info.name, path)
    if not (info.isreg() or info.isdir()):
        kind = "link" if info.issym() or info.islnk() else "device or pipe"
        raise _wrong(path, info.name, f"is a {kind}; allowed: plain files")
    if info.issparse():
        raise _wrong(path, info.name, "is a sparse file; allowed: plain files")
    _check_size(info.size, path, info.name)


def _tar(path: Path) -> Iterator[Member]:
    """Plain files of a tar file, compressed or not."""
    packed = path.name.lower().endswith("gz")
    open_, mode = (gzip.open, "r|") if packed else (open, "r:")
    with open_(path, "rb") as file, tarfile.open(fileobj=file, mode=mode, tarinfo=Info) as archive:
        size, unpacked = os.path.getsize(path), 0
        for number, info in enumerate(archive, 1):
            _check_count(number, path)
            check(info, path)
            unpacked += info.size
            if packed:
                _check_ratio(unpacked, size, path, info.name)
            archive.members = []  # tarfile would keep all of them
            if info.isreg():
                data = archive.extractfile(info).read() if packed else None
                yield info.name, (lambda data=data: data) if packed else partial(_read_member, path, info)
        if packed:
            while file.read(1 << 20):  # the checksum is at the end
                pass
        else:
            check_end(file, archive.offset)


def check_end(file: BinaryIO, offset: int) -> None:
    """Raise EOFError where the zeros that end a tar file are missing: it may have been cut between
    members."""
    file.seek(offset)
    if len(rest := file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE or any(rest):
        raise EOFError("the mark at its end is missing")


def _read_member(path: Path, info: tarfile.TarInfo) -> bytes:
    """Bytes of a member of an uncompressed tar file."""
    with open(path, "rb") as file:
        file.seek(info.offset_data)
        data = file.read(info.size)
    if len(data) < info.size:
        raise EOFError("unexpected end of data")
    return data


def _zip(path: Path) -> Iterator[Member]:
    """Plain files of a zip file; all headers are checked before any member is read."""
    with zipfile.ZipFile(path) as archive:
        infos, size, unpacked = archive.infolist(), os.path.getsize(path), 0
        _check_count(len(infos), path)
        for info in infos:
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
                    f"is more than {RATIO} times as large as in the archive; unpack it yourself "
                    "if you trust it",
                )
            unpacked += info.file_size
            _check_ratio(unpacked, size, path, info.filename)
        for info in infos:
            if not info.is_dir():
                data = archive.read(info)
                yield info.filename, lambda data=data: data


def _check_count(number: int, path: Path) -> None:
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


def _check_ratio(unpacked: int, size: int, path: Path, name: str) -> None:
    """Raise DataError where all members so far are too large for an archive of `size` bytes."""
    if unpacked > SMALL and unpacked > RATIO * size:
        raise _wrong(
            path,
            name,
            f"makes it more than {RATIO} times as large as the archive; unpack it yourself if you trust it",
        )


def _wrong(path: Path | str, name: str, problem: str) -> DataError:
    return DataError(f"archive {printable(str(path))} is refused: its member '{printable(name)}' {problem}")
