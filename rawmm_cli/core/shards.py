"""Files of encoded pictures that are read in place: which there are, what is in them, and blocks of them. No torch.

Parquet files by row groups, tar files (webdataset) by spans of whole samples; on disk or, through `fsspec`, on the hub. Only
counts and offsets are kept in memory. Next: `streamed.py` deals the blocks out and decodes.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import DataError, printable
from .source import Item

ENDINGS = (".parquet", ".tar")
SPAN = 256                                              # samples of a block of a tar file


class Block(NamedTuple):
    """Some rows of one row group, or some neighbouring samples of a tar file."""

    file: int
    group: int                                          # row group (of a tar file always 0)
    first: int                                          # number of its first picture in the file
    count: int
    skip: int = 0                                       # rows of the group before it


class Parquet:
    """Row groups of parquet files with the same columns. Raises DataError where a file cannot be read."""

    def __init__(self, files: list[str], columns: str | None, caption: str | None, told: Callable[[str], None], where: str):
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
        wanted = [c for c in (chosen.image, chosen.text, chosen.label, *chosen.truths) if c]
        with _told(file), opened(file) as data:
            table = pq.ParquetFile(data).read_row_group(block.group, columns=wanted, use_threads=False)
            rows = table.slice(block.skip, block.count).to_pylist()
        return [chosen.item(f"{Path(file).name}/{block.first + n}", row) for n, row in enumerate(rows)]


class Tar:
    """Samples of tar files, as `datasets/webdataset.py` has them. Raises DataError where one is torn or not safe."""

    def __init__(self, files: list[str], columns: str | None, caption: str | None, told: Callable[[str], None], where: str):
        from .datasets.webdataset import Fields

        self.files, self.blocks, self.sizes, self.spans = files, [], [], []
        self.fields, self.labels, self.about = Fields(columns, caption), [], {}
        for number, file in enumerate(files):
            with _told(file), opened(file) as data:
                starts = _starts(data, file)
            self.spans.append(starts)
            count = len(starts) - 1
            self.sizes.append(count)
            self.blocks += [Block(number, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)]

    def read(self, block: Block) -> list[Item]:
        """The pictures of a block, not decoded."""
        from .datasets.webdataset import samples

        file, starts = self.files[block.file], self.spans[block.file]
        low, high = int(starts[block.first]), int(starts[block.first + block.count])
        with _told(file), opened(file) as data:
            data.seek(low)
            span = io.BytesIO(data.read(high - low))
            with tarfile.open(fileobj=span, mode="r:", ignore_zeros=True) as archive:
                members = ((info.name, archive.extractfile(info).read) for info in archive if info.isreg())
                return [self.fields.item(f"{Path(file).name}/{key}", found) for key, found in samples(members)]


def _starts(data, file: str) -> np.ndarray:
    """Where each sample of a tar file begins, and where the last one ends."""
    from .archives import check, check_end
    from .datasets.webdataset import key_of

    starts, last, end = [], None, 0
    with tarfile.open(fileobj=data, mode="r:") as archive:
        for info in archive:
            check(info, file)
            if info.isreg() and (key := key_of(info.name)) is not None:
                if key != last:
                    starts.append(info.offset if last is not None else 0)
                    last = key
                end = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            archive.members = []                        # it would keep every one
        check_end(data, archive.offset)
    return np.array([*starts, end], np.int64)


def find(path: str) -> tuple[list[str], str]:
    """A folder, a file or hf:OWNER/NAME -> (files, their ending). Raises DataError."""
    if path.startswith("hf:"):
        files = _on_hub(path.removeprefix("hf:"))
    elif Path(path).is_file():
        files = [path]
    else:
        if not Path(path).is_dir():
            raise DataError(f"{printable(path)} does not exist; data.stream.path allows: a folder of .parquet or .tar files, one "
                            "such file, or hf:OWNER/NAME")
        files = sorted(str(file) for file in Path(path).rglob("*") if file.suffix in ENDINGS and file.is_file())
    endings = {os.path.splitext(file)[1] for file in files}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        found = ", ".join(sorted(endings)) or "none of them"
        raise DataError(f"{printable(path)} holds {found}; allowed for data.stream: .parquet files alone or .tar files alone; "
                        "prepare anything else with `rawmm prepare`")
    return files, endings.pop()


def _on_hub(repo: str) -> list[str]:
    """Files of the training split, as `datasets` finds them."""
    import datasets

    try:
        splits = datasets.load_dataset_builder(repo).config.data_files or {}
    except Exception as error:                          # it raises almost any type
        what = (str(error).splitlines() or [type(error).__name__])[0]
        local = repo.rpartition("/")[2]
        raise DataError(f"{repo} cannot be reached ({what}); where there is a network run `hf download --repo-type dataset "
                        f"{repo} --local-dir {local}`, bring that folder here, and set data.stream.path={local}") from None
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
def _told(file: str):
    """What goes wrong while a file is read, in one line."""
    import pyarrow as pa

    try:
        yield
    except (OSError, EOFError, tarfile.TarError, pa.ArrowException) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{printable(file)} cannot be read ({printable(what)}); fetch it again, or take it out") from None
