"""Documents longer than `train.length`: found before the first step; an error, cut or left out (`data.long`).

A token stands for at least one byte, so only texts of more bytes than there is room for are encoded. Pictures
that do not fit alone are refused in `sets.py`."""

from typing import TYPE_CHECKING

import numpy as np

from ..config.model import Config
from ..core.batch import BlocksOf
from ..system.errors import DataError, printable
from .stream import Encode, Stream

if TYPE_CHECKING:
    from .prepared import Prepared, PreparedDocuments

    Set = Prepared | PreparedDocuments

Long = dict[int, dict[int, int]]  # row -> caption (0 in a set of documents) -> positions that it needs
PICTURE = 4  # positions of <bos>, <image>, </image>, <eos>
REMEDY = "set a larger train.length, data.long=cut, or 'data.long=leave out'"


def policy(config: Config) -> str:
    """`data.long`, or its default: an error; in a stream, which cannot be checked beforehand, left out."""
    return config.data.long or ("leave out" if config.data.stream else "error")


def too_long(config: Config, data: "Set", encode: Encode, blocks: BlocksOf) -> Long:
    """Captions of a set, each with its picture, pictures that are too long by themselves, and documents that
    need more than `train.length` positions."""
    find = _documents if data.holds_documents else _captions
    return find(config, data, encode, blocks)


def _captions(config: Config, data: "Prepared", encode: Encode, blocks: BlocksOf) -> Long:
    sides, group = np.unique(np.stack([data.heights, data.widths], -1), axis=0, return_inverse=True)
    room = config.train.length - PICTURE - np.array([len(blocks(*side).block) for side in sides.tolist()])
    room, long = room[group.reshape(-1)], {}
    for row in np.flatnonzero(data.captions.longest() > room).tolist():
        for number, caption in enumerate(data.captions[row]):
            if len(caption.encode()) > room[row] and (tokens := len(encode(caption))) > room[row]:
                long.setdefault(row, {})[number] = tokens + config.train.length - int(room[row])
        if room[row] < 0 and row not in long:  # without a caption
            long[row] = {0: config.train.length - int(room[row])}
    return long


def _documents(config: Config, data: "PreparedDocuments", encode: Encode, blocks: BlocksOf) -> Long:
    stream, long = Stream([data], 0, config.data, length=config.train.length, encode=encode), {}
    for row, texts in enumerate(data.texts):
        pictures = list(zip(data.heights[row], data.widths[row]))
        # a drawn picture may need a clean copy behind it
        most = 2 + sum(2 + 2 * len(blocks(*sides).block) for sides in pictures)
        if not pictures or most + sum(len(text.encode()) for text in texts) <= config.train.length:
            continue
        needed = stream.size(stream.plan_of(0, row, row), blocks)
        if needed > config.train.length:
            long[row] = {0: needed}
    return long


def check(config: Config, stream: Stream) -> None:
    """Find what does not fit, and leave it out of the stream where `data.long` says so; `stream.notes` say
    what is cut or left out.

    Raises DataError where data.long is `error` and something does not fit, or where nothing would be left."""
    for index, data in enumerate(stream.sets):
        long = too_long(config, data, stream.encode, stream.blocks)
        if not long:
            continue
        if policy(config) == "error":
            raise DataError(f"{first(config, data, long)}; {REMEDY}")
        stream.notes.append(_note(config, data, long))
        if policy(config) == "leave out":
            stream.long[index], stream.rows[index] = long, rows_left(data, long)
            if not len(stream.rows[index]):
                raise DataError(f"{first(config, data, long)}, and none is left; {REMEDY}")


def check_held_out(config: Config, data: "Set", encode: Encode, blocks: BlocksOf) -> None:
    """Raise DataError where data.long is `error` and a held-out document does not fit, so that the run can be
    evaluated."""
    if policy(config) == "error" and (long := too_long(config, data, encode, blocks)):
        raise DataError(f"{first(config, data, long)}; {REMEDY}")


def first(config: Config, data: "Set", long: Long) -> str:
    """The first document that does not fit, and how many do not."""
    row = next(iter(long))
    needed, most = (max(captions.values()) for captions in (long[row], max(long.values(), key=_longest)))
    what = data.source(row) if data.holds_documents else f"picture {data.source(row)} and its caption"
    return (
        f"{what} need{'s' if data.holds_documents else ''} {needed} positions; train.length is "
        f"{config.train.length}; {_share(data, long)} do not fit, the longest needs {most}"
    )


def _note(config: Config, data: "Set", long: Long) -> str:
    """What is done about documents that do not fit."""
    done = "their text is cut" if policy(config) == "cut" else "these captions are left out"
    done = "they are left out" if data.holds_documents and policy(config) == "leave out" else done
    return (
        f"{_share(data, long)} do not fit into train.length = {config.train.length}: {done}; the first is "
        + (printable(data.source(next(iter(long)))))
    )


def _share(data: "Set", long: Long) -> str:
    kind = "documents" if data.holds_documents else "pictures with their captions"
    return f"{len(long):,} of {len(data):,} {kind} of '{data.folder.name}'"


def _longest(captions: dict[int, int]) -> int:
    return max(captions.values())


def rows_left(data: "Set", long: Long) -> np.ndarray:
    """Rows of which something fits: all documents that fit, and pictures with a caption that does, or
    without any."""
    gone = [row for row, captions in long.items() if data.holds_documents or _all(data, row, captions)]
    return np.setdiff1d(np.arange(len(data)), np.array(gone, int))


def _all(data: "Prepared", row: int, captions: dict[int, int]) -> bool:
    """Whether no caption of a row is left."""
    return all(number in captions for number, text in enumerate(data.captions[row]) if text)
