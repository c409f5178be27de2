"""Folders of random pictures, and what `prepare` makes of them."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sources import prepare_source
from sources import rows as rows_of

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.data.images import ENDINGS

ALLOWED = " ".join(ENDINGS)


def picture(number: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fill(path, *names, **options):
    """Write a random picture for each name. -> path"""
    for number, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, **options)).save(path / name)
    return path


def prepared(path, *, max_bad=0.0, **options) -> tuple[dict[str, list[dict]], dict]:
    """Prepare the folder -> (rows by split, card)."""
    with tempfile.TemporaryDirectory() as out:
        card = prepare_source(Path(out) / "set", folder(path), max_bad=max_bad, **options)
        return rows_of(Path(out) / "set"), card
