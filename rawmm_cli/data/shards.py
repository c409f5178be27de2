"""Files of encoded pictures that are read in place, block by block. No torch.

Parquet files are read by row groups, tar files (webdataset) by spans of whole samples; on disk or, through
`fsspec`, on the hub. Only counts and offsets stay in memory. Next: `streamed.py` deals the blocks out and
decodes the pictures.
"""

import posixpath
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..system.errors import DataError, RawmmError, printable, starved
from .items import Item
from .layout.schemas import Tables, open_anywhere
from .layout.split_column import in_tables
from .layout.splits import described, roles, splits_of
from .layout.unused import COLUMNS, sentence

if TYPE_CHECKING:
    from .layout.samples import Samples
    from .layout.streams import Files

WITHOUT = "samples without a picture, which are left out"
SPAN = 256  # samples of a block of a tar file


class Block(NamedTuple):
    """Consecutive rows of one row group, or consecutive samples of a tar file."""

    file: int  # index of the file
    group: int  # row group; 0 in a tar file
    first: int  # number of its first picture in the file
    count: int  # pictures
    skip: int = 0  # rows of the group before the first


def of(files: "Files", columns: str | None, caption: str | None, where: str) -> "Parquet | Tar":
    """The files of a set that is streamed; arguments as of `Parquet`."""
    return (Parquet if files.ending == ".parquet" else Tar)(files, columns, caption, where)


class Shards:
    """Files of pictures, block by block.

    blocks: all that can be read. sizes: pictures of every file. labels: names of the classes. about: the
    choice of columns and splits, for the card. unused: what is not used."""

    def __init__(self, files: "Files") -> None:
        self.files, self.unused, self.notes = files, files.unused, []
        self.blocks, self.sizes, self.labels, self.about = [], [], [], {}

    def lines(self) -> list[str]:
        """What is said at the start: the choice, what is unusual, what is not used."""
        chosen = "; ".join(
            value if role == "samples" else f"{role}: {value}" for role, value in self.about.items()
        )
        unused = sentence(self.unused.card())
        return [f"chosen: {chosen}", *self.notes, *([unused] if unused else [])]


class Parquet(Shards):
    """Row groups of Parquet files with the same columns.

    columns, caption: as in data.stream. where: the set, in messages. Raises ConfigError where the columns do
    not fit, DataError where a file cannot be read."""

    def __init__(self, files: "Files", columns: str | None, caption: str | None, where: str) -> None:
        super().__init__(files)
        tables = Tables(files.paths)
        self.chosen = tables.choose(columns, caption, where)
        if self.chosen.documents:
            raise DataError(
                f"rows of {printable(where)} have several pictures in column '{self.chosen.image}': they are "
                "documents, which cannot be streamed; prepare them with `rawmm prepare parquet`"
            )
        self.sizes = [sum(groups) for groups in tables.groups]
        for number, groups in enumerate(tables.groups):
            firsts = np.cumsum([0, *groups]).tolist()
            self.blocks += [Block(number, n, firsts[n], count) for n, count in enumerate(groups) if count]
        splits = files.splits or splits_of(files.names, files=True)
        self._roles = [roles(splits)[split] for split in splits]
        self.labels, self.about = list(self.chosen.names), self.chosen.describe()
        self._rows = None if any(self._roles) else in_tables(tables, self.chosen.used)
        if self._rows:
            self.about |= self._rows.card()
        elif line := described(Counter(splits)):
            self.about["splits"] = line
        self.unused.add_all(COLUMNS, tables.unused(self.chosen, self._rows and self._rows.column))

    def roles(self, block: Block) -> list[str | None]:
        """For every picture of a block "train", "held_out", or None where its number decides."""
        if self._rows:
            held_out = self._rows.held_out[block.file][block.first : block.first + block.count]
            return ["held_out" if held else "train" for held in held_out.tolist()]
        return [self._roles[block.file]] * block.count

    def read(self, block: Block) -> list[Item]:
        """Items of a block, not decoded. Raises DataError."""
        file, used = self.files.paths[block.file], self.chosen.used
        name = self.files.names[block.file]
        with _data_errors(file), open_anywhere(file) as stream:
            table = pq.ParquetFile(stream).read_row_group(block.group, columns=used, use_threads=False)
            rows = table.slice(block.skip, block.count).to_pylist()
        return [self.chosen.item(f"{name}/{block.first + n}", row) for n, row in enumerate(rows)]


class Tar(Shards):
    """Samples of tar files, as `datasets/webdataset.py` reads them; arguments as of `Parquet`.

    Raises ConfigError where the columns do not fit, DataError where a file is damaged or not safe."""

    def __init__(self, files: "Files", columns: str | None, caption: str | None, where: str) -> None:
        from .datasets.webdataset import Fields
        from .layout.samples import Samples, own_splits

        super().__init__(files)
        self.fields, self.indices = Fields(columns, caption), []
        self.about = {"samples": self.fields.describe()}
        samples, places = Samples(self.fields, self.unused), []
        for number, (file, name) in enumerate(zip(files.paths, files.names)):
            with _data_errors(file), open_anywhere(file) as stream:
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
        with _data_errors(file), open_anywhere(file) as stream:
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
    from .archives import Tar, packing

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


@contextmanager
def _data_errors(file: str) -> Iterator[None]:
    """Turn errors while a file is read into a DataError that names the file."""
    try:
        yield
    except RawmmError:
        raise
    except Exception as error:  # damage raises almost any type
        if starved(error):
            raise
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{printable(file)} cannot be read ({printable(problem)}); fetch it again, or take it out"
        ) from None
