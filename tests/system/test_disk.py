"""Durable writes: contents, and a failure at each step."""

import errno
import json
import os

import pytest

from rawmm_cli.system import disk
from rawmm_cli.system.errors import DiskFullError


def test_contents_and_no_other_file(tmp_path):
    disk.write(tmp_path / "a.txt", "ä\n")
    disk.write(tmp_path / "b.bin", b"\x00\xff")
    disk.write_json(tmp_path / "c.json", {"n": 1})
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "c.json").read_text() == json.dumps({"n": 1}, indent=1) + "\n"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.bin", "c.json"]


@pytest.mark.parametrize("call", ["write_bytes", "fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "a.txt"
    disk.write(path, "old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(path) if call == "write_bytes" else os, call, fail)
    with pytest.raises(DiskFullError, match="no room on the disk for .*a.txt"):
        disk.write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
