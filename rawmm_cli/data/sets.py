"""The sets that the settings name, checked against the settings before any step is taken."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..config.model import Config
from ..config.tokens import FrozenCodec, ImageCodec
from ..core.text_tokenizer import BytePairs, Bytes, train_pairs
from ..system.errors import DataError
from . import prepared
from .images import multiple_of
from .prepared import Prepared, PreparedDocuments
from .shapes.training import set_lines, stream_lines

if TYPE_CHECKING:
    from .streamed import Set

TEXTS = 20_000  # texts that a tokenizer is learned from, where nothing is trained
HELD_OUT = 64  # held-out pictures of a streamed set in memory


def load(
    config: Config, folder: Path, notify: Callable[[str], None] = lambda line: None
) -> tuple[list, Prepared | PreparedDocuments]:
    """Open the sets of a run -> (sets to train on, in the order of data.set and data.mix; held-out split of
    data.set).

    folder: holds the prepared sets. notify: receives lines for the user. Raises DataError where a set is
    missing or does not fit the settings."""
    if config.data.stream:
        from .streamed import Streamed

        streamed = Streamed(config, folder, notify)
        for line in stream_lines(config, streamed.shards):
            notify(line)
        return [streamed], streamed.first_pictures("held_out", HELD_OUT)
    sets = [prepared.load(folder / name, "train") for name in (config.data.set, *config.data.mix)]
    held_out = prepared.load(folder / config.data.set, "held_out")
    for data in (*sets, held_out):  # the held-out split too, so that the run can be evaluated
        check(config, data)
    if not sets[0].holds_documents:
        for line in set_lines(config, sets[0]):
            notify(line)
    return sets, held_out


def tokenizer(config: Config, data: "Set | list[Set]") -> Bytes | BytePairs:
    """The tokenizer that a new run on these sets (or this set) would learn, from the first TEXTS texts.

    For commands that measure and do not train."""
    if config.text_tokenizer.kind == "bytes":
        return Bytes()
    sets = data if isinstance(data, list) else [data]
    texts = (text for each in sets for text in each.all_texts())
    return train_pairs(islice(texts, TEXTS), config.text_tokenizer.vocabulary)


def check(config: Config, data: Prepared | PreparedDocuments) -> None:
    """Raise DataError where the pictures or captions of a set do not fit the settings."""
    pictures = _pictures(config, data)
    if not data.holds_documents:
        _check_size(config, data, pictures)
    _check_patches(config, data, pictures)
    _check_length(config, data, pictures)
    if config.data.read == 1 and not data.holds_documents and not pictures.texts.any():
        raise DataError(
            f"no picture of '{data.folder.name}' has a caption and data.read = 1: nothing can be read; set "
            "data.read=0"
        )


class Pictures(NamedTuple):
    """All pictures of a set, as arrays (n,)."""

    heights: np.ndarray  # pixels
    widths: np.ndarray
    rows: np.ndarray  # row of the set that each picture belongs to
    texts: np.ndarray  # least number of tokens of its longest caption; 0 in a set of documents


def _pictures(config: Config, data: Prepared | PreparedDocuments) -> Pictures:
    if data.holds_documents:
        rows = np.array([n for n, row in enumerate(data.heights) for _ in row], int)
        heights, widths = (
            np.array([side for row in sides for side in row], int) for sides in (data.heights, data.widths)
        )
        # The length of their texts is checked where documents are packed.
        return Pictures(heights, widths, rows, np.zeros(len(heights), int))
    texts = data.captions.longest()
    if config.text_tokenizer.kind != "bytes" or config.data.long in ("cut", "leave out"):
        texts = np.minimum(texts, 0)  # `lengths.py` finds what is too long as tokens
    return Pictures(data.heights, data.widths, np.arange(len(data)), texts)


def _check_size(config: Config, data: Prepared, pictures: Pictures) -> None:
    """Squares of one size in data.set, and pictures of one shorter side, must have data.size; sets of
    data.mix may have another size."""
    heights, widths, name = pictures.heights, pictures.widths, data.folder.name
    if name != config.data.set or not len(data):
        return
    shorter = np.minimum(heights, widths)
    if (shorter == shorter[0]).all() and shorter[0] != config.data.size:
        square = (heights == widths).all()
        what = f"of {widths[0]}x{heights[0]}" if square else f"whose shorter side has {shorter[0]}"
        raise DataError(
            f"set '{name}' holds pictures {what} pixels and data.size is "
            f"{config.data.size}; set data.size={shorter[0]}, prepare the set again with --size "
            f"{config.data.size}, or take --preset small, which fits any set"
        )


def _check_patches(config: Config, data: Prepared | PreparedDocuments, pictures: Pictures) -> None:
    """Every picture must be one that the codec takes."""
    codec, heights, widths = config.codec, pictures.heights, pictures.widths
    for index in np.flatnonzero(~codec.takes(heights, widths))[:1]:
        what = f"picture {data.source(pictures.rows[index])} has {widths[index]}x{heights[index]} pixels"
        if isinstance(codec, FrozenCodec):
            raise DataError(f"{what}; {codec.wanted}; prepare the set again with --size and --crop center")
        fits = multiple_of(config.data.size) % codec.stride == 0
        crop = "" if fits else " --crop center"  # whose sides are all --size
        common = int(np.gcd.reduce(np.concatenate([heights, widths])))
        allowed = ", ".join(str(side) for side in range(1, common + 1) if common % side == 0)
        raise DataError(
            f"{what}; codec.{codec.cell} = {codec.stride} must divide both; prepare the set again with "
            f"--size {config.data.size}{crop}, or set codec.{codec.cell} to a divisor of all sides: {allowed}"
        )


def _check_length(config: Config, data: Prepared | PreparedDocuments, pictures: Pictures) -> None:
    """Every picture and its longest caption must fit into train.length positions, or be left out
    (`lengths.py`)."""
    if config.data.long == "leave out":
        return
    alone = config.positions(pictures.heights, pictures.widths) + 4  # <bos>, <image>, </image>, <eos>
    needed = alone + pictures.texts
    for index in np.flatnonzero(needed > config.train.length)[:1]:
        long, most = int((needed > config.train.length).sum()), needed.max()
        more = f"; {long:,} of {len(needed):,} do not fit, the longest needs {most}" if long > 1 else ""
        ways = "or shorten the caption, or set data.long=cut or 'data.long=leave out'"
        if (alone > config.train.length).any():  # for the picture alone
            square = (pictures.heights == pictures.widths).all()
            crop = "" if square else ", or prepare the set again with --crop center, which cuts it to squares"
            ways = f"or 'data.long=leave out', or {_fewer(config.codec)}{crop}"
        raise DataError(
            f"picture {data.source(pictures.rows[index])} and its caption of {pictures.texts[index]} bytes "
            f"need {needed[index]} positions; train.length is {config.train.length}{more}; set "
            f"train.length={most} or more, {ways}"
        )


def _fewer(codec: ImageCodec) -> str:
    """What makes fewer tokens of a picture."""
    return f"a larger codec.{codec.cell}" if codec.kind == "raw" else "a codec of fewer tokens"


def class_captions(train: Prepared, labels: list[str]) -> list[str]:
    """A caption for every class: the first caption of its first picture, or its name where that has none."""
    first = {int(label): row for row, label in reversed(list(enumerate(train.labels)))}
    captions = [train.captions[first[n]] if n in first else [] for n in range(len(labels))]
    return [next(filter(None, texts), label) for texts, label in zip(captions, labels)]
