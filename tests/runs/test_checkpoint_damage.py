"""Damage to a checkpoint is noticed, whatever it is, and the one before is taken."""

import json
import shutil

import pytest
import torch
from checkpoints import FILES, save

from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system import manifest
from rawmm_cli.system.errors import CheckpointError

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
    warnings = []
    assert checkpoint.latest(run, warnings.append) == before
    assert len(warnings) == 1 and "step_00000002 is damaged" in warnings[0]
    assert (
        name in warnings[0] or name == "MANIFEST.json"
    )  # which may name any file, whose sum it no longer has


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
    warnings = []
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest(run, warnings.append)
    assert caught.value.exit_code == 4 and len(warnings) == 2
    assert str(caught.value) == (
        f"every checkpoint of {run} is damaged; newest: model.safetensors does not match its "
        f"checksum; delete {run} and train again"
    )


def test_a_run_without_checkpoints_has_no_latest(run):
    assert checkpoint.latest(run) is None
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        loading.load_model(run, torch.device("cpu"))


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
        manifest.seal(newest)
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
