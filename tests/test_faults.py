"""Faults of training in one process: however it ends, the same command again makes the same run, bit for bit."""

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
from broken_runs import fork
from launching import alive, assert_same_bits, children, command, forked, pause, step_of, until
from test_train import assert_equal_runs, everything, go, settings, spoiled

from rawmm_cli.core import build, checkpoint, loader, posthoc, prepared, records
from rawmm_cli.core import run as run_module
from rawmm_cli.core import train as module
from rawmm_cli.core.errors import CheckpointError, DivergedError, Stopped
from rawmm_cli.core.stream import picture_of
from rawmm_cli.core.train import train

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


# ------------------------------------------------------------------------------------------------------ 1: kill -9

SLOW = "step = train.take_step\ntrain.take_step = lambda *given: (time.sleep(0.1), step(*given))[1]"


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_any_moment(workers, whole, few_digits, tmp_path):
    """Each time a random moment after some progress; then the run ends, as if nothing had been. No worker stays."""
    run, dice, ended, helpers = tmp_path / "run", random.Random(workers), [], set()
    words = command(few_digits, run, "train.save_every=16", "train.log_every=16", f"train.workers={workers}")
    for _ in range(4):
        before, process = step_of(run), forked(tmp_path, words, SLOW)
        until(lambda: len(records.read(run / "records.jsonl")) > before or not process.is_alive())
        time.sleep(dice.uniform(0, 0.1))
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


# --------------------------------------------------------------------------------------------------- 11: not finite


@pytest.mark.parametrize("how, told", [("text", "loss, text, gradient_norm"), ("image", "loss, image, gradient_norm"),
                                       ("gradient", "gradient_norm")])
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
        return losses._replace(total=losses.total * math.nan, text=losses.text * math.nan) if next(calls) in bad else losses

    monkeypatch.setattr(module, "joint_loss", joint_loss)
    run = tmp_path / "run"
    found = go(settings("train.skip_nonfinite=2"), few_digits, run, notify=heard.append)
    assert [(record["step"], record["documents"]) for record in found] == [
        (1, 16), (2, 32), (3, 80), (4, 128), (5, 144), (6, 160)]
    assert all(math.isfinite(value) for record in found for value in record.values())
    assert [line.partition(":")[2] for line in heard if "step skipped" in line] == [
        f" step skipped, {n} in a row; its documents are in bad_batch.json" for n in (1, 2, 1, 2)]
    assert json.loads((run / "bad_batch.json").read_text())["documents"]
    now = next(calls) + 1
    bad |= {now + 4, now + 5, now + 6}
    with pytest.raises(DivergedError, match="at document 96"):
        go(settings("train.skip_nonfinite=2"), few_digits, tmp_path / "other")


# ------------------------------------------------------------------------------------------------ 12: out of memory

FULL = {"torch's own": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        "the CPU's": RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you "
                                  "tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)")}


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
    for remedy in ("train.accumulate=2", "train.recompute=true", "train.batch (now 16)", "`rawmm train --dry-run`",
                   "the last checkpoint is intact"):
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


# -------------------------------------------------------------------------------------------------- 13: data workers

WORKER = """
make = loader.finish
def finish(data, sketch):
    if str(data.table["source"][sketch.picture]) == {source!r} and {where}:
        {what}
    return make(data, sketch)
loader.finish = finish
"""
IN_WORKER = "loader.torch.utils.data.get_worker_info()"


@pytest.fixture(scope="module")
def seventh(few_digits):
    """A picture that no step before the seventh has, and its source and document there."""
    chosen, data = settings(), prepared.load(few_digits / "digits", "train")
    steps = loader.Steps(chosen, data, build.model(chosen, "meta").codec.grid, False)
    pictures = [{number: picture_of(number, len(data), 0) for number in steps.numbers(seen)} for seen in range(0, 112, 16)]
    before = {picture for step in pictures[:-1] for picture in step.values()}
    number = next(number for number, picture in pictures[-1].items() if picture not in before)
    return number, str(data.table["source"][pictures[-1][number]])


def worker_that(what, seventh, folder, data, run, *words, where=IN_WORKER):
    """A run with two workers; the one that comes to a picture of the seventh step does `what` -> (exit code, stderr)."""
    process = forked(folder, command(data, run, "train.workers=2", *words),
                     WORKER.format(what=what, source=seventh[1], where=where))
    process.join(60)
    assert step_of(run) == 5
    return process.exitcode, (folder / "err").read_text()


def finished(data, run, whole):
    """The same command again, without the fault, ends as if nothing had been."""
    go(settings("train.workers=2"), data, run)
    assert_same_bits(run, whole())


def test_a_worker_that_is_killed(seventh, whole, few_digits, tmp_path):
    what = "time.sleep(2); os.kill(os.getpid(), 9)"      # the run waits for the step by then
    code, err = worker_that(what, seventh, tmp_path, few_digits, tmp_path / "run")
    assert code == 7
    assert err.splitlines()[-1].startswith("error: a data worker died while making the documents after 96 (")
    assert "the last checkpoint is intact; run the same command again, or set train.workers=0" in err
    finished(few_digits, tmp_path / "run", whole)


@pytest.mark.xfail(strict=True, reason="torch raises what a dead worker leaves behind from a signal handler, in the middle of "
                                       "the step; nothing translates it there, and the run ends with 1 and a traceback")
def test_a_worker_that_is_killed_while_a_step_is_taken(few_digits, tmp_path):
    """The run is busy for two seconds, in which the worker dies."""
    busy = "\nput = __import__('launching').put\nput('time.sleep(2)', 6)"
    process = forked(tmp_path, command(few_digits, tmp_path / "run", "train.workers=1"),
                     "loader._same = lambda batch: batch\n" + busy.replace("time.sleep(2)", "\n".join([
                         "import signal, time", "from launching import children", "end = time.monotonic() + 2",
                         "[os.kill(pid, signal.SIGKILL) for pid in children(os.getpid())]",
                         "while time.monotonic() < end: time.sleep(0.01)"]).replace("\n", "\\n")))
    process.join(60)
    err = (tmp_path / "err").read_text()
    assert process.exitcode == 7 and "Traceback" not in err and "a data worker died" in err


def test_a_worker_that_hangs(seventh, whole, few_digits, tmp_path):
    code, err = worker_that("time.sleep(600)", seventh, tmp_path, few_digits, tmp_path / "run", "train.timeout=2")
    assert code == 7
    assert "error: a data worker took longer than train.timeout while making the documents after 96 (" in err
    finished(few_digits, tmp_path / "run", whole)


@pytest.mark.parametrize("where", ["True", IN_WORKER])
def test_a_document_that_cannot_be_made(where, seventh, whole, few_digits, tmp_path):
    """One line that names it and its picture, the same with and without workers."""
    code, err = worker_that("raise ValueError('no such pixels')", seventh, tmp_path, few_digits, tmp_path / "run",
                            f"train.workers={2 * (where != 'True')}", where=where)
    assert code == 3 and err.splitlines()[1:] == [
        f"error: document {seventh[0]:,}, picture {seventh[1]} of set 'digits', cannot be made (ValueError: no such pixels); "
        "prepare the set again"]
    finished(few_digits, tmp_path / "run", whole)


def test_small_shared_memory_is_said_and_the_run_goes_on(few_digits, tmp_path, monkeypatch):
    usage, heard = shutil.disk_usage, []
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: usage(path)._replace(
        **{"free": 64 << 20} if str(path) == "/dev/shm" else {}))
    monkeypatch.setattr(loader.os.path, "isdir", lambda path: True)
    words = ("train.workers=1", "train.documents=32")
    assert len(go(settings(*words), few_digits, tmp_path / "run", notify=heard.append)) == 2
    assert [line for line in heard if "/dev/shm" in line] == [
        "/dev/shm has 64 MiB free and data workers hand batches over through it; give it 1 GiB (docker run --shm-size=1g) or "
        "set train.workers=0"]
