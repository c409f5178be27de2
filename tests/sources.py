"""Sources for tests of `prepare`: numbered pictures of noise, and documents with such pictures."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from rawmm_cli.data import prepare, prepared
from rawmm_cli.data.images import ImageError
from rawmm_cli.data.items import DocumentItem, Item, Piece, Source
from rawmm_cli.data.rows import Fitting
from rawmm_cli.pages import card as card_page


def pixels(number: int) -> np.ndarray:
    """Picture `number`: noise, (8, 8, 3) uint8."""
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(number: int) -> bytes:
    """Picture `number` as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, "PNG")
    return file.getvalue()


def pixels_of(content, background=(255, 255, 255)) -> np.ndarray:
    """Open an item: the picture of a number; for "bad N" an ImageError."""
    if isinstance(content, str):
        raise ImageError(f"it is {content}")
    return pixels(content)


def numbers(count: int, bad=(), splits=False, **fields) -> Source:
    """`count` pictures named n.png; those in `bad` cannot be read."""

    def items(start):
        for n in range(start, count):
            yield Item(
                f"{n}.png",
                f"bad {n}" if n in bad else n,
                (f"number {n}",),
                n % 3,
                {"even": n % 2 == 0},
                ("held_out" if n % 5 == 0 else "train") if splits else None,
            )

    settings = {
        "state": f"{count} {sorted(bad)}",
        "card": {"name": "numbers", "source": "made", "licence": "none"},
    } | fields
    return Source(items=items, open=pixels_of, count=count, **settings)


def interleaved(count: int) -> Source:
    """Documents of text and up to two pictures."""

    def items(start):
        for n in range(start, count):
            pictures = [Piece(content=10 * n + m, draw=bool((n + m) % 2)) for m in range(n % 3)]
            yield DocumentItem(f"story {n}", (Piece(text=f"it was {n}"), *pictures, Piece(text="the end")))

    return Source(
        items=items, open=pixels_of, state="stories", card={"name": "stories"}, holds_documents=True
    )


def prepare_source(folder: Path, source: Source, **options) -> dict:
    """Prepare a source, without worker processes unless `workers` is given -> the card."""
    fitting = Fitting(
        **{
            key: options.pop(key)
            for key in ("size", "crop", "enlarge", "background", "at_most")
            if key in options
        }
    )
    chosen = prepare.Options(fitting, **{"workers": 0, **options})
    return prepare.prepare(source, folder, chosen, write_page=card_page.write)


def rows(folder: Path) -> dict[str, list[dict]]:
    """All rows of a prepared set by split."""
    return {split: prepared.read_split(folder, split).to_pylist() for split in prepared.SPLITS}


def listing(folder: Path) -> dict[str, bytes]:
    """All files below a folder, {relative path: content}."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def card_of(folder: Path) -> dict:
    return json.loads((folder / "card.json").read_text())
