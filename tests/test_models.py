"""Models out of runs: the same drawings from the folder as from the run, and no damage goes unseen."""

import json
from pathlib import Path

import pytest

from rawmm_cli.core import models
from rawmm_cli.core.errors import CheckpointError


@pytest.fixture
def exported(rawmm, tiny_run, tmp_path):
    code, out, err = rawmm("export", tiny_run, "--out", tmp_path / "kept", "--json")
    assert code == 0, err
    assert json.loads(out)["parameters"] > 1000
    return tmp_path / "kept"


def drawn(rawmm, out, *words):
    code, said, err = rawmm("sample", "seven", "--json", "--count", "2", "--out", out, *words)
    assert code == 0, err
    return [Path(item["image"]).read_bytes()[-4000:] for item in json.loads(said)["items"] if "image" in item], json.loads(said)


def test_an_exported_model_draws_as_its_run(rawmm, exported, tiny_run, tmp_path):
    from PIL import Image

    found, said = drawn(rawmm, tmp_path / "a", "--model", exported)
    _, other = drawn(rawmm, tmp_path / "b", "--run", tiny_run)
    for one, two in zip(said["items"], other["items"]):
        assert one.get("text") == two.get("text")
        if "image" in one:
            assert Image.open(one["image"]).tobytes() == Image.open(two["image"]).tobytes()
    assert len(found) == 2 and said["model"] == "kept" and said["documents"] == other["documents"]
    assert {path.name for path in exported.iterdir()} == {"config.yaml", "weights.safetensors", "model.json", "MANIFEST.json"}


def test_a_model_can_be_moved(rawmm, exported, tmp_path):
    exported.rename(tmp_path / "elsewhere")
    assert drawn(rawmm, tmp_path / "a", "--model", tmp_path / "elsewhere")[0]


@pytest.mark.parametrize("name", ["weights.safetensors", "config.yaml", "model.json", "MANIFEST.json"])
@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_damage_is_seen(name, harm, rawmm, exported, tmp_path):
    path = exported / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if harm == "gone" else path.write_bytes(content if harm == "flipped" else content[:-1])
    code, out, err = rawmm("sample", "seven", "--model", exported, "--out", tmp_path / "out")
    if harm == "cut" and name == "MANIFEST.json":       # a line end less
        return
    assert (code, out) == (4, "") and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_model_of_a_newer_version(exported):
    from rawmm_cli.core import disk

    facts = json.loads((exported / "model.json").read_text())
    (exported / "model.json").write_text(json.dumps(facts | {"format": 99}))
    (exported / "MANIFEST.json").unlink()
    disk.seal(exported)
    with pytest.raises(CheckpointError, match="newer rawmm"):
        models.load(exported, "cpu")


def test_what_is_there_is_not_written_over(rawmm, exported, tiny_run, tmp_path):
    before = (exported / "model.json").read_bytes()
    code, out, err = rawmm("export", tiny_run, "--out", exported)
    assert (code, out) == (2, "") and "exists; allowed: a new folder" in err
    assert (exported / "model.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    assert rawmm("export", tiny_run, "--out", tmp_path / "file")[0] == 2
    (tmp_path / "empty").mkdir()
    assert rawmm("export", tiny_run, "--out", tmp_path / "empty")[0] == 0
    assert rawmm("export", "no-run", "--runs-dir", tmp_path, "--out", tmp_path / "x")[0] == 4
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".*partial"))


def test_the_package_lists_its_models():
    """Every one of them is whole."""
    for name in models.shipped():
        loaded = models.load(models.find(Path("none"), None, name), "cpu")
        assert loaded.name == name and loaded.hash and loaded.documents
