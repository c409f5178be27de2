"""`rawmm train --gpus 2` as a person starts it: whatever one rank does, both end, with one line."""

import json
import os
import shutil
import signal
import time

import pytest
from forking import NAN, pause, together, until
from launching import Launched
from rank_runs import observed
from training_runs import assert_same_bits, command, settings, step_of

from rawmm_cli.runs import checkpoint

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]


# ------------------------------------------------------------------------------------------- the real command

TWO = ("--gpus", "2")


def resumed(few_digits, run, whole_ranks):
    """The same command again goes on from the last checkpoint, and ends as if nothing had been."""
    found = together(2, observed, settings(), few_digits, run)
    assert found[0]["records"][0]["step"] > 5
    assert_same_bits(run, whole_ranks(2))


def test_two_ranks_in_a_folder_of_any_name(whole_ranks, few_digits, tmp_path):
    """Spaces, quotes, letters of other alphabets and what a shell would take for its own; one JSON object;
    nothing stays."""
    folder = tmp_path / "ü '\" $x; *"
    data = shutil.copytree(few_digits, folder / "data")
    done = Launched(tmp_path, command(data, folder / "run", *TWO)).end()
    assert (done.code, done.left) == (0, []) and done.errors == []
    assert json.loads(done.out)["documents"] == 160 and done.out.count("\n") == 1
    assert_same_bits(folder / "run", whole_ranks(2))
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
def test_a_fault_of_one_rank_ends_the_job(name, whole_ranks, few_digits, tmp_path):
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
    resumed(few_digits, run, whole_ranks)


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
def test_a_signal_saves_the_same_step_of_both_ranks(name, whole_ranks, few_digits, tmp_path):
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
    resumed(few_digits, run, whole_ranks)


def test_a_second_signal_to_the_launcher_acts_at_once(whole_ranks, few_digits, tmp_path):
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
    resumed(few_digits, run, whole_ranks)


def test_a_launcher_that_is_killed(whole_ranks, few_digits, tmp_path):
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
    assert_same_bits(run, whole_ranks(2))


def test_ranks_of_another_launcher(whole_ranks, few_digits, tmp_path):
    """torchrun starts them, as on several machines. The `--` keeps torchrun from taking --run for an option
    of its own."""
    module = (
        "torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint localhost:0 "
        "-m -- rawmm_cli"
    )
    done = Launched(tmp_path, command(few_digits, tmp_path / "run"), module=module).end()
    assert (done.code, done.left, done.errors) == (0, [], []), done.err
    assert json.loads(done.out)["documents"] == 160
    assert_same_bits(tmp_path / "run", whole_ranks(2))
