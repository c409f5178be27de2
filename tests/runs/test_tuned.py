"""Grids beside a model: their shape is checked, and writing them cannot harm the model, whatever stops it."""

import json
import math

import pytest

from rawmm_cli.runs import models, tuned
from rawmm_cli.system import disk, manifest
from rawmm_cli.system.errors import CheckpointError, DiskFullError

GRID = {
    "settings": {"solver": "euler", "grid": [1.0, 0.4, 0.0], "interval": [0.0, 1.0]},
    "error": 1.0,
    "before": 2.0,
    "pictures": 4,
    "reference": 200,
}


def changed(**settings):
    return {"2": GRID | {"settings": GRID["settings"] | settings}}


@pytest.mark.parametrize(
    "content, problem",
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ([], "input should be a valid dictionary"),
        ({"2": 1}, "2: input should be"),
        ({"2": {}}, "2.settings: field required"),
        ({"two": GRID}, "two"),
        ({"0": GRID}, "0"),
        ({"3": GRID}, "3 steps have 3 times; allowed: one more"),
        (changed(grid=[]), "at least 2 items"),
        (changed(grid=[1.0, 1.2, 0.0]), "less than or equal to 1"),
        (changed(grid=[1.0, -0.2, 0.0]), "greater than or equal to 0"),
        (changed(grid=[0.0, 0.5, 1.0]), "its times do not fall from 1 to 0"),
        (changed(grid=[1.0, 1.0, 0.0]), "its times do not fall from 1 to 0"),
        (changed(grid=[0.9, 0.5, 0.0]), "its times do not fall from 1 to 0"),
        (changed(grid=[1.0, math.nan, 0.0]), "finite number"),
        (changed(grid=[1.0, "0.5", 0.0]), "valid number"),
        (changed(grid="uniform"), "valid list"),
        (changed(solver="magic"), "'euler'"),
        (changed(interval=[0.0]), "at least 2 items"),
        (changed(interval=[0.0, math.inf]), "finite number"),
        (changed(max_text=10**9), "max_text: extra inputs are not permitted"),
        ({"2": GRID | {"error": None}}, "2.error"),
    ],
)
def test_grids_of_another_shape_are_refused(tmp_path, content, problem):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "sampler.json").write_text(text)
    with pytest.raises(CheckpointError, match="sampler.json is damaged .*; delete it, and run") as caught:
        tuned.read(tmp_path)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_no_grids_and_sound_grids(tmp_path):
    assert tuned.read(tmp_path) == {}
    tuned.add(tmp_path, {"2": GRID})
    tuned.add(
        tmp_path, changed(solver="ab2") | {"1": GRID | {"settings": GRID["settings"] | {"grid": [1, 0]}}}
    )
    assert {steps: one["settings"]["solver"] for steps, one in tuned.read(tmp_path).items()} == {
        "2": "ab2",
        "1": "euler",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["sampler.json"]


# ------------------------------------------------------------------------------------------ an exported model


@pytest.fixture
def exported(tiny_run, tmp_path):
    models.export(tiny_run, tmp_path / "kept", "kept")
    return tmp_path / "kept"


class Killed(BaseException):
    pass


def sound(folder):
    """The model loads -> (grids, warnings)."""
    warnings = []
    loaded = models.load(folder, "cpu", warnings.append)
    return loaded.tuned, warnings


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("number", range(4))
def test_a_kill_while_grids_are_stored_does_the_model_no_harm(exported, monkeypatch, number, first):
    """Before each rename: of sampler.json, of the manifest, of the card, and never."""
    if not first:
        models.store_tuned(exported, {"2": GRID})
    real, calls = disk.os.replace, []

    def replace(*names):
        calls.append(names)
        if len(calls) > number:
            raise Killed
        real(*names)

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "replace", replace)
        patch.setattr(disk.Path, "unlink", lambda path, **options: None)  # a killed process tidies nothing up
        try:
            models.store_tuned(exported, changed(solver="ab2"))
        except Killed:
            pass
    grids, warnings = sound(exported)
    if number == 1:
        assert grids == {} and len(warnings) == 1
        assert "its grids are left out; `rawmm tune-sampler" in warnings[0]
    else:
        assert warnings == []
        solver = "ab2" if number > 1 else "euler"
        assert (
            (grids == {} and first) if number == 0 and first else grids["2"]["settings"]["solver"] == solver
        )
    models.store_tuned(exported, {"2": GRID})
    assert sound(exported) == ({"2": GRID}, [])
    assert not [path for path in exported.iterdir() if path.name.startswith(".")], "the next one sweeps"
    listed = json.loads((exported / "MANIFEST.json").read_text())
    assert sorted(listed) == ["config.yaml", "model.json", "sampler.json", "seen.json", "weights.safetensors"]


def test_a_full_disk_while_grids_are_stored_does_the_model_no_harm(exported, monkeypatch):
    real, calls = disk.os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:  # the manifest
            raise OSError(disk.errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        with pytest.raises((DiskFullError, OSError)):
            models.store_tuned(exported, {"2": GRID})
    grids, warnings = sound(exported)
    assert grids == {} and "its grids are left out" in warnings[0]
    models.store_tuned(exported, {"2": GRID})
    assert sound(exported) == ({"2": GRID}, [])


def test_weights_that_were_damaged_meanwhile_are_not_sealed(exported):
    content = bytearray((exported / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (exported / "weights.safetensors").write_bytes(content)
    tuned.add(exported, {"2": GRID})
    assert manifest.problems(exported) == {"weights.safetensors": "does not match its checksum"}


def test_hidden_files_are_never_sealed(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / ".0123456789abcdef.partial").write_text("half")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "b.safetensors").write_text("b")
    manifest.seal(tmp_path)
    assert list(json.loads((tmp_path / "MANIFEST.json").read_text())) == ["a"]
    assert manifest.problems(tmp_path) == {}
