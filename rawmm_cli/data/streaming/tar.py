"""Archives of a set that is streamed, by spans of whole samples: tar files, compressed or not, and zip files.

A file that is compressed with gzip is read from its beginning for every block."""

import os
import posixpath
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, compress, islice, pairwise
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from ...config.data import Streaming
from ...system.errors import DataError, printable
from ..items import Item
from ..layout.archive_splits import key_splits, own_splits
from ..layout.classes import classes_of, hint
from ..layout.schemas import open_anywhere
from ..layout.unused import KEYS
from ..shards import Block, Shards, data_errors

if TYPE_CHECKING:
    from ..layout.fields import Sample
    from ..layout.samples import Samples
    from ..layout.streams import Files

WITHOUT = "samples without a picture, which are left out"
SPAN = 256  # samples of a block
PACKED = "archives compressed with gzip, read from their beginning for each block: unpacked they are faster"


class Tar(Shards):
    """Samples of archives, as `datasets/webdataset.py` reads them; arguments as of `Parquet`.

    Raises ConfigError where the columns do not fit, DataError where a file is damaged or not safe."""

    def __init__(self, files: "Files", stream: Streaming, where: str) -> None:
        from ..layout.fields import FIRST, Fields
        from ..layout.samples import Samples

        super().__init__(files)
        self.fields = Fields(stream.columns, stream.caption, keep_uncaptioned=stream.keep_uncaptioned)
        self.indices, self.held_out = [], []
        self.about = {"samples": self.fields.describe()}
        samples, places = Samples(self.fields, self.unused), []
        for number, (file, name) in enumerate(zip(files.paths, files.names)):
            with data_errors(file), open_anywhere(file) as archive:
                index = _index(archive, name, samples)
            self.indices.append(index)
            if index.packed == "gzip":
                samples.notes.add(PACKED, name)
            places += [(name, folder) for folder in index.folders]
            count = len(index.keys)
            self.sizes.append(count)
            self.blocks += [
                Block(number, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)
            ]
        self.notes, self.splits = samples.notes.lines(), own_splits(files.names, places, files.splits)
        looks = self.fields.looks(islice(self._samples(0), FIRST))
        if line := self.splits.describe():
            self.about |= files.listed.card() | {"splits": line}
        else:
            self._set_key_splits(looks.split_keys)
        folders = dict.fromkeys(folder for _, folder in places)
        self.fields = replace(self.fields, folders={} if looks.classes else classes_of(folders))
        self.labels = self.fields.classes
        self.captioned = [any(map(self.fields.captioned, self._samples(n))) for n in range(len(self.indices))]
        self.notes += looks.lines
        if self.labels and not looks.captions and stream.caption is None:
            self.notes.append(hint(self.labels, "data.stream.caption="))

    def _set_key_splits(self, keys: list[str]) -> None:
        """Splits that one of these keys of JSON tells, if one does."""

        texts: list[str | None] = []

        def read(key: str) -> list[str | None]:
            samples = chain.from_iterable(map(self._samples, range(len(self.indices))))
            texts[:] = (self.fields.split_text(sample, key) for sample in samples)
            return texts

        if by_key := key_splits(keys, read):
            self.about |= by_key.card()
            self.unused.counts[KEYS].pop(by_key.key, None)
            held_out = np.array([by_key.roles[text] == "held_out" for text in texts])
            self.held_out = np.split(held_out, np.cumsum(self.sizes[:-1]))

    def _samples(self, file: int) -> Iterator["Sample"]:
        """Samples of a file with readers of their members, in order."""
        index = self.indices[file]
        with self._members(file) as member:
            for first, end in pairwise(index.first.tolist()):
                yield {index.endings[index.ending[n]]: partial(member, n) for n in range(first, end)}

    @contextmanager
    def _members(self, file: int) -> Iterator[Callable[[int], bytes]]:
        """Open a file -> a function from the number of a member to its content."""
        index, path = self.indices[file], self.files.paths[file]
        with data_errors(path), open_anywhere(path) as stream:
            if index.packed == "zip":
                with zipfile.ZipFile(stream) as archive:
                    infos = archive.infolist()
                    yield lambda n: archive.read(infos[index.offset[n]])
                return
            from ..archives import Unpacked

            opened = Unpacked(fileobj=stream) if index.packed else stream

            yield lambda n: _member(opened, int(index.offset[n]), int(index.size[n]))

    def roles(self, block: Block) -> list[str | None]:
        """As `Parquet.roles`."""
        if self.held_out:
            held_out = self.held_out[block.file][block.first : block.first + block.count]
            return ["held_out" if held else "train" for held in held_out.tolist()]
        name, keys = self.files.names[block.file], self.indices[block.file].keys
        if not self.splits.folders:
            return [self.splits.role(name, "")] * block.count
        keys = keys[block.first : block.first + block.count].to_pylist()
        return [self.splits.role(name, key) for key in keys]

    def read(self, block: Block, wanted: Sequence[bool]) -> list[Item]:
        """Items of a block, not decoded: those that are wanted. Raises DataError."""
        index, name = self.indices[block.file], self.files.names[block.file]
        samples = slice(block.first, block.first + block.count)
        first = index.first[block.first : samples.stop + 1].tolist()
        endings = [index.endings[n] for n in index.ending[first[0] : first[-1]].tolist()]
        readers, items = self._readers(block.file, first[0], first[-1]), []
        captioned = self.captioned[block.file]
        for key, low, high in compress(zip(index.keys[samples].to_pylist(), first, first[1:]), wanted):
            own = slice(low - first[0], high - first[0])
            folder = posixpath.dirname(key) if self.labels else ""
            sample = dict(zip(endings[own], readers[own]))
            items.append(self.fields.item(f"{name}/{key}", sample, None, folder, captioned))
        return items

    def _readers(self, file: int, first: int, end: int) -> list[Callable[[], bytes]]:
        """Readers of members, for when the file is closed: one read of a tar file, from the first member to
        the last."""
        index, path = self.indices[file], self.files.paths[file]
        if index.packed:
            with self._members(file) as member:
                return [_kept(member, n) for n in range(first, end)]
        offset, size = index.offset[first:end].tolist(), index.size[first:end].tolist()
        with data_errors(path), open_anywhere(path) as stream:
            stream.seek(offset[0])
            span = stream.read(offset[-1] + size[-1] - offset[0])
        return [partial(_part, span, start - offset[0], length) for start, length in zip(offset, size)]


def _kept(member: Callable[[int], bytes], number: int) -> Callable[[], bytes]:
    """Reader of a member that is read now. Where it is damaged, it raises DataError."""
    try:
        return partial(bytes, member(number))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return partial(_raise, DataError(f"it is damaged ({error})"))
    except DataError as error:
        return partial(_raise, error)


def _raise(error: Exception) -> NoReturn:
    raise error


def _member(file: BinaryIO, offset: int, size: int) -> bytes:
    """A member of an open tar file. Raises DataError at the one where the file was cut."""
    try:
        file.seek(offset)
        return _part(file.read(size), 0, size)
    except EOFError:  # of gzip
        return _part(b"", 0, size)


def _part(span: bytes, start: int, size: int) -> bytes:
    """A member of a tar file. Raises DataError at the one where the file was cut."""
    content = span[start : start + size]
    if len(content) < size:
        raise DataError("its archive ends in the middle of it; fetch the archive again")
    return content


class Index(NamedTuple):
    """Where everything is in a tar file; 20 bytes a member, and the names of the samples."""

    keys: pa.Array  # names of the samples
    first: np.ndarray  # number of the first member of each sample, then the number of members
    offset: np.ndarray  # of each member's bytes in the file
    size: np.ndarray  # of each member in bytes
    ending: np.ndarray  # of each member, as an index into `endings`
    endings: list[str]
    folders: list[str]  # of the pictures, each once
    packed: str | None  # how the file is compressed: "gzip", "zip", whose offsets are numbers of members


def _index(stream: BinaryIO, name: str, samples: "Samples") -> Index:
    """Index of an open archive. name: of the file, in messages. Raises DataError where it is not safe."""
    from ..archives import Tar, Unpacked, headers, packing, slashed, zip_headers

    if name.lower().endswith(".zip"):
        with zipfile.ZipFile(stream) as archive:
            infos = zip_headers(stream, archive, name)
            places = (
                (slashed(info), (n, info.file_size)) for n, info in enumerate(infos) if not info.is_dir()
            )
            return _indexed(name, samples, places, lambda place: archive.read(infos[place[0]]), "zip")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    packed = packing(stream)
    opened = Unpacked(fileobj=stream) if packed else stream

    with Tar.open(fileobj=opened, mode="r:") as archive:
        infos = headers(name, archive, size if packed else None)
        places = ((info.name, (info.offset_data, info.size)) for info in infos if info.isreg())
        index = _indexed(name, samples, places, lambda place: _member(opened, *place), packed)
        archive.cut |= getattr(opened, "cut", False)
        for what in archive.notes():
            samples.note(name, what)
    return index


def _indexed(
    name: str,
    samples: "Samples",
    places: Iterable[tuple[str, tuple[int, int]]],
    read: Callable[[tuple[int, int]], bytes],
    packed: str | None,
) -> Index:
    """Index of an archive. places: (name of a member, (its offset, its size))."""
    keys, first, offset, size, ending, endings = [], array("q"), array("q"), array("q"), array("i"), {}
    folders = {}
    for key, sample in samples.of(name, places, read):
        if samples.pictured(sample):
            folders[printable(posixpath.dirname(key))] = True
        else:
            samples.notes.add(WITHOUT, f"{name}/{key}")
        keys.append(printable(key))
        first.append(len(offset))
        for each, (place, length) in sample.items():
            offset.append(place)
            size.append(length)
            ending.append(endings.setdefault(each, len(endings)))
    first.append(len(offset))
    columns = (np.array(column) for column in (first, offset, size, ending))
    return Index(pa.array(keys, pa.string()), *columns, list(endings), list(folders), packed)
