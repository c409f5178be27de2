"""Which documents make up a step, and who makes them into batches.

A step is about `train.batch` documents of the stream, the same ones at any number of ranks. Its rows are dealt out in turn
to the ranks and their micro-batches (`train.accumulate`), and made ahead of time by worker processes where `train.workers`
says so.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader, Dataset

from .batch import assemble, fit
from .config import Config
from .distributed import ALONE, Ranks
from .document import Batch
from .errors import ConfigError, DataError, RankError
from .noise import random
from .stream import Stream

WINDOW = 8                                              # steps whose documents are packed together


def check_shares(config: Config, ranks: Ranks) -> None:
    """Raises ConfigError where a step cannot be dealt out evenly."""
    settings, parts = config.train, ranks.size * config.train.accumulate
    if settings.batch % parts:
        raise ConfigError(f"train.batch = {settings.batch} cannot be dealt out to {ranks.size} ranks x {settings.accumulate} "
                          f"micro-batches; set train.batch to a multiple of {parts}")
    if settings.parallel == "none" and ranks.size > 1:
        raise ConfigError(f"train.parallel = none and there are {ranks.size} ranks; set train.parallel=ddp or fsdp")


def stream_of(config: Config, data, encode) -> Stream:
    """The documents of a run. data: one set, or a list of them in the order of data.set and data.mix."""
    sets, others = (data if isinstance(data, list) else [data]), list(config.data.mix.values())
    return Stream(sets, config.train.seed, config.data, shares=[1 - sum(others), *others], length=config.train.length,
                  encode=encode)


class Steps(Dataset):
    """Steps by the number of documents seen before them -> this rank's micro-batches.

    The documents of WINDOW steps are packed together, so that hardly any position is padding, and the rows are shuffled and
    dealt out to the steps: a step takes the positions of about `train.batch` documents, a window exactly WINDOW times so
    many. Shape and order are a function of the settings, the seed and the data alone."""

    def __init__(self, config: Config, data, model, ranks: Ranks = ALONE):
        self.config, self.grid, self.causal, self.ranks = config, model.codec.grid, model.head.causal, ranks
        self.stream = stream_of(config, data, model.tokenizer.encode)
        self.window, self.planned, self.sketches = -1, [], {}

    def rows(self, seen: int) -> list[list[int]]:
        """Numbers of the documents in each row of the step, all ranks together."""
        window, rest = divmod(seen, WINDOW * self.config.train.batch)
        if window != self.window:
            self.window, self.planned = window, self._plan(window)
        return self.planned[rest // self.config.train.batch]

    def _plan(self, window: int) -> list[list[list[int]]]:
        """Steps of rows of numbers."""
        batch, length = self.config.train.batch, self.config.train.length
        numbers = range(window * WINDOW * batch, (window + 1) * WINDOW * batch)
        self.sketches = {number: self.stream.sketch(number) for number in numbers}
        sizes = [self.stream.size(self.sketches[number], self.grid, self.causal) for number in numbers]
        rows = [[numbers[index] for index in row] for row in fit(sizes, length)]
        if len(rows) < WINDOW:                          # fewer rows than steps: every step by itself
            return [[[numbers[at + index] for index in row] for row in fit(sizes[at:at + batch], length)]
                    for at in range(0, len(numbers), batch)]
        order = random(self.config.train.seed, "rows", window).permutation(len(rows))
        edges = [len(rows) * step // WINDOW for step in range(WINDOW + 1)]
        return [[rows[index] for index in order[first:last]] for first, last in zip(edges, edges[1:])]

    def numbers(self, seen: int) -> list[int]:
        """Numbers of the documents of this rank's part of the step."""
        return [number for row in self.rows(seen)[self.ranks.rank::self.ranks.size] for number in row]

    def __getitem__(self, seen: int) -> list[Batch]:
        rows, parts = self.rows(seen)[self.ranks.rank::self.ranks.size], self.config.train.accumulate
        return [self._batch(rows[part::parts]) for part in range(parts)]

    def _batch(self, rows: list[list[int]]) -> Batch:
        numbers = [number for row in rows for number in row]
        places = iter(range(len(numbers)))
        return assemble([self._document(number) for number in numbers], [[next(places) for _ in row] for row in rows],
                        self.config.train.length, self.grid, self.causal)

    def _document(self, number: int):
        try:
            return self.stream.finish(self.sketches[number])
        except Exception as error:
            plan = self.sketches[number]
            data = self.stream.sets[plan.set]
            raise DataError(f"document {number:,}, {data.source(plan.row)} of set '{data.folder.name}', cannot be made "
                            f"({type(error).__name__}: {error}); prepare the set again") from error


def batches(config: Config, steps: Steps, seen: int) -> Iterator[list[Batch]]:
    """The steps after `seen` documents in order, made by `train.workers` processes ahead of time, or here."""
    settings = config.train
    starts = _Starts(config, seen)
    if not settings.workers:
        for start in starts:
            yield steps[start]
        return
    loader = iter(DataLoader(steps, batch_size=None, sampler=starts, num_workers=settings.workers, collate_fn=_same,
                             timeout=settings.timeout, prefetch_factor=4, worker_init_fn=_begin,
                             pin_memory=torch.cuda.is_available()))
    while True:
        try:
            batch = next(loader)
        except StopIteration:
            return
        except DataError as error:                      # torch puts the worker's traceback before its text
            raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
        yield batch


@contextmanager
def watched(seen: Callable[[], int]):
    """Raises RankError where a data worker dies or takes longer than train.timeout while the block runs. torch says so
    from a signal handler, in the middle of whatever is being done. `seen`: documents before this step."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        what = "took longer than train.timeout" if "timed out" in str(error) else "died"
        raise RankError(f"a data worker {what} while making the documents after {seen():,} ({str(error).splitlines()[0]}); "
                        "the last checkpoint is intact; run the same command again, or set train.workers=0") from None


class _Starts:
    """Documents seen before each step, from `seen` to the end of the run (no end where the time decides)."""

    def __init__(self, config: Config, seen: int):
        self.config, self.seen = config, seen

    def __iter__(self) -> Iterator[int]:
        seen, settings = self.seen, self.config.train
        while settings.time or seen < settings.documents:
            yield seen
            seen += settings.batch


def _same(batch):
    return batch


def _begin(worker: int) -> None:
    torch.set_num_threads(1)
    os.setpgrp()                                        # what stops the run's group (a launcher) must not stop its workers:
                                                        # the run saves first, and they end with it


def shared_memory_warning(config: Config) -> str | None:
    """What to say where worker processes are asked for and /dev/shm, through which they hand over batches, is small."""
    if not config.train.workers or not os.path.isdir("/dev/shm"):
        return None
    free = shutil.disk_usage("/dev/shm").free
    if free >= 256 * 2 ** 20:
        return None
    return (f"/dev/shm has {free / 2 ** 20:.0f} MiB free and data workers hand batches over through it; give it 1 GiB "
            "(docker run --shm-size=1g) or set train.workers=0")
