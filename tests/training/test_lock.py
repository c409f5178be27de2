"""Two processes on one run: one trains, the other may look."""

import json
import os
import socket
import time

import pytest
from forking import forked, pause, until
from training_runs import CPU, assert_equal_runs, command, go, settings

from rawmm_cli.system.errors import LockedError
from rawmm_cli.training.train import train

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread", "quick")]


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
    """The second one stops at once, names the owner and changes nothing; a killed owner frees the lock."""
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


def test_a_second_process_is_told_at_once(few_digits, tmp_path):
    run = tmp_path / "run"
    loop = train(settings(), few_digits, run, CPU, lambda message: None)
    next(loop)
    second = forked(tmp_path, command(few_digits, run))
    second.join(60)
    assert second.exitcode == 8 and (tmp_path / "out").read_text() == ""
    assert (tmp_path / "err").read_text() == (
        f"error: process {os.getpid()} on {socket.gethostname()} is training in {run}; wait for it, "
        "or use another --run name\n"
    )
    with pytest.raises(LockedError):
        go(settings(), few_digits, run)
    loop.close()
    assert go(settings(), few_digits, run)[-1]["documents"] == 160  # the lock is gone with its owner
