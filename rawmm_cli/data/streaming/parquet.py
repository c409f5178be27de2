"""Parquet files of a set that is streamed, by their row groups."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...config.data import Streaming
from ..items import DocumentItem, Item
from ..layout.schemas import Tables, open_anywhere
from ..layout.split_column import in_tables
from ..layout.splits import described, roles, splits_of
from ..layout.unused import COLUMNS
from ..shards import Block, Shards, data_errors

if TYPE_CHECKING:
    from ..layout.streams import Files


class Parquet(Shards):
    """Row groups of Parquet files with the same columns.

    stream: settings. where: the set, in messages. Raises ConfigError where the columns do not fit, DataError
    where a file cannot be read."""

    def __init__(self, files: "Files", stream: Streaming, where: str) -> None:
        super().__init__(files)
        tables = Tables(files.paths)
        chosen = tables.choose(stream.columns, stream.caption, where)
        self.chosen = replace(chosen, required=not stream.keep_uncaptioned)
        self.by_file = tables.by_file(self.chosen)
        self.holds_documents = self.chosen.documents
        self.sizes = [sum(groups) for groups in tables.groups]
        for number, groups in enumerate(tables.groups):
            firsts = np.cumsum([0, *groups]).tolist()
            self.blocks += [Block(number, n, firsts[n], count) for n, count in enumerate(groups) if count]
        splits = files.splits or splits_of(files.names, files=True)
        role = roles(splits)
        self._roles = [role[split] for split in splits]
        self.labels, self.about = list(self.chosen.names), self.chosen.describe()
        self._rows = None if any(self._roles) else in_tables(tables, self.chosen.claimed)
        if self._rows:
            self.about |= self._rows.card()
        elif line := described(Counter(splits)):
            self.about |= files.listed.card() | {"splits": line}
        self.unused.add_all(COLUMNS, tables.unused(self.chosen, self._rows and self._rows.column))

    def roles(self, block: Block) -> list[str | None]:
        """For every picture of a block "train", "held_out", or None where its number decides."""
        if self._rows:
            held_out = self._rows.held_out[block.file][block.first : block.first + block.count]
            return ["held_out" if held else "train" for held in held_out.tolist()]
        return [self._roles[block.file]] * block.count

    def read(self, block: Block, wanted: Sequence[bool]) -> list[Item] | list[DocumentItem]:
        """Items of a block, not decoded: those that are wanted. Raises DataError."""
        file, name = self.files.paths[block.file], self.files.names[block.file]
        chosen = self.by_file[block.file]
        with data_errors(file), open_anywhere(file) as stream:
            table = pq.ParquetFile(stream).read_row_group(block.group, columns=chosen.used, use_threads=False)
            table = table.slice(block.skip, block.count)
            if 2 * sum(wanted) < block.count:
                rows = table.filter(pa.array(wanted, pa.bool_())).to_pylist()
            else:
                rows = compress(table.to_pylist(), wanted)
        numbers = compress(range(block.first, block.first + block.count), wanted)
        return [chosen.item(f"{name}/{number}", row) for number, row in zip(numbers, rows)]
