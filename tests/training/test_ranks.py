"""Several ranks: the same run whatever their number, and no step lost however one of them ends."""

import json
import math
import re
import time
from dataclasses import replace

import pytest
import torch
from forking import NAN, together
from rank_runs import EVERY, FSDP, SHARED, observed, same_losses
from training_runs import assert_same_bits, everything, settings

from rawmm_cli.data import prepared
from rawmm_cli.data.stream import picture_of
from rawmm_cli.runs import checkpoint, loading, records
from rawmm_cli.system import distributed

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]


# ----------------------------------------------------------------------------------- the same run, shared out


@pytest.mark.parametrize(
    "size, words",
    [
        (2, ()),
        (3, ()),
        (2, FSDP),
        (3, FSDP),
        (1, ("train.accumulate=2",)),
        (2, ("train.accumulate=3", *FSDP)),
        (2, ("train.accumulate=2", "train.recompute=true", "train.workers=1")),
    ],
)
def test_the_losses_are_those_of_one_rank(size, words, whole_ranks, few_digits, tmp_path):
    expected = records.read(whole_ranks(1, *SHARED) / "records.jsonl")
    results = together(size, observed, settings(*SHARED, *words), few_digits, tmp_path / "run")
    for one in results:
        same_losses(one["records"], expected)
    assert all(one["records"][-1]["loss"] == results[0]["records"][-1]["loss"] for one in results)
    same_losses(records.read(tmp_path / "run" / "records.jsonl"), expected)
    numbers = [number for one in results for drawn in one["documents"].values() for number in drawn]
    assert "train.workers=1" in words or len(set(numbers)) == len(numbers) > 100


def alone_in_a_group(ranks, *arguments):
    """As under `torchrun --nproc-per-node 1`."""
    ranks = distributed.from_environment()
    assert ranks.grouped and ranks.size == 1
    return observed(ranks, *arguments)


def sharing(ranks, *arguments):
    """As with --device cuda:0: only sums are exchanged."""
    return observed(replace(ranks, shared=True), *arguments)


@pytest.mark.parametrize("function, size", [(alone_in_a_group, 1), (sharing, 2)])
@pytest.mark.parametrize("words", [(), FSDP])
def test_one_rank_in_a_group_and_two_on_one_device(function, size, words, whole_ranks, few_digits, tmp_path):
    """The same losses, and a checkpoint in `size` shards that one rank without a group goes on from."""
    expected, run = records.read(whole_ranks(1, *SHARED) / "records.jsonl"), tmp_path / "run"
    results = together(size, function, settings(*SHARED, *words), few_digits, run)
    same_losses(results[0]["records"], expected)
    shards = list((checkpoint.latest(run) / "model").iterdir()) if words else []
    assert len(shards) == (size if words else 0), shards
    together(1, observed, settings(*SHARED, *words, "train.documents=144"), few_digits, run)
    assert [record["step"] for record in records.read(run / "records.jsonl")] == [*range(1, 13)]


@pytest.mark.parametrize(
    "variables, grouped, shared",
    [
        ({}, False, False),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False, False),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}, True, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}, True, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, True, True),
    ],
)
def test_which_ranks_are_in_a_group_and_which_share_a_gpu(variables, grouped, shared, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.from_environment("cuda").grouped == grouped
    assert distributed.from_environment("cuda:0").shared == shared
    assert not distributed.from_environment("cuda").shared


@pytest.mark.parametrize(
    "size, words",
    [
        (1, ("train.workers=2",)),
        (1, ("train.recompute=true",)),
        (2, ("train.workers=1", "train.recompute=true")),
    ],
)
def test_workers_and_recomputing_change_no_bit(size, words, whole_ranks, few_digits, tmp_path):
    together(size, observed, settings(*SHARED, *words), few_digits, tmp_path / "run")
    assert_same_bits(tmp_path / "run", whole_ranks(size, *SHARED))


def test_muon_and_power_averages_in_parts(whole_ranks, few_digits, tmp_path):
    """Sharded matrices are orthogonalised by torch's own Muon in bf16, ours by a batched one; losses stay
    close."""
    words = (*SHARED, "train.optimizer=muon", "train.ema.kind=power", "backbone.kind=transformer")
    expected = records.read(whole_ranks(1, *words) / "records.jsonl")
    for how, rel in (((), 1e-4), (FSDP, 1e-2)):
        run = tmp_path / str(rel)
        same_losses(
            together(2, observed, settings(*words, *how), few_digits, run)[0]["records"], expected, rel
        )
        assert sorted(path.name for path in (run / "averages").iterdir()) == sorted(
            path.name for path in (whole_ranks(1, *words) / "averages").iterdir()
        )


# ------------------------------------------------------------------------------------ 11: one rank not finite


def test_a_poisoned_rank_stops_both_and_is_never_saved(whole_ranks, few_digits, tmp_path):
    """Rank 1's loss is not finite in the eighth step, which is not logged. The checkpoint is that of the
    seventh."""
    run, words = tmp_path / "run", ("train.save_every=16", "train.log_every=1000")
    results = together(2, observed, settings(*words), few_digits, run, math.inf, (1, 7, NAN))
    message = (
        "loss, text, gradient_norm not finite at document 112; the step was not taken and its documents are "
        "in "
        "bad_batch.json; set a lower train.learning_rate (now 0.002) or train.precision=fp32, and another "
        "--run",
        6,
    )
    assert results == [message, message]
    seventh = whole_ranks(2, *EVERY) / "checkpoints" / "step_00000007"
    for name in ("model", "ema", "optimizer"):
        saved = loading.tensors(checkpoint.latest(run), name)
        assert all(
            torch.equal(value, saved[name_]) for name_, value in loading.tensors(seventh, name).items()
        )
    bad, data = (
        json.loads((run / "bad_batch.json").read_text()),
        prepared.load(few_digits / "digits", "train"),
    )
    assert bad["step"] == 7 and bad["problem"] == "loss, text, gradient_norm not finite at document 112"
    pictures = [picture_of(number, len(data), 0) for number in bad["documents"]]
    assert bad["pictures"] == pictures and bad["sources"] == [data.source(index) for index in pictures]
    results = together(2, observed, settings(*words), few_digits, run)
    assert sorted(number for one in results for number in one["documents"][112]) == bad["documents"]
    assert results[0]["records"][0]["step"] == 8
    assert everything(run)[0].keys() == everything(whole_ranks(2, *EVERY))[0].keys()
    assert all(
        torch.equal(value, everything(whole_ranks(2, *EVERY))[0][name])
        for name, value in everything(run)[0].items()
    )


@pytest.mark.parametrize("early", [False, True])
def test_both_ranks_skip_the_same_step(early, few_digits, tmp_path, monkeypatch):
    """early: as on a GPU, where the optimizers judge the step themselves."""
    monkeypatch.setattr("rawmm_cli.training.optimizer.judges", lambda optimizers: early)
    once = (
        "real, left = step.joint_loss, [1]\n"
        + "step.joint_loss = lambda *given: spoilt(real(*given)) if left and left.pop() else real(*given)"
    )
    results = together(
        2, observed, settings("train.skip_nonfinite=1"), few_digits, tmp_path / "run", math.inf, (1, 7, once)
    )
    for one in results:
        assert [(record["step"], record["documents"]) for record in one["records"][6:]] == [
            (7, 112),
            (8, 144),
            (9, 160),
        ]
        assert all(math.isfinite(value) for record in one["records"] for value in record.values())
    assert results[0]["records"][-1]["loss"] == results[1]["records"][-1]["loss"]
    assert (
        sum("step skipped, 1 in a row" in line for line in results[0]["messages"]) == 1
        and results[1]["messages"] == []
    )


def test_two_ranks_end_on_time_together(few_digits, tmp_path):
    chosen = settings("train.time=1.5", "train.save_every=1000000", "train.sample_every=1000000")
    results = together(2, observed, chosen, few_digits, tmp_path / "run")
    one, other = (
        [(record["documents"], record["seconds"], record["learning_rate"]) for record in each["records"]]
        for each in results
    )
    assert one == other and 1.5 <= one[-1][1] < 3 and one[-1][2] < 1e-3


# --------------------------------------------------------------------- without our launcher: what a rank says


def test_a_rank_that_loses_the_other_says_so(few_digits, tmp_path):
    """The other rank ends at once, without the timeout of ten minutes."""
    started = time.monotonic()
    first, second = together(
        2, observed, settings(), few_digits, tmp_path / "run", math.inf, (1, 7, "os.kill(os.getpid(), 9)")
    )
    assert second is None and time.monotonic() - started < 30
    message, code = first
    assert code == 7 and re.match(
        r"another rank died or did not answer in time \(.*\); the last checkpoint is intact", message
    )
