"""Parquet files with a column of encoded images, as sets on the hub have them.

They are read row group by row group, so they may have any size."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...system.errors import DataError, printable
from ...system.figures import counted
from ..columns import Columns
from ..items import DocumentItem, Item, Source, state_of
from ..layout.files import advice, files_ending_in
from ..layout.schemas import Tables, open_anywhere
from ..layout.splits import described, named, roles, splits_of
from ..layout.unused import COLUMNS, Unused

ROWS = 64  # rows in memory at a time


def parquet(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of the rows of one file, or of every *.parquet under a folder, sorted by name; of splits, those
    for training first.

    columns, caption: as the options of `rawmm prepare`. Raises ConfigError where they do not fit, DataError
    on a file that is not parquet or has other columns."""
    path, unused = Path(path), Unused()
    files, names = named(parquet_files(path, unused), path if path.is_dir() else path.parent)
    tables = Tables([str(file) for file in files])
    chosen = _chosen(tables, columns, caption, path, unused)
    splits = splits_of(names, files=True)
    notify("chosen: " + "; ".join(f"{role}: {value}" for role, value in chosen.describe().items()))
    if line := described(Counter(splits)):
        notify(f"splits of the source, in files: {line}")
    unused.add_all(COLUMNS, tables.unused(chosen))
    role, counts = roles(splits), [sum(groups) for groups in tables.groups]

    def items(start: int) -> Iterator[Item | DocumentItem]:
        for file, name, split, count in zip(files, names, splits, counts):
            if start < count:
                yield from rows(file, name, chosen, start, role[split])
            start = max(0, start - count)

    return Source(
        items=items,
        state=state_of(files) + repr(chosen),
        count=sum(counts),
        unused=unused,
        holds_documents=chosen.documents,
        card={
            "source": f"parquet, {counted(len(files), 'file')}",
            "licence": "unknown (your own files)",
            "labels": list(chosen.names),
            "chosen": chosen.describe() | ({"splits": line} if line else {}),
        },
    )


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
            f"no parquet files in {printable(str(path))}; allowed: files ending in .parquet{advice(unused)}"
        )
    return files


def rows(
    file: Path, name: str, chosen: Columns, start: int = 0, split: str | None = None
) -> Iterator[Item | DocumentItem]:
    """Items of one file from row `start` on; earlier row groups are not read.

    Raises DataError where the file is damaged."""
    try:
        yield from _rows(file, name, chosen, start, split)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(str(file))} is damaged ({_first_line(error)}); fetch it again, or take it out"
        ) from None


def _rows(
    file: Path, name: str, chosen: Columns, start: int, split: str | None
) -> Iterator[Item | DocumentItem]:
    with open_anywhere(str(file)) as stream, pq.ParquetFile(stream) as parquet_file:
        number = 0
        for group in range(parquet_file.num_row_groups):
            size = parquet_file.metadata.row_group(group).num_rows
            if number + size <= start:
                number += size
                continue
            for batch in parquet_file.iter_batches(ROWS, row_groups=[group], columns=chosen.used):
                for row in batch.to_pylist():
                    if number >= start:
                        yield chosen.item(f"{name}/{number}", row, split)
                    number += 1


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])
