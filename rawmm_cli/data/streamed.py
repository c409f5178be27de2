"""A set that is never written to disk: its pictures are read from shards and decoded while a model trains.

The blocks of all files are dealt out once to `lanes x TURNS` lanes. Every window of documents
(`loader.WINDOW` steps) takes an equal part from `lanes` of them, one turn after the other. In a lane every
epoch is a permutation of its own: of the blocks, and of the pictures in every pool of blocks. So document n
is a function of (seed, n) alone, as in a prepared set: a rank or worker reads only the lanes that its
windows need, and a run can continue at any document without state.

A picture that cannot be used is skipped and reported, and the next one of its lane takes its place.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from ..config.data import Streaming
from ..config.model import Config
from ..system.errors import DataError, printable
from ..system.figures import counted
from ..system.seeds import random
from .images import ImageError
from .items import NO_CAPTION, DocumentItem, Item
from .layout.streams import FOLDER, SAVED, Files, find
from .prepared import Prepared, PreparedDocuments, hash_fraction
from .rows import DOCUMENTS, PICTURES, document_row, picture_row
from .shards import Block, Shards
from .streaming.fitting import Fitter, Pixels
from .streaming.parquet import Parquet
from .streaming.sourced import Sourced
from .streaming.tar import Tar

AnyItem = Item | DocumentItem
T = TypeVar("T")
KINDS = {".parquet": Parquet, FOLDER: Sourced, SAVED: Sourced}  # by `Files.ending`
TURNS = 4  # this many workers never read the same block
POOL = 256  # pictures that are shuffled together, at least
BAD_IN_A_ROW = 100  # consecutive bad pictures that end the run
_opened: dict[tuple, Shards] = {}  # `hand_over`


class Streamed:
    """The pictures of `data.stream`.

    folder: name of the set, for messages. report: file that skipped pictures are appended to, None for none.
    skipped: {name: reason}. card: as the card of a prepared set. Raises DataError where the files cannot be
    read."""

    split = "train"

    def __init__(
        self, config: Config, data_folder: Path, notify: Callable[[str], None] = lambda line: None
    ) -> None:
        stream = config.data.stream
        where = stream.path or str(data_folder / config.data.set)
        self.opened = where, stream
        self.shards = _opened.pop(self.opened, None) or shards_of(find(where), stream, where)
        self.unused, self.holds_documents = self.shards.unused, self.shards.holds_documents
        for line in self.shards.lines():
            notify(line)
        self.config, self.folder, self.report = config, Path(config.data.set), None
        self.fitting = Fitter(config, self._report)
        self.reported, self.skipped, self.cache = set(), {}, OrderedDict()
        self.current = {}  # lane -> (position of its first picture, items) of the pool that was used last
        self.lanes = _deal(self._trained(), stream.lanes * TURNS, where)
        self.sizes = [sum(count for _, count in lane) for lane in self.lanes]
        self.card = {
            "name": config.data.set,
            "source": where,
            "licence": "see its source",
            "labels": self.shards.labels,
            "unused": self.unused.card(),
            "count": {"train": sum(self.sizes), "held_out": sum(self.shards.sizes) - sum(self.sizes)},
            "fingerprint": self._fingerprint(),
        }

    def hand_over(self) -> None:
        """Leave the opened files to the next stream of this source in this process: a long scan is done
        once."""
        _opened[self.opened] = self.shards

    def __len__(self) -> int:
        return sum(self.sizes)

    def _trained(self) -> list[tuple[Block, int]]:
        """Blocks with the number of their pictures that are trained on; few blocks are cut into smaller
        ones."""
        blocks, lanes = self.shards.blocks, self.config.data.stream.lanes * TURNS
        open_ = sum({*self.shards.roles(block)} != {"held_out"} for block in blocks)
        parts = -(-2 * lanes // max(1, open_)) if open_ < lanes else 1
        cut = [
            Block(b.file, b.group, b.first + low, min(size, b.count - low), b.skip + low)
            for b in blocks
            for size in [-(-b.count // parts)]
            for low in range(0, b.count, size)
        ]
        return [(block, sum(self._trains(block))) for block in cut]

    def _trains(self, block: Block) -> list[bool]:
        """Whether every picture of a block is trained on, or else held out: as the splits of the source say,
        or else by its number."""
        name, share = self.shards.files.names[block.file], self.config.data.stream.held_out
        return [
            role == "train" if role else hash_fraction(f"{name}/{number}") >= share
            for number, role in enumerate(self.shards.roles(block), block.first)
        ]

    def _fingerprint(self) -> str:
        """SHA-256 of everything that decides which pictures come: names, sizes and counts of the files, and
        the settings. Pixels are not read."""
        shards, data = self.shards, self.config.data
        keeps = data.stream.keep_uncaptioned  # not in the facts of earlier versions
        settings = data.stream.model_dump(exclude={"path"} if keeps else {"path", "keep_uncaptioned"})
        facts = [shards.facts(), shards.sizes, shards.about, data.size, settings]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    # -------------------------------------------------------------------------------------------------- order

    def picture(self, lane: int, position: int) -> tuple[AnyItem, Pixels]:
        """Picture at `position` of the endless sequence of a lane, decoded: its item, and (H, W, 3) uint8.

        Where it is bad, the next good one. Raises DataError after BAD_IN_A_ROW bad ones."""
        for offset in range(BAD_IN_A_ROW):
            item = self.item(lane, position + offset)
            if item.name not in self.skipped:
                try:
                    return self.fitting(item)
                except ImageError as error:
                    self._skip(item, error.reason)
        raise DataError(
            f"{BAD_IN_A_ROW} pictures in a row of {self.folder} cannot be used, the last "
            f"'{printable(item.name)}': {self.skipped[item.name]}; mend the source"
            + ", or set data.stream.keep_uncaptioned=true"
            * self.skipped[item.name].startswith(NO_CAPTION)
        )

    def item(self, lane: int, position: int) -> AnyItem:
        """Item at `position` of the endless sequence of a lane, not decoded."""
        first, items = self.current.get(lane, (0, ()))
        if not 0 <= position - first < len(items):
            epoch, rest = divmod(position, self.sizes[lane])
            order, ends = self._epoch(lane, epoch)
            number = int(np.searchsorted(ends, rest, "right"))
            items = self._pool(lane, epoch, number, order[number])
            first = position - rest + (int(ends[number - 1]) if number else 0)
            self.current[lane] = first, items
        return items[position - first]

    def _epoch(self, lane: int, epoch: int) -> tuple[list[list[Block]], np.ndarray]:
        """One epoch of a lane: the blocks of every pool, and the position where every pool ends."""
        return self._cached(("epoch", lane, epoch), lambda: self._pools_of(lane, epoch))

    def _pools_of(self, lane: int, epoch: int) -> tuple[list[list[Block]], np.ndarray]:
        pools, sizes = [], []
        for index in random(self.config.train.seed, "lane", lane, epoch).permutation(len(self.lanes[lane])):
            block, count = self.lanes[lane][index]
            if not sizes or sizes[-1] >= POOL:
                pools.append([])
                sizes.append(0)
            pools[-1].append(block)
            sizes[-1] += count
        return pools, np.cumsum(sizes)

    def _pool(self, lane: int, epoch: int, number: int, blocks: list[Block]) -> list[AnyItem]:
        """Items of one pool, shuffled."""

        def read() -> list[AnyItem]:
            items = [item for block in blocks for item in self._read(block, self._trains(block))]
            order = random(self.config.train.seed, "pool", lane, epoch, number).permutation(len(items))
            return [items[index] for index in order]

        return self._cached((lane, epoch, number), read)

    def _cached(self, key: tuple, make: Callable[[], T]) -> T:
        """Result of `make`, or the cached one for the key; the cache has room for two pools and orders a
        lane."""
        if key not in self.cache:
            while len(self.cache) >= 4 * len(self.lanes):
                self.cache.popitem(last=False)
            self.cache[key] = make()
        self.cache.move_to_end(key)
        return self.cache[key]

    def _read(self, block: Block, wanted: Sequence[bool]) -> list[AnyItem]:
        """Items of a block that are wanted; where it cannot be read, items whose content is the error."""
        try:
            return self.shards.read(block, wanted)
        except DataError as error:
            return self.shards.unreadable(block, wanted, error)

    # ------------------------------------------------------------------------------------------ bad pictures

    def _skip(self, item: AnyItem, reason: str) -> None:
        self.skipped[item.name] = reason
        self._report(item, {"reason": reason})

    def _report(self, item: AnyItem, entry: dict) -> None:
        line = json.dumps({"file": printable(item.name), **entry}) + "\n"
        if self.report is not None and line not in self.reported:
            self.reported.add(line)
            with open(self.report, "a", encoding="utf-8") as file:
                file.write(line)  # in one call, so that lines of ranks and workers do not mix

    # ----------------------------------------------------------------------------------------------- a sample

    def first_pictures(self, split: str, most: int) -> Prepared | PreparedDocuments:
        """The first `most` pictures of a split, or documents, as a prepared set in memory. Raises DataError
        where there are none."""
        rows, last = [], ""
        for block in self.shards.blocks:
            wanted = [trains == (split == "train") for trains in self._trains(block)]
            for item in self._read(block, wanted) if any(wanted) else ():
                if len(rows) >= most:
                    break
                try:
                    rows.append(_row(*self.fitting(item)))
                except ImageError as error:
                    self._skip(item, error.reason)
                    last = f" ('{printable(item.name)}': {error.reason})"
            if len(rows) >= most:
                break
        if not rows:
            raise DataError(
                f"no usable picture of {self.card['source']} is for {split}{last}; allowed: more pictures, "
                "or another data.stream.held_out"
            )
        kind, schema = (PreparedDocuments, DOCUMENTS) if self.holds_documents else (Prepared, PICTURES)
        return kind(self.folder, split, pa.Table.from_pylist(rows, schema), self.card)

    def all_texts(self, most: int = 20_000) -> Iterator[str]:
        """Captions of the first pictures: of at least `most` pictures, where there are so many."""
        for block in self.shards.blocks:
            for item in self._read(block, [True] * block.count):
                yield from _texts(item)
            most -= block.count
            if most <= 0:
                return


Set = Prepared | PreparedDocuments | Streamed  # what `stream.Stream` makes documents of


def _texts(item: AnyItem) -> Iterable[str]:
    return item.captions if isinstance(item, Item) else (p.text for p in item.pieces if p.text)


def _row(item: AnyItem, pixels: Pixels) -> dict:
    """Row of a prepared set."""
    if isinstance(item, DocumentItem):
        pieces = [(piece.text, picture, piece.draw) for piece, picture in zip(item.pieces, pixels)]
        return document_row(pieces, item.name)
    return picture_row(pixels, list(item.captions), item.label, item.attributes, item.name)


def shards_of(files: Files, stream: Streaming, where: str) -> Shards:
    """The files of a set that is streamed. stream: settings. where: the set, in messages.

    Raises ConfigError where the columns do not fit, DataError where a file cannot be read."""
    return KINDS.get(files.ending, Tar)(files, stream, where)


def _deal(blocks: list[tuple[Block, int]], lanes: int, where: str) -> list[list[tuple[Block, int]]]:
    """Deal blocks out to lanes with about as many pictures each: the largest block goes to the emptiest lane.

    Raises DataError where a lane stays empty."""
    dealt, filled = [[] for _ in range(lanes)], [0] * lanes
    order = sorted(range(len(blocks)), key=lambda n: -blocks[n][1])
    for index in order:
        lane = filled.index(min(filled))
        dealt[lane].append(blocks[index])
        filled[lane] += blocks[index][1]
    if not all(filled):
        raise DataError(
            f"{printable(where)} has {counted(sum(filled), 'picture')} to train on; data.stream.lanes = "
            f"{lanes // TURNS} needs at least {lanes}; set fewer lanes, or prepare the set with "
            "`rawmm prepare`"
        )
    return dealt
