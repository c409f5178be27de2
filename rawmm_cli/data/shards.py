"""Files of encoded pictures that are read in place: which there are, what is in them, and blocks of them. No
torch.

Parquet files by row groups, tar files (webdataset) by spans of whole samples; on disk or, through `fsspec`,
on the hub. Only counts and offsets are kept in memory. Next: `streamed.py` deals the blocks out and decodes.
"""

import os
import tarfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa

from ..system.errors import DataError, printable
from .items import Item

ENDINGS = (".parquet", ".tar")
SPAN = 256  # samples of a block of a tar file


class Block(NamedTuple):
    """Some rows of one row group, or some neighbouring samples of a tar file."""

    file: int
    group: int  # row group (of a tar file always 0)
    first: int  # number of its first picture in the file
    count: int
    skip: int = 0  # rows of the group before it


class Parquet:
    """Row groups of parquet files with the same columns. Raises DataError where a file cannot be read."""

    def __init__(
        self,
        files: list[str],
        columns: str | None,
        caption: str | None,
        told: Callable[[str], None],
        where: str,
    ):
        import pyarrow.parquet as pq

        from .columns import choose
        from .datasets.parquet import class_names, kinds

        self.files, self.blocks, self.sizes, schema = files, [], [], None
        for number, file in enumerate(files):
            with _told(file), opened(file) as data:
                table = pq.ParquetFile(data)
                schema = schema or table.schema_arrow
                groups = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
            firsts = np.cumsum([0, *groups]).tolist()
            self.blocks += [Block(number, n, firsts[n], count) for n, count in enumerate(groups) if count]
            self.sizes.append(sum(groups))
        self.chosen = choose(kinds(schema), columns, class_names(schema), caption, where)
        self.labels, self.about = list(self.chosen.names), self.chosen.chosen()
        told("chosen: " + "; ".join(f"{what}: {value}" for what, value in self.about.items()))

    def read(self, block: Block) -> list[Item]:
        """The pictures of a block, not decoded."""
        import pyarrow.parquet as pq

        chosen, file = self.chosen, self.files[block.file]
        name = Path(file).name
        wanted = [c for c in (chosen.image, chosen.text, chosen.label, *chosen.truths) if c]
        with _told(file), opened(file) as data:
            table = pq.ParquetFile(data).read_row_group(block.group, columns=wanted, use_threads=False)
            rows = table.slice(block.skip, block.count).to_pylist()
        return [chosen.item(f"{name}/{block.first + n}", row) for n, row in enumerate(rows)]


class Tar:
    """Samples of tar files, as `datasets/webdataset.py` has them. Raises DataError where one is torn or not
    safe."""

    def __init__(
        self,
        files: list[str],
        columns: str | None,
        caption: str | None,
        told: Callable[[str], None],
        where: str,
    ):
        from .datasets.webdataset import Fields

        self.files, self.blocks, self.sizes, self.inside = files, [], [], []
        self.fields, self.labels = Fields(columns, caption), []
        self.about = {"samples": self.fields.told()}
        told("chosen: " + self.fields.told())
        for number, file in enumerate(files):
            with _told(file), opened(file) as data:
                inside = _inside(data, file)
            self.inside.append(inside)
            count = len(inside.keys)
            self.sizes.append(count)
            self.blocks += [
                Block(number, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)
            ]

    def read(self, block: Block) -> list[Item]:
        """The pictures of a block, not decoded: one read of all that lies between its first member and its
        last."""
        inside, file = self.inside[block.file], self.files[block.file]
        first, last = inside.first[block.first], inside.first[block.first + block.count]
        low = int(inside.at[first])
        with _told(file), opened(file) as data:
            data.seek(low)
            span = data.read(int(inside.at[last - 1] + inside.size[last - 1]) - low)
        items, name = [], Path(file).name
        for number in range(block.first, block.first + block.count):
            sample = {}
            for n in range(inside.first[number], inside.first[number + 1]):
                start = int(inside.at[n]) - low
                sample[inside.endings[inside.ending[n]]] = partial(
                    span.__getitem__, slice(start, start + int(inside.size[n]))
                )
            items.append(self.fields.item(f"{name}/{inside.keys[number]}", sample))
        return items


class Inside(NamedTuple):
    """Where everything lies in a tar file; 20 bytes a member and the names of the samples."""

    keys: pa.Array  # names of the samples
    first: np.ndarray  # number of the first member of each sample, and of all members
    at: np.ndarray  # where each member's bytes begin
    size: np.ndarray
    ending: np.ndarray  # which of `endings`
    endings: list[str]


def _inside(data: IO[bytes], file: str) -> Inside:
    from .archives import Info, check, check_end
    from .datasets.webdataset import key_of

    keys, first, at, size, ending, endings = [], array("q"), array("q"), array("q"), array("i"), {}
    with tarfile.open(fileobj=data, mode="r:", tarinfo=Info) as archive:
        for info in archive:
            check(info, file)
            archive.members = []  # it would keep every one
            if info.isreg() and (key := key_of(info.name)) is not None:
                if not keys or key != keys[-1]:
                    keys.append(key)
                    first.append(len(at))
                at.append(info.offset_data)
                size.append(info.size)
                ending.append(endings.setdefault(info.name[len(key) + 1 :].lower(), len(endings)))
        check_end(data, archive.offset)
    first.append(len(at))
    names = pa.array([printable(key) for key in keys], pa.string())
    return Inside(names, *(np.array(column) for column in (first, at, size, ending)), list(endings))


def find(path: str) -> tuple[list[str], str]:
    """A folder, a file or hf:OWNER/NAME -> (files, their ending). Raises DataError."""
    if path.startswith("hf:"):
        files = _on_hub(path.removeprefix("hf:"))
    elif Path(path).is_file():
        files = [path]
    else:
        if not Path(path).is_dir():
            raise DataError(
                f"{printable(path)} does not exist; data.stream.path allows: a folder of .parquet or .tar "
                f"files, one "
                "such file, or hf:OWNER/NAME"
            )
        files = sorted(
            str(file) for file in Path(path).rglob("*") if file.suffix in ENDINGS and file.is_file()
        )
    endings = {os.path.splitext(file)[1] for file in files}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        found = ", ".join(sorted(endings)) or "none of them"
        raise DataError(
            f"{printable(path)} holds {found}; allowed for data.stream: .parquet files alone or .tar files "
            f"alone; "
            "prepare anything else with `rawmm prepare`"
        )
    return files, endings.pop()


def _on_hub(repo: str) -> list[str]:
    """Files of the training split, as `datasets` finds them."""
    import datasets

    try:
        splits = datasets.load_dataset_builder(repo).config.data_files or {}
    except Exception as error:  # it raises almost any type
        what = (str(error).splitlines() or [type(error).__name__])[0]
        local = repo.rpartition("/")[2]
        raise DataError(
            f"{repo} cannot be reached ({what}); where there is a network run `hf download --repo-type "
            f"dataset "
            f"{repo} --local-dir {local}`, bring that folder here, and set data.stream.path={local}"
        ) from None
    return [str(file) for file in splits.get("train") or next(iter(splits.values()), [])]


@contextmanager
def opened(file: str) -> Iterator:
    """A file for reading, with seek: on disk, or wherever `fsspec` reaches."""
    if "://" not in file:
        with open(file, "rb") as data:
            yield data
        return
    import fsspec

    with fsspec.open(file, "rb") as data:
        yield data


@contextmanager
def _told(file: str) -> Iterator[None]:
    """What goes wrong while a file is read, in one line."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError, pa.ArrowException) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{printable(file)} cannot be read ({printable(what)}); fetch it again, or take it out"
        ) from None
