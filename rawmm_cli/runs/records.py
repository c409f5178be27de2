"""records.jsonl: every scalar of a run, one JSON object a line, in order of documents."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..system import disk
from ..system.disk import lines_of, open_file
from ..system.figures import finite

LONGEST = 100_000_000  # bytes of a line


def append(path: Path, record: dict) -> None:
    """Add one line, whole or not at all. Raises DiskFullError."""
    line = (json.dumps(record) + "\n").encode()
    with disk.room_for(str(path)), open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while line:  # the system may take a part of it and refuse the rest
                line = line[file.write(line) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def read(path: Path) -> list[dict]:
    """All whole records; torn lines, wherever they stand, and lines of others are left out."""
    return [record for record in lines(path) if finite(record.get("documents"))]


def lines(path: Path) -> Iterator[dict]:
    """Every line of a file that is a JSON object; other lines, and those of a file that is none, are left
    out."""
    with suppress(OSError), open_file(path) as file:
        for line in lines_of(file, LONGEST):
            with suppress(ValueError, RecursionError):  # torn, or made by something else
                if isinstance(entry := json.loads(line.decode("utf-8", "replace")), dict):
                    yield entry


def truncate(path: Path, documents: int) -> None:
    """Drop what was recorded after `documents`: a resumed run writes it again."""
    remaining = [record for record in read(path) if record["documents"] <= documents]
    if path.is_file():
        disk.write(path, "".join(json.dumps(record) + "\n" for record in remaining))
