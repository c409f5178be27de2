"""A set that is never written to disk: pictures are read from shards and decoded while a model trains on
them.

The blocks of all files are dealt out once to `lanes x TURNS` lanes. Every window of documents
(`loader.WINDOW` steps) takes an equal part from `lanes` of them, one turn after the other. In a lane every
epoch is a permutation of its own: of the blocks, and of the pictures in every POOL of them. So document n is
a function of (seed, n) alone, like that of a prepared set: any rank or worker reads only the lanes that its
windows need, and going on at any document needs no state.

A picture that cannot be used is left out, named in `report`, and the next of its lane stands in.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from ..config.model import Config
from ..system.errors import DataError, printable
from ..system.seeds import random
from .images import WHITE, ImageError, fit
from .items import Item, open_content
from .prepared import Prepared, PreparedDocuments, hash_fraction
from .rows import PICTURES, check_unicode, picture_row
from .shards import Block, Parquet, Tar, find

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
TURNS = 4  # so that up to so many workers never read the same block
POOL = 256  # pictures among which the order is mixed, at least
BAD_IN_A_ROW = 100


class Streamed:
    """The pictures behind `data.stream`. folder: its name, for messages. report: a file for what was left
    out."""

    holds_documents = False
    split = "train"

    def __init__(
        self, config: Config, data_folder: Path, told: Callable[[str], None] = lambda line: None
    ) -> None:
        stream = config.data.stream
        where = stream.path or str(data_folder / config.data.set)
        files, ending = find(where)
        self.shards = (Parquet if ending == ".parquet" else Tar)(
            files, stream.columns, stream.caption, told, where
        )
        self.config, self.folder, self.report = config, Path(config.data.set), None
        self.left_out, self.pools = {}, OrderedDict()  # name -> reason
        self.here = {}  # lane -> (position of its first picture, pool) that was asked for last
        self.lanes = _dealt(self._trained(), stream.lanes * TURNS, where)
        self.sizes = [sum(count for _, count in lane) for lane in self.lanes]
        self.card = {
            "name": config.data.set,
            "source": where,
            "licence": "see its source",
            "labels": self.shards.labels,
            "count": {"train": sum(self.sizes), "held_out": sum(self.shards.sizes) - sum(self.sizes)},
            "fingerprint": self._fingerprint(),
        }

    def __len__(self) -> int:
        return sum(self.sizes)

    def _trained(self) -> list[tuple[Block, int]]:
        """Blocks, cut small where they are few, and how many of their pictures are trained on."""
        blocks, lanes = self.shards.blocks, self.config.data.stream.lanes * TURNS
        parts = -(-2 * lanes // max(1, len(blocks))) if len(blocks) < lanes else 1
        cut = [
            Block(b.file, b.group, b.first + low, min(size, b.count - low), b.skip + low)
            for b in blocks
            for size in [-(-b.count // parts)]
            for low in range(0, b.count, size)
        ]
        return [(block, sum(self._trains(block))) for block in cut]

    def _trains(self, block: Block) -> list[bool]:
        """Of every picture of a block: is it trained on?"""
        name, share = Path(self.shards.files[block.file]).name, self.config.data.stream.held_out
        return [
            hash_fraction(f"{name}/{number}") >= share
            for number in range(block.first, block.first + block.count)
        ]

    def _fingerprint(self) -> str:
        """SHA-256 of what decides which pictures come: names, sizes and counts of the files, and the
        settings. Not of pixels."""
        files = [
            (Path(file).name, os.path.getsize(file) if "://" not in file else -1)
            for file in self.shards.files
        ]
        data = self.config.data
        told = [
            files,
            self.shards.sizes,
            self.shards.about,
            data.size,
            data.stream.model_dump(exclude={"path"}),
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    # -------------------------------------------------------------------------------------------------- order

    def picture(self, lane: int, position: int) -> tuple[Item, np.ndarray]:
        """What lane `lane` has at `position` of its endless sequence, decoded; where that is bad, the next
        that is not.

        Raises DataError after BAD_IN_A_ROW bad ones."""
        for further in range(BAD_IN_A_ROW):
            item = self.item(lane, position + further)
            if item.name not in self.left_out:
                try:
                    return item, self.pixels(item)
                except ImageError as error:
                    self._leave_out(item, error.reason)
        raise DataError(
            f"{BAD_IN_A_ROW} pictures in a row of {self.folder} cannot be used, the last "
            f"'{printable(item.name)}': "
            f"{self.left_out[item.name]}; mend the source"
        )

    def item(self, lane: int, position: int) -> Item:
        """The same, not decoded."""
        first, items = self.here.get(lane, (0, ()))
        if not 0 <= position - first < len(items):
            epoch, rest = divmod(position, self.sizes[lane])
            order, ends = self._epoch(lane, epoch)
            number = int(np.searchsorted(ends, rest, "right"))
            items = self._pool(lane, epoch, number, order[number])
            first = position - rest + (int(ends[number - 1]) if number else 0)
            self.here[lane] = first, items
        return items[position - first]

    def _epoch(self, lane: int, epoch: int) -> tuple[list[list[Block]], np.ndarray]:
        """-> (blocks of every pool, where every pool ends) of one epoch of a lane."""
        return self._kept(("epoch", lane, epoch), lambda: self._pools_of(lane, epoch))

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

    def _pool(self, lane: int, epoch: int, number: int, blocks: list[Block]) -> list[Item]:
        def read() -> list[Item]:
            items = [
                item
                for block in blocks
                for item, trains in zip(self._read(block), self._trains(block))
                if trains
            ]
            order = random(self.config.train.seed, "pool", lane, epoch, number).permutation(len(items))
            return [items[index] for index in order]

        return self._kept((lane, epoch, number), read)

    def _kept(self, key: tuple, make: Callable[[], T]) -> T:
        """One of the last results of `make`: two pools and two orders a lane."""
        if key not in self.pools:
            while len(self.pools) >= 4 * len(self.lanes):
                self.pools.popitem(last=False)
            self.pools[key] = make()
        self.pools.move_to_end(key)
        return self.pools[key]

    def _read(self, block: Block) -> list[Item]:
        """The pictures of a block; of one that cannot be read, bad pictures."""
        try:
            return self.shards.read(block)
        except DataError as error:
            name = Path(self.shards.files[block.file]).name
            return [Item(f"{name}/{n}", error) for n in range(block.first, block.first + block.count)]

    # ------------------------------------------------------------------------------------------------- pixels

    def pixels(self, item: Item) -> np.ndarray:
        """-> (H, W, 3) uint8, as `rawmm prepare` would have it. Raises ImageError."""
        config, stream = self.config, self.config.data.stream
        longest = max((len(check_unicode(text).encode()) for text in item.captions), default=0)
        found = fit(open_content(item.content, WHITE), config.data.size, stream.crop)
        (height, width), stride = found.shape[:2], config.codec.stride
        if height % stride or width % stride:
            raise ImageError(f"{width} x {height} pixels cannot be cut into patches of {stride}")
        needed = config.codec.tokens(height, width) + 4  # <bos>, <image>, </image>, <eos>
        needed += longest if config.text_tokenizer.kind == "bytes" else min(longest, 1)
        if needed > config.train.length:
            raise ImageError(
                f"it and its caption need {needed} positions; train.length is {config.train.length}"
            )
        return found

    def _leave_out(self, item: Item, reason: str) -> None:
        self.left_out[item.name] = reason
        if self.report is not None:
            line = json.dumps({"file": printable(item.name), "reason": reason}) + "\n"
            with open(
                self.report, "a", encoding="utf-8"
            ) as file:  # one write: lines of ranks and workers stay whole
                file.write(line)

    # ----------------------------------------------------------------------------------------------- a sample

    def first_pictures(self, split: str, most: int) -> Prepared:
        """The first pictures of a split, at most so many, in memory like a prepared set."""
        rows, blocks = [], self.shards.blocks
        for block in blocks:
            for item, trains in zip(self._read(block), self._trains(block)):
                if trains == (split == "train") and len(rows) < most:
                    try:
                        rows.append(
                            picture_row(
                                self.pixels(item), list(item.captions), item.label, item.attributes, item.name
                            )
                        )
                    except ImageError as error:
                        self._leave_out(item, error.reason)
            if len(rows) >= most:
                break
        if not rows:
            raise DataError(
                f"no usable picture of {self.card['source']} is for {split}; allowed: more pictures, or "
                f"another "
                "data.stream.held_out"
            )
        return Prepared(self.folder, split, pa.Table.from_pylist(rows, PICTURES), self.card)

    def all_texts(self, most: int = 20_000) -> Iterator[str]:
        """Captions of the first pictures, at least so many where there are."""
        for block in self.shards.blocks:
            for item in self._read(block):
                yield from item.captions
            most -= block.count
            if most <= 0:
                return


Set = Prepared | PreparedDocuments | Streamed  # what documents are made of


class Window:
    """Pictures of one window of documents, by the documents' numbers; for `stream.Stream` a set like any
    other."""

    holds_documents = False

    def __init__(self, streamed: Streamed) -> None:
        self.folder, self.items, self.shown = streamed.folder, {}, {}
        self.captions, self.heights, self.widths = {}, {}, {}

    def add(self, number: int, item: Item, pixels: np.ndarray) -> None:
        """A picture of document `number`."""
        self.items[number], self.shown[number], self.captions[number] = item, pixels, list(item.captions)
        self.heights[number], self.widths[number] = pixels.shape[:2]

    def image(self, number: int) -> "Tensor":
        """-> (3, H, W) uint8 tensor."""
        import torch

        return torch.from_numpy(self.shown[number]).permute(2, 0, 1)

    def source(self, number: int) -> str:
        """Where the picture came from."""
        return printable(self.items[number].name)


def _dealt(blocks: list[tuple[Block, int]], lanes: int, where: str) -> list[list[tuple[Block, int]]]:
    """Blocks -> lanes with about as many pictures each: the largest block goes to the lane with the
    fewest."""
    dealt, filled = [[] for _ in range(lanes)], [0] * lanes
    order = sorted(range(len(blocks)), key=lambda n: -blocks[n][1])
    for index in order:
        lane = filled.index(min(filled))
        dealt[lane].append(blocks[index])
        filled[lane] += blocks[index][1]
    if not all(filled):
        raise DataError(
            f"{printable(where)} has {sum(filled)} pictures to train on; data.stream.lanes = "
            f"{lanes // TURNS} needs "
            f"at least {lanes}; set fewer lanes, or prepare the set with `rawmm prepare`"
        )
    return dealt
