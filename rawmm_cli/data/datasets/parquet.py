"""Parquet files with a column of encoded images, as sets on the hub have them.

They are read row group by row group, so they may have any size."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...system.errors import DataError, printable
from ...system.figures import counted
from ..columns import Columns
from ..items import DocumentItem, Item, Source, state_of
from ..layout.copies import Listed, own_files
from ..layout.files import advice, files_ending_in
from ..layout.schemas import Tables, open_anywhere
from ..layout.split_column import RowSplits, in_tables
from ..layout.splits import described, roles, splits_of
from ..layout.unused import COLUMNS, Unused

ROWS = 64  # rows in memory at a time


def parquet(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    keep_uncaptioned: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of the rows of one file, or of every *.parquet under a folder, sorted by name; of splits, those
    for training first.

    columns, caption, keep_uncaptioned: as the options of `rawmm prepare`. Raises ConfigError where they do
    not fit, DataError on a file that is not parquet or has other columns."""
    path, unused = Path(path), Unused()
    files, names, listed = own_files(parquet_files(path, unused), path, unused)
    tables = Tables([str(file) for file in files])
    chosen = replace(_chosen(tables, columns, caption, path, unused), required=not keep_uncaptioned)
    splits = listed.splits or splits_of(names, files=True)
    notify("chosen: " + "; ".join(f"{role}: {value}" for role, value in chosen.describe().items()))
    by_row, about = _own_splits(splits, tables, chosen, listed, notify)
    unused.add_all(COLUMNS, tables.unused(chosen, by_row and by_row.column))
    role = roles(splits)
    parts = _parts(files, names, [role[split] for split in splits], tables, by_row)
    by_file = {str(file): own for file, own in zip(files, tables.by_file(chosen))}

    def items(start: int) -> Iterator[Item | DocumentItem]:
        for part in parts:
            if start < part.count:
                yield from rows(part, by_file[str(part.file)], start)
            start = max(0, start - part.count)

    return Source(
        items=items,
        state=state_of(files) + repr(chosen) + (repr(about) if by_row or listed.splits else ""),
        count=sum(part.count for part in parts),
        unused=unused,
        holds_documents=chosen.documents,
        card={
            "source": f"parquet, {counted(len(files), 'file')}",
            "licence": "unknown (your own files)",
            "labels": list(chosen.names),
            "chosen": chosen.describe() | about,
        },
    )


def _own_splits(
    splits: list[str | None], tables: Tables, chosen: Columns, listed: Listed, notify: Callable[[str], None]
) -> tuple[RowSplits | None, dict[str, str]]:
    """The splits that a column tells, where neither a README nor names of files do, and all splits in
    words."""
    for line in listed.lines:
        notify(line)
    if line := described(Counter(splits)):
        notify(f"splits of the source{listed.where()}, in files: {line}")
        return None, listed.card() | {"splits": line}
    by_row = in_tables(tables, chosen.claimed)
    for line in [by_row.sentence()] if by_row else listed.several:
        notify(line)
    return by_row, by_row.card() if by_row else {}


def _chosen(tables: Tables, columns: str | None, caption: str | None, path: Path, unused: Unused) -> Columns:
    """Columns of all roles. Raises ConfigError, or DataError with the source that reads other files there."""
    try:
        return tables.choose(columns, caption, printable(str(path)))
    except DataError as error:
        raise DataError(f"{error}{advice(unused)}") from None


def parquet_files(path: Path, unused: Unused) -> list[Path]:
    """The file itself, or the *.parquet files under a folder, sorted. Raises DataError where there is
    none. unused: counts all other files."""
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed: a parquet file or a folder with some"
        )
    files = files_ending_in((".parquet",), path, unused)
    if not files:
        raise DataError(
            f"no parquet files in {printable(str(path))}; allowed: files ending in .parquet"
            + advice(unused, "parquet")
        )
    return files


class Part(NamedTuple):
    """Rows of a file that are used alike. wanted: which, as truth values; None for all."""

    file: Path
    name: str
    role: str | None
    count: int
    wanted: np.ndarray | None = None


def _parts(
    files: list[Path], names: list[str], roles: list[str | None], tables: Tables, by_row: RowSplits | None
) -> list[Part]:
    """All rows of all files; where a column tells splits, those that are trained on first."""
    if by_row is None:
        return list(map(Part, files, names, roles, (sum(groups) for groups in tables.groups)))
    trained = [
        Part(file, name, "train", int((~held_out).sum()), ~held_out)
        for file, name, held_out in zip(files, names, by_row.held_out)
    ]
    return trained + [
        part._replace(role="held_out", count=int(held_out.sum()), wanted=held_out)
        for part, held_out in zip(trained, by_row.held_out)
    ]


def rows(part: Part, chosen: Columns, start: int = 0) -> Iterator[Item | DocumentItem]:
    """Items of a part of a file from number `start` of the part on; row groups without any are not read.

    Raises DataError where the file is damaged."""
    wanted = part.wanted
    if wanted is not None:
        start = int(np.flatnonzero(wanted)[start])  # as a number of a row
    try:
        yield from _rows(part, chosen, start)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(str(part.file))} is damaged ({_first_line(error)}); fetch it again, or take it out"
        ) from None


def _rows(part: Part, chosen: Columns, start: int) -> Iterator[Item | DocumentItem]:
    wanted = part.wanted
    with open_anywhere(str(part.file)) as stream, pq.ParquetFile(stream) as parquet_file:
        number = 0
        for group in range(parquet_file.num_row_groups):
            size = parquet_file.metadata.row_group(group).num_rows
            if number + size <= start or (wanted is not None and not wanted[number : number + size].any()):
                number += size
                continue
            for batch in parquet_file.iter_batches(ROWS, row_groups=[group], columns=chosen.used):
                if wanted is None or wanted[number : number + batch.num_rows].any():
                    for n, row in enumerate(batch.to_pylist(), number):
                        if n >= start and (wanted is None or wanted[n]):
                            yield chosen.item(f"{part.name}/{n}", row, part.role)
                number += batch.num_rows


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])
