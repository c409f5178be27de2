"""Checkpoints: what comes back, what damage is noticed, what a full disk leaves behind, and that nothing is
pickled."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import FILES, names, save, tensors
from safetensors import SafetensorError

from rawmm_cli.config.yaml_text import parse_yaml
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system import disk
from rawmm_cli.system.errors import CheckpointError, DiskFullError


def same(folder, step):
    return all(
        torch.equal(value, loading.tensors(folder, name)[key])
        for name, values in tensors(step).items()
        for key, value in values.items()
    )


# -------------------------------------------------------------------------------------------- what is written


def test_what_was_saved_comes_back(run):
    folder = save(run, 7)
    assert folder == run / "checkpoints" / "step_00000007" == checkpoint.latest(run)
    assert same(folder, 7)
    assert checkpoint.state(folder) == {
        "format": 3,
        "step": 7,
        "documents": 112,
        "seconds": 1.5,
        "data": "abc",
    }
    assert (folder / "config.yaml").read_text() == (run / "config.yaml").read_text()


def test_the_manifest_lists_every_file_with_its_sum(run):
    import hashlib

    folder = save(run, 1)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert (
        sorted([*manifest, "MANIFEST.json"])
        == sorted(path.name for path in folder.iterdir())
        == sorted(FILES)
    )
    for name, entry in manifest.items():
        content = (folder / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_stay(run, keep):
    for step in (
        5,
        20,
        100,
        99_999_999,
        100_000_000,
    ):  # the last has a digit more: order is by number, not by name
        save(run, step, keep)
    assert names(run) == sorted(f"step_{step:08d}" for step in (5, 20, 100, 99_999_999, 100_000_000)[-keep:])
    assert checkpoint.latest(run).name == "step_100000000"


def test_a_step_can_be_saved_again(run):
    save(run, 3)
    (run / "checkpoints" / "step_00000003" / "state.json").write_text("damaged")
    assert checkpoint.verify(save(run, 3)) is None
    assert names(run) == ["step_00000003"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_can_be_read_by_whom_the_umask_says(run, mask):
    before = os.umask(mask)
    try:
        folder = save(run, 1)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666 & ~mask}
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


# ------------------------------------------------------------------------------------- leftovers, a full disk


def test_leftovers_are_ignored_and_swept(run):
    saved = save(run, 1)
    partial = run / "checkpoints" / ".step_00000009.partial"
    shutil.copytree(saved, partial)
    (run / "checkpoints" / "notes.txt").write_text("of a person")
    assert checkpoint.latest(run) == saved
    checkpoint.sweep(run)
    assert names(run) == ["notes.txt", "step_00000001"]


def test_a_leftover_of_the_same_step_is_no_obstacle(run):
    partial = run / "checkpoints" / ".step_00000001.partial"
    partial.mkdir(parents=True)
    (partial / "junk").write_text("half")
    assert sorted(path.name for path in save(run, 1).iterdir()) == sorted(FILES)


FULL = {
    "by number": OSError(errno.ENOSPC, "No space left on device"),
    "by name": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("how", FULL)
@pytest.mark.parametrize("at", [0, 2])
def test_a_full_disk_leaves_the_earlier_ones_intact(run, how, at, monkeypatch):
    before, calls, real = save(run, 1), [], checkpoint.save_file

    def full(values, path):
        calls.append(path)
        real(values, path)
        if len(calls) > at:
            raise FULL[how]

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(DiskFullError) as caught:
        save(run, 2)
    assert caught.value.exit_code == 28
    assert re.fullmatch(
        rf"no room to save checkpoint step_00000002 in {run / 'checkpoints'} \(No space left on device\): it "
        r"needs [\d,]+ bytes and [\d,]+ are free; the earlier ones are intact; make room and run the same "
        "command again",
        str(caught.value),
    )
    assert names(run) == ["step_00000001"] and checkpoint.latest(run) == before and same(before, 1)


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(run, monkeypatch):
    before, needed = save(run, 1), checkpoint.size(tensors(2))
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - needed, needed - 1)
    )
    monkeypatch.setattr(checkpoint, "save_file", None)
    with pytest.raises(DiskFullError, match=f"it needs {needed:,} bytes and {needed - 1:,} are free"):
        save(run, 2)
    assert names(run) == ["step_00000001"] and checkpoint.latest(run) == before


def test_the_size_that_is_asked_for_is_enough_and_not_far_off(run):
    values = {
        "model": {f"layer {n}": torch.zeros(100, 1000) for n in range(10)},
        "ema": {"one": torch.zeros(())},
    }
    folder = checkpoint.save(run, 1, values, {}, 1)
    assert disk.used(folder) <= checkpoint.size(values) <= 1.02 * disk.used(folder)


def test_another_failure_is_not_called_a_full_disk(run, monkeypatch):
    def refuse(values, path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(PermissionError):
        save(run, 1)
    assert names(run) == []


# ------------------------------------------------------------------------------------------- finding, loading


def test_a_run_is_found_by_name_path_or_age(run):
    runs = run.parent
    assert loading.find_run(runs, "one") == loading.find_run(runs, None) == run
    assert loading.find_run(Path("elsewhere"), str(run)) == run
    with pytest.raises(CheckpointError) as caught:
        loading.find_run(runs, "onee")
    assert str(caught.value) == f"no run 'onee' in {runs} (did you mean one?); runs here: one"
    with pytest.raises(CheckpointError, match="train one first"):
        loading.find_run(runs / "none", None)


def test_weights_that_do_not_fit_are_named(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "other")
    settings = parse_yaml((folder / "config.yaml").read_text(), "config")
    settings["backbone"]["width"] = 48
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(CheckpointError, match="do not fit the settings: .*size mismatch for"):
        loading.load_model(folder, torch.device("cpu"))


def test_the_average_is_what_is_loaded(tiny_run):
    model, settings, state = loading.load_model(tiny_run, torch.device("cpu"))
    saved = loading.tensors(checkpoint.latest(tiny_run), "ema")
    assert not model.training and state["documents"] == settings.train.documents
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
