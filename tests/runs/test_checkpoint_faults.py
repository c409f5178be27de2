"""Never lose a step: a process killed at every point of a checkpoint, deletion that fails, a reader that
leaves.

Where a run was broken, its end is compared with that of a run that nothing broke, byte for byte. Processes
that die are forked from a server that has imported everything, so each costs a second and not five."""

import errno
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from broken_runs import (
    assert_same_end,
    back_at,
    command,
    hidden,
    holds,
    save,
    small_run,
    spoil,
    steps,
    values,
)
from forking import die_before_change, fork, forked

from rawmm_cli.runs import checkpoint
from rawmm_cli.system import manifest

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]
POINTS = ("before", "after_tensors", "before_marker", "after_marker", "before_prune", "during_prune")


# ----------------------------------------------------------------------------- killed while saving (number 2)


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_while_it_saves_loses_nothing(point, whole, few_digits, tmp_path, rawmm):
    """keep=1 is the hardest: each save deletes the only other checkpoint."""
    run = back_at(whole, tmp_path / "run", 6)
    process = forked(tmp_path, command(few_digits, run, "train.keep=1"), RAWMM_TEST_CRASH_AT=f"ckpt:{point}")
    process.join(120)
    assert process.exitcode == 137
    published = point in ("before_prune", "during_prune")
    assert checkpoint.latest(run).name == f"step_{9 if published else 6:08d}"
    assert steps(run) == {"before_prune": [6, 9], "during_prune": [9]}.get(point, [6])
    assert hidden(run) == {"before": [], "before_prune": [], "during_prune": [".step_00000006.deleted"]}.get(
        point, [".step_00000009.partial"]
    )
    assert all(item["problems"] == {} for item in checkpoint.survey(run))

    code, _, err = rawmm(*command(few_digits, run, "train.keep=1"))
    assert code == 0
    assert (
        f"resuming run at {144 if published or point == 'after_marker' else 96}" in err
    )  # after_marker: it was whole
    assert steps(run) == [10]
    assert_same_end(run, whole)


def test_a_process_that_dies_in_its_first_save_starts_anew(few_digits, whole, tmp_path, rawmm):
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run), RAWMM_TEST_CRASH_AT="ckpt:after_tensors")
    process.join(120)
    assert process.exitcode == 137 and checkpoint.latest(run) is None
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_same_end(run, whole)


def test_a_step_saved_again_is_not_lost_between_two_renames(tmp_path):
    """The old folder has gone and the new one has not come yet: the new one is whole and gets its name."""
    run = small_run(tmp_path)
    checkpoint.save(run, 5, values(4), {"documents": 5, "seconds": 0.0, "data": ""}, 1)
    process = fork(save_and_die, run, 5, "during_replace")
    process.join(60)
    assert process.exitcode == 137 and checkpoint.latest(run) is None
    checkpoint.sweep(run)
    assert holds(checkpoint.latest(run), 5) and hidden(run) == []


def save_and_die(run, step, point):
    os.environ["RAWMM_TEST_CRASH_AT"] = f"ckpt:{point}"
    save(run, step)


def save_until_change(run, step, number, note):
    """Save one more checkpoint, as a run that goes on does; killed on the way."""
    die_before_change(run, number, note)
    checkpoint.sweep(run)
    save(run, step, keep=1)


def test_kill_9_in_front_of_every_change_of_the_disk(tmp_path):
    """Every change of a save, from the first file to the last deletion; keep=1 deletes the only other one."""
    run, note, changes = small_run(tmp_path), tmp_path / "note", []
    save(run, 1, keep=1)
    step = 1
    for number in itertools.count(1):
        process = fork(save_until_change, run, step + 1, number, note)
        process.join(60)
        warnings = []
        newest = checkpoint.latest(run, warnings.append)
        saved = checkpoint.state(newest)["step"]
        assert warnings == [] and saved in (step, step + 1) and holds(newest, saved)
        step = saved
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        changes.append(re.sub(r"step_\d+", "step", note.read_text()))
    for change in (
        "open {}.step.partial/state.json",
        "rename {}.step.partial",
        "rename {}step",
        "rmtree {}.step.deleted",
    ):
        assert any(change.format("/checkpoints/") in one for one in changes), changes
    save(run, step + 1)
    assert len(steps(run)) == 2 and hidden(run) == []  # however many were left over, the next save tidies up


# ----------------------------------------------------------------------------------------- pruning (number 5)


def test_nothing_is_deleted_before_the_new_one_was_read_back(tmp_path, monkeypatch):
    """A disk that reports success and stores something else: the earlier checkpoints stay until one is proven
    again."""
    run, warnings = small_run(tmp_path), []
    before = save(run, 1, keep=1)

    def lying(point):
        if point == "before_prune":
            spoil(run / "checkpoints" / "step_00000002" / "model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_crash_here", lying)
        save(run, 2, keep=1, warn=warnings.append)
    assert warnings == [
        "checkpoint step_00000002 cannot be read back (model.safetensors does not match its checksum); no "
        "earlier one is deleted; check the disk"
    ]
    assert steps(run) == [1, 2] and checkpoint.latest(run) == before and holds(before, 1)
    save(run, 3, keep=1, warn=warnings.append)
    assert steps(run) == [3] and len(warnings) == 1 and holds(checkpoint.latest(run), 3)


def test_a_reader_beside_a_run_that_trains_looks_again(tmp_path, monkeypatch):
    """A checkpoint deleted while `rawmm sample` checks it is not damaged, only old."""
    run, real, warnings = small_run(tmp_path), manifest.problems, []
    save(run, 1, keep=1)

    def meanwhile(folder, *rest):
        if folder.name.endswith("1"):
            with monkeypatch.context() as patch:
                patch.setattr(manifest, "problems", real)
                save(run, 2, keep=1)
        return real(folder, *rest)

    monkeypatch.setattr(manifest, "problems", meanwhile)
    assert checkpoint.latest(run, warnings.append).name == "step_00000002" and warnings == []


def refuse(*arguments, **named):
    raise OSError(errno.EBUSY, "Device or resource busy")


@pytest.mark.parametrize("what", ["rmtree", "rename"])
def test_a_deletion_that_fails_does_not_stop_training(what, tmp_path, monkeypatch):
    run, warnings = small_run(tmp_path), []
    save(run, 1, keep=1)
    with monkeypatch.context() as patch:
        if what == "rmtree":
            patch.setattr(
                shutil,
                "rmtree",
                lambda path, ignore_errors=False: None if ignore_errors else half_deleted(path),
            )
        else:
            real = Path.rename
            patch.setattr(
                Path, "rename", lambda path, to: refuse() if "deleted" in str(to) else real(path, to)
            )
        newest = save(run, 2, keep=1, warn=warnings.append)
    assert len(warnings) == 1 and warnings[0].startswith(
        "an old checkpoint cannot be deleted and still takes room: [Errno 16]"
    )
    assert checkpoint.latest(run) == newest and holds(newest, 2)
    assert steps(run) == ([2] if what == "rmtree" else [1, 2])  # half deleted: not taken for a checkpoint
    save(run, 3, keep=1)
    assert steps(run) == [3] and hidden(run) == []  # and tried again


def test_a_damaged_step_is_replaced_even_where_nothing_can_be_deleted(tmp_path, monkeypatch):
    run, warnings = small_run(tmp_path), []
    save(run, 1)
    spoil(save(run, 2) / "model.safetensors")
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, ignore_errors=False: None if ignore_errors else half_deleted(path)
    )
    assert holds(save(run, 2, warn=warnings.append), 2) and steps(run) == [1, 2] and len(warnings) == 1
    assert checkpoint.latest(run, warnings.append).name == "step_00000002" and len(warnings) == 1


def half_deleted(path):
    (path / "model.safetensors").unlink()
    refuse()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_old_ones_go_only_while_a_sound_one_stays(keep, tmp_path):
    """Random damage between saves, as from a bad disk: the newest sound checkpoint is always there."""
    run, rng = small_run(tmp_path), random.Random(keep)
    for step in range(1, 30):
        save(run, step, keep=keep)
        assert holds(checkpoint.latest(run), step) and len(steps(run)) <= keep
        for victim in rng.sample(steps(run)[:-1], rng.randrange(len(steps(run)))):
            spoil(run / "checkpoints" / f"step_{victim:08d}" / "ema.safetensors")
        assert checkpoint.latest(run).name == f"step_{step:08d}"


# ------------------------------------------------------------------------------ the reader leaves (number 28)


@pytest.mark.parametrize(
    "words",
    [("presets",), ("checkpoint", "verify", "RUN")],
    ids=" ".join,
)
def test_a_reader_that_leaves_after_a_line(words, whole, tmp_path):
    """A pipe as in `rawmm ... | head -1`: no traceback and no error."""
    words = [str(whole) if word == "RUN" else word for word in words]
    with open(tmp_path / "stderr", "w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "rawmm_cli", *words], stdout=subprocess.PIPE, stderr=stderr
        )
        assert process.stdout.readline().strip()
        process.stdout.close()
        assert process.wait(60) == 0
        stderr.seek(0)
        assert "Traceback" not in (text := stderr.read()) and "rror" not in text
