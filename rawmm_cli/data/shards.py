"""Files of encoded pictures that are read in place, block by block. No torch.

Parquet files are read by row groups, tar files (webdataset) by spans of whole samples; on disk or, through
`fsspec`, on the hub. Only counts and offsets stay in memory. Next: `streamed.py` deals the blocks out and
decodes the pictures.
"""

import os
import tarfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from ..system.errors import DataError, printable
from .items import Item

ENDINGS = (".parquet", ".tar")
SPAN = 256  # samples of a block of a tar file


class Block(NamedTuple):
    """Consecutive rows of one row group, or consecutive samples of a tar file."""

    file: int  # index of the file
    group: int  # row group; 0 in a tar file
    first: int  # number of its first picture in the file
    count: int  # pictures
    skip: int = 0  # rows of the group before the first


class Parquet:
    """Row groups of parquet files with the same columns.

    files: paths or URLs. columns, caption: as in data.stream. where: the set, in messages. blocks: all row
    groups. sizes: rows of every file. labels: names of the classes. about: the choice of columns, for the
    card. Raises ConfigError where the columns do not fit, DataError where a file cannot be read."""

    def __init__(
        self,
        files: list[str],
        columns: str | None,
        caption: str | None,
        notify: Callable[[str], None],
        where: str,
    ) -> None:
        import pyarrow.parquet as pq

        from .columns import choose
        from .datasets.parquet import class_names, kinds

        self.files, self.blocks, self.sizes, schema = files, [], [], None
        for number, file in enumerate(files):
            with _data_errors(file), open_file(file) as stream:
                table = pq.ParquetFile(stream)
                schema = schema or table.schema_arrow
                groups = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
            firsts = np.cumsum([0, *groups]).tolist()
            self.blocks += [Block(number, n, firsts[n], count) for n, count in enumerate(groups) if count]
            self.sizes.append(sum(groups))
        self.chosen = choose(kinds(schema), columns, class_names(schema), caption, where)
        self.labels, self.about = list(self.chosen.names), self.chosen.describe()
        notify("chosen: " + "; ".join(f"{role}: {value}" for role, value in self.about.items()))

    def read(self, block: Block) -> list[Item]:
        """Items of a block, not decoded. Raises DataError."""
        import pyarrow.parquet as pq

        file, used = self.files[block.file], self.chosen.used
        name = Path(file).name
        with _data_errors(file), open_file(file) as stream:
            table = pq.ParquetFile(stream).read_row_group(block.group, columns=used, use_threads=False)
            rows = table.slice(block.skip, block.count).to_pylist()
        return [self.chosen.item(f"{name}/{block.first + n}", row) for n, row in enumerate(rows)]


class Tar:
    """Samples of tar files, as `datasets/webdataset.py` reads them; arguments and attributes as in `Parquet`.

    Raises ConfigError where the columns do not fit, DataError where a file is damaged or not safe."""

    def __init__(
        self,
        files: list[str],
        columns: str | None,
        caption: str | None,
        notify: Callable[[str], None],
        where: str,
    ) -> None:
        from .datasets.webdataset import Fields

        self.files, self.blocks, self.sizes, self.indices = files, [], [], []
        self.fields, self.labels = Fields(columns, caption), []
        self.about = {"samples": self.fields.describe()}
        notify("chosen: " + self.fields.describe())
        for number, file in enumerate(files):
            with _data_errors(file), open_file(file) as stream:
                index = _index(stream, file)
            self.indices.append(index)
            count = len(index.keys)
            self.sizes.append(count)
            self.blocks += [
                Block(number, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)
            ]

    def read(self, block: Block) -> list[Item]:
        """Items of a block, not decoded: one read from its first member to its last. Raises DataError."""
        index, file = self.indices[block.file], self.files[block.file]
        first, last = index.first[block.first], index.first[block.first + block.count]
        begin = int(index.offset[first])
        with _data_errors(file), open_file(file) as stream:
            stream.seek(begin)
            span = stream.read(int(index.offset[last - 1] + index.size[last - 1]) - begin)
        items, name = [], Path(file).name
        for number in range(block.first, block.first + block.count):
            sample = {}
            for n in range(index.first[number], index.first[number + 1]):
                start = int(index.offset[n]) - begin
                sample[index.endings[index.ending[n]]] = partial(
                    span.__getitem__, slice(start, start + int(index.size[n]))
                )
            items.append(self.fields.item(f"{name}/{index.keys[number]}", sample))
        return items


class Index(NamedTuple):
    """Where everything is in a tar file; 20 bytes a member, and the names of the samples."""

    keys: pa.Array  # names of the samples
    first: np.ndarray  # number of the first member of each sample, then the number of members
    offset: np.ndarray  # of each member's bytes in the file
    size: np.ndarray  # of each member in bytes
    ending: np.ndarray  # of each member, as an index into `endings`
    endings: list[str]


def _index(stream: BinaryIO, file: str) -> Index:
    """Index of an open tar file. Raises DataError where it is not safe."""
    from .archives import Info, check, check_end
    from .datasets.webdataset import key_of

    keys, first, offset, size, ending, endings = [], array("q"), array("q"), array("q"), array("i"), {}
    with tarfile.open(fileobj=stream, mode="r:", tarinfo=Info) as archive:
        for info in archive:
            check(info, file)
            archive.members = []  # tarfile would keep all of them
            if info.isreg() and (key := key_of(info.name)) is not None:
                if not keys or key != keys[-1]:
                    keys.append(key)
                    first.append(len(offset))
                offset.append(info.offset_data)
                size.append(info.size)
                ending.append(endings.setdefault(info.name[len(key) + 1 :].lower(), len(endings)))
        check_end(stream, archive.offset)
    first.append(len(offset))
    names = pa.array([printable(key) for key in keys], pa.string())
    return Index(names, *(np.array(column) for column in (first, offset, size, ending)), list(endings))


def find(path: str) -> tuple[list[str], str]:
    """Files of a set that is to be streamed, and their ending. path: a folder, a file or hf:OWNER/NAME.

    Raises DataError where there are none, or files of both endings."""
    if path.startswith("hf:"):
        files = _on_hub(path.removeprefix("hf:"))
    elif Path(path).is_file():
        files = [path]
    else:
        if not Path(path).is_dir():
            raise DataError(
                f"{printable(path)} does not exist; data.stream.path allows: a folder of .parquet or .tar "
                "files, one such file, or hf:OWNER/NAME"
            )
        files = sorted(
            str(file) for file in Path(path).rglob("*") if file.suffix in ENDINGS and file.is_file()
        )
    endings = {os.path.splitext(file)[1] for file in files}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        present = ", ".join(sorted(endings)) or "none of them"
        raise DataError(
            f"{printable(path)} holds {present}; allowed for data.stream: .parquet files alone or .tar files "
            "alone; prepare anything else with `rawmm prepare`"
        )
    return files, endings.pop()


def _on_hub(repo: str) -> list[str]:
    """Files of the training split of a repository, as `datasets` lists them. Raises DataError."""
    import datasets

    try:
        splits = datasets.load_dataset_builder(repo).config.data_files or {}
    except Exception as error:  # it raises almost any type
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        local = repo.rpartition("/")[2]
        raise DataError(
            f"{repo} cannot be reached ({problem}); where there is a network run `hf download --repo-type "
            f"dataset {repo} --local-dir {local}`, bring that folder here, and set data.stream.path={local}"
        ) from None
    return [str(file) for file in splits.get("train") or next(iter(splits.values()), [])]


@contextmanager
def open_file(file: str) -> Iterator[BinaryIO]:
    """Open a file for reading and seeking: a path, or a URL that `fsspec` knows."""
    if "://" not in file:
        with open(file, "rb") as stream:
            yield stream
        return
    import fsspec

    with fsspec.open(file, "rb") as stream:
        yield stream


@contextmanager
def _data_errors(file: str) -> Iterator[None]:
    """Turn errors while a file is read into a DataError that names the file."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError, pa.ArrowException) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{printable(file)} cannot be read ({printable(problem)}); fetch it again, or take it out"
        ) from None
