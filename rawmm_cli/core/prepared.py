"""Prepared data sets: exact pixels and captions on disk, memory-mapped.

`data/NAME/` is a `DatasetDict` of the `datasets` library (readable by `datasets.load_from_disk`) with the splits
`train` and `held_out`, plus `card.json`. Columns: pixels (height * width * 3 bytes, RGB), height, width, captions,
label (-1: none), source.
"""

import hashlib
import json
import os
import shutil
import tempfile
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
        card["count"], card["fingerprint"]
        table = datasets.load_from_disk(str(folder / split)).data
    except PermissionError as error:
        raise DataError(f"data set {folder} cannot be read ({error.strerror}: {error.filename}); allow reading it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"data set {folder} is damaged ({error}); delete the folder and prepare it again") from None
    if missing := set(COLUMNS) - set(table.column_names):
        raise DataError(f"data set {folder} lacks the columns {sorted(missing)}; delete it and prepare it again")
    numbers = {name: table[name].to_numpy() for name in ("label", "height", "width")}
    return Prepared(table, table["captions"].to_pylist(), numbers["label"], numbers["height"], numbers["width"], card)


def check_target(folder: Path, source: Path | None = None) -> None:
    """Raises DataError where writing to `folder` would replace something that is not a prepared set, or its own source."""
    if folder.exists() and not (folder / "card.json").is_file():
        raise DataError(f"{folder} exists and is not a prepared set; nothing was touched; "
                        "choose another --name or --data-dir")
    if source is not None:
        here, there = folder.resolve(), source.resolve()
        if here == there or here in there.parents or there in here.parents:
            raise DataError(f"the set would be written to {folder}, which is not apart from its source {source}; "
                            "choose another --name or --data-dir")


def write(folder: Path, rows: dict[str, list[dict]], card: dict) -> dict:
    """Write splits {name: rows} and the card -> the full card. The folder appears whole, by a rename, or not at all.

    An older set of that name is replaced, anything else is refused (DataError)."""
    import datasets

    check_target(folder)
    features = datasets.Features({
        "pixels": datasets.Value("large_binary"), "height": datasets.Value("int32"), "width": datasets.Value("int32"),
        "captions": datasets.List(datasets.Value("string")), "label": datasets.Value("int64"),
        "source": datasets.Value("string")})
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        datasets.disable_progress_bars()
        datasets.DatasetDict({
            split: datasets.Dataset.from_list(rows[split], features=features) for split in SPLITS
        }).save_to_disk(str(partial))
        counts = {split: len(rows[split]) for split in SPLITS}
        full = {**card, "count": counts, "fingerprint": _fingerprint(rows)}
        (partial / "card.json").write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o777 & ~mask)                    # a folder of mkdtemp is closed to others
        _swap(partial, folder)
        return full
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, folder: Path) -> None:
    """`new` takes the name `folder`; what was there moves aside first and goes last."""
    old = new.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


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
