"""The tables of prepared sets: files of Arrow record batches, memory-mapped.

`Rows` walks over them a table after the other, `Texts` and `Pixels` reach into columns without copies.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from ..system.errors import DataError


def table(file: Path) -> pa.Table:
    """A file of record batches, memory-mapped."""
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


class readable:
    """What goes wrong while a set is read becomes a DataError of one line."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self):
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ):
        if isinstance(error, PermissionError):
            raise DataError(
                f"data set {self.folder} cannot be read ({error.strerror}: {error.filename}); allow reading "
                f"it"
            ) from None
        if isinstance(
            error,
            (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException),
        ):
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"data set {self.folder} is damaged ({what}); delete the folder and prepare it again"
            ) from None


def files(folder: Path, split: str) -> list[Path]:
    """Those of a split, in order."""
    state = json.loads((folder / split / "state.json").read_text(encoding="utf-8"))
    names = [entry["filename"] for entry in state["_data_files"]]
    if any(os.path.basename(name) != name for name in names):
        raise ValueError("a file outside of its folder")
    return [folder / split / name for name in names]


class Rows:
    """The rows of a split, a table after the other: only one of them is mapped at a time, however many there
    are."""

    def __init__(self, tables: Callable[[], Iterable[pa.Table]]):
        self.tables = tables

    @classmethod
    def of(cls, folder: Path, split: str) -> "Rows":
        """Of a prepared set. Raises DataError while it is read."""

        def tables() -> Iterator[pa.Table]:
            with readable(folder):
                for file in files(folder, split):
                    yield table(file)

        return cls(tables)

    def __len__(self) -> int:
        return sum(map(len, self.tables()))

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers, or of lists of them one after the other."""
        found = [np.zeros(0, np.int64)]
        for part in self.tables():
            found += [
                np.array(chunk.flatten() if pa.types.is_list(chunk.type) else chunk)
                for chunk in part[name].chunks
            ]
        return np.concatenate(found[1:] or found)

    def digests(self) -> np.ndarray:
        """(n, 2) uint64: the first half of every row's SHA-256."""
        found = [np.zeros((0, 2), np.uint64)]
        for part in self.tables():
            held = b"".join(digest[:16] for digest in part["sha256"].to_pylist())
            found.append(np.frombuffer(held, np.uint64).reshape(-1, 2))
        return np.concatenate(found)

    def dicts(self, columns: tuple[str, ...] | None = None) -> Iterator[dict]:
        """Every row, those columns of it that there are; a batch in memory at a time."""
        for part in self.tables():
            names = [name for name in columns or part.column_names if name in part.column_names]
            for batch in part.select(names).to_batches(max_chunksize=256):
                yield from batch.to_pylist()

    def at(self, indices: Iterable[int], columns: tuple[str, ...] | None = None) -> Iterator[dict]:
        """The rows with these numbers, which rise."""
        wanted = iter(indices)
        index, first = next(wanted, None), 0
        for part in self.tables():
            while index is not None and index < first + len(part):
                yield part.select(columns or part.column_names).slice(index - first, 1).to_pylist()[0]
                index = next(wanted, None)
            first += len(part)


class Texts:
    """A column of lists of strings: [i] -> list of str, decoded when asked for."""

    def __init__(self, column: pa.ChunkedArray):
        self.chunks, self.chunk_of, self.row = [], *_places(column)
        for chunk in column.chunks:
            values = chunk.values
            self.chunks.append((_numbers(chunk, 1, np.int32), chunk.offset, *_strings(values)))

    def __len__(self) -> int:
        return len(self.row)

    def longest(self) -> np.ndarray:
        """For every row the bytes of its longest string, 0 where it has none."""
        return np.array(
            [max((high - low for low, high in self._spans(index)), default=0) for index in range(len(self))]
        )

    def _spans(self, index: int) -> list[tuple[int, int]]:
        """Where the strings of a row begin and end."""
        lists, shift, offsets, first, _ = self.chunks[self.chunk_of[index]]
        at = self.row[index] + shift
        return [(offsets[first + n], offsets[first + n + 1]) for n in range(lists[at], lists[at + 1])]

    def __getitem__(self, index: int) -> list[str]:
        data = self.chunks[self.chunk_of[index]][4]
        return [data[low:high].tobytes().decode() for low, high in self._spans(index)]


class Pixels:
    """A column of bytes: [i] -> (n,) uint8 in the memory map, read-only."""

    def __init__(self, column: pa.ChunkedArray):
        self.chunk_of, self.row = _places(column)
        self.chunks = [(_numbers(chunk, 1, np.int64), chunk.offset, _bytes(chunk)) for chunk in column.chunks]

    def __getitem__(self, index: int) -> np.ndarray:
        offsets, shift, data = self.chunks[self.chunk_of[index]]
        at = self.row[index] + shift
        return data[offsets[at] : offsets[at + 1]]


# ------------------------------------------------------------------------------------ columns, without copies


def _places(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """For every row: its chunk, and its row in there."""
    sizes = [len(chunk) for chunk in column.chunks]
    return np.repeat(np.arange(len(sizes)), sizes), np.concatenate(
        [np.arange(n) for n in sizes] or [np.zeros(0, np.int64)]
    )


def _numbers(array: pa.Array, buffer: int, kind: type[np.integer]) -> np.ndarray:
    return np.frombuffer(array.buffers()[buffer], kind)


def _bytes(array: pa.Array) -> np.ndarray:
    data = array.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)


def _strings(array: pa.StringArray) -> tuple[np.ndarray, int, np.ndarray]:
    """Offsets, the first one that counts, and the bytes of an array of strings."""
    offsets = _numbers(array, 1, np.int32) if array.buffers()[1] is not None else np.zeros(1, np.int32)
    return offsets, array.offset, _bytes(array)
