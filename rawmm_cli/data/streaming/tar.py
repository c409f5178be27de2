"""Tar files of a set that is streamed, by spans of whole samples."""

import posixpath
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, compress, islice, pairwise
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

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
SPAN = 256  # samples of a block of a tar file


class Tar(Shards):
    """Samples of tar files, as `datasets/webdataset.py` reads them; arguments as of `Parquet`.

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
            places += [(name, folder) for folder in index.folders]
            count = len(index.keys)
            self.sizes.append(count)
            self.blocks += [
                Block(number, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)
            ]
        self.notes, self.splits = samples.notes.lines(), own_splits(files.names, places)
        looks = self.fields.looks(islice(self._samples(0), FIRST))
        if line := self.splits.describe():
            self.about["splits"] = line
        else:
            self._set_key_splits(looks.split_keys)
        self.labels = [] if looks.classes else classes_of({folder for _, folder in places}, bool(line))
        self.fields = replace(self.fields, folders={name: n for n, name in enumerate(self.labels)})
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
        index, path = self.indices[file], self.files.paths[file]
        with data_errors(path), open_anywhere(path) as stream:

            def read(n: int) -> bytes:
                stream.seek(int(index.offset[n]))
                return _part(stream.read(int(index.size[n])), 0, int(index.size[n]))

            for first, end in pairwise(index.first.tolist()):
                yield {index.endings[index.ending[n]]: partial(read, n) for n in range(first, end)}

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
        """Items of a block, not decoded: those that are wanted. One read, from the first member of the block
        to its last. Raises DataError."""
        index, file, name = (
            self.indices[block.file],
            self.files.paths[block.file],
            self.files.names[block.file],
        )
        samples = slice(block.first, block.first + block.count)
        first = index.first[block.first : samples.stop + 1].tolist()
        members = slice(first[0], first[-1])
        offset, size = index.offset[members].tolist(), index.size[members].tolist()
        with data_errors(file), open_anywhere(file) as stream:
            stream.seek(offset[0])
            span = stream.read(offset[-1] + size[-1] - offset[0])
        endings, items = [index.endings[n] for n in index.ending[members].tolist()], []
        captioned = self.captioned[block.file]
        for key, low, high in compress(zip(index.keys[samples].to_pylist(), first, first[1:]), wanted):
            sample = {
                endings[n - first[0]]: partial(
                    _part, span, offset[n - first[0]] - offset[0], size[n - first[0]]
                )
                for n in range(low, high)
            }
            folder = posixpath.basename(posixpath.dirname(key)) if self.labels else ""
            items.append(self.fields.item(f"{name}/{key}", sample, None, folder, captioned))
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
                folders[printable(posixpath.dirname(key))] = True
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
