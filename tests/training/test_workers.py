"""Data workers that die, hang or fail: one line, and the same command again ends as if nothing had been."""

import os
import shutil

import pytest
from forking import forked
from training_runs import command, finished, go, settings, step_of

from rawmm_cli.config import build
from rawmm_cli.data import loader, prepared
from rawmm_cli.data.stream import picture_of

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread", "quick")]


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
    """Train with two workers; the one that reads a picture of the seventh step does `what` -> (exit code,
    stderr)."""
    process = forked(
        folder,
        command(data, run, "train.workers=2", *words),
        WORKER.format(what=what, source=seventh[1], where=where),
    )
    process.join(60)
    assert step_of(run) == 5
    return process.exitcode, (folder / "err").read_text()


def test_a_worker_that_is_killed(seventh, whole, few_digits, tmp_path):
    file = str(tmp_path / "run" / "records.jsonl")
    sixth = f"os.path.exists({file!r}) and '\"documents\": 96' in open({file!r}).read()"
    what = f"until(lambda: {sixth}); time.sleep(0.2)"  # the run waits for the seventh step by then
    what += "; os.kill(os.getpid(), 9)"
    code, err = worker_that(what, seventh, tmp_path, few_digits, tmp_path / "run")
    assert code == 7
    assert err.splitlines()[-1].startswith("error: a data worker died while making the documents after 96 (")
    assert "the last checkpoint is intact; run the same command again, or set train.workers=0" in err
    finished(few_digits, tmp_path / "run", whole)


def test_a_worker_that_is_killed_while_a_step_is_taken(few_digits, tmp_path):
    what = "from forking import children\n[os.kill(pid, 9) for pid in children(os.getpid())]\ntime.sleep(1)"
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
    usage, messages = shutil.disk_usage, []
    monkeypatch.setattr(
        loader.shutil,
        "disk_usage",
        lambda path: usage(path)._replace(**{"free": 64 << 20} if str(path) == "/dev/shm" else {}),
    )
    words = ("train.workers=1", "train.documents=32")
    assert len(go(settings(*words), few_digits, tmp_path / "run", notify=messages.append)) == 2
    assert [line for line in messages if "/dev/shm" in line] == [
        "/dev/shm has 64 MiB free and data workers hand batches over through it; give it 1 GiB (docker run "
        "--shm-size=1g) or "
        "set train.workers=0"
    ]
