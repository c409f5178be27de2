"""Parts of a set that is being prepared: folders of rows by split, each of which appears whole or not at all.

part-00000/train.arrow, held_out.arrow    rows, as Arrow record batches
part-00000/notes.json                     items, rows by split, skipped items, what was not used so far
"""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from ..system import disk
from ..system.errors import DataError
from ..system.stored import Shape, read_json
from .prepared import SPLITS, hash_fraction
from .rows import Skipped

BATCH_BYTES, BATCH_ROWS = 8 << 20, 512  # pixels and rows of a record batch, at most about


class Part:
    """A part that is being written. It gets its name when it is closed; on any error it is deleted.

    held_out: share of the items that are held out, where an item has no split of its own."""

    def __init__(self, partial: Path, number: int, schema: pa.Schema, held_out: float) -> None:
        self.final, self.folder = partial / f"part-{number:05d}", partial / f".part-{number:05d}"
        self.folder.mkdir()
        self.schema, self.share = schema, held_out
        self.writers = {
            split: pa.ipc.new_stream(str(self.folder / f"{split}.arrow"), schema) for split in SPLITS
        }
        self.rows, self.bytes = {split: [] for split in SPLITS}, dict.fromkeys(SPLITS, 0)
        self.items, self.skipped, self.counts = 0, [], dict.fromkeys(SPLITS, 0)
        self.scaled = Counter()  # bits that samples use by their files -> pictures that were scaled by them

    def add(self, row: dict, split: str | None) -> None:
        """Append a row to its split; where that is None, the name of its source decides."""
        split = split or ("held_out" if hash_fraction(row["source"]) < self.share else "train")
        pixels = row["pixels"]
        self.scaled.update(row.get("scaled", ()))
        self.rows[split].append(row)
        self.bytes[split] += sum(map(len, pixels)) if isinstance(pixels, list) else len(pixels)
        self.items, self.counts[split] = self.items + 1, self.counts[split] + 1
        if self.bytes[split] >= BATCH_BYTES or len(self.rows[split]) >= BATCH_ROWS:
            self._flush(split)

    def skip(self, skipped: Skipped) -> None:
        """Count an item that has no row."""
        self.items += 1
        self.skipped.append({"file": skipped.name, "reason": skipped.reason})

    def _flush(self, split: str) -> None:
        if self.rows[split]:
            self.writers[split].write_batch(pa.RecordBatch.from_pylist(self.rows[split], self.schema))
            self.rows[split], self.bytes[split] = [], 0

    def close(self, last: bool, bad_in_a_row: int, unused: dict) -> None:
        """Write everything to disk and rename the part.

        last: whether the source has no more items. bad_in_a_row: skipped items at the end of the part.
        unused: what the source has not used so far (`layout.unused`)."""
        for split, writer in self.writers.items():
            self._flush(split)
            writer.close()
        notes = {
            "items": self.items,
            "last": last,
            "in_a_row": bad_in_a_row,
            "count": self.counts,
            "skipped": self.skipped,
            "unused": unused,
            "scaled": self.scaled,
        }
        disk.write(self.folder / "notes.json", json.dumps(notes))
        for file in self.folder.iterdir():
            disk.sync(file)
        self.folder.rename(self.final)
        disk.sync(self.final.parent)

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # nothing is left of it where it was renamed


class _Notes(Shape):
    items: int
    last: bool
    in_a_row: int
    count: dict[str, int]
    skipped: list[dict[str, Any]]
    unused: dict[str, Any] = Field(default_factory=dict)
    scaled: dict[str, int] = Field(default_factory=dict)


def read_notes(part: Path) -> dict:
    """Notes of a part that is done. Raises DataError."""
    remedy = f"delete {part.parent} and prepare the set again"
    return read_json(part / "notes.json", _Notes, DataError, remedy)
