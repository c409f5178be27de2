"""Pictures of a source before they are fitted: their sizes, and a few that change visibly.

part-00000/sizes.safetensors, examples.json, example-0.jpg  of a part, while a set is prepared
NAME/originals/0.jpg ...                                        of the set; card.json has the rest

Examples are chosen by the hash of their names, so that they are the same whatever stops the work, and lie
anywhere in the set."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from ...system.errors import DataError
from ..images import Colour, ImageError
from ..items import DocumentItem, Item
from ..prepared import SPLITS, hash_fraction
from ..rows import Fitting
from ..tables import Rows
from .figures import change_figures, changed, size_figures

EXAMPLES = 6
LARGEST = 240  # the longer side of an example, in pixels
Open = Callable[[Any, Colour], np.ndarray | Image.Image]


class Originals:
    """The pictures of a part. open_: `Source.open`."""

    def __init__(self, open_: Open, fitting: Fitting) -> None:
        self.open, self.fitting = open_, fitting
        self.sizes: list[tuple[int, int]] = []
        self.chosen: list[tuple[float, dict, Any]] = []  # hash, facts, content

    def add(self, item: Item | DocumentItem, row: dict) -> None:
        """Count the pictures of an item of which a row was made."""
        contents = (
            [item.content]
            if isinstance(item, Item)
            else [p.content for p in item.pieces if p.content is not None]
        )
        for number, ((height, width), content) in enumerate(zip(row.get("originals", ()), contents)):
            self.sizes.append((height, width))
            if changed(height, width, self.fitting):
                facts = {"source": row["source"], "picture": number, "height": height, "width": width}
                self.chosen.append((hash_fraction(f"{row['source']}/{number}"), facts, content))
        if len(self.chosen) > EXAMPLES:
            self.chosen = sorted(self.chosen, key=lambda entry: entry[0])[:EXAMPLES]

    def write(self, folder: Path) -> None:
        """Write sizes and examples into the folder of the part."""
        sizes = np.array(self.sizes, np.int32).reshape(-1, 2)
        save_file({"sizes": sizes}, folder / "sizes.safetensors")
        examples = []
        for order, facts, content in sorted(self.chosen, key=lambda entry: entry[0]):
            try:
                picture = self.open(content, self.fitting.background)
            except ImageError:  # gone since
                continue
            image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
            image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            file = f"example-{len(examples)}.jpg"
            image.convert("RGB").save(folder / file, quality=90)
            examples.append(facts | {"order": order, "file": file})
        (folder / "examples.json").write_text(json.dumps(examples), encoding="utf-8")


def gather(parts: Iterable[Path], new: Path, fitting: Fitting) -> dict:
    """Join the originals of all parts -> {"originals": ...} for the card, {} where nothing was fitted.

    new: folder of the set, with its splits; examples are copied into its folder `originals`."""
    parts = list(parts)
    sizes = [load_file(part / "sizes.safetensors")["sizes"] for part in parts]
    sizes = np.concatenate([np.zeros((0, 2), np.int32), *sizes])
    if not len(sizes):
        return {}
    examples = [
        entry | {"file": part / entry["file"]}
        for part in parts
        for entry in json.loads((part / "examples.json").read_text(encoding="utf-8"))
    ]
    examples = sorted(examples, key=lambda entry: entry["order"])[:EXAMPLES]
    places = _places(new, {entry["source"] for entry in examples})
    kept = []
    for entry in (entry for entry in examples if entry["source"] in places):
        (new / "originals").mkdir(exist_ok=True)
        file = f"originals/{len(kept)}.jpg"
        shutil.copyfile(entry["file"], new / file)
        split, index = places[entry["source"]]
        facts = {key: entry[key] for key in ("source", "picture", "height", "width")}
        kept.append({**facts, "split": split, "index": index, "file": file})
    return {"originals": size_figures(sizes) | change_figures(sizes, fitting) | {"examples": kept}}


def _places(folder: Path, sources: set[str]) -> dict[str, tuple[str, int]]:
    """Split and row of each of these sources."""
    places = {}
    for split in SPLITS if sources else ():
        for index, row in enumerate(Rows.of(folder, split).dicts(("source",))):
            if row["source"] in sources:
                places.setdefault(row["source"], (split, index))
    return places


def example(folder: Path, facts: dict) -> Image.Image:
    """The picture of an example of a card, as it was, small. Raises DataError where it is missing or
    damaged."""
    path = folder / "originals" / Path(str(facts["file"])).name
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read: {error}; prepare the set again") from None
