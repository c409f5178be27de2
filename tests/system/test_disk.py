"""Durable writes: contents, and a failure at each step."""

import errno
import json
import os
import resource
import socket
import time
from contextlib import contextmanager

import pytest

from rawmm_cli.system import disk
from rawmm_cli.system.errors import DiskFullError, LockedError


def test_contents_and_no_other_file(tmp_path):
    disk.write(tmp_path / "a.txt", "ä\n")
    disk.write(tmp_path / "b.bin", b"\x00\xff")
    disk.write_json(tmp_path / "c.json", {"n": 1})
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "c.json").read_text() == json.dumps({"n": 1}, indent=1) + "\n"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.bin", "c.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "a.txt"
    disk.write(path, "old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DiskFullError, match="no room on the disk for .*a.txt"):
        disk.write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@contextmanager
def files_of_at_most(count):
    """As under `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_of_file_sizes_is_a_full_disk(tmp_path):
    disk.write(tmp_path / "a.txt", "old")
    with files_of_at_most(100), pytest.raises(DiskFullError, match="no room on the disk for .*a.txt"):
        disk.write(tmp_path / "a.txt", "new" * 100)
    assert (tmp_path / "a.txt").read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_written_is_named_by_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        disk.write(tmp_path / "none" / "a.txt", "x")
    assert caught.value.filename == str(tmp_path / "none" / "a.txt")


def test_pipes_and_folders_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, what in (("pipe", "a named pipe"), ("folder", "a folder")):
        with pytest.raises(OSError, match=f"it is {what}; allowed: a file"):
            disk.write(tmp_path / name, "x")
    assert (tmp_path / "pipe").is_fifo() and sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


# ----------------------------------------------------------------------------------------- what kills leave


def test_half_written_files_are_swept_but_not_those_that_are_being_written(tmp_path):
    left = [f".{'0a' * 8}.partial", ".report.html.123.partial"]
    others = [".notes.partial", "a.partial", ".owner"]
    for name in (*left, *others):
        (tmp_path / name).write_text("half")
    with disk.replacing(tmp_path / "b.txt") as file:
        disk.sweep(tmp_path)
        file.write(b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "b.txt"])
    assert (tmp_path / "b.txt").read_bytes() == b"whole"
    disk.sweep(tmp_path / "none")


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / ".model.partial" / "sub").mkdir(parents=True)  # of a killed process
    (tmp_path / ".model.partial" / "sub" / "junk").write_text("half")
    with disk.new_folder(tmp_path / "model") as partial:
        (partial / "a").write_text("a")
        assert not (tmp_path / "model").exists()
    assert os.listdir(tmp_path / "model") == ["a"] and os.listdir(tmp_path) == ["model"]
    with pytest.raises(ZeroDivisionError), disk.new_folder(tmp_path / "other") as partial:
        (partial / "a").write_text("a")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["model"]


def test_one_process_at_a_time_makes_a_folder(tmp_path):
    with disk.new_folder(tmp_path / "model") as partial:
        (partial / "a").write_text("a")
        with pytest.raises(LockedError, match="another process writes .*model; wait for it"):
            with disk.new_folder(tmp_path / "model"):
                pass
    assert os.listdir(tmp_path / "model") == ["a"]


# ------------------------------------------------------------------------------------------- files of others


def _odd(folder, kind):
    """A path that is no regular file."""
    path = folder / f"odd-{kind}"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket", "a folder"])
def test_what_may_have_no_end_is_refused_at_once(tmp_path, kind):
    path, started = _odd(tmp_path, kind), time.monotonic()
    for call in (disk.open_file, lambda path: disk.read_file(path, 100)):
        with pytest.raises(OSError) as caught:
            call(path)
        if kind in ("a named pipe", "a device"):  # the system itself refuses the others
            assert caught.value.strerror == f"it is {kind}; allowed: a file"
    assert time.monotonic() - started < 1


def test_a_regular_file_is_read_whole_up_to_its_limit(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\nbc\n")
    assert disk.read_file(path, 5) == b"a\nbc\n"
    with disk.open_file(path) as file:
        assert list(disk.lines_of(file, 3)) == [b"a\n", b"bc\n"]
    with pytest.raises(OSError, match="it has 5 bytes; allowed: at most 4"):
        disk.read_file(path, 4)
    with disk.open_file(path) as file, pytest.raises(OSError, match="line 2 has more than 2 bytes"):
        list(disk.lines_of(file, 2))


def test_a_file_whose_size_says_nothing_is_read_to_the_limit_alone():
    with pytest.raises(OSError, match="allowed: at most 10"):  # the system gives its size as 0
        disk.read_file("/proc/self/status", 10)
