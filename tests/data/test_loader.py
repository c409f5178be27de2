"""The documents of every step: each exactly once, in full rows, for any number of ranks, with and without
workers."""

import itertools

import numpy as np
import pytest
import torch

from rawmm_cli.config import build, presets
from rawmm_cli.core.document import Batch
from rawmm_cli.data import loader, prepared
from rawmm_cli.data.loader import WINDOW, Steps, batches, check_shares
from rawmm_cli.data.rows import picture_row
from rawmm_cli.system.distributed import ALONE, Ranks
from rawmm_cli.system.errors import ConfigError


def settings(*words):
    return presets.load("tiny", words)


def steps_of(chosen, data, ranks=ALONE):
    return Steps(chosen, data, build.model(chosen, "meta"), ranks)


@pytest.fixture(scope="module")
def digits(few_digits):
    return prepared.load(few_digits / "digits", "train")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """300 pictures of 4 to 14 patches a side, with captions of 0 to 120 bytes."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("mixed") / "mixed"
    rows = [
        picture_row(
            rng.integers(0, 256, (4 * h, 4 * w, 3), dtype=np.uint8), ["x" * int(rng.integers(0, 121))]
        )
        for h, w in rng.integers(4, 15, (300, 2))
    ]
    prepared.write(folder, {"train": rows, "held_out": rows[:1]}, {"labels": []})
    return prepared.load(folder, "train")


MIXED = ("data.set=mixed", "data.size=16", "train.length=512", "train.batch=32")


def test_rows_are_full_on_documents_of_mixed_length(mixed):
    """At least 95 % of the positions of three windows carry data, and the steps have nearly the same
    shape."""
    for length in (400, 512, 640, 1024):
        steps = steps_of(settings(*MIXED, f"train.length={length}"), mixed)
        packed = [steps[first][0] for first in range(0, 3 * WINDOW * 32, 32)]
        filled, positions = sum(b.filled for b in packed), sum(b.tokens.numel() for b in packed)
        assert filled / positions >= 0.95, length
        assert max(len(b.tokens) for b in packed) - min(len(b.tokens) for b in packed) <= 2


@pytest.mark.parametrize(
    "words", [(), ("train.batch=4",), ("train.batch=1",), ("train.batch=48",), ("train.accumulate=2",)]
)
def test_a_window_holds_its_documents_once(words, digits):
    chosen = settings(*words)
    steps, batch = steps_of(chosen, digits), chosen.train.batch
    for window in range(3):
        first = window * WINDOW * batch
        documents = [
            number
            for seen in range(first, first + WINDOW * batch, batch)
            for row in steps.rows(seen)
            for number in row
        ]
        assert sorted(documents) == list(range(first, first + WINDOW * batch))
    sizes = [sum(map(len, steps.rows(seen))) for seen in range(0, 3 * WINDOW * batch, batch)]
    assert min(sizes) > 0 and np.mean(sizes) == batch


@pytest.mark.parametrize("size, parts", [(2, 1), (3, 1), (2, 2), (4, 2), (1, 4)])
def test_ranks_and_micro_batches_share_a_step(size, parts, digits):
    """The same documents for any number of ranks; no rank has much more than another."""
    alone = steps_of(settings("train.batch=48"), digits)
    chosen = settings("train.batch=48", f"train.accumulate={parts}")
    for seen in (0, 48, 480):
        expected = sorted(number for row in alone.rows(seen) for number in row)
        shared = [steps_of(chosen, digits, Ranks(rank, size)) for rank in range(size)]
        numbers = [one.numbers(seen) for one in shared]
        assert sorted(itertools.chain(*numbers)) == expected
        micro_batches = [one[seen] for one in shared]
        assert all(len(own) == parts for own in micro_batches)
        rows = [len(batch.tokens) for own in micro_batches for batch in own]
        assert max(rows) - min(rows) <= 1
        assert sum(len(batch.last) for own in micro_batches for batch in own) == len(expected)


def test_long_documents_are_spread_over_the_steps(mixed):
    """Packing sorts by length; the shuffle of the rows undoes it."""
    steps = steps_of(settings(*MIXED), mixed)
    means = [np.mean([len(row) for row in steps.rows(first)]) for first in range(0, WINDOW * 32, 32)]
    assert max(means) < 1.6 * min(means)


def same(one, other):
    return (
        all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
        and one.pictures.keys == other.pictures.keys
    )


def tensors(batch: Batch):
    return [
        batch.tokens,
        *batch.images,
        batch.pictures.picture_of,
        batch.pictures.drawn,
        batch.patch_at,
        batch.predict_at,
        batch.predict,
        *batch.labels,
        batch.position,
        batch.last,
    ]


@pytest.mark.process
def test_workers_make_the_same_batches_in_the_same_order(digits):
    words = ("train.documents=320", "train.accumulate=2")
    here = list(batches(settings(*words), steps_of(settings(*words), digits), 48))
    chosen = settings(*words, "train.workers=2", "train.timeout=60")
    there = list(batches(chosen, steps_of(chosen, digits), 48))
    assert len(here) == len(there) == 17
    assert all(same(a, b) for one, other in zip(here, there) for a, b in zip(one, other, strict=True))


def test_a_run_by_time_has_no_last_step(digits):
    chosen = settings("train.documents=16", "train.time=5")
    assert len(list(itertools.islice(batches(chosen, steps_of(chosen, digits), 0), 30))) == 30


def test_a_step_that_cannot_be_dealt_out_evenly_is_refused():
    with pytest.raises(
        ConfigError,
        match="train.batch = 16 cannot be dealt out to 3 ranks x 1 micro-batches; set train.batch "
        "to a multiple of 3",
    ):
        check_shares(settings(), Ranks(0, 3))
    with pytest.raises(ConfigError, match="multiple of 12"):
        check_shares(settings("train.accumulate=4"), Ranks(0, 3))
    with pytest.raises(
        ConfigError, match="train.parallel = none and there are 2 ranks; set train.parallel=ddp or fsdp"
    ):
        check_shares(settings("train.parallel=none"), Ranks(0, 2))
    check_shares(settings("train.accumulate=4"), Ranks(0, 2))


def test_small_shared_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 64 * 2**20}))
    monkeypatch.setattr(loader.os.path, "isdir", lambda path: True)
    assert "/dev/shm has 64 MiB free" in loader.shared_memory_warning(1)
    assert loader.shared_memory_warning(0) is None
