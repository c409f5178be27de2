"""Faults of training in one process: however it ends, the same command again makes the same run, bit for
bit."""

import itertools
import json
import math
import os
import random
import shutil
import signal
import socket
import time

import pytest
import torch
from launching import alive, assert_same_bits, children, command, forked, pause, step_of, until
from training_runs import assert_equal_runs, everything, go, settings, spoiled

from rawmm_cli.commands.train import _seconds as seconds
from rawmm_cli.config import build
from rawmm_cli.data import loader, prepared
from rawmm_cli.data.stream import picture_of
from rawmm_cli.runs import checkpoint, records
from rawmm_cli.system.errors import CheckpointError, DivergedError, Stopped
from rawmm_cli.training import optimizer
from rawmm_cli.training import state as run_module
from rawmm_cli.training import train as module
from rawmm_cli.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread", "quick")
CPU = torch.device("cpu")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def quick(monkeypatch):
    """The matmul rate is not measured: it would take longer than the run."""
    monkeypatch.setattr(module.machine, "matmul_rate", lambda *given: 1e11)


@pytest.fixture(scope="module")
def whole(few_digits, tmp_path_factory):
    """words -> the folder of a run that nothing stopped."""
    made = {}

    def run(*words):
        if words not in made:
            made[words] = tmp_path_factory.mktemp("whole") / "run"
            go(settings(*words), few_digits, made[words])
        return made[words]

    return run


# ------------------------------------------------------------------------------------------------- 1: kill -9

SLOW = "step = train.take_step\ntrain.take_step = lambda *given: (time.sleep(0.1), step(*given))[1]"


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_any_moment(workers, whole, few_digits, tmp_path):
    """Each time a random moment after some progress; then the run ends, as if nothing had been. No worker
    stays."""
    run, dice, ended, helpers = tmp_path / "run", random.Random(workers), [], set()
    words = command(few_digits, run, "train.save_every=16", "train.log_every=16", f"train.workers={workers}")
    for _ in range(4):
        before, process = step_of(run), forked(tmp_path, words, SLOW)
        until(lambda b=before, p=process: step_of(run) > b or not p.is_alive())
        time.sleep(dice.uniform(0, 0.2))  # in the next step, its record or its checkpoint
        helpers |= children(process.pid)
        process.kill()
        process.join()
        ended.append((process.exitcode, step_of(run)))
    assert ended[:3] == [(-signal.SIGKILL, step) for _, step in ended[:3]] and 0 < ended[0][1] < ended[2][1]
    assert len(helpers) >= workers
    until(lambda: not alive(helpers))
    process = forked(tmp_path, words)
    process.join(60)
    assert process.exitcode == 0 and ": saving to" not in (tmp_path / "out").read_text()
    assert [record["step"] for record in records.read(run / "records.jsonl")] == list(range(1, 11))
    assert_same_bits(run, whole("train.save_every=16", "train.log_every=16"))


# --------------------------------------------------------------------------------------------- 11: not finite


@pytest.mark.parametrize(
    "how, told",
    [
        ("text", "loss, text, gradient_norm"),
        ("image", "loss, image, gradient_norm"),
        ("gradient", "gradient_norm"),
    ],
)
def test_a_poisoned_state_is_never_saved(how, told, whole, few_digits, tmp_path, monkeypatch):
    """At step 7 every step is saved and none is logged; what is left is the state after step 6."""
    run, words = tmp_path / "run", ("train.save_every=16", "train.log_every=1000")
    with monkeypatch.context() as patch:
        spoiled(patch, how, 6)
        with pytest.raises(DivergedError, match=f"^{told} not finite at document 96; the step was not taken"):
            go(settings(*words), few_digits, run)
    assert step_of(run) == 6
    go(settings("train.documents=96", *words), few_digits, tmp_path / "six")
    wanted = checkpoint.tensors(checkpoint.latest(tmp_path / "six"), "model")
    found = checkpoint.tensors(checkpoint.latest(run), "model")
    assert go(settings(*words), few_digits, run)[0]["step"] == 7
    assert_same_bits(run, whole(*words))
    assert wanted.keys() == found.keys()


def test_steps_that_are_skipped(few_digits, tmp_path, monkeypatch):
    """Two in a row are allowed, then a good one, then two again: it goes on. The third in a row ends it."""
    real, calls = module.joint_loss, itertools.count()
    bad, heard = {2, 3, 5, 6}, []

    def joint_loss(*given):
        losses = real(*given)
        return (
            losses._replace(total=losses.total * math.nan, text=losses.text * math.nan)
            if next(calls) in bad
            else losses
        )

    monkeypatch.setattr(module, "joint_loss", joint_loss)
    run = tmp_path / "run"
    found = go(settings("train.skip_nonfinite=2"), few_digits, run, notify=heard.append)
    assert [(record["step"], record["documents"]) for record in found] == [
        (1, 16),
        (2, 32),
        (3, 80),
        (4, 128),
        (5, 144),
        (6, 160),
    ]
    assert all(math.isfinite(value) for record in found for value in record.values())
    assert [line.partition(":")[2] for line in heard if "step skipped" in line] == [
        f" step skipped, {n} in a row; its documents are in bad_batch.json" for n in (1, 2, 1, 2)
    ]
    assert json.loads((run / "bad_batch.json").read_text())["documents"]
    now = next(calls) + 1
    bad |= {now + 4, now + 5, now + 6}
    with pytest.raises(DivergedError, match="at document 96"):
        go(settings("train.skip_nonfinite=2"), few_digits, tmp_path / "other")


# ------------------------------------------------------------------------------------------ 12: out of memory

FULL = {
    "torch's own": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "the CPU's": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
    ),
}


@pytest.mark.parametrize("name", FULL)
def test_out_of_memory_names_the_remedies(name, whole, few_digits, tmp_path, monkeypatch, rawmm):
    run, real, calls = tmp_path / "run", module.joint_loss, itertools.count()

    def joint_loss(*given):
        if next(calls) == 7:
            raise FULL[name]
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "joint_loss", joint_loss)
        code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (5, "")
    assert err.splitlines()[-1].startswith("error: a micro-batch of ")
    for remedy in (
        "train.accumulate=2",
        "train.recompute=true",
        "train.batch (now 16)",
        "`rawmm train --dry-run`",
        "the last checkpoint is intact",
    ):
        assert remedy in err
    assert step_of(run) == 5
    other = shutil.copytree(run, tmp_path / "other")
    go(settings(), few_digits, run)
    assert_equal_runs(run, whole())
    followed = go(settings("train.accumulate=2", "train.recompute=true"), few_digits, other)
    same = records.read(run / "records.jsonl")[-1]
    assert followed[-1]["loss"] == pytest.approx(same["loss"], rel=1e-5)


def test_another_runtime_error_is_not_taken_for_it(few_digits, tmp_path, monkeypatch):
    def joint_loss(*given):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(module, "joint_loss", joint_loss)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        go(settings(), few_digits, tmp_path / "run")


LIMIT = """
import resource
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (32 << 20), resource.RLIM_INFINITY))
"""


def test_a_real_limit_of_memory(few_digits, tmp_path):
    """The address space may grow by 32 MiB, which a batch of 1,024 documents does not find enough."""
    words = ("train.batch=1024", "train.documents=3072", "train.save_every=1024", "train.warmup=0")
    run, unbroken = tmp_path / "run", tmp_path / "unbroken"
    go(settings(*words), few_digits, unbroken)
    go(settings(*words), few_digits, run, until=1024)
    process = forked(tmp_path, command(few_digits, run, *words), LIMIT, 1)
    process.join(60)
    said = (tmp_path / "err").read_text().splitlines()
    assert process.exitcode == 5 and said[-1].startswith("error: ") and "train.batch" in said[-1], said
    assert step_of(run) == 1
    go(settings(*words), few_digits, run)
    assert_equal_runs(run, unbroken)


# ------------------------------------------------------------------------------------------- 13: data workers

WORKER = """
make = loader.Stream.finish
def finish(stream, plan):
    if stream.sets[0].source(plan.row) == {source!r} and {where}:
        {what}
    return make(stream, plan)
loader.Stream.finish = finish
"""
IN_WORKER = "loader.torch.utils.data.get_worker_info()"


@pytest.fixture(scope="module")
def seventh(few_digits):
    """A picture that no step before the seventh has, and its source and document there."""
    chosen, data = settings(), prepared.load(few_digits / "digits", "train")
    steps = loader.Steps(chosen, data, build.model(chosen, "meta"))
    pictures = [
        {number: picture_of(number, len(data), 0) for number in steps.numbers(seen)}
        for seen in range(0, 112, 16)
    ]
    before = {picture for step in pictures[:-1] for picture in step.values()}
    number = next(number for number, picture in pictures[-1].items() if picture not in before)
    return number, data.source(pictures[-1][number])


def worker_that(what, seventh, folder, data, run, *words, where=IN_WORKER):
    """A run with two workers; the one that comes to a picture of the seventh step does `what` -> (exit code,
    stderr)."""
    process = forked(
        folder,
        command(data, run, "train.workers=2", *words),
        WORKER.format(what=what, source=seventh[1], where=where),
    )
    process.join(60)
    assert step_of(run) == 5
    return process.exitcode, (folder / "err").read_text()


def finished(data, run, whole):
    """The same command again, without the fault, ends as if nothing had been."""
    go(settings("train.workers=2"), data, run)
    assert_same_bits(run, whole())


def test_a_worker_that_is_killed(seventh, whole, few_digits, tmp_path):
    what = "time.sleep(2); os.kill(os.getpid(), 9)"  # the run waits for the step by then
    code, err = worker_that(what, seventh, tmp_path, few_digits, tmp_path / "run")
    assert code == 7
    assert err.splitlines()[-1].startswith("error: a data worker died while making the documents after 96 (")
    assert "the last checkpoint is intact; run the same command again, or set train.workers=0" in err
    finished(few_digits, tmp_path / "run", whole)


def test_a_worker_that_is_killed_while_a_step_is_taken(few_digits, tmp_path):
    what = "from launching import children\n[os.kill(pid, 9) for pid in children(os.getpid())]\ntime.sleep(1)"
    process = forked(tmp_path, command(few_digits, tmp_path / "run", "train.workers=1"), what, 6)
    process.join(60)
    err = (tmp_path / "err").read_text()
    assert process.exitcode == 7 and "Traceback" not in err and "error: a data worker died" in err


def test_a_worker_that_hangs(seventh, whole, few_digits, tmp_path):
    code, err = worker_that(
        "time.sleep(600)", seventh, tmp_path, few_digits, tmp_path / "run", "train.timeout=2"
    )
    assert code == 7
    assert "error: a data worker took longer than train.timeout while making the documents after 96 (" in err
    finished(few_digits, tmp_path / "run", whole)


@pytest.mark.parametrize("where", ["True", IN_WORKER])
def test_a_document_that_cannot_be_made(where, seventh, whole, few_digits, tmp_path):
    """One line that names it and its picture, the same with and without workers."""
    code, err = worker_that(
        "raise ValueError('no such pixels')",
        seventh,
        tmp_path,
        few_digits,
        tmp_path / "run",
        f"train.workers={2 * (where != 'True')}",
        where=where,
    )
    assert code == 3 and err.splitlines()[1:] == [
        f"error: document {seventh[0]:,}, {seventh[1]} of set 'digits', cannot be made (ValueError: no such "
        f"pixels); "
        "prepare the set again"
    ]
    finished(few_digits, tmp_path / "run", whole)


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="this system has no /dev/shm")
def test_small_shared_memory_is_said_and_the_run_goes_on(few_digits, tmp_path, monkeypatch):
    usage, heard = shutil.disk_usage, []
    monkeypatch.setattr(
        loader.shutil,
        "disk_usage",
        lambda path: usage(path)._replace(**{"free": 64 << 20} if str(path) == "/dev/shm" else {}),
    )
    words = ("train.workers=1", "train.documents=32")
    assert len(go(settings(*words), few_digits, tmp_path / "run", notify=heard.append)) == 2
    assert [line for line in heard if "/dev/shm" in line] == [
        "/dev/shm has 64 MiB free and data workers hand batches over through it; give it 1 GiB (docker run "
        "--shm-size=1g) or "
        "set train.workers=0"
    ]


# ------------------------------------------------------------------------------------------------ 15: signals


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_second_signal_acts_at_once(number, code, whole, few_digits, tmp_path):
    """The first one waits for the end of a step that does not end. No harm is done."""
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run), pause(tmp_path), 6)
    until((tmp_path / "here").exists)
    os.kill(process.pid, number)
    process.join(0.3)
    assert process.exitcode is None
    os.kill(process.pid, number)
    process.join(5)
    assert process.exitcode == code and step_of(run) == 5
    assert "saved at" not in (tmp_path / "err").read_text()
    go(settings(), few_digits, run)
    assert_equal_runs(run, whole())


def test_a_signal_while_a_checkpoint_is_written(whole, few_digits, tmp_path, monkeypatch):
    """It is written to its end, and so is the one of the step after which the run stops."""
    write, sent, heard = checkpoint.write_tensors, iter([signal.SIGTERM]), []

    def writing(partial, name, tensors):
        if name == "ema":
            for number in sent:
                os.kill(os.getpid(), number)
        return write(partial, name, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", writing)
    with pytest.raises(Stopped, match="stopped by SIGTERM and saved at 96 documents") as caught:
        go(settings(), few_digits, tmp_path / "run", notify=heard.append)
    assert caught.value.exit_code == 143
    found = checkpoint.survey(tmp_path / "run")
    assert [(item["step"], item["problems"]) for item in found] == [(5, {}), (6, {})]
    go(settings(), few_digits, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", whole())


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def test_the_handlers_are_put_back(few_digits, tmp_path):
    """After the end, after a stop by each signal, after an error, and where the caller closes the loop."""
    before = handlers()

    def note(number, frame):
        raise AssertionError("the run had to take it")

    for number in SIGNALS:
        signal.signal(number, note)
    ours = handlers()
    try:
        loop = train(settings(), few_digits, tmp_path / "closed", CPU, lambda message: None)
        next(loop)
        assert not set(handlers()) & set(ours)
        loop.close()
        assert handlers() == ours
        go(settings("train.documents=16"), few_digits, tmp_path / "whole")
        assert handlers() == ours
        for number in SIGNALS:
            loop = train(settings(), few_digits, tmp_path / str(int(number)), CPU, lambda message: None)
            next(loop)
            signal.raise_signal(number)
            with pytest.raises(
                Stopped, match=f"stopped by {number.name} and saved at 32 documents"
            ) as caught:
                list(loop)
            assert caught.value.exit_code == 128 + number and handlers() == ours
        with pytest.raises(CheckpointError):
            go(settings("train.batch=32"), few_digits, tmp_path / "whole")
        assert handlers() == ours
    finally:
        for number, handler in zip(SIGNALS, before):
            signal.signal(number, handler)


def test_under_nohup_training_goes_on(few_digits, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        loop = train(settings(), few_digits, tmp_path / "run", CPU, lambda message: None)
        next(loop)
        signal.raise_signal(signal.SIGHUP)
        assert len(list(loop)) == 9 and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


OWN_GROUP = "from launching import put\nos.setpgrp()\nput('os.killpg(os.getpid(), 15)', 6)"


def test_the_group_of_a_run_with_workers_is_stopped(whole, few_digits, tmp_path):
    """As by a launcher or a terminal: the signal reaches every process of the group, and the state is saved
    all the same."""
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run, "train.workers=2"), OWN_GROUP)
    process.join(60)
    err = (tmp_path / "err").read_text()
    assert process.exitcode == 143 and "stopped by SIGTERM and saved at 112 documents" in err, err
    finished(few_digits, run, whole)


# ------------------------------------------------------------------------------- 16: two processes on one run


@pytest.fixture
def training(few_digits, tmp_path):
    """A run that another process trains; it waits after its sixth step. -> (run, process)."""
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run), pause(tmp_path), 6)
    until((tmp_path / "here").exists)
    yield run, process
    process.kill()
    process.join()


def test_a_second_process_and_the_end_of_the_first(training, whole, few_digits, rawmm):
    """It is told at once who trains, and changes nothing; when the first is killed the lock is free."""
    run, process = training
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    started = time.monotonic()
    code, out, err = rawmm(*command(few_digits, run))
    assert time.monotonic() - started < 5 and (code, out) == (8, "")
    assert err == (
        f"error: process {process.pid} on {socket.gethostname()} is training in {run}; wait for it, or use "
        f"another "
        "--run name\n"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    process.kill()
    process.join()
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_equal_runs(run, whole())


def test_a_run_can_be_looked_at_while_it_is_trained(training, whole, few_digits, tmp_path, rawmm):
    """Commands that only read need no lock, and the run does not notice them."""
    run, process = training
    here, data = ("--runs-dir", run.parent), ("--data-dir", few_digits)
    code, out, _ = rawmm(
        "sample", "three", "--run", "run", *here, "--json", "--out", tmp_path / "three.png", "--device", "cpu"
    )
    assert code == 0 and json.loads(out)["documents"] == 80, out
    code, out, _ = rawmm("evaluate", "run", *here, *data, "--per-label", "1", "--json", "--device", "cpu")
    assert code == 0 and json.loads(out)["documents"] == 80
    assert rawmm("report", "run", *here, "--json")[0] == 0
    assert rawmm("checkpoint", "verify", "run", *here, "--json")[0] == 0
    assert rawmm("presets", "tiny", "--json")[0] == 0
    (tmp_path / "go").touch()
    process.join(60)
    assert process.exitcode == 0
    for extra in {path.name for path in (run / "samples").glob("*.png")} - {
        path.name for path in (whole() / "samples").glob("*.png")
    }:
        (run / "samples" / extra).unlink()
    assert_equal_runs(run, whole())


# ------------------------------------------------------------------------------------------- 20: exact resume

EVERY = ("train.save_every=16", "train.log_every=16", "train.keep=99")
KINDS = {
    "plain": (range(1, 11), ()),
    "all at once": (
        range(1, 11),
        (
            "train.optimizer=muon",
            "backbone.kind=transformer",
            "train.ema.kind=power",
            "train.ema.snapshots=5",
            "train.accumulate=2",
            "train.recompute=true",
        ),
    ),
    "transformer": ((3, 8), ("backbone.kind=transformer", "data.shift=2", "data.finished=0.3")),
    "muon": ((3, 8), ("train.optimizer=muon", "train.ema.half_life=50", "train.decay=1")),
    "workers": ((3, 8), ("train.workers=2",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_from_any_step_it_is_the_same(kind, whole, few_digits, tmp_path):
    """Steps 4, 7 and 10 cross the borders of epochs of 50 pictures; the learning rate rises until step 4 and
    falls from 7 on."""
    steps, words = KINDS[kind]
    unbroken = whole(*EVERY, *words)
    for step in steps:
        run = shutil.copytree(unbroken, tmp_path / str(step))
        for later in range(step + 1, 11):
            shutil.rmtree(run / "checkpoints" / f"step_{later:08d}")
        found = go(settings(*EVERY, *words), few_digits, run)
        assert [record["step"] for record in found] == list(range(step + 1, 11))
        assert_equal_runs(run, unbroken)
        assert averages(run) == averages(unbroken)
    assert len(averages(unbroken)) == (5 * 2 + 1) * ("train.ema.kind=power" in words)


def averages(run):
    """The snapshots of averages whose width is chosen later, byte for byte; the second average at the end."""
    files = {
        str(path.relative_to(run)): path.read_bytes() for path in (run / "averages").rglob("*.safetensors")
    }
    newest = checkpoint.latest(run) / "ema_2.safetensors"
    return files | ({"last": newest.read_bytes()} if newest.exists() else {})


# --------------------------------------------------------------------------------------- 22: changed settings


@pytest.mark.parametrize(
    "word, told",
    [
        ("train.batch=32", "train.batch was 16, now 32"),
        ("backbone.width=64", "backbone.width was 32, now 64"),
        ("train.ema.kind=power", "train.ema was {'kind': 'half_life'"),
        ("train.ema.widths=[0.05,0.2]", "train.ema was"),
        ("train.decay=0.5", "train.decay was 0.4, now 0.5"),
        ("train.optimizer=muon", "train.optimizer was adamw, now muon"),
        ("train.length=44", "train.length was 40, now 44"),
    ],
)
def test_changed_settings_are_named(word, told, whole, few_digits, tmp_path, rawmm):
    run = shutil.copytree(whole(), tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, err = rawmm(*command(few_digits, run, "train.documents=320", word))
    assert (
        (code, out) == (4, "")
        and err.startswith("error: run 'run' was started with other settings (")
        and told in err
    )
    assert "use the old settings, or another --run name" in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words",
    [
        ("train.workers=1",),
        ("train.recompute=true",),
        ("train.parallel=fsdp",),
        ("train.save_every=16", "train.keep=5"),
        ("train.timeout=5", "train.skip_nonfinite=3", "train.trackers=[]"),
        ("sample.steps=3", "train.sample_every=16"),
    ],
)
def test_settings_that_may_change_do_not_change_the_run(words, whole, few_digits, tmp_path):
    run = tmp_path / "run"
    go(settings(), few_digits, run, until=96)
    assert len(go(settings(*words), few_digits, run)) == 5
    (values, rest), (others, other_rest) = everything(run), everything(whole())
    assert rest["records"] == other_rest["records"]
    assert all(torch.equal(value, others[name]) for name, value in values.items())


# -------------------------------------------------------------------------------------------------- 26: clock


def test_a_clock_that_is_set_back(few_digits, tmp_path, monkeypatch):
    """By an hour, every time that anybody looks at it; and the run is stopped and goes on."""
    real, hours, run = time.time, itertools.count(1), tmp_path / "run"
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * next(hours))
    first, second = (go(settings("train.log_every=16"), few_digits, run, end) for end in (96, math.inf))
    assert next(hours) > 1
    for part in (first, second):
        assert all(later["seconds"] > earlier["seconds"] >= 0 for earlier, later in itertools.pairwise(part))
        assert all(record["eta"] >= 0 and record["documents_per_second"] > 0 for record in part)
    assert second[0]["seconds"] > first[4]["seconds"] and second[-1]["eta"] == 0
    kept = records.read(run / "records.jsonl")
    assert [record["step"] for record in kept] == list(range(1, 11)) and kept == first[:5] + second


def test_what_remains_is_never_negative():
    state = run_module.State(None, [], [], documents=170, seconds=12.5)
    assert (
        module.remaining(settings(), state, 3.0)
        == 0
        == module.remaining(settings("train.time=12"), state, 3.0)
    )
    assert module.remaining(settings("train.documents=200"), state, 3.0) == 10
    assert module.remaining(settings("train.time=20"), state, 3.0) == 7.5


# ----------------------------------------------------------------------------------------------- 27: sampling


@pytest.mark.parametrize("error", [ValueError("no picture"), OSError(5, "Input/output error"), MemoryError()])
def test_a_sheet_that_cannot_be_drawn_loses_nothing(error, whole, few_digits, tmp_path, monkeypatch):
    """The step at which it is drawn was saved before."""

    def preview(*given):
        raise error

    run, words = tmp_path / "run", ("train.sample_every=80",)
    with monkeypatch.context() as patch:
        patch.setattr(module, "preview", preview)
        with pytest.raises(type(error)):
            go(settings(*words), few_digits, run)
    assert step_of(run) == 5
    assert go(settings(), few_digits, run)[0]["step"] == 6
    assert_equal_runs(run, whole())


# ---------------------------------------------------------------------------------------------- 28: no reader


CLOSED = "reader, writer = os.pipe()\nos.close(reader)\n"


@pytest.mark.parametrize(
    "closed",
    ["os.dup2(writer, 1)", "os.dup2(writer, 1); os.dup2(writer, 2)"],
    ids=["stdout", "stdout and stderr"],
)
def test_a_reader_that_leaves_does_not_stop_training(closed, whole, few_digits, tmp_path):
    """As in `rawmm train --json | head -0`, and with 2>&1: the run goes to its end, and says nothing of
    it."""
    process = forked(tmp_path, command(few_digits, tmp_path / "run"), CLOSED + closed)
    process.join(60)
    assert process.exitcode == 0 and "Traceback" not in (tmp_path / "err").read_text()
    assert (tmp_path / "err").read_text().count("\n") <= 1
    assert_equal_runs(tmp_path / "run", whole())


# ----------------------------------------------------------------------------------- a run of so many seconds


def test_a_run_by_time(few_digits, tmp_path):
    """It ends on time, the learning rate with it; stopped and resumed, its clock goes on."""
    run = tmp_path / "run"
    chosen = settings(
        "train.time=1.5", "train.save_every=1000000", "train.sample_every=1000000", "train.warmup=32"
    )
    loop, first = train(chosen, few_digits, run, CPU, lambda message: None), []
    with pytest.raises(Stopped):
        for record in loop:
            first.append(record)
            if record["seconds"] > 0.7:
                signal.raise_signal(signal.SIGTERM)
                first += list(loop)
    saved = checkpoint.state(checkpoint.latest(run))
    assert 0.7 < saved["seconds"] < 1.5 and saved["documents"] == first[-1]["documents"] + 16
    time.sleep(0.5)  # is not training
    second = go(chosen, few_digits, run)
    assert second[0]["documents"] == saved["documents"] + 16 and saved["seconds"] < second[0]["seconds"]
    assert 1.5 <= second[-1]["seconds"] < 2.5 and second[-1]["documents"] > 160
    for earlier, later in itertools.chain(itertools.pairwise(first), itertools.pairwise(second)):
        share = optimizer.rate(chosen.train, earlier["documents"], 1 - earlier["seconds"] / 1.5)
        assert later["learning_rate"] == pytest.approx(2e-3 * share, rel=1e-12)
    assert max(record["learning_rate"] for record in first) == 2e-3 and second[-1]["learning_rate"] < 5e-4
    assert all(record["eta"] == pytest.approx(max(0, 1.5 - record["seconds"])) for record in second)
    assert go(chosen, few_digits, run) == []


def test_the_option_of_time(few_digits, tmp_path, rawmm):
    code, out, _ = rawmm(*command(few_digits, tmp_path / "run", "--time", "0.6s"))
    found = json.loads(out)
    assert code == 0 and 0.6 <= found["seconds"] < 1.6
    assert checkpoint.run_config(tmp_path / "run").train.time == 0.6


def test_lengths_of_time():
    given = ("90s", "90", "10m", "2h30m", "1d", "1.5h", "1h0m1s", "0.25")
    assert [seconds(text) for text in given] == [90, 90, 600, 9000, 86_400, 5400, 3601, 0.25]


@pytest.mark.parametrize(
    "given", ["0", "0s", "-5", "5 parsecs", "s", "1e3", "nan", "10 m", "m10", "1,5h", "3mm", ""]
)
def test_what_is_no_length_of_time(given, tmp_path, rawmm):
    code, out, err = rawmm("train", "--preset", "tiny", "--runs-dir", tmp_path / "runs", "--time", given)
    assert (code, out) == (2, "") and err == (
        f"error: --time '{given}' is not a length of time; allowed: as in 90s, 10m, 2h30m or 1d\n"
    )
    assert not (tmp_path / "runs").exists()


# ----------------------------------------------------------------------------------------------------- --gpus


@pytest.mark.parametrize(
    "have, told",
    [
        (0, "--gpus 99: this machine has no GPUs; add --device cpu to train with 99 processes on the CPU"),
        (1, "--gpus 99: this machine has 1 GPU; add --device cpu to train with 99 processes on the CPU"),
        (4, "--gpus 99: this machine has 4 GPUs; give --gpus 4"),
    ],
)
def test_more_gpus_than_there_are(have, told, few_digits, tmp_path, rawmm, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: have)
    words = [
        word
        for word in command(few_digits, tmp_path / "run", "--gpus", "99")
        if word not in ("--device", "cpu")
    ]
    assert rawmm(*words) == (2, "", f"error: {told}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words, told",
    [
        (
            ("--gpus", "3"),
            "train.batch = 16 cannot be dealt out to 3 ranks x 1 micro-batches; set train.batch to a "
            "multiple of 3",
        ),
        (
            ("--gpus", "2", "train.parallel=none"),
            "train.parallel = none and there are 2 ranks; set train.parallel=ddp or fsdp",
        ),
        (("--gpus", "0"), "Invalid value for '--gpus'"),
        (("train.accumulate=3",), "set train.batch to a multiple of 3"),
        (("--gpus", "2", "train.accumulate=3"), "set train.batch to a multiple of 6"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused_before_anything_starts(
    words, told, few_digits, tmp_path, rawmm, monkeypatch
):
    monkeypatch.setattr("rawmm_cli.system.launch.launch", lambda *given: pytest.fail("ranks were started"))
    code, out, err = rawmm(*command(few_digits, tmp_path / "run", *words))
    assert (code, out) == (2, "") and told in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank, size", [("one", "2"), ("2", "2"), ("-1", "2"), ("0", "0"), ("0", "")])
def test_an_environment_that_does_not_fit(rank, size, few_digits, tmp_path):
    """As left over from another launcher."""
    fault = f"os.environ.update(RANK={rank!r}, WORLD_SIZE={size!r})"
    process = forked(tmp_path, command(few_digits, tmp_path / "run"), fault)
    process.join(60)
    assert process.exitcode == 2
    assert (tmp_path / "err").read_text() == (
        f"error: RANK={rank} and WORLD_SIZE={size} do not fit; set both through torchrun, or unset both\n"
    )
