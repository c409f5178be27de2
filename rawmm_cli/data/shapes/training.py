"""What a run says of the shapes of its pictures before the first step: how many differ from what is drawn,
and what a crop or `train.length` costs in a stream."""

import io
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...config.model import Config
from ...system.disk import open_file
from ...system.errors import DataError
from ...system.figures import counted
from ..images import fitted, multiple_of
from ..items import Item
from ..lengths import PICTURE
from ..rows import Fitting
from .figures import change_figures, crop_lines, shape_lines, size_figures

if TYPE_CHECKING:
    from ..prepared import Prepared
    from ..shards import Shards

FIRST = 64  # pictures of a stream that are looked at


def set_lines(config: Config, data: "Prepared") -> list[str]:
    """What a run draws and what the pictures of data.set are, [] where all are squares of data.size."""
    side, total = config.data.size, len(data)
    squares = int(((data.heights == side) & (data.widths == side)).sum())
    if squares == total:
        return []
    sizes = size_figures(np.stack([data.heights, data.widths], -1))
    tokens = config.codec.tokens(data.heights, data.widths).mean()
    low, high = ("{1}x{0}".format(*sizes[name]) for name in ("smallest", "largest"))
    what = (
        f"all pictures of '{data.folder.name}' have {low} pixels"
        if sizes["different"] == 1
        else f"pictures of '{data.folder.name}' have {sizes['different']:,} sizes, {low} to {high} pixels"
    )
    other = "" if config.data.stretch else "; to draw others by --size, train with data.stretch=true"
    return [
        f"{what}: {tokens:,.0f} image tokens each on average, {config.codec.tokens(side, side):,} for "
        f"{side}x{side}, which is drawn and which {squares:,} of {total:,} have{other}"
    ]


def stream_lines(config: Config, shards: "Shards") -> list[str]:
    """What a crop cuts off the first pictures of a stream, and how many of them do not fit into a row."""
    from ..streaming.fitting import longer_multiple

    side, crop, multiple = config.data.size, config.data.stream.crop, longer_multiple(config)
    large = [size for size in islice(_sizes(shards), FIRST) if min(size) >= side]
    sizes = np.array(large, int).reshape(-1, 2)
    change = change_figures(sizes, Fitting(side, crop))
    lines = crop_lines(change, "data.stream.crop=none", "the first ")
    if multiple == multiple_of(side):
        lines += shape_lines(change, side)
    targets = [fitted(*size, side, crop, multiple) for size in sizes.tolist()]
    needed = np.array([config.positions(*target) + PICTURE for target in targets], int)
    if long := int((needed > config.train.length).sum()):
        verb = "does" if long == 1 else "do"
        lines.append(
            f"{long:,} of the first {counted(len(sizes), 'picture')} {verb} not fit into train.length = "
            f"{config.train.length} and {'is' if long == 1 else 'are'} left out; the longest needs "
            f"{needed.max():,} positions: set train.length, or data.stream.crop=center, which cuts squares"
        )
    return lines


def _sizes(shards: "Shards") -> Iterator[tuple[int, int]]:
    """Height and width of the first FIRST pictures of each block, by their headers; without those that cannot
    be read."""
    for block in shards.blocks:
        try:
            items = shards.read(block, [n < FIRST for n in range(block.count)])
        except DataError:
            continue
        for item in items:
            contents = [item.content] if isinstance(item, Item) else [piece.content for piece in item.pieces]
            for content in contents:
                if isinstance(content, (bytes, str, Path)) and (size := _size(content)):
                    yield size


def _size(content: bytes | str | Path) -> tuple[int, int] | None:
    """Height and width by the header of a file or its bytes, None where it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with io.BytesIO(content) if isinstance(content, bytes) else open_file(content) as file:
                return Image.open(file).size[::-1]
    except Exception:  # Pillow raises almost any type; what is bad is reported when it comes
        return None
