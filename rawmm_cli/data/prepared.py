"""Prepared data sets: exact pixels and captions on disk, memory-mapped.

`data/NAME/` holds the splits `train` and `held_out`, each in the layout that `load_from_disk` of the
`datasets` library reads, and `card.json` and `card.html`. `rows.py` describes the columns; `prepare.py`
writes them."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ..config import presets
from ..config.explain import nearest
from ..system.errors import DataError
from ..system.stored import read_json
from .rows import DOCUMENTS, PICTURES
from .tables import Pixels, Rows, Texts, data_errors, files, sound_table

if TYPE_CHECKING:
    from torch import Tensor

    from .codes.kept import Kept

SPLITS = ("train", "held_out")


@dataclass
class Prepared:
    """One split of a set of pictures.

    `image(i)`: pixels of picture i. `captions[i]`: list of str. `labels[i]`: number of its class, or -1.
    `heights[i]`, `widths[i]`: its size in pixels."""

    holds_documents = False

    folder: Path
    split: str
    table: pa.Table
    card: dict
    kept: "Kept | None" = None  # tokens of its pictures

    def __post_init__(self) -> None:
        self.pixels, self.captions = Pixels(self.table["pixels"]), Texts(self.table["captions"])
        self.labels, self.heights, self.widths = (
            self.table[name].to_numpy() for name in ("label", "height", "width")
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple:
        """Pickle the place of the set alone: a worker process maps the files itself."""
        return _reopened, (self.folder, self.split, self.kept)

    def image(self, index: int) -> "Tensor":
        """Exact pixels of a picture: (3, H, W) uint8."""
        import torch

        pixels = self.pixels[index].reshape(self.heights[index], self.widths[index], 3)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    def all_texts(self) -> Iterator[str]:
        """All captions."""
        return (text for texts in self.captions for text in texts)

    def source(self, index: int) -> str:
        """Where the picture came from."""
        return self.table["source"][index].as_py()

    def attributes(self, index: int) -> dict:
        """Attributes that the source gave to the picture, {name: value}."""
        with data_errors(self.folder):
            return json.loads(self.table["attributes"][index].as_py() or "{}")


@dataclass
class PreparedDocuments:
    """One split of a set of documents.

    `pieces(i)`: text and pictures of document i in reading order. `image(i, n)`: pixels of its picture n."""

    holds_documents = True
    folder: Path
    split: str
    table: pa.Table
    card: dict
    kept: "Kept | None" = None

    def __post_init__(self) -> None:
        self.texts = Texts(self.table["texts"])
        self.order, self.draw, self.heights, self.widths = (
            self.table[name].to_pylist() for name in ("order", "draw", "heights", "widths")
        )

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple:
        return _reopened, (self.folder, self.split, self.kept)

    def pieces(self, index: int) -> list[str | tuple[int, int, bool]]:
        """Pieces of a document in reading order: str for a text, (height, width, draw) for a picture."""
        texts, pictures = (
            iter(self.texts[index]),
            zip(self.heights[index], self.widths[index], self.draw[index]),
        )
        return [next(pictures) if is_picture else next(texts) for is_picture in self.order[index]]

    def image(self, index: int, number: int) -> "Tensor":
        """Exact pixels of picture `number` of a document: (3, H, W) uint8."""
        import torch

        data = np.frombuffer(self.table["pixels"][index][number].as_buffer(), np.uint8)
        pixels = data.reshape(self.heights[index][number], self.widths[index][number], 3)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    def all_texts(self) -> Iterator[str]:
        """All text."""
        return (text for texts in self.texts for text in texts)

    def source(self, index: int) -> str:
        """Where the document came from."""
        return self.table["source"][index].as_py()


def load(folder: Path, split: str) -> Prepared | PreparedDocuments:
    """Open one split of a prepared set. Raises DataError where it is missing, damaged or not a prepared
    set."""
    card, rows = read_card(folder), read_split(folder, split)
    kind, schema = (PreparedDocuments, DOCUMENTS) if "order" in rows.column_names else (Prepared, PICTURES)
    if missing := set(schema.names) - set(rows.column_names):
        raise DataError(
            f"data set {folder} lacks the columns {sorted(missing)}; delete it and prepare it again"
        )
    return kind(folder, split, rows, card)


def _reopened(folder: Path, split: str, kept: "Kept | None") -> Prepared | PreparedDocuments:
    (data := load(folder, split)).kept = kept
    return data


def read_card(folder: Path) -> dict:
    """Content of card.json of a prepared set. Raises DataError where it is missing or damaged."""
    path = folder / "card.json"
    if not path.is_file():
        raise DataError(
            f"data set '{folder.name}' is not prepared in {folder.parent}{_near(folder)}; run `rawmm prepare "
            f"{_remedy(folder.name)}`, or give the folder that holds it with --data-dir"
        )
    from .shapes.card import Card

    return read_json(path, Card, DataError, "delete the set and prepare it again")


def read_split(folder: Path, split: str) -> pa.Table:
    """Memory-mapped table of one split. Raises DataError where it is damaged."""
    with data_errors(folder):
        return pa.concat_tables([sound_table(folder, file) for file in files(folder, split)])


def check_target(folder: Path, source: Path | None = None) -> None:
    """Raise DataError where writing to `folder` would replace something that is not a prepared set, or the
    source itself."""
    if folder.exists() and not (folder / "card.json").is_file():
        raise DataError(
            f"{folder} exists and is not a prepared set; nothing was touched; "
            "choose another --name or --data-dir"
        )
    if source is not None:
        here, there = folder.resolve(), source.resolve()
        if here == there or here in there.parents or there in here.parents:
            raise DataError(
                f"the set would be written to {folder}, which is not apart from its source {source}; "
                "choose another --name or --data-dir"
            )


def write_split(folder: Path, files: list[Path]) -> None:
    """Write a split in the layout that `datasets.load_from_disk` reads; files of record batches are linked,
    not copied."""
    folder.mkdir()
    names = [f"data-{n:05d}-of-{len(files):05d}.arrow" for n in range(len(files))]
    for name, file in zip(names, files):
        try:
            os.link(file, folder / name)
        except OSError:  # a file system without links
            shutil.copyfile(file, folder / name)
    # The library reads the columns from the files themselves.
    (folder / "dataset_info.json").write_text("{}\n", encoding="utf-8")
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "0" * 16,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": folder.name,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def write(folder: Path, rows: dict[str, list[dict]], card: dict) -> dict:
    """Write rows in memory (`rows.picture_row`) as a prepared set -> the card, with counts and fingerprint.

    rows: {split: rows}. For small sets; `prepare.py` writes large ones. An older set of that name is
    replaced; raises DataError where the folder holds anything else."""
    check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent
    ) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        tables = {split: pa.Table.from_pylist(rows[split], PICTURES) for split in SPLITS}
        for split, split_table in tables.items():
            with pa.ipc.new_stream(str(Path(temporary) / split), PICTURES) as writer:
                writer.write_table(split_table)
            write_split(new / split, [Path(temporary) / split])
        splits = {split: Rows(lambda split=split: [tables[split]]) for split in SPLITS}
        full = {
            **card,
            "count": {split: len(tables[split]) for split in SPLITS},
            "fingerprint": fingerprint(splits),
        }
        (new / "card.json").write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
        swap(new, folder)
    return full


def fingerprint(splits: dict[str, Rows]) -> str:
    """SHA-256 of all rows, split by split: of the digests of pixels and texts, captions, labels and
    attributes.

    Sets with the same fingerprint are the same."""
    total = hashlib.sha256()
    for split in SPLITS:
        total.update(split.encode())
        for row in splits[split].dicts(("sha256", "captions", "label", "attributes", "order", "draw")):
            total.update(row.pop("sha256"))
            total.update(json.dumps(row, sort_keys=True).encode())
    return total.hexdigest()


def joint_fingerprint(sets: list) -> str:
    """Fingerprint of one set, or of several sets together."""
    prints = [data.card["fingerprint"] for data in sets]
    return prints[0] if len(prints) == 1 else hashlib.sha256("\n".join(prints).encode()).hexdigest()


def swap(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`. A folder that is there already moves beside `new` first, and is deleted
    last."""
    old = new.with_name("old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def evenly_spaced(total: int, count: int) -> list[int]:
    """At most `count` of the numbers 0..total-1 at equal distances, the first and the last included."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int)).tolist()


def hash_fraction(name: str) -> float:
    """Hash of a name as a number in 0..1; items below the share of held-out items are held out."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _near(folder: Path) -> str:
    """' (did you mean x?)' where a prepared set has a similar name, else ''."""
    return nearest(folder.name, [card.parent.name for card in sorted(folder.parent.glob("*/card.json"))])


def _remedy(name: str) -> str:
    """Arguments of `rawmm prepare` for a set of that name: from the header of a preset, or a source of that
    name, or else a folder."""
    from .items import NAMES

    headers = (
        re.search(rf"rawmm prepare (\S[^&\n]* --name {re.escape(name)})(?= |$)", presets.text(preset), re.M)
        for preset in presets.names()
    )
    otherwise = name if name in NAMES else f"folder --path DIR --name {name}"
    return next((match[1] for match in headers if match), otherwise)
