"""A full disk (28): said before anything is written, nothing half written, and the run goes on when there is
room."""

import os
import resource
import shutil
import subprocess

import pytest
from broken_runs import assert_same_end, back_at, command, hidden, holds, save, small_run, steps, values

from rawmm_cli.data import images
from rawmm_cli.runs import checkpoint, records
from rawmm_cli.runs.sharded import write_sharded
from rawmm_cli.system import disk
from rawmm_cli.system.errors import DiskFullError

pytestmark = pytest.mark.usefixtures("one_thread")


class SmallDisk:
    """A file system of its own that can be filled and made larger."""

    def __init__(self, folder, kilobytes):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._mount("size", kilobytes)

    def _mount(self, options, kilobytes):
        words = ["mount", "-t", "tmpfs", "-o", f"{options}={kilobytes}k", "tmpfs", str(self.folder)]
        if os.geteuid() or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("only root can mount a file system here")

    def resize(self, kilobytes):
        self._mount("remount,size", kilobytes)

    def fill(self, leave=0):
        """A file that takes all but `leave` bytes, in whole pages."""
        size = (shutil.disk_usage(self.folder).free - leave) // 4096 * 4096
        (self.folder / "ballast").write_bytes(bytes(max(0, size)))

    def unmount(self):
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)


@pytest.fixture
def small_disk():
    """Function (folder, kilobytes) -> SmallDisk, removed after the test."""
    disks = []

    def make(folder, kilobytes):
        disks.append(SmallDisk(folder, kilobytes))
        return disks[-1]

    yield make
    for one in disks:
        one.unmount()


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(whole, few_digits, tmp_path, rawmm, small_disk):
    """Room for one checkpoint and a half: the second says so before it writes anything."""
    run = tmp_path / "run"
    one = disk.used(whole / "checkpoints" / "step_00000010")
    room = small_disk(run / "checkpoints", (one * 3 // 2) // 1024)
    code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (28, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"error: no room to save checkpoint step_00000006 in {run / 'checkpoints'}")
    free = shutil.disk_usage(run / "checkpoints").free
    assert f" and {free:,} are free; the earlier ones are intact; make room" in last and "it needs " in last
    assert steps(run) == [3] and hidden(run) == [] and checkpoint.verify(checkpoint.latest(run)) is None
    assert rawmm(*command(few_digits, run))[0] == 28  # still full, still intact
    assert steps(run) == [3]
    room.resize(8 * one // 1024)
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_same_end(run, whole)


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(tmp_path, small_disk, monkeypatch):
    """Wherever it becomes full: the earlier checkpoint stays, nothing half-written does. (Free space was
    there when it was looked at, and another process took it.)"""
    run = small_run(tmp_path)
    room, usage, refused, step = small_disk(run / "checkpoints", 2000), shutil.disk_usage, [], 1
    before = save(run, step, count=50_000)
    size, warnings = disk.used(before), []
    for leave in [0, 4096, 8192, *range(size // 10, size + size // 4, size // 10), size - 4096]:
        room.fill(leave)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=10**9))
            try:
                before, step = save(run, step + 1, keep=1, count=50_000, warn=warnings.append), step + 1
            except DiskFullError as error:
                assert (
                    f"no room to save checkpoint step_{step + 1:08d}" in str(error) and error.exit_code == 28
                )
                refused.append(leave)
        (room.folder / "ballast").unlink()
        assert hidden(run) == [] and warnings == []
        assert checkpoint.latest(run) == before and holds(before, step)
    assert len(refused) >= 10 and step >= 3, (refused, step)


def test_shards_on_a_full_disk(tmp_path, small_disk):
    run = small_run(tmp_path)
    room = small_disk(run / "checkpoints", 2000)
    before = save(run, 1, count=50_000)
    room.fill(leave=disk.used(before) // 2)
    partial = checkpoint.begin(run, 2)
    with pytest.raises(
        DiskFullError, match="no room to save checkpoint step_00000002 .*No space left on device.* are free"
    ):
        with checkpoint.all_or_nothing(partial):
            for name, tensors in values(2, 50_000).items():
                write_sharded(partial / name, tensors)
    assert hidden(run) == [] and checkpoint.latest(run) == before and holds(before, 1)
    assert shutil.disk_usage(room.folder).free >= disk.used(before) // 2 // 4096 * 4096


def test_a_limit_on_the_size_of_files_is_a_full_disk(whole, few_digits, tmp_path, rawmm):
    """`ulimit -f`, and a way to meet the same error where nothing can be mounted."""
    run, (soft, hard) = back_at(whole, tmp_path / "run", 3), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        code, out, err = rawmm(*command(few_digits, run))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (
        (code, out) == (28, "")
        and "no room to save checkpoint step_00000006" in err
        and "(File too large)" in err
    )
    assert steps(run) == [3] and hidden(run) == []
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_same_end(run, whole)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_no_room_for_a_record(whole, few_digits, tmp_path, rawmm):
    run = tmp_path / "run"
    run.mkdir()
    (run / "records.jsonl").symlink_to("/dev/full")
    code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (28, "") and err.splitlines()[-1] == (
        f"error: no room on the disk for {run / 'records.jsonl'} (No space left on device); make room and "
        f"run the same "
        "command again"
    )
    (run / "records.jsonl").unlink()
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_same_end(run, whole)


def test_a_record_is_written_whole_or_not_at_all(tmp_path, small_disk):
    room, path, lines = small_disk(tmp_path / "disk", 64), tmp_path / "disk" / "records.jsonl", 0
    room.fill(leave=8192)
    with pytest.raises(DiskFullError, match="no room on the disk for .*records.jsonl"):
        while True:
            records.append(path, {"documents": lines, "rest": "x" * 90})
            lines += 1
    assert len(records.read(path)) == lines > 30 and path.read_bytes().endswith(b"}\n")
    with pytest.raises(DiskFullError, match="records.jsonl"):
        records.truncate(path, lines // 2)
    assert len(records.read(path)) == lines and sorted(os.listdir(room.folder)) == [
        "ballast",
        "records.jsonl",
    ]
    (room.folder / "ballast").unlink()
    records.append(path, {"documents": lines})
    assert [record["documents"] for record in records.read(path)] == list(range(lines + 1))


def test_no_room_for_a_picture(whole, few_digits, tmp_path, rawmm, small_disk):
    """The checkpoint of the step was saved before its picture was drawn; the picture is written whole or not
    at all."""
    run = tmp_path / "run"
    room, more = small_disk(run / "samples", 16), "train.sample_every=96"
    room.fill()
    code, out, err = rawmm(*command(few_digits, run, more))
    assert (code, out) == (28, "") and ".png: No space left on device" in err.splitlines()[-1]
    assert os.listdir(room.folder) == ["ballast"] and steps(run) == [3, 6]
    room.unmount()
    assert rawmm(*command(few_digits, run, more))[0] == 0
    assert_same_end(run, whole)
    assert images.read_image(run / "samples" / "step_00000010.png").size


def test_no_room_for_what_is_drawn(tmp_path, rawmm, small_disk):
    """A full disk gives one line and nothing half written; with room the same command draws."""
    room = small_disk(tmp_path / "out", 64)
    room.fill()
    words = ("sample", "a portrait of", "--json", "--gif", "--out", room.folder)
    code, out, err = rawmm(*words)
    assert (code, out) == (28, "") and err.count("\n") == 1 and ".png: No space left on device" in err
    assert os.listdir(room.folder) == ["ballast"]
    room.resize(4096)
    code, out, err = rawmm(*words)
    assert code == 0 and len(os.listdir(room.folder)) == 3
