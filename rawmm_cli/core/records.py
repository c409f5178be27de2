"""records.jsonl: every scalar of a run, one JSON object a line, in order of documents."""

import json
import os
from pathlib import Path


def append(path: Path, record: dict) -> None:
    """Add one line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict]:
    """All whole lines; a torn last line is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def truncate(path: Path, documents: int) -> None:
    """Drop what was recorded after `documents`: a resumed run writes it again."""
    kept = [record for record in read(path) if record["documents"] <= documents]
    if path.is_file():
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(partial, path)
