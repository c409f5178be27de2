"""Several ranks, resumed: as many bit for bit, another number with the same documents."""

import json
import shutil

import pytest
from forking import together
from rank_runs import EVERY, FSDP, SHARED, observed, same_losses
from training_runs import assert_same_bits, settings, step_of

from rawmm_cli.runs import checkpoint, records

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]


# ----------------------------------------------------------------------------------------- 20: the same ranks


@pytest.mark.parametrize(
    "words",
    [
        (),
        FSDP,
        (*FSDP, "train.ema.kind=power", "train.optimizer=muon"),
        ("backbone.kind=transformer", "train.optimizer=muon", "train.accumulate=2"),
    ],
)
def test_two_ranks_resume_bit_for_bit(words, whole_ranks, few_digits, tmp_path):
    unbroken = whole_ranks(2, *EVERY, *words)
    for step in (6,) if words else (3, 8):
        run = shutil.copytree(unbroken, tmp_path / str(step))
        for later in range(step + 1, 11):
            shutil.rmtree(run / "checkpoints" / f"step_{later:08d}")
        results = together(2, observed, settings(*EVERY, *words), few_digits, run)
        assert [len(one["records"]) for one in results] == [10 - step] * 2 and results[0][
            "differ"
        ] == results[1]["differ"] == []
        assert_same_bits(run, unbroken)


# -------------------------------------------------------------------------------- 21: another number of ranks

BEFORE = {"1": (1, ()), "2 ddp": (2, ()), "2 fsdp": (2, FSDP)}


AFTER = {**BEFORE, "3 ddp": (3, ()), "3 fsdp": (3, FSDP)}


@pytest.fixture(scope="module")
def broken_off(few_digits, tmp_path_factory):
    """Function: name -> (run that was killed one step after its checkpoint of step 5, the documents of the
    first five steps)."""
    runs = {}

    def run(name):
        if name not in runs:
            size, words = BEFORE[name]
            folder = tmp_path_factory.mktemp("broken") / "run"
            results = together(size, observed, settings(*SHARED, *words), few_digits, folder, 72)
            assert step_of(folder) == 5
            runs[name] = folder, gathered(results, range(0, 60, 12))
        return runs[name]

    return run


def gathered(results, starts):
    """Documents of each step, of all ranks: {documents seen before: numbers}."""
    return {seen: sorted(number for one in results for number in one["documents"][seen]) for seen in starts}


@pytest.fixture(scope="module")
def alone(few_digits, tmp_path_factory):
    """Records and documents of one process that nothing stops."""
    return together(1, observed, settings(*SHARED), few_digits, tmp_path_factory.mktemp("alone") / "run")[0]


@pytest.mark.parametrize(
    "before, after",
    [
        ("1", "2 ddp"),
        ("2 ddp", "1"),
        ("2 ddp", "3 ddp"),
        ("1", "2 fsdp"),
        ("2 fsdp", "1"),
        ("2 fsdp", "2 ddp"),
        ("2 ddp", "3 fsdp"),
        ("2 fsdp", "3 fsdp"),
    ],
)
def test_another_number_of_ranks_goes_on(before, after, broken_off, alone, few_digits, tmp_path):
    """The tensors are those of the checkpoint, every document is seen once, the losses are those of an
    unbroken run."""
    folder, first = broken_off(before)
    size, words = AFTER[after]
    run = shutil.copytree(folder, tmp_path / "run")
    results = together(size, observed, settings(*SHARED, *words), few_digits, run)
    assert [one["differ"] for one in results] == [[]] * size
    seen = first | gathered(results, range(60, 120, 12))
    assert seen == {start: sorted(numbers) for start, numbers in alone["documents"].items()}
    numbers = [number for step in seen.values() for number in step]
    assert len(set(numbers)) == len(numbers) and set(range(96)) <= set(
        numbers
    )  # the first window is complete
    same_losses(results[0]["records"], alone["records"][5:])
    same_losses(records.read(run / "records.jsonl"), alone["records"])


def test_what_fsdp_writes_is_safe_and_can_be_used(whole_ranks, few_digits, rawmm):
    """Two parts of each set of tensors, no pickle, and the commands that use a model read it."""
    run = whole_ranks(2, *EVERY, *FSDP)
    step = run / "checkpoints" / "step_00000010"
    files = {path.relative_to(step) for path in checkpoint.latest(run).rglob("*") if path.is_file()}
    assert {path.suffix for path in files} == {".safetensors", ".json", ".yaml"}
    assert sorted(str(path.parent) for path in files if path.suffix == ".safetensors") == [
        "ema",
        "ema",
        "model",
        "model",
        "optimizer",
        "optimizer",
    ]
    here = ("--runs-dir", run.parent, "--device", "cpu", "--json")
    code, out, _ = rawmm("sample", "three", "--run", "run", *here, "--out", run.parent / "three.png")
    assert code == 0 and json.loads(out)["documents"] == 160
    code, out, _ = rawmm("evaluate", "run", *here, "--data-dir", few_digits, "--per-label", "1")
    assert code == 0
    loss = json.loads(out)["held_out"]["image"]
    code, out, _ = rawmm(
        "evaluate",
        "run",
        "--runs-dir",
        whole_ranks(2, *EVERY).parent,
        *here[2:],
        "--data-dir",
        few_digits,
        "--per-label",
        "1",
    )
    assert loss == pytest.approx(json.loads(out)["held_out"]["image"], rel=1e-4)
