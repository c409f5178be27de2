"""The Parquet files of a set as one table: kinds of its columns, and whether all files have the used ones.

Schemas are read, and few rows. A column without a value in a file has no kind there: writers
give it any type."""

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ...system.disk import open_file
from ...system.errors import DataError, printable, starved
from ..columns import CAPTIONS, KINDS, LABELS, ROLES, Columns, parse
from ..decoding.signatures import LFS, POINTER
from .captions import is_text
from .choosing import choose
from .splits import split_columns

WINDOW = 1 << 16  # bytes in which the border of two joined files is looked for
BYTES = {"image": "text", "images": "texts"}  # kinds of bytes -> where they are texts
TEXTS = ("text", "texts")  # kinds that may take turns in the captions


@contextmanager
def open_anywhere(file: str) -> Iterator[BinaryIO]:
    """Open a file for reading and seeking: a path, or a URL that `fsspec` knows."""
    if "://" not in file:
        with open_file(file) as stream:
            yield stream
        return
    import fsspec

    with fsspec.open(file, "rb") as stream:
        yield stream


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """As `open_anywhere`. Raises ValueError for a Git LFS pointer in place of the file."""
    with open_anywhere(file) as stream:
        if "://" not in file and stream.read(len(LFS)) == LFS:
            raise ValueError(POINTER)
        yield stream


class Tables:
    """Parquet files of a set. groups: rows of every row group, by file.

    files: paths or URLs. Raises DataError where one of them is not a whole Parquet file."""

    def __init__(self, files: list[str]) -> None:
        self.files, self.groups, self.schemas = files, [], []
        self.kinds: dict[str, str] = {}  # of columns that have a value in a file
        self.without: dict[str, str] = {}  # of columns that have none so far
        self.own: list[dict[str, str | None]] = []  # kinds by file; None where it has no value of the column
        self.names: dict[str, list[str]] = {}  # names of the classes
        self.other_names: dict[str, str] = {}  # column -> file that has other names
        self.twice: dict[str, str] = {}  # column -> file that has two of that name
        self.several: set[str] = set()  # columns in which a row has several pictures
        for file in files:
            try:
                with _opened(file) as stream, pq.ParquetFile(stream) as table:
                    if "://" not in file:
                        _check_single(stream, table)
                    self._add(file, table)
            except Exception as error:  # damage raises almost any type
                if starved(error):
                    raise
                problem = printable((str(error).splitlines() or [type(error).__name__])[0])
                raise DataError(
                    f"{printable(file)} is not a whole parquet file ({problem}); fetch it again, or take it "
                    "out"
                ) from None

    def _add(self, file: str, table: pq.ParquetFile) -> None:
        schema, meta = table.schema_arrow, table.metadata
        self.schemas.append(schema)
        self.groups.append([meta.row_group(n).num_rows for n in range(table.num_row_groups)])
        own: dict[str, str | None] = dict(kinds(schema))
        for column in (column for column, count in Counter(schema.names).items() if count > 1):
            self.twice.setdefault(column, file)
        for column, kind in own.items():
            if kind == "empty" or (self.kinds.get(column) != kind and _is_empty(table, column)):
                own[column] = None
                self.without.setdefault(column, kind)
            else:
                self.kinds.setdefault(column, kind)
            if kind == "images" and _several(table, column):
                self.several.add(column)
        for column, names in class_names(schema).items():
            if self.names.setdefault(column, names) != names:
                self.other_names.setdefault(column, file)
        self.own.append(own)

    def choose(self, columns: str | None, caption: str | None, where: str) -> Columns:
        """Columns of all roles, as `columns.choose` has them.

        Raises ConfigError where the options do not fit, DataError where a file lacks a used column, or has
        it with another kind."""
        for file, own in zip(self.files, self.own):
            own |= texts_in_bytes(own, columns, partial(self._first_in, file))
        self.kinds |= texts_in_bytes(self.kinds, columns, self.first)
        there = without_values(self.without | self.kinds, self.without.keys() - self.kinds)
        chosen = choose(there, columns, self.names, caption, where, self.first)
        chosen = replace(chosen, documents=chosen.image in self.several)
        if not chosen.speak:  # nobody asked for the attributes
            chosen = replace(chosen, flags=tuple(flag for flag in chosen.flags if not self._problem(flag)))
        if chosen.text and chosen.label and "label=" not in (columns or "") and self._problem(chosen.label):
            chosen = replace(chosen, label=None, names=())  # nor for the classes
        for column in chosen.used:
            if column in self.twice:
                file = printable(self.twice[column])
                raise DataError(f"{file} has several columns '{printable(column)}'; rename all but one")
            if problem := self._problem(column, chosen.field if column == chosen.text else None):
                raise DataError(
                    f"{problem}; write the file again with the same columns, or prepare it separately"
                )
        if chosen.label in self.other_names:
            raise DataError(
                f"{printable(self.other_names[chosen.label])} has other names of classes in column "
                f"'{printable(chosen.label)}' than the files before it; prepare the files separately"
            )
        return chosen

    def by_file(self, chosen: Columns) -> list[Columns]:
        """The columns for each file: where none of its rows has a caption, none needs one."""
        return [
            chosen if chosen.text and own.get(chosen.text) else replace(chosen, required=False)
            for own in self.own
        ]

    def unused(self, chosen: Columns, split: str | None = None) -> list[str]:
        """Columns without a role, in the order of the files. split: the column that tells splits."""
        return [column for column in self.without | self.kinds if column not in (*chosen.used, split)]

    def _problem(self, column: str, field: str | None = None) -> str:
        """The first file with rows that lacks a column or its field, or has another kind; "" for none."""
        kind = self.kinds.get(column)
        allowed = TEXTS if kind in TEXTS else (kind,)
        has = next((file for file, own in zip(self.files, self.own) if own.get(column) == kind), "others")
        for file, own, groups, schema in zip(self.files, self.own, self.groups, self.schemas):
            if not sum(groups):
                continue
            if column not in own:
                return f"{printable(file)} lacks column '{printable(column)}', which {printable(has)} has"
            if own[column] not in (*allowed, None):
                return (
                    f"{printable(file)} has {KINDS[own[column]]} in column '{printable(column)}', where "
                    f"{printable(has)} has {KINDS[kind]}"
                )
            there = _fields(schema.field(column).type) if field and own[column] == "fields" else ()
            if there and field not in there:
                names = ", ".join(map(printable, there))
                return f"{printable(file)} lacks '{printable(f'{column}.{field}')}': '{column}' has {names}"
        return ""

    def first(self, column: str) -> object:
        """First value of a column, None where there is none, or none that can be read."""
        file = next((file for file, own in zip(self.files, self.own) if own.get(column) is not None), None)
        return None if file is None else self._first_in(file, column)

    def _first_in(self, file: str, column: str) -> object:
        try:
            with open_anywhere(file) as stream, pq.ParquetFile(stream) as table:
                batches = table.iter_batches(64, columns=[column])
                values = chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
                return next((value for value in values if value), None)
        except Exception as error:  # damage raises almost any type
            if starved(error):
                raise
            return None


def _check_single(stream: BinaryIO, table: pq.ParquetFile) -> None:
    """Raise ValueError where files are joined end to end: the last would say where to read in the first."""
    last = max((n for n in range(table.num_row_groups) if table.metadata.row_group(n).num_rows), default=None)
    if last is None:
        return
    leaves = _leaves(table, last, table.schema_arrow.names)
    starts = (leaf.dictionary_page_offset or leaf.data_page_offset for leaf in leaves)
    end = max((start + leaf.total_compressed_size for start, leaf in zip(starts, leaves)), default=0)
    footer = stream.seek(-8, os.SEEK_END)
    between = footer - int.from_bytes(stream.read(4), "little") - end  # indexes of pages, or another file
    if between >= 8:
        stream.seek(first := max(0, between - WINDOW))
        if b"PAR1PAR1" in stream.read(between + 8 - first):
            raise ValueError("several are joined end to end; allowed: one")


def without_values(kinds: dict[str, str], empty: Collection[str]) -> dict[str, str]:
    """The kinds of columns, where those of `empty` have none; but where no other column holds images."""
    valued = kinds | dict.fromkeys(empty, "empty")
    return valued if {"image", "images"} & set(valued.values()) else kinds


def texts_in_bytes(
    kinds: Mapping[str, str], option: str | None, first: Callable[[str], object]
) -> dict[str, str]:
    """{column: kind as texts} of columns of captions, classes and splits that hold texts as bytes, as Spark
    may write them. option: the user's own choice. first: first value of a column."""
    names = {*CAPTIONS, *LABELS, *split_columns(kinds, ()), *parse(option, None, "", tuple(ROLES)).values()}
    binary = [column for column in kinds if {column, column.lower()} & names and kinds[column] in BYTES]
    return {column: BYTES[kinds[column]] for column in binary if is_text(first(column))}


def kinds(schema: pa.Schema) -> dict[str, str]:
    """{column: its kind}, with the kinds that `columns.choose` knows."""
    return {field.name: _kind(field.type) for field in schema}


def _kind(dtype: pa.DataType) -> str:
    types = pa.types
    if types.is_dictionary(dtype):
        return _kind(dtype.value_type)
    if isinstance(dtype, pa.BaseExtensionType):
        return _kind(dtype.storage_type)
    if types.is_struct(dtype):
        has = {field.name: _kind(field.type) for field in dtype}
        if has.get("bytes") in ("image", "empty"):
            return "image"
        return "fields" if TEXTS[0] in has.values() or TEXTS[1] in has.values() else "other"
    if types.is_map(dtype):
        return "fields" if _kind(dtype.item_type) in TEXTS else "other"
    if types.is_binary(dtype) or types.is_large_binary(dtype) or types.is_binary_view(dtype):
        return "image"
    if _is_list(dtype):
        lists = {"text": "texts", "image": "images", "fields": "fields", "empty": "empty"}
        return lists.get(_kind(dtype.value_type), "other")
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return "text"
    if types.is_null(dtype):
        return "empty"
    return "boolean" if types.is_boolean(dtype) else "integer" if types.is_integer(dtype) else "other"


def _fields(dtype: pa.DataType) -> list[str]:
    """Names of the fields of structs, and of structs in lists; none of maps."""
    dtype = dtype.value_type if _is_list(dtype) else dtype
    return [field.name for field in dtype] if pa.types.is_struct(dtype) else []


def _is_list(dtype: pa.DataType) -> bool:
    names = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(pa.types, f"is_{name}")(dtype) for name in names)


def _leaves(table: pq.ParquetFile, group: int, columns: list[str]) -> list[pq.ColumnChunkMetaData]:
    """Leaves of columns in a row group. A row is read first: that raises an error where their metadata are
    damaged, while asking for these ends the process."""
    next(table.iter_batches(1, row_groups=[group], columns=columns), None)
    meta, prefixes = table.metadata, tuple(f"{column}." for column in columns)
    paths = [meta.schema.column(n).path for n in range(meta.num_columns)]
    own = (n for n, path in enumerate(paths) if path in columns or path.startswith(prefixes))
    return [meta.row_group(group).column(n) for n in own]


def _is_empty(table: pq.ParquetFile, column: str) -> bool:
    """Whether a column has no value at all: its first batch tells, but where that is empty too."""
    try:
        batches = table.iter_batches(64, columns=[column])
        return not any(_has_values(batch.column(0)) for batch in batches if batch.num_columns)
    except Exception as error:  # it cannot be read: no matter, where it is not used
        if starved(error):
            raise
        return False


def _has_values(array: pa.Array) -> bool:
    """Whether an array, or the lists in it, have a value that is not null."""
    while _is_list(array.type):
        array = array.flatten()
    return array.null_count < len(array)


def _several(table: pq.ParquetFile, column: str) -> bool:
    """Whether a row of a column of lists has more than one value."""
    groups = [(n, table.metadata.row_group(n).num_rows) for n in range(table.num_row_groups)]
    return any(leaf.num_values > rows for n, rows in groups if rows for leaf in _leaves(table, n, [column]))


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """{column: names of its classes}, from the metadata that `datasets` writes into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: list(feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError):
        return {}
