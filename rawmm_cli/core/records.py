"""records.jsonl: every scalar of a run, one JSON object a line, in order of documents."""

import json
import os
from pathlib import Path


def append(path: Path, record: dict) -> None:
    """Add one line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict]:
    """All whole records; a torn last line and lines of others are left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if isinstance(record, dict) and isinstance(record.get("documents"), (int, float)):
            records.append(record)
    return records


def truncate(path: Path, documents: int) -> None:
    """Drop what was recorded after `documents`: a resumed run writes it again."""
    kept = [record for record in read(path) if record["documents"] <= documents]
    if path.is_file():
        replace(path, "".join(json.dumps(record) + "\n" for record in kept))


def replace(path: Path, text: str) -> None:
    """Write a whole text file by a rename: a reader sees the old one or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
