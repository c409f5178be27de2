"""Drawings and captions that the report shows, as files.

drawn.png, drawn.json    drawings in columns; {"columns": N, "captions": [...]}
read/0000.png, ...       pictures that were read
read.json                [{"image", "truth", "said", "right"}, ...]
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from ..data import images
from ..system import disk

READ = 40  # pictures that are kept with what was read


def keep_drawn(
    folder: Path, pictures: Sequence[Tensor], columns: int, captions: Sequence[str], zoom: int = 1
) -> None:
    """A sheet of drawings (3, H, W) uint8 of one size, and the captions of its columns or cells."""
    images.save_png(images.contact_sheet(pictures, columns, zoom=zoom), folder / "drawn.png")
    note = {"columns": columns, "captions": list(captions)}
    disk.write(folder / "drawn.json", json.dumps(note) + "\n")


def keep_read(folder: Path, entries: Iterable[tuple[int, Tensor, str, str, bool]]) -> None:
    """Pictures with their number, the truth, what was read, and whether that is right."""
    (folder / "read").mkdir(parents=True, exist_ok=True)
    notes = []
    for number, pixels, truth, text, right in entries:
        name = f"read/{number:04d}.png"
        images.save_png(pixels, folder / name)
        notes.append({"image": name, "truth": truth, "said": text, "right": right})
    disk.write_json(folder / "read.json", notes)
