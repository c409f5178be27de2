"""Several ranks: the same run whatever their number, and no step lost however one of them ends."""

import json
import math
import os
import re
import shutil
import signal
import time

import pytest
import torch
from launching import (
    NAN,
    Launched,
    assert_same_bits,
    command,
    observed,
    pause,
    step_of,
    together,
    until,
)
from test_train import everything, settings

from rawmm_cli.core import checkpoint, prepared, records
from rawmm_cli.core.stream import picture_of

pytestmark = pytest.mark.usefixtures("one_thread")
FSDP = ("train.parallel=fsdp",)
EVERY = ("train.save_every=16", "train.log_every=16", "train.keep=99")
# 10 steps whose documents 1, 2 and 3 ranks can share; the checkpoint is that of step 5
SHARED = ("train.batch=12", "train.documents=120", "train.save_every=60", "train.log_every=12")


@pytest.fixture(scope="module")
def whole(few_digits, tmp_path_factory):
    """(number of ranks, words) -> the folder of a run that nothing stopped."""
    made = {}

    def run(size, *words):
        if (size, words) not in made:
            made[size, words] = tmp_path_factory.mktemp("whole") / "run"
            found = together(size, observed, settings(*words), few_digits, made[size, words])
            assert all(len(one["records"]) == 10 for one in found)
        return made[size, words]

    return run


def same_losses(found, wanted, rel=1e-5):
    """Losses, norms and rates to `rel`; steps and documents exactly."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        for name in ("loss", "text", "image", "gradient_norm", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=rel), (name, one["step"])
        for name in ("step", "documents"):
            assert one[name] == other[name]


# ------------------------------------------------------------------------------------------- the same run, shared out


@pytest.mark.parametrize("size, words", [
    (2, ()), (3, ()), (2, FSDP), (3, FSDP), (1, ("train.accumulate=2",)), (2, ("train.accumulate=3", *FSDP)),
    (2, ("train.accumulate=2", "train.recompute=true", "train.workers=1"))])
def test_the_losses_are_those_of_one_rank(size, words, whole, few_digits, tmp_path):
    wanted = records.read(whole(1, *SHARED) / "records.jsonl")
    found = together(size, observed, settings(*SHARED, *words), few_digits, tmp_path / "run")
    for one in found:
        same_losses(one["records"], wanted)
    assert all(one["records"][-1]["loss"] == found[0]["records"][-1]["loss"] for one in found)
    same_losses(records.read(tmp_path / "run" / "records.jsonl"), wanted)
    numbers = [number for one in found for made in one["made"].values() for number in made]
    assert "train.workers=1" in words or len(set(numbers)) == len(numbers) > 100


@pytest.mark.parametrize("size, words", [(1, ("train.workers=2",)), (1, ("train.recompute=true",)),
                                         (2, ("train.workers=1", "train.recompute=true"))])
def test_workers_and_recomputing_change_no_bit(size, words, whole, few_digits, tmp_path):
    together(size, observed, settings(*SHARED, *words), few_digits, tmp_path / "run")
    assert_same_bits(tmp_path / "run", whole(size, *SHARED))


def test_muon_and_power_averages_in_parts(whole, few_digits, tmp_path):
    """Sharded matrices are orthogonalised by torch's own Muon in bf16, ours by a batched one; losses stay close."""
    words = (*SHARED, "train.optimizer=muon", "train.ema.kind=power", "backbone.kind=transformer")
    wanted = records.read(whole(1, *words) / "records.jsonl")
    for how, rel in (((), 1e-4), (FSDP, 1e-2)):
        run = tmp_path / str(rel)
        same_losses(together(2, observed, settings(*words, *how), few_digits, run)[0]["records"], wanted, rel)
        assert sorted(path.name for path in (run / "averages").iterdir()) == sorted(
            path.name for path in (whole(1, *words) / "averages").iterdir())


# ---------------------------------------------------------------------------------------------- 20: the same ranks


@pytest.mark.parametrize("words", [(), FSDP, (*FSDP, "train.ema.kind=power", "train.optimizer=muon"),
                                   ("backbone.kind=transformer", "train.optimizer=muon", "train.accumulate=2")])
def test_two_ranks_resume_bit_for_bit(words, whole, few_digits, tmp_path):
    unbroken = whole(2, *EVERY, *words)
    for step in (3, 8):
        run = shutil.copytree(unbroken, tmp_path / str(step))
        for later in range(step + 1, 11):
            shutil.rmtree(run / "checkpoints" / f"step_{later:08d}")
        found = together(2, observed, settings(*EVERY, *words), few_digits, run)
        assert [len(one["records"]) for one in found] == [10 - step] * 2 and found[0]["differ"] == found[1]["differ"] == []
        assert_same_bits(run, unbroken)


# ------------------------------------------------------------------------------------- 21: another number of ranks

BEFORE = {"1": (1, ()), "2 ddp": (2, ()), "2 fsdp": (2, FSDP)}
AFTER = {**BEFORE, "3 ddp": (3, ()), "3 fsdp": (3, FSDP)}


@pytest.fixture(scope="module")
def broken_off(few_digits, tmp_path_factory):
    """name -> (run that was killed one step after its checkpoint of step 5, the documents of the first five steps)."""
    made = {}

    def run(name):
        if name not in made:
            size, words = BEFORE[name]
            folder = tmp_path_factory.mktemp("broken") / "run"
            found = together(size, observed, settings(*SHARED, *words), few_digits, folder, 72)
            assert step_of(folder) == 5
            made[name] = folder, gathered(found, range(0, 60, 12))
        return made[name]

    return run


def gathered(found, starts):
    """{seen before: numbers of the step's documents, of all ranks}."""
    return {seen: sorted(number for one in found for number in one["made"][seen]) for seen in starts}


@pytest.fixture(scope="module")
def alone(few_digits, tmp_path_factory):
    """What one process that nothing stops does."""
    return together(1, observed, settings(*SHARED), few_digits, tmp_path_factory.mktemp("alone") / "run")[0]


@pytest.mark.parametrize("before, after", [("1", "2 ddp"), ("2 ddp", "1"), ("2 ddp", "3 ddp"), ("1", "2 fsdp"), ("2 fsdp", "1"),
                                           ("2 fsdp", "2 ddp"), ("2 ddp", "3 fsdp"), ("2 fsdp", "3 fsdp")])
def test_another_number_of_ranks_goes_on(before, after, broken_off, alone, few_digits, tmp_path):
    """The tensors are those of the checkpoint, every document is seen once, the losses are those of an unbroken run."""
    folder, first = broken_off(before)
    size, words = AFTER[after]
    run = shutil.copytree(folder, tmp_path / "run")
    found = together(size, observed, settings(*SHARED, *words), few_digits, run)
    assert [one["differ"] for one in found] == [[]] * size
    seen = first | gathered(found, range(60, 120, 12))
    assert seen == {start: sorted(numbers) for start, numbers in alone["made"].items()}
    numbers = [number for step in seen.values() for number in step]
    assert len(set(numbers)) == len(numbers) and set(range(96)) <= set(numbers)      # the first window is complete
    same_losses(found[0]["records"], alone["records"][5:])
    same_losses(records.read(run / "records.jsonl"), alone["records"])


def test_what_fsdp_writes_is_safe_and_can_be_used(whole, few_digits, rawmm):
    """Two parts of each set of tensors, no pickle, and the commands that use a model read it."""
    run = whole(2, *EVERY, *FSDP)
    files = {path.relative_to(run / "checkpoints" / "step_00000010") for path in checkpoint.latest(run).rglob("*") if path.is_file()}
    assert {path.suffix for path in files} == {".safetensors", ".json", ".yaml"}
    assert sorted(str(path.parent) for path in files if path.suffix == ".safetensors") == [
        "ema", "ema", "model", "model", "optimizer", "optimizer"]
    here = ("--runs-dir", run.parent, "--device", "cpu", "--json")
    code, out, _ = rawmm("sample", "three", "--run", "run", *here, "--out", run.parent / "three.png")
    assert code == 0 and json.loads(out)["documents"] == 160
    code, out, _ = rawmm("evaluate", "run", *here, "--data-dir", few_digits, "--per-label", "1")
    assert code == 0
    found = json.loads(out)["held_out"]["image"]
    code, out, _ = rawmm("evaluate", "run", "--runs-dir", whole(2, *EVERY).parent, *here[2:], "--data-dir", few_digits,
                         "--per-label", "1")
    assert found == pytest.approx(json.loads(out)["held_out"]["image"], rel=1e-4)
