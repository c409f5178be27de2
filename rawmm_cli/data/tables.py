"""The tables of prepared sets: files of Arrow record batches, memory-mapped.

`Rows` walks over the tables of a split one after the other; `Texts` and `Pixels` index columns without
copies."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..system.disk import read_file
from ..system.errors import DataError, starved
from .rows import DOCUMENTS, PICTURES

# Whatever a damaged file may raise.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException)


def table(file: Path) -> pa.Table:
    """Open a file of record batches, memory-mapped."""
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def sound_table(folder: Path, file: Path) -> pa.Table:
    """Table of a prepared set, after a check of all that its readers rely on: types, offsets, Unicode, sizes.

    Pixels are not read. Raises DataError, which names the file, where it is damaged."""
    with data_errors(folder, file):
        whole = table(file)
        whole.validate(full=True)
        schema = DOCUMENTS if "order" in whole.column_names else PICTURES
        types = {field.name: field.type for field in whole.schema}
        if missing := [field.name for field in schema if types.get(field.name, field.type) != field.type]:
            raise ValueError(f"column {missing[0]} is of another type")
        if any(whole[name].null_count for name in whole.column_names):
            raise ValueError("a value is missing")
        (_check_documents if schema is DOCUMENTS else _check_pictures)(whole)
        return whole


def _check_pictures(whole: pa.Table) -> None:
    """Raise ValueError where pixels do not have the size of a picture."""
    if {"pixels", "height", "width"} <= set(whole.column_names):
        _check_sizes(*(whole[name] for name in ("pixels", "height", "width")))


def _check_documents(whole: pa.Table) -> None:
    """Raise ValueError where the lists of a document do not belong together."""
    lists = {name: whole[name].combine_chunks() for name in ("order", "texts", "heights", "widths", "draw")}
    lengths = {name: pc.list_value_length(column).to_numpy() for name, column in lists.items()}
    pixels = pc.list_value_length(whole["pixels"]).to_numpy()
    of_pictures = np.zeros(len(whole), np.int64)
    parents = pc.list_parent_indices(lists["order"]).to_numpy()
    np.add.at(of_pictures, parents, lists["order"].flatten().to_numpy(zero_copy_only=False))
    same = [lengths[name] == of_pictures for name in ("heights", "widths", "draw")]
    same += [pixels == of_pictures, lengths["texts"] == lengths["order"] - of_pictures]
    if not np.all(same):
        raise ValueError("lists of a document do not belong together")
    pixels = pa.chunked_array([chunk.flatten() for chunk in whole["pixels"].chunks], pa.large_binary())
    _check_sizes(pixels, *(pa.chunked_array([lists[name].flatten()]) for name in ("heights", "widths")))


def _check_sizes(pixels: pa.ChunkedArray, heights: pa.ChunkedArray, widths: pa.ChunkedArray) -> None:
    """Raise ValueError where pixels do not have 3 bytes for each of height x width."""
    length, height, width = (column.to_numpy() for column in (pc.binary_length(pixels), heights, widths))
    area = height.astype(np.int64) * width
    if (height <= 0).any() or (width <= 0).any() or (length != 3 * area).any():
        raise ValueError("pixels do not have the size of their picture")


@contextmanager
def data_errors(folder: Path, file: Path | None = None) -> Iterator[None]:
    """Turn errors while a prepared set is read into a DataError that names its folder, and the file."""
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"data set {folder} cannot be read ({error.strerror}: {error.filename}); allow reading it"
        ) from None
    except DAMAGE as error:
        if starved(error):
            raise MemoryError from None
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        problem = f"{file.relative_to(folder)}: {problem}" if file else problem
        raise DataError(
            f"data set {folder} is damaged ({problem}); delete the folder and prepare it again"
        ) from None


def files(folder: Path, split: str) -> list[Path]:
    """Arrow files of a split, in order. Raises OSError, ValueError or KeyError where its list is damaged."""
    state = json.loads(read_file(folder / split / "state.json", 10_000_000))
    names = [entry["filename"] for entry in state["_data_files"]]
    if any(os.path.basename(name) != name for name in names):
        raise ValueError("a file outside of its folder")
    return [folder / split / name for name in names]


class Rows:
    """Rows of a split, one table after the other, so that a single table is mapped at a time.

    tables: opens the tables, once for every pass."""

    def __init__(self, tables: Callable[[], Iterable[pa.Table]]) -> None:
        self.tables = tables

    @classmethod
    def of(cls, folder: Path, split: str) -> "Rows":
        """Rows of one split of a prepared set; reading them raises DataError."""

        sound = set()

        def tables() -> Iterator[pa.Table]:
            with data_errors(folder):
                for file in files(folder, split):
                    yield table(file) if file in sound else sound_table(folder, file)
                    sound.add(file)

        return cls(tables)

    def __len__(self) -> int:
        return sum(map(len, self.tables()))

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers as one array; lists of numbers are joined."""
        arrays = []
        for part in self.tables():
            arrays += [
                np.array(chunk.flatten() if pa.types.is_list(chunk.type) else chunk)
                for chunk in part[name].chunks
            ]
        return np.concatenate(arrays or [np.zeros(0, np.int64)])

    def digests(self) -> np.ndarray:
        """First half of every row's SHA-256: (n, 2) uint64."""
        arrays = [np.zeros((0, 2), np.uint64)]
        for part in self.tables():
            halves = b"".join(digest[:16] for digest in part["sha256"].to_pylist())
            arrays.append(np.frombuffer(halves, np.uint64).reshape(-1, 2))
        return np.concatenate(arrays)

    def dicts(self, columns: tuple[str, ...] | None = None) -> Iterator[dict]:
        """Every row as {column: value}, with those of the columns that the table has; 256 rows in memory."""
        for part in self.tables():
            names = [name for name in columns or part.column_names if name in part.column_names]
            for batch in part.select(names).to_batches(max_chunksize=256):
                yield from batch.to_pylist()

    def at(self, indices: Iterable[int], columns: tuple[str, ...] | None = None) -> Iterator[dict]:
        """Rows at these indices, which must be in increasing order, as {column: value}."""
        remaining = iter(indices)
        index, first = next(remaining, None), 0
        for part in self.tables():
            while index is not None and index < first + len(part):
                yield part.select(columns or part.column_names).slice(index - first, 1).to_pylist()[0]
                index = next(remaining, None)
            first += len(part)


class Texts:
    """A column of lists of strings: [i] decodes the list of row i."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.chunks, self.chunk_of, self.row = [], *_places(column)
        for chunk in column.chunks:
            values = chunk.values
            self.chunks.append((_numbers(chunk, 1, np.int32), chunk.offset, *_strings(values)))

    def __len__(self) -> int:
        return len(self.row)

    def longest(self) -> np.ndarray:
        """Bytes of the longest string of every row, 0 where it has none: (n,)."""
        return np.array(
            [max((high - low for low, high in self._spans(index)), default=0) for index in range(len(self))]
        )

    def _spans(self, index: int) -> list[tuple[int, int]]:
        """First and last byte of every string of a row."""
        lists, shift, offsets, first, _ = self.chunks[self.chunk_of[index]]
        row = self.row[index] + shift
        return [(offsets[first + n], offsets[first + n + 1]) for n in range(lists[row], lists[row + 1])]

    def __getitem__(self, index: int) -> list[str]:
        data = self.chunks[self.chunk_of[index]][4]
        return [data[low:high].tobytes().decode() for low, high in self._spans(index)]


class Pixels:
    """A column of bytes: [i] is a view of row i in the memory map, (n,) uint8, read-only."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.chunk_of, self.row = _places(column)
        self.chunks = [(_numbers(chunk, 1, np.int64), chunk.offset, _bytes(chunk)) for chunk in column.chunks]

    def __getitem__(self, index: int) -> np.ndarray:
        offsets, shift, data = self.chunks[self.chunk_of[index]]
        row = self.row[index] + shift
        return data[offsets[row] : offsets[row + 1]]


# ------------------------------------------------------------------------------------ columns, without copies


def _places(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """For every row the index of its chunk, and its row in that chunk."""
    sizes = [len(chunk) for chunk in column.chunks]
    rows = np.concatenate([np.arange(n) for n in sizes] or [np.zeros(0, np.int64)])
    return np.repeat(np.arange(len(sizes)), sizes), rows


def _numbers(array: pa.Array, buffer: int, kind: type[np.integer]) -> np.ndarray:
    """A buffer of an Arrow array as numbers, without a copy."""
    return np.frombuffer(array.buffers()[buffer], kind)


def _bytes(array: pa.Array) -> np.ndarray:
    """Data of an array of bytes or strings, (n,) uint8, without a copy."""
    data = array.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)


def _strings(array: pa.StringArray) -> tuple[np.ndarray, int, np.ndarray]:
    """Offsets, index of the first used offset, and bytes of an array of strings."""
    offsets = _numbers(array, 1, np.int32) if array.buffers()[1] is not None else np.zeros(1, np.int32)
    return offsets, array.offset, _bytes(array)
