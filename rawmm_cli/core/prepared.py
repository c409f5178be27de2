"""Prepared data sets: exact pixels and captions on disk, memory-mapped.

`data/NAME/` is a `DatasetDict` of the `datasets` library (readable by `datasets.load_from_disk`) with the splits
`train` and `held_out`, plus `card.json`. Columns: pixels (height * width * 3 bytes, RGB), height, width, captions,
label (-1: none), source.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .errors import DataError

COLUMNS = ("pixels", "height", "width", "captions", "label", "source")
SPLITS = ("train", "held_out")


@dataclass
class Prepared:
    """One split. `image(i)` gives pixels, `captions[i]` the texts that describe them, `labels[i]` a class or -1."""

    table: object
    captions: list[list[str]]
    labels: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    card: dict

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> torch.Tensor:
        """-> (3, H, W) uint8, the exact pixels."""
        buffer = self.table["pixels"][index].as_buffer()
        pixels = np.frombuffer(buffer, np.uint8).reshape(self.heights[index], self.widths[index], 3)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def load(folder: Path, split: str) -> Prepared:
    """One split of a prepared set. Raises DataError where it is missing or not one of ours."""
    card_path = folder / "card.json"
    if not card_path.is_file():
        remedy = "rawmm prepare digits" if folder.name == "digits" else \
            f"rawmm prepare folder --path DIR --name {folder.name}"
        raise DataError(f"data set '{folder.name}' is not prepared in {folder.parent}; run `{remedy}`, "
                        "or give the folder it lies in with --data-dir")
    import datasets

    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        table = datasets.load_from_disk(str(folder / split)).data
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"data set {folder} is damaged ({error}); delete the folder and prepare it again") from None
    if missing := set(COLUMNS) - set(table.column_names):
        raise DataError(f"data set {folder} lacks the columns {sorted(missing)}; delete it and prepare it again")
    numbers = {name: table[name].to_numpy() for name in ("label", "height", "width")}
    return Prepared(table, table["captions"].to_pylist(), numbers["label"], numbers["height"], numbers["width"], card)


def write(folder: Path, rows: dict[str, list[dict]], card: dict) -> dict:
    """Write splits {name: rows} and the card -> the full card. The folder appears whole, by a rename, or not at all."""
    import datasets

    features = datasets.Features({
        "pixels": datasets.Value("binary"), "height": datasets.Value("int32"), "width": datasets.Value("int32"),
        "captions": datasets.List(datasets.Value("string")), "label": datasets.Value("int64"),
        "source": datasets.Value("string")})
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        datasets.disable_progress_bars()
        datasets.DatasetDict({
            split: datasets.Dataset.from_list(rows[split], features=features) for split in SPLITS
        }).save_to_disk(str(partial))
        counts = {split: len(rows[split]) for split in SPLITS}
        full = {**card, "count": counts, "fingerprint": _fingerprint(rows)}
        (partial / "card.json").write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        return full
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fingerprint(rows: dict[str, list[dict]]) -> str:
    """SHA-256 over every pixel, caption and label: two sets with the same one are the same."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for item in rows[split]:
            digest.update(item["pixels"])
            digest.update(json.dumps([item["height"], item["width"], item["captions"], item["label"]]).encode())
    return digest.hexdigest()


def row(pixels: np.ndarray, captions: list[str], label: int = -1, source: str = "") -> dict:
    """pixels (H, W, 3) uint8 and what is known of them -> one row of the table."""
    height, width = pixels.shape[:2]
    return {"pixels": np.ascontiguousarray(pixels).tobytes(), "height": height, "width": width,
            "captions": captions, "label": label, "source": source}
