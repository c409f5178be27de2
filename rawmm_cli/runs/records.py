"""records.jsonl: every scalar of a run, one JSON object a line, in order of documents."""

import json
import os
from contextlib import suppress
from pathlib import Path

from ..system import disk


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
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # torn, or made by something else
            continue
        if isinstance(record, dict) and isinstance(record.get("documents"), (int, float)):
            records.append(record)
    return records


def truncate(path: Path, documents: int) -> None:
    """Drop what was recorded after `documents`: a resumed run writes it again."""
    remaining = [record for record in read(path) if record["documents"] <= documents]
    if path.is_file():
        disk.write(path, "".join(json.dumps(record) + "\n" for record in remaining))
