"""The splits that a column of a table tells, row by row: for Parquet files and sets of the hub.

`splits.py` has the names of such columns, and what their texts mean."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...system.errors import DataError, printable, starved
from .schemas import Tables, open_anywhere
from .splits import MOST, described_column, roles_in_column, split_columns

if TYPE_CHECKING:
    import datasets

# Types of values that may tell splits.
PLAIN = "string large_string string_view binary large_binary binary_view integer boolean".split()
JSON = "json"  # column of the .json of samples, where `datasets` reads tar files
TOLD = ("text", "integer", "boolean")  # kinds of columns that may tell splits
ROWS = 1 << 16  # rows in memory at a time


class RowSplits(NamedTuple):
    """The splits of all rows. line: in words, for the card. held_out: of each file or part, its rows as truth
    values."""

    column: str
    line: str
    held_out: list[np.ndarray]

    def card(self) -> dict[str, str]:
        """The splits as {what: value}, for the card."""
        return {"split column": self.column, "splits": self.line}

    def sentence(self) -> str:
        """What is said when the source is opened."""
        return f"splits of the source, in column {printable(self.column)}: {self.line}"


def in_tables(tables: Tables, used: Collection[str]) -> RowSplits | None:
    """The splits of the rows of Parquet files, None where no column tells any. Raises DataError."""
    for column in split_columns(tables.kinds, used):
        kind, names = tables.kinds[column], tables.names.get(column, [])
        if column in tables.twice or column in tables.other_names or not (kind in TOLD or names):
            continue
        values = [
            _column(file, column, names) if own.get(column) in TOLD else [pa.nulls(sum(groups))]
            for file, own, groups in zip(tables.files, tables.own, tables.groups)
        ]
        if splits := of_rows(column, values):
            return splits
    return None


def in_datasets(
    data: Mapping[str, "datasets.Dataset"], names: Mapping[str, list[str]], used: Collection[str]
) -> RowSplits | None:
    """As `in_tables`, of data by the splits of a set of the hub. names: {column: names of its classes}.

    Of tar files, `datasets` has the .json of samples as structs: their fields come last."""
    features = next(iter(data.values())).features
    fields = features[JSON] if isinstance(features.get(JSON), dict) else {}
    within = [f"{JSON}.{name}" for name in split_columns(fields, ())]
    for column in [*split_columns(features, used), *within]:
        parts = (
            part.select_columns([column.partition(".")[0]]).with_format("arrow") for part in data.values()
        )
        values = [_in_arrow(part[:], column if column in within else "") for part in parts]
        if splits := of_rows(column.removeprefix(f"{JSON}."), values, names.get(column, [])):
            return splits._replace(column=column)
    return None


def _in_arrow(table: pa.Table, within: str) -> list[pa.Array]:
    """Values of the only column of a table; within: COLUMN.FIELD of structs."""
    chunks = table.column(0).chunks
    return [pc.struct_field(chunk, within.partition(".")[2]) for chunk in chunks] if within else chunks


def of_rows(column: str, parts: Sequence[Sequence[pa.Array]], names: Sequence[str] = ()) -> RowSplits | None:
    """The splits of rows by their texts, None where they are no splits.

    parts: the values of the column in each file or part. names: of the classes, where values are their
    numbers."""
    counts, numbers = Counter(), []
    codes: dict[str | None, int] = {}
    for arrays in parts:
        coded = [_coded(texts_in(array, names), codes) for array in arrays]
        if len(codes) > MOST:
            return None
        numbers.append(np.concatenate([np.empty(0, np.int32), *coded]))
        counts += Counter(dict(enumerate(np.bincount(numbers[-1]).tolist())))
    rows = {text: counts[number] for text, number in codes.items() if counts[number]}
    if not (chosen := roles_in_column(column, rows)):
        return None
    held_out = np.array([chosen.get(text) == "held_out" for text in codes])
    return RowSplits(column, described_column(rows, chosen), [held_out[part] for part in numbers])


def texts_in(values: pa.Array, names: Sequence[str] = ()) -> pa.Array:
    """Texts, the names of classes, or whole numbers and truth values as texts, as an array of strings; null
    for everything else."""
    types, dtype = pa.types, values.type
    kind = dtype.value_type if types.is_dictionary(dtype) else dtype
    if names and types.is_integer(dtype):
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
        return pa.array(names, pa.large_string()).take(pc.if_else(known, values, None))
    if any(getattr(types, f"is_{name}")(kind) for name in PLAIN):
        with suppress(pa.ArrowInvalid):  # bytes that are no text
            return values.cast(pa.large_string())
    return pa.nulls(len(values), pa.large_string())


def _coded(texts: pa.Array, codes: dict[str | None, int]) -> np.ndarray:
    """Texts as int32 numbers of different ones. codes: {text: its number}, which grows."""
    encoded = texts.dictionary_encode(null_encoding="encode")
    own = [codes.setdefault(text, len(codes)) for text in encoded.dictionary.to_pylist()]
    return np.array(own, np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]


def _column(file: str, column: str, names: Sequence[str]) -> list[pa.Array]:
    """All values of a column as texts, each text once a batch. Raises DataError where it cannot be read."""
    try:
        with open_anywhere(file) as stream, pq.ParquetFile(stream) as table:
            batches = table.iter_batches(ROWS, columns=[column])
            return [texts_in(batch.column(0), names).dictionary_encode() for batch in batches]
    except Exception as error:  # damage raises almost any type
        if starved(error):
            raise
        problem = printable((str(error).splitlines() or [type(error).__name__])[0])
        raise DataError(
            f"{printable(file)} cannot be read in column '{printable(column)}' ({problem}); fetch it again, "
            "or take it out"
        ) from None
