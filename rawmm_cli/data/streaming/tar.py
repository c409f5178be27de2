"""Tar files of a set that is streamed, by spans of whole samples."""

import posixpath
import tarfile
from array import array
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from ...system.errors import DataError, printable
from ..items import Item
from ..layout.schemas import open_anywhere
from ..shards import Block, Shards, data_errors

if TYPE_CHECKING:
    from ..layout.samples import Samples
    from ..layout.streams import Files

WITHOUT = "samples without a picture, which are left out"
SPAN = 256  # samples of a block of a tar file


class Tar(Shards):
    """Samples of tar files, as `datasets/webdataset.py` reads them; arguments as of `Parquet`.

    Raises ConfigError where the columns do not fit, DataError where a file is damaged or not safe."""

    def __init__(self, files: "Files", columns: str | None, caption: str | None, where: str) -> None:
        from ..datasets.webdataset import Fields
        from ..layout.samples import Samples, own_splits

        super().__init__(files)
        self.fields, self.indices = Fields(columns, caption), []
        self.about = {"samples": self.fields.describe()}
        samples, places = Samples(self.fields, self.unused), []
        for number, (file, name) in enumerate(zip(files.paths, files.names)):
            with data_errors(file), open_anywhere(file) as stream:
                index = _index(stream, name, samples)
            self.indices.append(index)
            places += [(name, folder) for folder in index.folders]
            count = len(index.keys)
            self.sizes.append(count)
            self.blocks += [
                Block(number, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)
            ]
        self.notes, self.splits = samples.notes.lines(), own_splits(files.names, places)
        if line := self.splits.describe():
            self.about["splits"] = line

    def roles(self, block: Block) -> list[str | None]:
        """As `Parquet.roles`."""
        name, keys = self.files.names[block.file], self.indices[block.file].keys
        if not self.splits.folders:
            return [self.splits.role(name, "")] * block.count
        keys = keys[block.first : block.first + block.count].to_pylist()
        return [self.splits.role(name, key) for key in keys]

    def read(self, block: Block) -> list[Item]:
        """Items of a block, not decoded: one read from its first member to its last. Raises DataError."""
        index, file = self.indices[block.file], self.files.paths[block.file]
        first, last = index.first[block.first], index.first[block.first + block.count]
        begin = int(index.offset[first])
        with data_errors(file), open_anywhere(file) as stream:
            stream.seek(begin)
            span = stream.read(int(index.offset[last - 1] + index.size[last - 1]) - begin)
        items, name = [], self.files.names[block.file]
        for number in range(block.first, block.first + block.count):
            sample = {}
            for n in range(index.first[number], index.first[number + 1]):
                start = int(index.offset[n]) - begin
                sample[index.endings[index.ending[n]]] = partial(_part, span, start, int(index.size[n]))
            items.append(self.fields.item(f"{name}/{index.keys[number]}", sample))
        return items


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


def _index(stream: BinaryIO, name: str, samples: "Samples") -> Index:
    """Index of an open tar file. name: of the file, in messages. Raises DataError where it is not safe."""
    from ..archives import Tar, packing

    keys, first, offset, size, ending, endings = [], array("q"), array("q"), array("q"), array("i"), {}
    folders = {}
    if packing(stream):
        raise tarfile.ReadError("it is compressed with gzip; unpack it, or prepare it with `rawmm prepare`")
    with Tar.open(fileobj=stream, mode="r:") as archive:
        members = ((info.name, info) for info in archive.headers(name) if info.isreg())
        for key, sample in samples.of(name, members, lambda info: archive.extractfile(info).read()):
            if samples.pictured(sample):
                folders[posixpath.dirname(key)] = True
            else:
                samples.notes.add(WITHOUT, f"{name}/{key}")
            keys.append(printable(key))
            first.append(len(offset))
            for each, info in sample.items():
                offset.append(info.offset_data)
                size.append(info.size)
                ending.append(endings.setdefault(each, len(endings)))
        for what in archive.notes():
            samples.note(name, what)
    first.append(len(offset))
    columns = (np.array(column) for column in (first, offset, size, ending))
    return Index(pa.array(keys, pa.string()), *columns, list(endings), list(folders))
