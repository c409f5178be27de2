"""What the settings name -> the sets themselves, checked against the settings before any step is taken."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.model import Config
from ..core.text_tokenizer import BytePairs, Bytes, train_pairs
from ..system.errors import DataError
from . import prepared
from .prepared import Prepared, PreparedDocuments

if TYPE_CHECKING:
    from .streamed import Set

TEXTS = 20_000  # of which a tokenizer is learned where nothing is trained
HELD_OUT = 64  # pictures of a streamed set that are kept in memory to look at


def load(
    config: Config, folder: Path, told: Callable[[str], None] = lambda line: None
) -> tuple[list, Prepared | PreparedDocuments]:
    """-> (sets to train on, in the order of data.set and data.mix; held-out documents of data.set). Raises
    DataError."""
    if config.data.stream:
        from .streamed import Streamed

        streamed = Streamed(config, folder, told)
        return [streamed], streamed.first_pictures("held_out", HELD_OUT)
    data = [prepared.load(folder / name, "train") for name in (config.data.set, *config.data.mix)]
    held_out = prepared.load(folder / config.data.set, "held_out")
    for one in (*data, held_out):  # held out too, so that what is trained can be evaluated
        check(config, one)
    return data, held_out


def tokenizer(config: Config, data: "Set | list[Set]") -> Bytes | BytePairs:
    """The tokenizer that a new run on these sets (or this one) would learn, of the first texts: for what only
    measures."""
    if config.text_tokenizer.kind == "bytes":
        return Bytes()
    texts = (text for one in (data if isinstance(data, list) else [data]) for text in one.all_texts())
    return train_pairs(islice(texts, TEXTS), config.text_tokenizer.vocabulary)


def check(config: Config, data: Prepared | PreparedDocuments) -> None:
    """Raises DataError where the pictures or captions of a set do not fit the settings, before any step is
    taken."""
    codec, name = config.codec, data.folder.name
    if data.holds_documents:
        row_of = np.array([n for n, row in enumerate(data.heights) for _ in row], int)
        heights, widths = (
            np.array([side for row in sides for side in row], int) for sides in (data.heights, data.widths)
        )
        texts = np.zeros(len(heights), int)  # their length is checked where they are packed
    else:
        heights, widths, row_of, texts = (
            data.heights,
            data.widths,
            np.arange(len(data)),
            data.captions.longest(),
        )
        texts = (
            texts if config.text_tokenizer.kind == "bytes" else np.minimum(texts, 1)
        )  # learned pieces are fewer
        square = (
            name == config.data.set
            and len(data)
            and (heights == heights[0]).all()
            and (widths == heights[0]).all()
        )
        if square and heights[0] != config.data.size:  # sets of data.mix may have another size
            raise DataError(
                f"set '{name}' holds pictures of {widths[0]}x{heights[0]} pixels and data.size is "
                f"{config.data.size}; set data.size={widths[0]}, or prepare the set again with --size "
                f"{config.data.size}"
            )
    for index in np.flatnonzero((heights % codec.stride != 0) | (widths % codec.stride != 0))[:1]:
        raise DataError(
            f"picture {data.source(row_of[index])} has {widths[index]}x{heights[index]} pixels; "
            f"codec.{codec.cell} = {codec.stride} must divide both; prepare the set again with --size "
            f"{config.data.size}, or set codec.{codec.cell}"
        )
    needed = codec.tokens(heights, widths) + texts + 4  # <bos>, <image>, </image>, <eos>
    for index in np.flatnonzero(needed > config.train.length)[:1]:
        raise DataError(
            f"picture {data.source(row_of[index])} and its caption of {texts[index]} bytes need "
            f"{needed[index]} "
            f"positions; train.length is {config.train.length}; set train.length={needed[index]} or more, or "
            "shorten the caption"
        )
    if config.data.read == 1 and not data.holds_documents and not texts.any():
        raise DataError(
            f"no picture of '{name}' has a caption and data.read = 1: nothing can be read; set data.read=0"
        )


def class_captions(train: Prepared, labels: list[str]) -> list[str]:
    """A caption of every class: the first one of its first picture, or its name where that has none."""
    first = {int(label): row for row, label in reversed(list(enumerate(train.labels)))}
    captions = [train.captions[first[n]] if n in first else [] for n in range(len(labels))]
    return [next(filter(None, those), label) for those, label in zip(captions, labels)]
