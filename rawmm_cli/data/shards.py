"""Files of encoded pictures that are read in place, block by block. No torch.

Parquet files are read by row groups, tar files (webdataset) by spans of whole samples; on disk or, through
`fsspec`, on the hub. Only counts and offsets stay in memory. Next: `streaming/parquet.py` and
`streaming/tar.py`; `streamed.py` deals the blocks out."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from ..system.errors import DataError, RawmmError, printable, starved
from .items import DocumentItem, Item, Piece
from .layout.unused import sentence

if TYPE_CHECKING:
    from .layout.streams import Files


class Block(NamedTuple):
    """Consecutive rows of one row group, or consecutive samples of a tar file."""

    file: int  # index of the file
    group: int  # row group; 0 in a tar file
    first: int  # number of its first picture in the file
    count: int  # pictures
    skip: int = 0  # rows of the group before the first


class Shards:
    """Files of pictures, block by block.

    blocks: all that can be read. sizes: pictures of every file. labels: names of the classes. about: the
    choice of columns and splits, for the card. unused: what is not used. holds_documents: whether items are
    DocumentItem."""

    holds_documents = False

    def __init__(self, files: "Files") -> None:
        self.files, self.unused, self.notes = files, files.unused, []
        self.blocks, self.sizes, self.labels, self.about = [], [], [], {}

    def lines(self) -> list[str]:
        """What is said at the start: the choice, what is unusual, what is not used."""
        chosen = "; ".join(
            value if role == "samples" else f"{role}: {value}" for role, value in self.about.items()
        )
        unused = sentence(self.unused.card())
        listed = self.files.listed
        readme = [*listed.lines, *([] if "splits" in self.about else listed.several)]
        return [
            f"chosen: {chosen}",
            *self.unused.links(),
            *self.notes,
            *readme,
            *([unused] if unused else []),
        ]

    def facts(self) -> list:
        """What decides which pictures there are: names and sizes of the files."""
        files = zip(self.files.names, self.files.paths)
        return [(name, os.path.getsize(file) if "://" not in file else -1) for name, file in files]

    def roles(self, block: Block) -> list[str | None]:
        """For every picture of a block "train", "held_out", or None where its number decides."""
        raise NotImplementedError

    def read(self, block: Block, wanted: Sequence[bool]) -> list[Item] | list[DocumentItem]:
        """Items of a block, not decoded: those that are wanted. Raises DataError."""
        raise NotImplementedError

    def unreadable(
        self, block: Block, wanted: Sequence[bool], error: DataError
    ) -> list[Item] | list[DocumentItem]:
        """Items in place of a block that cannot be read, whose content is the error."""
        numbers = compress(range(block.first, block.first + block.count), wanted)
        names = [f"{self.files.names[block.file]}/{number}" for number in numbers]
        if self.holds_documents:
            return [DocumentItem(name, (Piece(content=error, draw=True),)) for name in names]
        return [Item(name, error) for name in names]


@contextmanager
def data_errors(file: str) -> Iterator[None]:
    """Turn errors while a file is read into a DataError that names the file."""
    try:
        yield
    except RawmmError:
        raise
    except Exception as error:  # damage raises almost any type
        if starved(error):
            raise
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{printable(file)} cannot be read ({printable(problem)}); fetch it again, or take it out"
        ) from None
