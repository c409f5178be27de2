"""Parquet files with a column of encoded images, as sets on the hub have them.

They are read row group by row group, so they may have any size."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...system.errors import DataError, printable
from ..columns import Columns, choose
from ..items import Item, Source, state_of
from ..layout.files import files_ending_in
from ..layout.unused import Unused

ROWS = 64  # rows in memory at a time


def parquet(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of the rows of one file, or of every *.parquet under a folder, sorted by name.

    columns, caption: as the options of `rawmm prepare`. Raises ConfigError where they do not fit, DataError
    on a file that is not parquet or has other columns."""
    unused = Unused()
    files = parquet_files(Path(path), unused)
    counts, schema = _counts_and_schema(files)
    chosen = choose(kinds(schema), columns, class_names(schema), caption, printable(str(path)))
    notify("chosen: " + "; ".join(f"{role}: {value}" for role, value in chosen.describe().items()))
    root = Path(path) if Path(path).is_dir() else Path(path).parent

    def items(start: int) -> Iterator[Item]:
        for file, count in zip(files, counts):
            if start < count:
                yield from rows(file, file.relative_to(root).as_posix(), chosen, start)
            start = max(0, start - count)

    return Source(
        items=items,
        state=state_of(files) + repr(chosen),
        count=sum(counts),
        unused=unused,
        card={
            "source": f"parquet, {len(files):,} files",
            "licence": "unknown (your own files)",
            "labels": list(chosen.names),
            "chosen": chosen.describe(),
        },
    )


def parquet_files(path: Path, unused: Unused) -> list[Path]:
    """The file itself, or the *.parquet files under a folder, sorted. Raises DataError where there is
    none. unused: counts all other files."""
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed: a parquet file or a folder with some"
        )
    files = files_ending_in((".parquet",), path, unused)
    if not files:
        raise DataError(f"no parquet files in {printable(str(path))}; allowed: files ending in .parquet")
    return files


def _counts_and_schema(files: list[Path]) -> tuple[list[int], pa.Schema]:
    """Rows of every file, and the schema of the first. Raises DataError where another one does not fit it."""
    counts, schema = [], None
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet_file:
                counts.append(parquet_file.metadata.num_rows)
                columns = parquet_file.schema_arrow
                schema = schema or columns
                missing, other = set(schema.names) - set(columns.names), _of_other_kind(schema, columns)
        except (pa.ArrowException, OSError) as error:
            problem = _first_line(error)
            raise DataError(f"{printable(str(file))} is not a whole parquet file ({problem})") from None
        if missing:
            raise DataError(
                f"{printable(str(file))} lacks the columns {sorted(missing)} of {printable(files[0].name)}; "
                "prepare the files separately"
            )
        if other:
            raise DataError(
                f"{printable(str(file))} has another kind of column '{printable(other[0])}' than "
                f"{printable(files[0].name)}; prepare the files separately"
            )
    return counts, schema


def rows(file: Path, name: str, chosen: Columns, start: int = 0) -> Iterator[Item]:
    """Items of one file from row `start` on; earlier row groups are not read.

    Raises DataError where the file is damaged."""
    try:
        yield from _rows(file, name, chosen, start)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(str(file))} is damaged ({_first_line(error)}); fetch it again, or take it out"
        ) from None


def _rows(file: Path, name: str, chosen: Columns, start: int) -> Iterator[Item]:
    with pq.ParquetFile(file) as parquet_file:
        number = 0
        for group in range(parquet_file.num_row_groups):
            size = parquet_file.metadata.row_group(group).num_rows
            if number + size <= start:
                number += size
                continue
            for batch in parquet_file.iter_batches(ROWS, row_groups=[group], columns=chosen.used):
                for row in batch.to_pylist():
                    if number >= start:
                        yield chosen.item(f"{name}/{number}", row)
                    number += 1


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])


def kinds(schema: pa.Schema) -> dict[str, str]:
    """{column: its kind}, with the kinds that `columns.choose` knows."""
    types = pa.types

    def is_text(dtype: pa.DataType) -> bool:
        return types.is_string(dtype) or types.is_large_string(dtype)

    def kind(dtype: pa.DataType) -> str:
        if types.is_dictionary(dtype):
            return kind(dtype.value_type)
        if types.is_struct(dtype):
            return "image" if {field.name for field in dtype} >= {"bytes"} else "other"
        if types.is_binary(dtype) or types.is_large_binary(dtype):
            return "image"
        if types.is_list(dtype) or types.is_large_list(dtype):
            return "texts" if is_text(dtype.value_type) else "other"
        if is_text(dtype):
            return "text"
        return "boolean" if types.is_boolean(dtype) else "integer" if types.is_integer(dtype) else "other"

    return {field.name: kind(field.type) for field in schema}


def _of_other_kind(first: pa.Schema, schema: pa.Schema) -> list[str]:
    """Columns of another kind than in the first file. A column without any value fits every kind."""
    expected, actual = kinds(first), kinds(schema)
    return [
        column
        for column in expected
        if column in actual
        and actual[column] != expected[column]
        and not pa.types.is_null(schema.field(column).type)
    ]


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
