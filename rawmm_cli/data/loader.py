"""The documents of every step, packed into batches by this process or by worker processes.

A step is about `train.batch` documents of the stream, the same ones for any number of ranks. Its rows are
dealt out in turn to the ranks and their micro-batches (`train.accumulate`). With `train.workers`, worker
processes make the batches ahead of time."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from ..config.model import Config
from ..core.batch import assemble, fit
from ..core.document import Batch, Document
from ..core.model import RawModel
from ..system import machine
from ..system.distributed import ALONE, Ranks
from ..system.errors import ConfigError, DataError, RankError
from ..system.figures import counted
from ..system.seeds import random
from . import lengths
from .stream import Stream
from .streamed import TURNS, Set
from .streaming.window import Documents, Pictures

T = TypeVar("T")
CPU = torch.device("cpu")
WINDOW = 8  # steps whose documents are packed together


def check_shares(config: Config, ranks: Ranks) -> None:
    """Raise ConfigError where the steps cannot be dealt out evenly to ranks and micro-batches."""
    settings, parts = config.train, ranks.size * config.train.accumulate
    if settings.batch % parts:
        raise ConfigError(
            f"train.batch = {settings.batch} cannot be dealt out to {counted(ranks.size, 'rank')} x "
            f"{settings.accumulate} micro-batches; set train.batch to a multiple of {parts}"
        )
    if config.data.stream:
        lanes = config.data.stream.lanes
        if lanes % ranks.size or settings.batch % lanes:
            raise ConfigError(
                f"data.stream.lanes = {lanes} must be a multiple of the {counted(ranks.size, 'rank')} "
                "and divide "
                f"train.batch = {settings.batch}; set data.stream.lanes={ranks.size}"
            )
    if settings.parallel == "none" and ranks.size > 1:
        raise ConfigError(
            f"train.parallel = none and there are {counted(ranks.size, 'rank')}; set train.parallel=ddp "
            "or fsdp"
        )


def stream_of(config: Config, data: Set | list[Set], model: RawModel) -> Stream:
    """Documents of a run. data: one set, or a list of sets in the order of data.set and data.mix.

    Raises DataError where documents of prepared sets do not fit, and `data.long` does not say what to do."""
    sets, others = (data if isinstance(data, list) else [data]), list(config.data.mix.values())
    stream = Stream(
        sets,
        config.train.seed,
        config.data,
        shares=[1 - sum(others), *others],
        length=config.train.length,
        encode=model.tokenizer.encode,
        blocks=model.blocks,
    )
    if not config.data.stream:
        lengths.check(config, stream)
    return stream


class Steps(Dataset):
    """Micro-batches of this rank for every step, by the number of documents seen before the step.

    The documents of WINDOW steps are packed together, so that hardly any position is padding. The rows are
    shuffled and dealt out to the steps: a step takes the positions of about `train.batch` documents, a window
    exactly WINDOW x `train.batch` documents. Shape and order depend on the settings, the seed and the data
    alone."""

    ahead = 1  # steps that a worker makes at a time

    def __init__(self, config: Config, data: Set | list[Set], model: RawModel, ranks: Ranks = ALONE) -> None:
        self.config, self.blocks, self.ranks = config, model.blocks, ranks
        self.stream = stream_of(config, data, model)
        self.window, self.steps, self.plans = -1, [], {}

    def rows(self, seen: int) -> list[list[int]]:
        """Rows of a step of all ranks, each a list of the numbers of its documents."""
        window, offset = divmod(seen, WINDOW * self.config.train.batch)
        if window != self.window:
            self.window, self.steps = window, self._plan(window)
        return self.steps[offset // self.config.train.batch]

    def _plan(self, window: int) -> list[list[list[int]]]:
        """Rows of all steps of a window, of all ranks together."""
        count = WINDOW * self.config.train.batch
        self.plans = {}
        return self._pack(range(window * count, (window + 1) * count), window)

    def _pack(self, numbers: range, *path: str | int) -> list[list[list[int]]]:
        """Pack the documents of a window and deal the rows out to its WINDOW steps, in an order that
        depends on the seed and `path`."""
        length, per_step = self.config.train.length, len(numbers) // WINDOW
        self.plans |= {number: self.stream.plan(number) for number in numbers}
        sizes = [self.stream.size(self.plans[number], self.blocks) for number in numbers]
        rows = [[numbers[index] for index in row] for row in fit(sizes, length)]
        if len(rows) < WINDOW:  # fewer rows than steps: every step is packed by itself
            return [
                [
                    [numbers[first + index] for index in row]
                    for row in fit(sizes[first : first + per_step], length)
                ]
                for first in range(0, len(numbers), per_step)
            ]
        order = random(self.config.train.seed, "rows", *path).permutation(len(rows))
        edges = [len(rows) * step // WINDOW for step in range(WINDOW + 1)]
        return [[rows[index] for index in order[first:last]] for first, last in pairwise(edges)]

    def numbers(self, seen: int) -> list[int]:
        """Numbers of the documents in this rank's rows of a step."""
        return [number for row in self._own(seen) for number in row]

    def _own(self, seen: int) -> list[list[int]]:
        """This rank's rows of a step."""
        return self.rows(seen)[self.ranks.rank :: self.ranks.size]

    def __getitem__(self, seen: int) -> list[Batch]:
        rows, parts = self._own(seen), self.config.train.accumulate
        return [self._batch(rows[part::parts]) for part in range(parts)]

    def _batch(self, rows: list[list[int]]) -> Batch:
        numbers = [number for row in rows for number in row]
        places = iter(range(len(numbers)))
        return assemble(
            [self._document(number) for number in numbers],
            [[next(places) for _ in row] for row in rows],
            self.config.train.length,
            self.blocks,
        )

    def _document(self, number: int) -> Document:
        try:
            return self.stream.finish(self.plans[number])
        except Exception as error:
            plan = self.plans[number]
            data = self.stream.sets[plan.set]
            raise DataError(
                f"document {number:,}, {data.source(plan.row)} of set '{data.folder.name}', cannot be made "
                f"({type(error).__name__}: {error}); prepare the set again"
            ) from error


class StreamedSteps(Steps):
    """Steps of a set that is read while training.

    Every lane's part of a window is packed by itself, and a rank reads, packs and trains on its own lanes
    alone. A worker makes whole windows, so that it decodes only the pictures that it packs."""

    ahead = WINDOW

    def __init__(self, config: Config, data: Set | list[Set], model: RawModel, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, model, ranks)
        self.streamed = self.stream.sets[0]
        self.streamed.fitting.encode, self.streamed.fitting.blocks = model.tokenizer.encode, model.blocks
        self.shown = Documents if self.streamed.holds_documents else Pictures
        self.stream.place = lambda number: (0, number)  # which take the numbers of documents as rows

    def _plan(self, window: int) -> list[list[list[int]]]:
        """Rows of all steps of a window, of this rank alone."""
        lanes, batch = self.config.data.stream.lanes, self.config.train.batch
        count, (lap, turn), self.plans = WINDOW * batch // lanes, divmod(window, TURNS), {}
        self.stream.sets, steps = [pictures := self.shown(self.streamed.folder)], [[] for _ in range(WINDOW)]
        for share in range(self.ranks.rank, lanes, self.ranks.size):
            first = (window * lanes + share) * count
            for n in range(count):
                pictures.add(first + n, *self.streamed.picture(turn * lanes + share, lap * count + n))
            for step, rows in zip(steps, self._pack(range(first, first + count), window, share)):
                step += rows
        return steps

    def _own(self, seen: int) -> list[list[int]]:
        return self.rows(seen)


def steps_of(config: Config, data: Set | list[Set], model: RawModel, ranks: Ranks = ALONE) -> Steps:
    """Steps of a run on prepared sets, or on a set that is streamed."""
    return (StreamedSteps if config.data.stream else Steps)(config, data, model, ranks)


def batches(config: Config, steps: Steps, seen: int, device: torch.device = CPU) -> Iterator[list[Batch]]:
    """Micro-batches of every step after `seen` documents, in order.

    Made ahead of time by `train.workers` processes, or by this one where there are none. device: what trains
    on them. Raises DataError."""
    settings = config.train
    workers = machine.workers(settings.workers, device, steps.ranks.here)
    starts = _Starts(config, seen, steps.ahead)
    pinned = device.type == "cuda" and torch.cuda.is_available()
    if not workers:
        for group in starts:
            for start in group:
                yield [batch.pin_memory() for batch in steps[start]] if pinned else steps[start]
        return
    loader = iter(
        DataLoader(
            steps,
            batch_sampler=starts,
            num_workers=workers,
            collate_fn=_identity,
            timeout=settings.timeout,
            prefetch_factor=4 if steps.ahead == 1 else 2,
            worker_init_fn=_begin_worker,
            pin_memory=pinned,
        )
    )
    while True:
        try:
            group = next(loader)
        except StopIteration:
            return
        except DataError as error:  # torch puts the traceback of the worker before the message
            raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
        yield from group


@contextmanager
def watched(seen: Callable[[], int]) -> Iterator[None]:
    """Raise RankError where a data worker dies or takes longer than train.timeout while the block runs.

    torch reports it from a signal handler, so in the middle of anything. seen(): documents before this
    step."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        failure = "took longer than train.timeout" if "timed out" in str(error) else "died"
        raise RankError(
            f"a data worker {failure} while making the documents after {seen():,} "
            f"({str(error).splitlines()[0]}); the last checkpoint is intact; run the same command again, or "
            "set train.workers=0"
        ) from None


class _Starts:
    """Documents seen before every step, from `seen` to the end of the run, in groups of the `ahead` steps
    that are made together. There is no end where `train.time` ends the run."""

    def __init__(self, config: Config, seen: int, ahead: int) -> None:
        self.config, self.seen, self.ahead = config, seen, ahead

    def __iter__(self) -> Iterator[list[int]]:
        settings, group = self.config.train, []
        starts = (
            count(self.seen, settings.batch)
            if settings.time
            else range(self.seen, settings.documents, settings.batch)
        )
        for start in starts:
            group.append(start)
            if (start // settings.batch + 1) % self.ahead == 0:
                yield group
                group = []
        if group:
            yield group


def _identity(batch: T) -> T:
    return batch


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # Signals to the process group of the run (from a launcher) must not stop its workers: the run saves
    # first, and they end with it.
    os.setpgrp()


def shared_memory_warning(workers: int) -> str | None:
    """Warning where there are worker processes and /dev/shm, through which they hand over batches, is
    small."""
    if not workers or not os.path.isdir("/dev/shm"):
        return None
    free = shutil.disk_usage("/dev/shm").free
    if free >= 256 * 2**20:
        return None
    return (
        f"/dev/shm has {free / 2**20:.0f} MiB free and data workers hand batches over through it; give it 1 "
        "GiB (docker run --shm-size=1g) or set train.workers=0"
    )
