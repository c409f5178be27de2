"""Folders of pictures, and sets saved by `datasets`, as streams: by the sources that `rawmm prepare` has for
them, whose items can be read from any number on."""

import os
from collections.abc import Sequence
from itertools import compress, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...config.data import Streaming
from ..items import DocumentItem, Item
from ..layout.unused import sentence
from ..prepared import hash_fraction
from ..shards import Block, Shards, data_errors
from ..sources import source

if TYPE_CHECKING:
    from ..layout.streams import Files

SPAN = 64  # items of a block
OPTIONS = ("columns", "caption", "keep_uncaptioned")  # of data.stream that sources have too


class Sourced(Shards):
    """Items of a source; arguments as of `Parquet`. Raises ConfigError, DataError as the source does."""

    def __init__(self, files: "Files", stream: Streaming, where: str) -> None:
        super().__init__(files)
        self.arguments, options = (files, stream, where), {"path": Path(files.paths[0])}
        options |= {name: value for name in OPTIONS if (value := getattr(stream, name))}
        self.source = source(files.names[0], options, self._note)
        self.unused, self.holds_documents = self.source.unused, self.source.holds_documents
        self.labels, self.about = self.source.card["labels"], self.source.card.get("chosen", {})
        self.held_out = np.array(
            [
                role == "held_out" if role else hash_fraction(name) < stream.held_out
                for name, role in self.source.outline()
            ],
            bool,
        )
        count = len(self.held_out)
        self.sizes = [count]
        self.blocks = [Block(0, 0, first, min(SPAN, count - first)) for first in range(0, count, SPAN)]

    def __reduce__(self) -> tuple:
        """Pickle the arguments alone: a worker process opens the source itself."""
        return Sourced, self.arguments

    def _note(self, line: str) -> None:
        """Keep what the source says; options are settings here."""
        self.notes.append(line.replace("--caption ", "data.stream.caption="))

    def lines(self) -> list[str]:
        """What is said at the start."""
        return [*self.notes, *filter(None, [sentence(self.unused.card())])]

    def facts(self) -> list:
        """Names and sizes of the files of a folder; the state of a saved set."""
        if self.source.card["source"] != "folder":
            return [self.source.state]
        paths = ((item.name, item.content) for item in self.source.items(0))
        return [(name, os.path.getsize(path) if isinstance(path, str) else -1) for name, path in paths]

    def roles(self, block: Block) -> list[str | None]:
        """For every item of a block "train" or "held_out": as the source says, or by its name."""
        held_out = self.held_out[block.first : block.first + block.count]
        return ["held_out" if held else "train" for held in held_out.tolist()]

    def read(self, block: Block, wanted: Sequence[bool]) -> list[Item] | list[DocumentItem]:
        """Items of a block, not decoded: those that are wanted. Raises DataError."""
        with data_errors(self.files.paths[0]):
            return list(compress(islice(self.source.items(block.first), block.count), wanted))
