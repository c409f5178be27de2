"""Members of .tar, .tar.gz and .zip files, read into memory one by one. Nothing is ever extracted to disk.

An archive is refused as a whole where one member would leave its folder, is not a plain file, or is far
larger than it looks: nothing of a suspicious archive is used. An archive inside is an ordinary member."""

import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn

from ..system.disk import open_file
from ..system.errors import DataError, RawmmError, printable, starved
from .decoding.signatures import HEAD, LFS, POINTER
from .layout.headers import plain_names
from .layout.members import check_count, check_ratio, check_tar, check_zip

ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")
HEADER = 1 << 20  # most bytes of an extended header, which holds a long name for example
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
PACKINGS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}  # first bytes of a file -> how it is compressed
ZEROS = 1 << 21  # most blocks of zeros after an archive
JOINED = "archives with others joined to their end, all of which are read"
TAIL = "archives with other bytes after their end"
CUT = "archives that end without an end mark and may have been cut, whose whole members are all read"
END = "unexpected end of data"
Member = tuple[str, Callable[[], bytes]]  # name and reader


def members(path: Path, note: Callable[[str], None] = lambda what: None) -> Iterator[Member]:
    """Plain files of an archive, in order. note: receives JOINED, TAIL or CUT at the end of a tar file.

    Raises DataError, which names the archive and the member, where a member is not safe, or the archive is
    damaged or encrypted. Readers of members raise it too, that of a member at which a tar file was cut."""

    def read_safely(read: Callable[[], bytes]) -> bytes:
        with _data_errors(path):
            return read()

    with _data_errors(path):
        for name, read in (_zip if path.name.lower().endswith(".zip") else _tar)(path, note):
            yield name, partial(read_safely, read)


def names(path: Path) -> Iterator[str]:
    """Names of the plain files of an archive; errors as of `members`."""
    with _data_errors(path):
        if path.name.lower().endswith(".zip"):
            with open_file(path) as file, zipfile.ZipFile(file) as archive:
                yield from map(slashed, (info for info in archive.infolist() if not info.is_dir()))
        else:
            with _open_tar(path) as (file, archive, packed):
                plain = None if packed else plain_names(file)
                if plain is None:
                    plain = (
                        info.name
                        for info in headers(path, archive, os.path.getsize(path) if packed else None)
                        if info.isreg()
                    )
                yield from plain


@contextmanager
def _data_errors(path: Path) -> Iterator[None]:
    """Turn errors while an archive is read into a DataError that names the archive."""
    try:
        yield
    except RawmmError:
        raise
    except Exception as error:  # damage raises almost any type
        if starved(error):
            raise
        problem = printable(str(error) or type(error).__name__)
        raise DataError(
            f"archive {printable(str(path))} cannot be read to its end ({problem[:200]}); fetch it again, "
            "or take it out"
        ) from None


class Header(tarfile.TarInfo):
    """Header of a tar file. Huge extended headers are refused before memory is allocated for them, and
    damaged ones are never passed over."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:
            if buf[257:262] == b"ustar":
                raise tarfile.ReadError(f"a damaged header: {error}") from None
            raise
        if info.size > HEADER and info.type in HEADERS:
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info

    @classmethod
    def fromtarfile(cls, archive: "Tar") -> tarfile.TarInfo:
        """Next header. Blocks of zeros that end an archive are counted: another one may be joined to it."""
        try:
            info = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            archive.zeros += 1
            if archive.zeros > ZEROS:
                raise tarfile.ReadError(f"more than {ZEROS >> 11} MiB of zeros after its end") from None
            raise
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            if not archive.zeros:
                raise tarfile.ReadError(f"a damaged header: {error}") from None
            archive.tail = True
            raise tarfile.EmptyHeaderError("not a tar archive any more") from None
        if archive.zeros:
            archive.zeros, archive.joined = 0, archive.joined + 1
        return info


class Tar(tarfile.TarFile):
    """A tar file that is read to its end, past the marks of archives that are joined end to end.

    joined: archives that follow the first one, so far. tail: whether bytes that are no archive follow the
    last one. cut: whether it ends without an end mark."""

    tarinfo = Header
    ignore_zeros = True
    zeros, joined, tail, cut = 0, 0, False, False

    def headers(self, where: Path | str) -> Iterator[tarfile.TarInfo]:
        """Headers of all folders and plain files, of one that was cut too. Raises DataError where one is not
        safe."""
        number = 0
        while info := self._next():
            check_count(number := number + 1, where)
            check_tar(info, where)
            self.members = []  # tarfile would keep all of them
            yield info
        self.cut |= not self.zeros and not self.tail

    def _next(self) -> tarfile.TarInfo | None:
        """The next header, None at the end, wherever that is. Raises ReadError at a damaged one."""
        try:
            return self.next()
        except EOFError:  # of gzip
            pass
        except tarfile.ReadError:
            if self.fileobj.read(1):
                raise
        self.cut = True

    def notes(self) -> list[str]:
        """What is to be said about the file when it is read."""
        return [JOINED] * bool(self.joined) + [TAIL] * self.tail + [CUT] * self.cut


class Unpacked(gzip.GzipFile):
    """What a gzip file holds, to where it was cut, if it was. A damaged one raises, as `gzip` does."""

    cut = False

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end only."""
        data = bytearray()
        try:
            while len(data) < size and (piece := self.read1(size - len(data))):
                data += piece
        except EOFError:
            self.cut = True
        return bytes(data) if size >= 0 else super().read(size)


def packing(file: BinaryIO) -> str | None:
    """How a file is compressed, None where it is not; the file is at its beginning again.

    Raises ReadError for kinds that are not read, and for a Git LFS pointer in place of the file."""
    start = file.read(HEAD)
    file.seek(0)
    if start.startswith(LFS):
        raise tarfile.ReadError(POINTER)
    kind = next((kind for magic, kind in PACKINGS.items() if start.startswith(magic)), None)
    if kind not in (None, "gzip"):
        raise tarfile.ReadError(
            f"it is compressed with {kind}; allowed: a tar file, or one compressed with gzip"
        )
    return kind


@contextmanager
def _open_tar(path: Path) -> Iterator[tuple[BinaryIO | Unpacked, Tar, bool]]:
    """An open tar file: its bytes, its members, and whether it is compressed, whatever its name says."""
    with open_file(path) as raw:
        packed = packing(raw) == "gzip"
        file = Unpacked(fileobj=raw) if packed else raw
        with Tar.open(fileobj=file, mode="r|" if packed else "r:") as archive:
            yield file, archive, packed


def headers(path: Path | str, archive: Tar, packed: int | None) -> Iterator[tarfile.TarInfo]:
    """Headers of a tar file. packed: its bytes, where it is compressed. Raises DataError where it unpacks to
    far more."""
    unpacked = 0
    for info in archive.headers(path):
        if packed is not None:
            unpacked += info.size
            check_ratio(unpacked, packed, path, info.name)
        yield info


def _tar(path: Path, note: Callable[[str], None]) -> Iterator[Member]:
    """Plain files of a tar file, compressed or not."""
    with _open_tar(path) as (file, archive, packed):
        for info in headers(path, archive, os.path.getsize(path) if packed else None):
            if not info.isreg():
                continue
            if not packed:
                yield info.name, partial(_read_member, path, info)
                continue
            try:
                data = archive.extractfile(info).read()
            except tarfile.ReadError:
                archive.cut = True
                yield info.name, partial(_raise, EOFError(END))
                break
            yield info.name, lambda data=data: data
        while packed and file.read(1 << 20):  # the checksum is at the end
            pass
        archive.cut |= packed and file.cut
        for what in archive.notes():
            note(what)


def _raise(error: Exception) -> NoReturn:
    raise error


def _read_member(path: Path, info: tarfile.TarInfo) -> bytes:
    """Bytes of a member of an uncompressed tar file, which `open_file` has found to be one."""
    with open(path, "rb") as file:
        file.seek(info.offset_data)
        data = file.read(info.size)
    if len(data) < info.size:
        raise EOFError(END)
    return data


def _zip(path: Path, note: Callable[[str], None]) -> Iterator[Member]:
    """Plain files of a zip file; all headers are checked before any member is read."""
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        for info in zip_headers(file, archive, path):
            if info.is_dir():
                continue
            try:
                data = archive.read(info)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # of this member alone
                yield slashed(info), partial(_raise, error)
                continue
            yield slashed(info), lambda data=data: data


def slashed(info: zipfile.ZipInfo) -> str:
    """Name of a member; old writers on Windows separate folders by backslashes."""
    return info.filename.replace("\\", "/")


def zip_headers(file: BinaryIO, archive: zipfile.ZipFile, path: Path | str) -> list[zipfile.ZipInfo]:
    """Headers of all members of an open zip file. Raises DataError where one of them is not safe."""
    _check_start(file, archive)
    infos, size, unpacked = archive.infolist(), file.seek(0, os.SEEK_END), 0
    check_count(len(infos), path)
    for info in infos:
        check_zip(info, path)
        unpacked += info.file_size
        check_ratio(unpacked, size, path, info.filename)
    return infos


def _check_start(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Raise EOFError where another zip file stands before this one: only the last one has a list of its
    members."""
    file.seek(0)
    first = min((info.header_offset for info in archive.infolist()), default=0)
    if first and file.read(4) == b"PK\x03\x04":
        raise EOFError("several zip files are joined end to end; allowed: one")
