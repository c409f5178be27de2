"""metadata.jsonl, metadata.csv and metadata.parquet, as `datasets` reads them for its imagefolder.

They may be in any folder, in any letter case. A row has `file_name`, a path relative to the folder of the
file, and a caption in the first of `columns.CAPTIONS`: a string, or a list of strings. In CSV, commas,
semicolons, tabs or bars stand between cells.

Source: `datasets.packaged_modules.folder_based_builder`."""

import csv
import json
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.disk import lines_of, open_file
from ...system.errors import ConfigError, DataError, printable
from ..columns import CAPTIONS, LABELS
from ..items import NO_CAPTION
from .beside import Texts, is_class
from .captions import column_of, texts_of, value_of, which
from .inside import OutsideError, quoted
from .splits import split_columns, split_text
from .unused import COLUMNS, FILES, Unused

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
LINE = 10_000_000  # bytes of a line, characters of a cell
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
FILE_NAMES = ("file_name", "image_file_name")
HOW = "allowed: one object a line; mend it"


def is_metadata(name: str) -> bool:
    """Whether a file is metadata, by its name."""
    return posixpath.basename(name).lower() in NAMES


def read(
    root: Path,
    files: list[str],
    find: Callable[[str, str], str | None],
    requested: dict[str, str],
    unused: Unused,
) -> Texts:
    """What all metadata below the root say. The nearest comes first where several name a picture.

    find(folder, name): the picture that a row of metadata in that folder names, None where there is none;
    raises OutsideError. requested: the user's own columns by role. Raises DataError where a file is damaged
    or names something outside of the set, ConfigError where none has a requested column."""
    texts, seen, used = Texts(), Counter(), set()
    for file in sorted(files, key=_nearest_first):
        columns, roles = _read_file(root, file, find, requested, texts)
        if not columns:
            unused.add(FILES, file)
        seen.update(list(columns))
        used |= roles
    for column in requested.values():
        used.add(column.partition(".")[0])
        if files and not {column, column.partition(".")[0]} & seen.keys():
            there = ", ".join(map(printable, sorted(seen)))
            raise ConfigError(
                f"no metadata in {printable(str(root))} has a column '{column}'; there are {there}"
            )
    for column in sorted(seen.keys() - used):
        unused.add(COLUMNS, column, seen[column])
    return texts


def _nearest_first(file: str) -> tuple:
    folder, name = posixpath.split(file)
    return -file.count("/"), folder, NAMES.index(name.lower()), name


def _read_file(
    root: Path,
    file: str,
    find: Callable[[str, str], str | None],
    requested: dict[str, str],
    texts: Texts,
) -> tuple[dict[str, None], set[str]]:
    """Add what one file says to `texts` -> (its columns, those that were used)."""
    folder, seen, used, roles, nameless, hollow = posixpath.dirname(file), {}, set(), {}, [], {}
    captioned = False
    for where, row in _rows(root / file, seen, requested):
        if not roles or not row.keys() <= seen.keys():
            seen |= dict.fromkeys(row)
            roles = _roles(seen, requested)
        path, name = _value(row, roles["image"])
        if not name or not isinstance(name, str):
            nameless.append(where)
            continue
        try:
            picture = find(folder, name)
        except OutsideError as error:
            raise _wrong(root / file, where, f"names {quoted(name)}, which {error.reason}") from None
        used.add(path)
        if picture is None:
            texts.bad[_normal(folder, name)] = f"{file} {where} names it, and there is no such picture"
            continue
        column, value = _value(row, roles["text"])
        captions = texts_of(value)
        if captions is None:
            hollow[picture] = where, column, value
        else:
            texts.captions[picture] += captions
            captioned |= bool(captions)
            used.add(column)
        column, label = _value(row, roles["label"])
        if is_class(label):
            texts.labels.setdefault(picture, label)
            used.add(column)
        _add_splits(row, roles["split"], picture, texts)
    if nameless and not roles["image"]:
        raise _nameless(root / file, nameless[0], seen)
    texts.bad |= {f"{file} {where}": "it lacks `file_name`, the path of a picture" for where in nameless}
    if roles.get("text"):
        _add_hollow(file, roles["text"], hollow, captioned, texts)
    return seen, used


def _add_hollow(
    file: str, columns: list[str], hollow: dict[str, tuple], captioned: bool, texts: Texts
) -> None:
    """Add the pictures whose rows have no caption. hollow: {picture: (where, column, value)}. captioned:
    whether other rows have one; a column without values says nothing."""
    for picture, (where, column, value) in hollow.items():
        place = f"`{column or columns[0]}` in {file} {where} is"
        if value is not None:
            how = which(column or columns[0], value)
            texts.hollow[picture] = f"its {place} no text but {printable(repr(value)[:60])}{how}"
        elif captioned:
            texts.null[picture] = f"{NO_CAPTION}: {place} missing"


def _add_splits(row: dict, columns: list[str], picture: str, texts: Texts) -> None:
    for column in columns:
        if (text := split_text(row.get(column))) and text.strip():
            texts.splits[column].setdefault(picture, sys.intern(text))


def _roles(columns: Collection[str], requested: dict[str, str]) -> dict[str, list[str]]:
    """{role: columns that may have it}, the usual first."""
    allowed = {"image": FILE_NAMES, "text": CAPTIONS, "label": LABELS}
    chosen = {role: ([requested[role]] if role in requested else names) for role, names in allowed.items()}
    roles = {
        role: [*filter(None, (column_of(name, columns) for name in names))] for role, names in chosen.items()
    }
    return roles | {"split": split_columns(columns, requested.values())}


def _value(row: dict, columns: list[str]) -> tuple[str | None, object]:
    """The first of the columns that says something in this row, and what; else the first of them."""
    values = {name: value_of(row, name) for name in columns}
    column = next((name for name, value in values.items() if value not in (None, "", [])), None)
    column = column or next(iter(columns), None)
    return column, values.get(column)


def _normal(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))


# ------------------------------------------------------------------------------------------------------- rows


def _rows(path: Path, seen: dict[str, None], requested: dict[str, str]) -> Iterator[tuple[str, dict]]:
    """Rows of a file: ("line 3", {column: value}).

    seen: gets the columns of a table of which only those with a role are read. Raises DataError."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _parquet_rows(path, seen, requested)
    return _json_rows(path) if ending == ".jsonl" else _csv_rows(path, requested)


def _json_rows(path: Path) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _wrong(path, f"line {number}", f"is not JSON ({error}); {HOW}") from None
        if not isinstance(row, dict):
            example = '{"file_name": "a.png", "text": "..."}'
            raise _wrong(path, f"line {number}", f"is not an object; allowed: {example}")
        yield f"line {number}", row


def _csv_rows(path: Path, requested: dict[str, str]) -> Iterator[tuple[str, dict]]:
    lines, before = chain.from_iterable(map(_split, _lines(path))), -1
    first = "sep="
    while first and (
        not first.strip() or first.startswith("sep=")
    ):  # spreadsheets write it before the header
        first, before = next(lines, ""), before + 1
    delimiter = _delimiter(first)
    reader = csv.DictReader(chain([first], lines), strict=True, delimiter=delimiter)
    limit = csv.field_size_limit(LINE)
    try:
        for column, count in Counter(reader.fieldnames).items():
            if count > 1 and column in {*FILE_NAMES, *CAPTIONS, *LABELS, *requested.values()}:
                raise _wrong(
                    path, f"line {before + 1}", f"has several columns '{column}'; rename all but one"
                )
        for row in reader:
            if None in row:
                text = f'has too many cells; put text with {DELIMITERS[delimiter]} in "quotes"'
                raise _wrong(path, f"line {before + reader.line_num}", text)
            row = {column: cell or None for column, cell in row.items()}  # an empty cell is a null
            yield f"line {before + reader.line_num}", row
    except csv.Error as error:
        problem = f"is not CSV ({error}); close its quotes, or mend it"
        raise _wrong(path, f"line {before + reader.line_num + 1}", problem) from None
    finally:
        csv.field_size_limit(limit)


def _split(line: str) -> list[str]:
    """Lines that end in a carriage return alone, as older spreadsheets write them."""
    return re.split(r"(?<=\r)(?!\n)", line) if "\r" in line[:-2] else [line]


def _delimiter(header: str) -> str:
    """The delimiter that makes `file_name` a column; a comma where none does."""
    for delimiter in DELIMITERS:
        with suppress(csv.Error, StopIteration):
            if not {*FILE_NAMES}.isdisjoint(map(str.lower, next(csv.reader([header], delimiter=delimiter)))):
                return delimiter
    return ","


def _parquet_rows(path: Path, seen: dict[str, None], requested: dict[str, str]) -> Iterator[tuple[str, dict]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with open_file(path) as stream, pq.ParquetFile(stream) as table:
            seen |= dict.fromkeys(table.schema_arrow.names)
            columns = [*chain.from_iterable(_roles(seen, requested).values())]
            for batch in table.iter_batches(columns=columns):
                for row in _texts(batch).to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = printable((str(error).splitlines() or [type(error).__name__])[0])
        raise DataError(
            f"{printable(str(path))} cannot be read ({problem}); mend it or move it away"
        ) from None


def _texts(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Rows whose bytes are texts: Spark and Polars may write them so."""
    import pyarrow as pa

    kinds = (pa.types.is_binary, pa.types.is_large_binary)
    fields = [
        field.with_type(pa.large_string()) if any(kind(field.type) for kind in kinds) else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields))


def _lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends, without a byte order mark. Raises DataError."""
    try:
        with open_file(path) as binary:
            for number, line in enumerate(lines_of(binary, LINE), 1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    problem = f"is not UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
                    raise _wrong(path, f"line {number}", problem) from None
    except OSError as error:
        raise DataError(
            f"{printable(str(path))} cannot be read: {error.strerror}; mend it or move it away"
        ) from None


def _nameless(path: Path, where: str, columns: Collection[str]) -> DataError:
    there = ", ".join(list(map(str, columns))[:10])
    return _wrong(
        path,
        where,
        f"lacks `file_name`, the path of a picture relative to its folder; it has {there}; "
        "add it, or name the column of paths with --columns image=...",
    )


def _wrong(path: Path, where: str, problem: str) -> DataError:
    return DataError(printable(f"{path} {where}: {problem}"))
