"""Parquet files with a column of encoded images, as sets on the hub have them. Read row group by row group:
any size."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...system.errors import DataError, printable
from ..columns import Columns, choose
from ..items import Item, Source, state_of

ROWS = 64  # that are decoded from the file together


def parquet(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Source:
    """A file, or every *.parquet under a folder, by name. Raises DataError on what is not parquet or differs
    in its columns."""
    files = parquet_files(Path(path))
    counts, schema = [], None
    for file in files:
        try:
            found = pq.ParquetFile(file)
            counts.append(found.metadata.num_rows)
            schema = schema or found.schema_arrow
            missing = set(schema.names) - set(found.schema_arrow.names)
            other = _other(schema, found.schema_arrow)
            found.close()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{printable(str(file))} is not a whole parquet file ({_what(error)})") from None
        if missing:
            raise DataError(
                f"{printable(str(file))} lacks the columns {sorted(missing)} of {printable(files[0].name)}; "
                "prepare them apart"
            )
        if other:
            raise DataError(
                f"{printable(str(file))} has another kind of column '{printable(other[0])}' than "
                f"{printable(files[0].name)}; prepare them apart"
            )
    chosen = choose(kinds(schema), columns, class_names(schema), caption, printable(str(path)))
    told("chosen: " + "; ".join(f"{what}: {value}" for what, value in chosen.chosen().items()))
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
        card={
            "source": f"parquet, {len(files):,} files",
            "licence": "unknown (your own files)",
            "labels": list(chosen.names),
            "chosen": chosen.chosen(),
        },
    )


def parquet_files(path: Path) -> list[Path]:
    """A file itself, or the *.parquet under a folder, sorted. Raises DataError where there is none."""
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed: a parquet file or a folder with some"
        )
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*.parquet") if file.is_file())
    if not files:
        raise DataError(f"no parquet files in {printable(str(path))}; allowed: files ending in .parquet")
    return files


def rows(file: Path, name: str, chosen: Columns, start: int = 0) -> Iterator[Item]:
    """Items of one file from row `start` on; row groups before it are not read. Raises DataError where it is
    damaged."""
    try:
        yield from _rows(file, name, chosen, start)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(str(file))} is damaged ({_what(error)}); fetch it again, or take it out"
        ) from None


def _rows(file: Path, name: str, chosen: Columns, start: int) -> Iterator[Item]:
    wanted = [c for c in (chosen.image, chosen.text, chosen.label, *chosen.truths) if c]
    with pq.ParquetFile(file) as opened:
        number = 0
        for group in range(opened.num_row_groups):
            size = opened.metadata.row_group(group).num_rows
            if number + size <= start:
                number += size
                continue
            for batch in opened.iter_batches(ROWS, row_groups=[group], columns=wanted):
                for row in batch.to_pylist():
                    if number >= start:
                        yield chosen.item(f"{name}/{number}", row)
                    number += 1


def _what(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])


def kinds(schema: pa.Schema) -> dict[str, str]:
    """Kinds of columns, as `columns.choose` wants them."""
    types = pa.types

    def text(kind: pa.DataType) -> bool:
        return types.is_string(kind) or types.is_large_string(kind)

    def one(kind: pa.DataType) -> str:
        if types.is_dictionary(kind):
            return one(kind.value_type)
        if types.is_struct(kind):
            return "image" if {field.name for field in kind} >= {"bytes"} else "other"
        if types.is_binary(kind) or types.is_large_binary(kind):
            return "image"
        if types.is_list(kind) or types.is_large_list(kind):
            return "texts" if text(kind.value_type) else "other"
        if text(kind):
            return "text"
        return "truth" if types.is_boolean(kind) else "whole" if types.is_integer(kind) else "other"

    return {field.name: one(field.type) for field in schema}


def _other(schema: pa.Schema, found: pa.Schema) -> list[str]:
    """Columns of another kind than in the first file. One without any value has no kind."""
    before, now = kinds(schema), kinds(found)
    return [
        column
        for column in before
        if column in now and now[column] != before[column] and not pa.types.is_null(found.field(column).type)
    ]


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """{column: names of its classes}, from what `datasets` writes beside the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: list(feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError):
        return {}
