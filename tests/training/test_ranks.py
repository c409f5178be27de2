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
from training_runs import everything, settings

from rawmm_cli.data import prepared
from rawmm_cli.data.stream import picture_of
from rawmm_cli.runs import checkpoint, records

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
def test_the_losses_are_those_of_one_rank(size, words, whole, few_digits, tmp_path):
    wanted = records.read(whole(1, *SHARED) / "records.jsonl")
    found = together(size, observed, settings(*SHARED, *words), few_digits, tmp_path / "run")
    for one in found:
        same_losses(one["records"], wanted)
    assert all(one["records"][-1]["loss"] == found[0]["records"][-1]["loss"] for one in found)
    same_losses(records.read(tmp_path / "run" / "records.jsonl"), wanted)
    numbers = [number for one in found for made in one["made"].values() for number in made]
    assert "train.workers=1" in words or len(set(numbers)) == len(numbers) > 100


@pytest.mark.parametrize(
    "size, words",
    [
        (1, ("train.workers=2",)),
        (1, ("train.recompute=true",)),
        (2, ("train.workers=1", "train.recompute=true")),
    ],
)
def test_workers_and_recomputing_change_no_bit(size, words, whole, few_digits, tmp_path):
    together(size, observed, settings(*SHARED, *words), few_digits, tmp_path / "run")
    assert_same_bits(tmp_path / "run", whole(size, *SHARED))


def test_muon_and_power_averages_in_parts(whole, few_digits, tmp_path):
    """Sharded matrices are orthogonalised by torch's own Muon in bf16, ours by a batched one; losses stay
    close."""
    words = (*SHARED, "train.optimizer=muon", "train.ema.kind=power", "backbone.kind=transformer")
    wanted = records.read(whole(1, *words) / "records.jsonl")
    for how, rel in (((), 1e-4), (FSDP, 1e-2)):
        run = tmp_path / str(rel)
        same_losses(together(2, observed, settings(*words, *how), few_digits, run)[0]["records"], wanted, rel)
        assert sorted(path.name for path in (run / "averages").iterdir()) == sorted(
            path.name for path in (whole(1, *words) / "averages").iterdir()
        )


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
def test_two_ranks_resume_bit_for_bit(words, whole, few_digits, tmp_path):
    unbroken = whole(2, *EVERY, *words)
    for step in (3, 8):
        run = shutil.copytree(unbroken, tmp_path / str(step))
        for later in range(step + 1, 11):
            shutil.rmtree(run / "checkpoints" / f"step_{later:08d}")
        found = together(2, observed, settings(*EVERY, *words), few_digits, run)
        assert [len(one["records"]) for one in found] == [10 - step] * 2 and found[0]["differ"] == found[1][
            "differ"
        ] == []
        assert_same_bits(run, unbroken)


# -------------------------------------------------------------------------------- 21: another number of ranks

BEFORE = {"1": (1, ()), "2 ddp": (2, ()), "2 fsdp": (2, FSDP)}
AFTER = {**BEFORE, "3 ddp": (3, ()), "3 fsdp": (3, FSDP)}


@pytest.fixture(scope="module")
def broken_off(few_digits, tmp_path_factory):
    """name -> (run that was killed one step after its checkpoint of step 5, the documents of the first five
    steps)."""
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
    found = together(size, observed, settings(*SHARED, *words), few_digits, run)
    assert [one["differ"] for one in found] == [[]] * size
    seen = first | gathered(found, range(60, 120, 12))
    assert seen == {start: sorted(numbers) for start, numbers in alone["made"].items()}
    numbers = [number for step in seen.values() for number in step]
    assert len(set(numbers)) == len(numbers) and set(range(96)) <= set(
        numbers
    )  # the first window is complete
    same_losses(found[0]["records"], alone["records"][5:])
    same_losses(records.read(run / "records.jsonl"), alone["records"])


def test_what_fsdp_writes_is_safe_and_can_be_used(whole, few_digits, rawmm):
    """Two parts of each set of tensors, no pickle, and the commands that use a model read it."""
    run = whole(2, *EVERY, *FSDP)
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
    found = json.loads(out)["held_out"]["image"]
    code, out, _ = rawmm(
        "evaluate",
        "run",
        "--runs-dir",
        whole(2, *EVERY).parent,
        *here[2:],
        "--data-dir",
        few_digits,
        "--per-label",
        "1",
    )
    assert found == pytest.approx(json.loads(out)["held_out"]["image"], rel=1e-4)


# ------------------------------------------------------------------------------------ 11: one rank not finite


def test_a_poisoned_rank_stops_both_and_is_never_saved(whole, few_digits, tmp_path):
    """Rank 1's loss is not finite in the eighth step, which is not logged. The checkpoint is that of the
    seventh."""
    run, words = tmp_path / "run", ("train.save_every=16", "train.log_every=1000")
    found = together(2, observed, settings(*words), few_digits, run, math.inf, (1, 7, NAN))
    told = (
        "loss, text, gradient_norm not finite at document 112; the step was not taken and its documents are "
        "in "
        "bad_batch.json; set a lower train.learning_rate (now 0.002) or train.precision=fp32, and another "
        "--run",
        6,
    )
    assert found == [told, told]
    seventh = whole(2, *EVERY) / "checkpoints" / "step_00000007"
    for name in ("model", "ema", "optimizer"):
        saved = checkpoint.tensors(checkpoint.latest(run), name)
        assert all(
            torch.equal(value, saved[name_]) for name_, value in checkpoint.tensors(seventh, name).items()
        )
    bad, data = (
        json.loads((run / "bad_batch.json").read_text()),
        prepared.load(few_digits / "digits", "train"),
    )
    assert bad["step"] == 7 and bad["problem"] == "loss, text, gradient_norm not finite at document 112"
    pictures = [picture_of(number, len(data), 0) for number in bad["documents"]]
    assert bad["pictures"] == pictures and bad["sources"] == [data.source(index) for index in pictures]
    found = together(2, observed, settings(*words), few_digits, run)
    assert sorted(number for one in found for number in one["made"][112]) == bad["documents"]
    assert found[0]["records"][0]["step"] == 8
    assert everything(run)[0].keys() == everything(whole(2, *EVERY))[0].keys()
    assert all(
        torch.equal(value, everything(whole(2, *EVERY))[0][name])
        for name, value in everything(run)[0].items()
    )


def test_both_ranks_skip_the_same_step(few_digits, tmp_path):
    once = (
        "real, left = train.joint_loss, [1]\n"
        + "train.joint_loss = lambda *given: spoilt(real(*given)) if left and left.pop() else real(*given)"
    )
    found = together(
        2, observed, settings("train.skip_nonfinite=1"), few_digits, tmp_path / "run", math.inf, (1, 7, once)
    )
    for one in found:
        assert [(record["step"], record["documents"]) for record in one["records"][6:]] == [
            (7, 112),
            (8, 144),
            (9, 160),
        ]
        assert all(math.isfinite(value) for record in one["records"] for value in record.values())
    assert found[0]["records"][-1]["loss"] == found[1]["records"][-1]["loss"]
    assert (
        sum("step skipped, 1 in a row" in line for line in found[0]["said"]) == 1 and found[1]["said"] == []
    )


def test_two_ranks_end_on_time_together(few_digits, tmp_path):
    chosen = settings("train.time=1.5", "train.save_every=1000000", "train.sample_every=1000000")
    found = together(2, observed, chosen, few_digits, tmp_path / "run")
    one, other = (
        [(record["documents"], record["seconds"], record["learning_rate"]) for record in each["records"]]
        for each in found
    )
    assert one == other and 1.5 <= one[-1][1] < 3 and one[-1][2] < 1e-3


# --------------------------------------------------------------------- without our launcher: what a rank says


def test_a_rank_that_loses_the_other_says_so(few_digits, tmp_path):
    """It does not wait for the timeout of ten minutes."""
    started = time.monotonic()
    lost, gone = together(
        2, observed, settings(), few_digits, tmp_path / "run", math.inf, (1, 7, "os.kill(os.getpid(), 9)")
    )
    assert gone is None and time.monotonic() - started < 30
    message, code = lost
    assert code == 7 and re.match(
        r"another rank died or did not answer in time \(.*\); the last checkpoint is intact", message
    )


# ------------------------------------------------------------------------------------------- the real command

TWO = ("--gpus", "2")


def resumed(few_digits, run, whole):
    """The same command again goes on from the last checkpoint, and ends as if nothing had been."""
    found = together(2, observed, settings(), few_digits, run)
    assert found[0]["records"][0]["step"] > 5
    assert_same_bits(run, whole(2))


def test_two_ranks_in_a_folder_of_any_name(whole, few_digits, tmp_path):
    """Spaces, quotes, letters of other alphabets and what a shell would take for its own; one JSON object;
    nothing stays."""
    folder = tmp_path / "ü '\" $x; *"
    data = shutil.copytree(few_digits, folder / "data")
    done = Launched(tmp_path, command(data, folder / "run", *TWO)).end()
    assert (done.code, done.left) == (0, []) and done.errors == []
    assert json.loads(done.out)["documents"] == 160 and done.out.count("\n") == 1
    assert_same_bits(folder / "run", whole(2))
    state = checkpoint.state(checkpoint.latest(folder / "run"))
    assert state["ranks"] == 2


FAULTS = {
    "killed": (
        1,
        "os.kill(os.getpid(), 9)",
        7,
        "rank 1 was killed by signal 9; the others were stopped and the last checkpoint "
        "is intact; run the same command again",
    ),
    "first killed": (
        0,
        "os.kill(os.getpid(), 9)",
        7,
        "rank 0 was killed by signal 9; the others were stopped",
    ),
    "a bug": (
        1,
        "raise ValueError('made by the test')",
        7,
        "rank 1 failed: ValueError: made by the test; the last checkpoint is intact",
    ),
    "data": (1, "raise loader.DataError('picture [7] is broken')", 3, "picture [7] is broken"),
    "memory": (
        1,
        "raise train.torch.OutOfMemoryError('CUDA out of memory')",
        5,
        "not enough memory; set a smaller train.batch",
    ),
    "not finite": (1, NAN, 6, "loss, text, gradient_norm not finite at document 112"),
    "hangs": (
        1,
        "open({here!r}, 'w').close()\ntime.sleep(600)",
        7,
        "another rank died or did not answer in time",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_rank_ends_the_job(name, whole, few_digits, tmp_path):
    """One line that names the cause, its exit code, no process left over; and the run goes on from its last
    checkpoint."""
    rank, fault, code, told = FAULTS[name]
    run, here = tmp_path / "run", tmp_path / "here"
    done = Launched(
        tmp_path, command(few_digits, run, *TWO, "train.timeout=4"), fault.format(here=str(here)), 7, rank
    ).end()
    if name == "hangs":
        assert (
            time.time() - here.stat().st_mtime < 4 + 15 + 2
        )  # `end` looks for what is left two seconds more
    assert (done.code, done.out, done.left) == (code, "", []), done.err
    assert len(done.errors) == 1 and done.errors[0].startswith(f"error: {told}")
    traces = 1 if name == "a bug" else 0
    assert (
        done.err.count("Traceback") == traces and done.err.count("ValueError: made by the test") == 2 * traces
    )
    assert len(done.err.splitlines()) == 2 or traces
    assert step_of(run) == 5
    resumed(few_digits, run, whole)


def test_a_rank_that_is_done_is_not_lost_on_its_way_out(few_digits, tmp_path):
    """Threads of gloo that want the interpreter while it is taken down abort the process: a rank must leave
    without that."""
    abort = "import atexit\natexit.register(os.abort)"
    done = Launched(tmp_path, command(few_digits, tmp_path / "run", *TWO), abort, 7, 1).end()
    assert (done.code, done.errors, done.left) == (0, [], []), done.err


STOPS = {
    "SIGTERM to the launcher": (signal.SIGTERM, None),
    "Ctrl-C": (signal.SIGINT, "group"),
    "SIGHUP to the launcher": (signal.SIGHUP, None),
    "SIGTERM to one rank": (signal.SIGTERM, 1),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_signal_saves_the_same_step_of_both_ranks(name, whole, few_digits, tmp_path):
    """It comes while rank 0 is in its seventh step and rank 1 waits for it."""
    number, to = STOPS[name]
    run, started = (
        tmp_path / "run",
        Launched(tmp_path, command(few_digits, tmp_path / "run", *TWO), pause(tmp_path), 6, 0),
    )
    until((tmp_path / "here").exists)
    if to == "group":
        os.killpg(started.process.pid, number)
    else:
        started.signal(number, to)
    sent = time.monotonic()
    time.sleep(0.3)
    (tmp_path / "go").touch()
    done = started.end()
    assert time.monotonic() - sent < 30
    assert (done.code, done.out, done.left) == (128 + number, "", []), done.err
    assert done.err.splitlines()[1:] == [
        f"error: stopped by {signal.Signals(number).name} and saved at 112 documents; run the "
        "same command again to go on"
    ]
    assert step_of(run) == 7
    resumed(few_digits, run, whole)


def test_a_second_signal_to_the_launcher_acts_at_once(whole, few_digits, tmp_path):
    run, started = (
        tmp_path / "run",
        Launched(tmp_path, command(few_digits, tmp_path / "run", *TWO), pause(tmp_path), 6, 0),
    )
    until((tmp_path / "here").exists)
    started.signal(signal.SIGTERM)
    time.sleep(1)
    assert started.process.poll() is None
    sent = time.monotonic()
    started.signal(signal.SIGTERM)
    done = started.end()
    assert time.monotonic() - sent < 10 and (done.code, done.left) == (143, [])
    assert step_of(run) == 5
    resumed(few_digits, run, whole)


def test_a_launcher_that_is_killed(whole, few_digits, tmp_path):
    """Its ranks end by themselves, trained or saved, and the lock is free."""
    run, started = (
        tmp_path / "run",
        Launched(tmp_path, command(few_digits, tmp_path / "run", *TWO), pause(tmp_path), 6, 0),
    )
    until((tmp_path / "here").exists)
    started.signal(signal.SIGKILL)
    (tmp_path / "go").touch()
    done = started.end()
    assert (done.code, done.left) == (-signal.SIGKILL, [])
    together(2, observed, settings(), few_digits, run)
    assert_same_bits(run, whole(2))


def test_ranks_of_another_launcher(whole, few_digits, tmp_path):
    """torchrun starts them, as on several machines. The `--` keeps torchrun from taking --run for an option
    of its own."""
    module = (
        "torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint localhost:0 "
        "-m -- rawmm_cli"
    )
    done = Launched(tmp_path, command(few_digits, tmp_path / "run"), module=module).end()
    assert (done.code, done.left, done.errors) == (0, [], []), done.err
    assert json.loads(done.out)["documents"] == 160
    assert_same_bits(tmp_path / "run", whole(2))
