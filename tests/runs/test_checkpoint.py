"""Checkpoints: what comes back, what damage is noticed, what a full disk leaves behind, and that nothing is
pickled."""

import ast
import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError

import rawmm_cli
from rawmm_cli.config import presets, yaml_text
from rawmm_cli.config.yaml_text import parse_yaml
from rawmm_cli.runs import checkpoint
from rawmm_cli.system import disk
from rawmm_cli.system.errors import CheckpointError, DiskFullError

FILES = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "config.yaml",
    "state.json",
    "MANIFEST.json",
)


def tensors(step):
    dice = torch.Generator().manual_seed(step)
    return {
        name: {
            "a/b": torch.randn(4, 3, generator=dice),
            "c": torch.tensor(float(step)),
            "t": torch.randn(5, 2, generator=dice).T,
        }
        for name in ("model", "ema", "optimizer")
    }


def save(run, step, keep=2):
    return checkpoint.save(
        run, step, tensors(step), {"documents": 16 * step, "seconds": 1.5, "data": "abc"}, keep
    )


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(presets.dump(presets.load("tiny")))
    return folder


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def same(folder, step):
    return all(
        torch.equal(value, checkpoint.tensors(folder, name)[key])
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


# ----------------------------------------------------------------------------------------------------- damage


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "eight bytes": lambda content: content[:8],
    "half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content.removesuffix(b"\n")[:-1],  # a last line end is no loss
    "one byte long": lambda content: content + b"x",
    "one bit": flip,
    "gone": None,
}


def damage(path, how):
    path.write_bytes(DAMAGE[how](path.read_bytes())) if DAMAGE[how] else path.unlink()


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_noticed_and_the_one_before_is_taken(run, name, how):
    before, newest = save(run, 1), save(run, 2)
    damage(newest / name, how)
    heard = []
    assert checkpoint.latest(run, heard.append) == before
    assert len(heard) == 1 and "step_00000002 is damaged" in heard[0]
    assert name in heard[0] or name == "MANIFEST.json"  # which may name any file, whose sum it no longer has


def test_any_flipped_bit_of_the_manifest_is_noticed(run):
    folder = save(run, 1)
    path = folder / "MANIFEST.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        assert checkpoint.verify(folder) is not None, (place, content[place : place + 1])


def test_where_all_are_damaged_nothing_is_loaded(run):
    for step in (1, 2):
        damage(save(run, step) / "model.safetensors", "one bit")
    heard = []
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest(run, heard.append)
    assert caught.value.exit_code == 4 and len(heard) == 2
    assert str(caught.value) == (
        f"every checkpoint of {run} is damaged; newest: model.safetensors does not match its "
        f"checksum; delete {run} and train again"
    )


def test_a_run_without_checkpoints_has_no_latest(run):
    assert checkpoint.latest(run) is None
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        checkpoint.load_model(run, torch.device("cpu"))


@pytest.mark.parametrize("keep", [1, 2])
def test_damaged_ones_do_not_push_out_whole_ones(run, keep):
    """The newest is damaged, the run goes on from the one before: what it saves next must stay."""
    for step in (10, 20):
        save(run, step)
    damage(run / "checkpoints" / "step_00000020" / "ema.safetensors", "half")
    saved = save(run, 15, keep)
    assert saved.is_dir() and checkpoint.latest(run) == saved


GARBAGE = (
    "",
    "{",
    "[]",
    "null",
    "7",
    '"x"',
    "{}",
    '{"state.json": 1}',
    '{"state.json": {"size": 1}}',
    "[" * 100_000,
    '{"state.json": {"size": "x", "sha256": ""}}',
    "\0" * 500,
)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("name", ["MANIFEST.json", "state.json"])
def test_garbage_is_noticed(run, name, text):
    before, newest = save(run, 1), save(run, 2)
    (newest / name).write_text(text)
    if name == "state.json":  # even where the manifest says that this is what was written
        disk.seal(newest)
    assert checkpoint.problems(newest).keys() & {name, "config.yaml"}
    assert checkpoint.latest(run) == before


@pytest.mark.parametrize(
    "name", ["../state.json", "/etc/hostname", "a/../state.json", "./state.json", "a//b", "a\nb", ""]
)
def test_a_manifest_cannot_point_out_of_its_folder(run, name):
    folder = save(run, 1)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    shutil.copy(folder / "state.json", folder.parent / "state.json")
    (folder / "MANIFEST.json").write_text(json.dumps({**manifest, name: manifest["state.json"]}))
    assert checkpoint.problems(folder) == {"MANIFEST.json": "cannot be read (ValueError)"}


def test_every_file_that_matters_must_be_listed(run):
    folder = save(run, 1)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    for name in ("state.json", "config.yaml", "ema.safetensors"):
        rest = {key: entry for key, entry in manifest.items() if key != name}
        (folder / "MANIFEST.json").write_text(json.dumps(rest))
        assert checkpoint.problems(folder) == {name: "is not listed in MANIFEST.json"}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    (folder / "notes.txt").write_text("of a person")
    assert checkpoint.verify(folder) is None


def test_problems_name_every_bad_file(run):
    folder = save(run, 1)
    damage(folder / "model.safetensors", "one bit")
    damage(folder / "ema.safetensors", "one byte long")
    damage(folder / "config.yaml", "gone")
    size = (folder / "ema.safetensors").stat().st_size
    assert checkpoint.problems(folder) == {
        "config.yaml": "is missing",
        "ema.safetensors": f"has {size:,} bytes, not {size - 1:,}",
        "model.safetensors": "does not match its checksum",
    }
    assert checkpoint.verify(folder) == "config.yaml is missing"


SWAPS = {
    "tensors": (["model.safetensors", "ema.safetensors", "optimizer.safetensors"], "ema.safetensors"),
    "tensors and manifest": (
        ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "MANIFEST.json"],
        "state.json",
    ),
    "everything": (FILES, "state.json"),
}


@pytest.mark.parametrize("how", SWAPS)
def test_what_belongs_to_another_step_is_noticed(run, how):
    one, two = save(run, 1), save(run, 2)
    names, named = SWAPS[how]
    for name in names:
        content = (one / name).read_bytes()
        (one / name).write_bytes((two / name).read_bytes())
        (two / name).write_bytes(content)
    assert named in checkpoint.problems(one) and named in checkpoint.problems(two)
    with pytest.raises(CheckpointError, match="every checkpoint of .* is damaged"):
        checkpoint.latest(run)


# --------------------------------------------------------------------------------------------------- versions


def as_format(folder, form):
    """The checkpoint as a rawmm of format `form` would have written it, sound."""
    saved = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**saved, "format": form}))
    disk.seal(folder)


@pytest.mark.parametrize(
    "form, told",
    [
        (4, "by a newer rawmm (format 4, this one reads 1 to 3); update rawmm"),
        (0, "by an older rawmm (format 0, this one reads 1 to 3); go on with the version"),
    ],
)
def test_another_version_is_not_called_damaged(run, form, told):
    """Nor is it passed over: the run would go on from an older one and delete it."""
    save(run, 1)
    newest = save(run, 2)
    as_format(newest, form)
    heard = []
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest(run, heard.append)
    assert told in str(caught.value) and str(newest) in str(caught.value) and heard == []
    assert checkpoint.verify(newest) is None


def test_format_1_is_read(run):
    folder = save(run, 1)
    as_format(folder, 1)
    assert checkpoint.latest(run) == folder and checkpoint.state(folder)["documents"] == 16


@pytest.mark.parametrize("form", [None, "2", 2.0, True])
def test_a_state_without_a_format_is_no_state(run, form):
    folder = save(run, 1)
    as_format(folder, form)
    assert checkpoint.problems(folder) == {"state.json": "is not the state of a checkpoint"}
    with pytest.raises(CheckpointError, match="state.json cannot be read or is no state of a checkpoint"):
        checkpoint.state(folder)


def test_a_flipped_format_is_damage_and_no_other_version(run):
    before, newest = save(run, 1), save(run, 2)
    text = (newest / "state.json").read_text()
    (newest / "state.json").write_text(text.replace('"format": 3', '"format": 4'))
    assert checkpoint.latest(run) == before


def test_a_checkpoint_of_format_1_that_rawmm_0_1_0_wrote(few_digits, tmp_path, rawmm):
    """tests/data/format1 was written by the first release: it is read, sampled from and trained on."""
    shutil.copytree(Path(__file__).parents[1] / "data" / "format1", tmp_path / "format1")
    folder = tmp_path / "format1" / "checkpoints" / "step_00000010"
    assert checkpoint.problems(folder) == {} and checkpoint.state(folder) == {
        "format": 1,
        "step": 10,
        "documents": 160,
        "seconds": 0.13229500400120742,
        "data": "456d301cf46e0113fc6a2274dd7b39d4687f97bee909005896810124d367d60d",
    }
    model, settings, _ = checkpoint.load_model(tmp_path / "format1", torch.device("cpu"))
    assert (settings.backbone.width, settings.train.documents) == (4, 160)
    sums = {name: value.double().abs().sum().item() for name, value in model.state_dict().items()}
    known = {
        "words.weight": 403.62552057989524,
        "head.into.weight": 13.99358554952778,
        "text_out.weight": 11.43509690668725,
    }
    assert {name: sums[name] for name in known} == pytest.approx(known, rel=1e-12)
    code, _, err = rawmm(
        "train",
        "--preset",
        tmp_path / "format1" / "config.yaml",
        "--run",
        "format1",
        "--runs-dir",
        tmp_path,
        "--data-dir",
        few_digits,
        "--json",
        "train.documents=192",
    )
    assert code == 0 and "resuming format1 at 160" in err and "was begun by an earlier rawmm" in err
    assert checkpoint.state(checkpoint.latest(tmp_path / "format1"))["format"] == 3


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
    assert checkpoint.find_run(runs, "one") == checkpoint.find_run(runs, None) == run
    assert checkpoint.find_run(Path("elsewhere"), str(run)) == run
    with pytest.raises(CheckpointError) as caught:
        checkpoint.find_run(runs, "onee")
    assert str(caught.value) == f"no run 'onee' in {runs} (did you mean one?); runs here: one"
    with pytest.raises(CheckpointError, match="train one first"):
        checkpoint.find_run(runs / "none", None)


def test_weights_that_do_not_fit_are_named(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "other")
    settings = parse_yaml((folder / "config.yaml").read_text(), "config")
    settings["backbone"]["width"] = 48
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(CheckpointError, match="do not fit the settings: .*size mismatch for"):
        checkpoint.load_model(folder, torch.device("cpu"))


def test_the_average_is_what_is_loaded(tiny_run):
    model, settings, state = checkpoint.load_model(tiny_run, torch.device("cpu"))
    saved = checkpoint.tensors(checkpoint.latest(tiny_run), "ema")
    assert not model.training and state["documents"] == settings.train.documents
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


# -------------------------------------------------------------------------------------------------- no pickle


def calls(tree):
    """(dotted name, call) of every call in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize(
    "path", sorted(Path(rawmm_cli.__file__).parent.rglob("*.py")), ids=lambda path: path.name
)
def test_nothing_is_pickled_or_evaluated(path):
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    } | {getattr(node, "module", None) for node in ast.walk(tree)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    forbidden = {
        "eval",
        "exec",
        "compile",
        "torch.load",
        "torch.save",
        "np.load",
        "numpy.load",
        "yaml.unsafe_load",
        "yaml.full_load",
        "yaml.load_all",
        "yaml.unsafe_load_all",
    }
    for name, call in calls(tree):
        if name == "torch.load" and "weights_only=True" in ast.unparse(call):
            continue  # tensors alone: for weights that others ship as .pth
        assert name not in forbidden, f"{name} in line {call.lineno}"
        if name == "yaml.load":
            assert ast.unparse(call.args[1]) == "_Loader"


def test_the_loader_of_yaml_is_a_safe_one():
    assert issubclass(yaml_text._Loader, yaml.SafeLoader)
