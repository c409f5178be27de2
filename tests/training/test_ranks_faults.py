"""`rawmm train --gpus 2` as a person starts it: whatever one rank does, both end, with one line."""

import json
import shutil
import signal
import time

import pytest
import torch
from forking import DIE, NAN, ForkedLauncher, together
from launching import Launched
from rank_runs import EVERY, observed
from training_runs import assert_same_bits, command, settings, step_of

from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.training.signals import Signals

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]
TWO = ("--gpus", "2")


def saved(run, whole, step):
    """Check that the newest checkpoint is that of `step`, and the unbroken run's bit for bit."""
    assert step_of(run) == step
    for name in ("model", "ema", "optimizer"):
        tensors = loading.tensors(checkpoint.latest(run), name)
        expected = loading.tensors(whole / "checkpoints" / f"step_{step:08d}", name)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in tensors.items())


def resumed(few_digits, run, whole_ranks):
    """Run the same command again: it goes on from the last checkpoint and ends as if nothing had happened."""
    ranks = together(2, observed, settings(), few_digits, run)
    assert ranks[0]["records"][0]["step"] > 5
    assert_same_bits(run, whole_ranks(2))


def test_two_ranks_in_a_folder_of_any_name(whole_ranks, few_digits, tmp_path):
    """Spaces, quotes, letters of other alphabets and what a shell would take for its own; one JSON object;
    nothing stays. Threads of gloo that want the interpreter while it is taken down would abort a rank: it
    must leave without that."""
    folder = tmp_path / "ü '\" $x;\n* \U0001f642"
    data = shutil.copytree(few_digits, folder / "data")
    abort = "import atexit\natexit.register(os.abort)"
    done = Launched(tmp_path, command(data, folder / "run", *TWO), abort, 7, 1, cwd=folder).end()
    assert (done.code, done.remaining) == (0, []) and done.errors == []
    assert json.loads(done.out)["documents"] == 160 and done.out.count("\n") == 1
    assert_same_bits(folder / "run", whole_ranks(2))
    state = checkpoint.state(checkpoint.latest(folder / "run"))
    assert state["ranks"] == 2


# --------------------------------------------------------------------------------------------- one rank fails

KILLED = "was killed by signal 9; the others were stopped and the last checkpoint is intact; run the same"
FAULTS = {
    "first killed": (0, DIE, 7, f"rank 0 {KILLED} command again"),
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
    "told to stop": (1, "os.kill(os.getpid(), 15)", 143, ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_rank_ends_the_job(name, whole_ranks, few_digits, tmp_path, rawmm, monkeypatch):
    """One line that names the cause, its exit code, and the last checkpoint is sound. A signal to one rank
    stops both at the same step."""
    rank, fault, code, line = FAULTS[name]
    launcher = ForkedLauncher(tmp_path, rank, fault, 7)
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", launcher)
    monkeypatch.setenv("RAWMM_LAUNCHED", "")  # set by `launch`; put back at the end
    run = tmp_path / "run"
    returned, out, err = rawmm(*command(few_digits, run, *TWO, "train.timeout=4"))
    ranks = "".join((tmp_path / f"err.{number}").read_text() for number in range(2))
    assert (returned, out) == (code, ""), err
    if name == "told to stop":
        assert err == "" and [text for text in ranks.splitlines() if text.startswith("stopped")] == [
            "stopped at 128 documents, saved; the same command goes on"
        ]
        return saved(run, whole_ranks(2, *EVERY), 8)
    assert err.splitlines()[-1].startswith(f"error: {line}") and "error: " not in ranks
    if name == "a bug":
        assert err.count("Traceback") == 1 and err.count("ValueError: made by the test") == 2
    else:
        assert err.count("\n") == 1 and "Traceback" not in err + ranks
    saved(run, whole_ranks(2), 5)


HANGS = """
from rawmm_cli.training.signals import Signals
Signals.GRACE = 1
time.sleep(600)
"""
REAL = {
    "killed": (DIE, f"rank 1 {KILLED} command again"),
    "hangs": (HANGS, "another rank died or did not answer in time"),
}


@pytest.mark.parametrize("name", REAL)
def test_a_rank_that_answers_no_more_ends_the_job(name, whole_ranks, few_digits, tmp_path):
    """The same with torch's launcher; no process is left over, the run goes on from its last checkpoint."""
    fault, line = REAL[name]
    run = tmp_path / "run"
    done = Launched(tmp_path, command(few_digits, run, *TWO, "train.timeout=2"), fault, 7, 1).end(60)
    assert (done.code, done.out, done.remaining) == (7, "", []), done.err
    assert len(done.errors) == 1 and done.errors[0].startswith(f"error: {line}")
    assert "Traceback" not in done.err and len(done.err.splitlines()) == 2
    saved(run, whole_ranks(2), 5)
    if name == "killed":
        resumed(few_digits, run, whole_ranks)


# ------------------------------------------------------------------------------------ signals to the launcher

# Rank 0 sends the signal from its seventh step, in which it stays until the launcher has passed it on.
SEND = """
import signal
number = signal.{name}
before = signal.getsignal(number)
{how}
while signal.getsignal(number) == before: time.sleep(0.01)
"""
STOPS = {
    "SIGTERM": "os.kill(os.getppid(), number)",
    "SIGHUP": "os.kill(os.getppid(), number)",
    "SIGINT": "os.killpg(os.getpgid(os.getppid()), number)",  # Ctrl-C reaches the whole group
}


@pytest.mark.parametrize("name", STOPS)
def test_a_signal_saves_the_same_step_of_both_ranks(name, whole_ranks, few_digits, tmp_path):
    """A signal while rank 0 is in its seventh step and rank 1 waits for it."""
    number, run = getattr(signal, name), tmp_path / "run"
    fault = SEND.format(name=name, how=STOPS[name])
    done = Launched(tmp_path, command(few_digits, run, *TWO), fault, 6, 0).end(60)
    assert (done.code, done.out, done.remaining) == (128 + number, "", []), done.err
    assert done.err.splitlines()[1:] == ["stopped at 112 documents, saved; the same command goes on"]
    saved(run, whole_ranks(2, *EVERY), 7)
    if name == "SIGTERM":
        resumed(few_digits, run, whole_ranks)


def test_a_second_signal_to_the_launcher_acts_at_once(whole_ranks, few_digits, tmp_path):
    """The first one is passed on and waited for; rank 0 stays in its step, and sends the second."""
    run, here = tmp_path / "run", tmp_path / "here"
    fault = SEND.format(name="SIGTERM", how=STOPS["SIGTERM"])
    fault += f"time.sleep(0.5)\nopen({str(here)!r}, 'w').close()\n{STOPS['SIGTERM']}\ntime.sleep(600)"
    done = Launched(tmp_path, command(few_digits, run, *TWO), fault, 6, 0).end(60)
    assert time.time() - here.stat().st_mtime < Signals.GRACE
    assert (done.code, done.remaining) == (143, [])
    saved(run, whole_ranks(2), 5)


def test_a_launcher_that_is_killed(whole_ranks, few_digits, tmp_path):
    """The ranks of a killed launcher end by themselves, trained or saved, and the lock is free."""
    run, words = tmp_path / "run", command(few_digits, tmp_path / "run", *TWO)
    done = Launched(tmp_path, words, "os.kill(os.getppid(), 9)", 6, 0).end(60)
    assert (done.code, done.remaining) == (-signal.SIGKILL, [])
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
    assert (done.code, done.remaining, done.errors) == (0, [], []), done.err
    assert json.loads(done.out)["documents"] == 160
    assert_same_bits(tmp_path / "run", whole_ranks(2))
