"""Models out of runs: the same drawings from the folder as from the run, and no damage goes unseen."""

import json
from pathlib import Path

import pytest

from rawmm_cli.runs import models
from rawmm_cli.system.errors import CheckpointError


@pytest.fixture
def exported(rawmm, tiny_run, tmp_path):
    code, out, err = rawmm("export", tiny_run, "--out", tmp_path / "kept", "--json")
    assert code == 0, err
    assert json.loads(out)["parameters"] > 1000
    return tmp_path / "kept"


def drawn(rawmm, out, *words):
    code, result, err = rawmm("sample", "seven", "--json", "--count", "2", "--out", out, *words)
    assert code == 0, err
    return [
        Path(item["image"]).read_bytes()[-4000:] for item in json.loads(result)["items"] if "image" in item
    ], json.loads(result)


def test_an_exported_model_draws_as_its_run(rawmm, exported, tiny_run, tmp_path):
    from PIL import Image

    pictures, result = drawn(rawmm, tmp_path / "a", "--model", exported)
    _, other = drawn(rawmm, tmp_path / "b", "--run", tiny_run)
    for one, two in zip(result["items"], other["items"]):
        assert one.get("text") == two.get("text")
        if "image" in one:
            assert Image.open(one["image"]).tobytes() == Image.open(two["image"]).tobytes()
    assert len(pictures) == 2 and result["model"] == "kept" and result["documents"] == other["documents"]
    assert {path.name for path in exported.iterdir()} == {
        "config.yaml",
        "weights.safetensors",
        "model.json",
        "seen.json",
        "MANIFEST.json",
        "README.md",
    }


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
    if harm == "cut" and name == "MANIFEST.json":  # a line end less
        return
    assert (code, out) == (4, "") and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_model_of_a_newer_version(exported):
    from rawmm_cli.system import manifest

    facts = json.loads((exported / "model.json").read_text())
    (exported / "model.json").write_text(json.dumps(facts | {"format": 99}))
    (exported / "MANIFEST.json").unlink()
    manifest.seal(exported)
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
    """All models of the package, each of them whole."""
    for name in models.shipped():
        loaded = models.load(models.find(Path("none"), None, name), "cpu")
        assert loaded.name == name and loaded.hash and loaded.documents


def test_without_a_name_the_model_in_the_package_draws(rawmm, tiny_run, tmp_path):
    """The default model whatever runs there are; it writes captions of portraits."""
    from PIL import Image

    from rawmm_cli.data.datasets.portraits.captions import parse

    code, out, err = rawmm(
        "sample", "a portrait of", "--json", "--out", tmp_path, "--runs-dir", tiny_run.parent
    )
    assert code == 0, err
    result = json.loads(out)
    text, picture = result["items"][:2]
    assert result["model"] == models.DEFAULT and parse("a portrait of" + text["text"]) is not None
    with Image.open(picture["image"]) as drawn:
        assert (
            drawn.size == (64, 64)
            and drawn.text["model"] == "portraits"
            and drawn.text["model_hash"] == result["model_hash"]
        )


def test_the_model_in_the_package_says_what_it_sees(rawmm, tmp_path):
    """Unseen portraits, read from files."""
    import torch

    from rawmm_cli.data import images
    from rawmm_cli.data.datasets.portraits import drawing
    from rawmm_cli.data.datasets.portraits.attributes import attributes_of
    from rawmm_cli.data.datasets.portraits.captions import parse

    for n in range(99_000_000, 99_000_004):
        pixels = torch.from_numpy(drawing.draw(n, (255, 255, 255), 64).transpose(2, 0, 1).copy())
        images.save_png(pixels, tmp_path / "seen.png")
        code, out, err = rawmm(
            "sample", "--task", "caption", "--image", tmp_path / "seen.png", "--json", "--out", tmp_path / "x"
        )
        assert code == 0, err
        stated, known = parse(json.loads(out)["items"][0]["text"]), attributes_of(n)
        assert stated and all(known[name] == value for name, value in stated.items())


def test_the_model_in_the_package_is_small_and_has_its_card():
    folder = models.find(Path("none"), None, None)
    assert folder == models.FOLDER / models.DEFAULT
    assert (folder / "weights.safetensors").stat().st_size <= 16_000_000
    card, facts = (folder / "README.md").read_text(encoding="utf-8"), models.read_facts(folder)
    assert "rawmm train --preset portraits\n" in card  # its settings are those of the preset to the letter
    drawn, read = facts["evaluation"]["text_to_image"], facts["evaluation"]["image_to_text"]
    assert (
        f"{drawn['accuracy']:.1%} of {drawn['count']:,}" in card
        and f"{read['accuracy']:.1%} of {read['count']:,}" in card
    )
    assert f"{facts['documents']:,} documents" in card and facts["sets"][0]["source"] in card


def test_evaluate_a_model_out_of_its_run(rawmm, exported, tiny_run, prepared_digits):
    """Figures of the model are those of its run, and nothing is written into the model."""
    before = sorted(path.name for path in exported.iterdir())
    results = []
    for words in (("--model", exported), (tiny_run, "--steps", "10")):
        code, out, err = rawmm(
            "evaluate", *words, "--json", "--per-label", "2", "--data-dir", prepared_digits
        )
        assert code == 0, err
        results.append({key: json.loads(out)[key] for key in ("text_to_image", "image_to_text", "documents")})
    assert results[0] == results[1] and sorted(path.name for path in exported.iterdir()) == before


def test_the_card_knows_the_data(rawmm, tiny_run, prepared_digits, tmp_path):
    code, out, err = rawmm(
        "export", tiny_run, "--out", tmp_path / "kept", "--data-dir", prepared_digits, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["sets"][0]["licence"] == "CC BY 4.0"
    card = (tmp_path / "kept" / "README.md").read_text(encoding="utf-8")
    assert (
        "CC BY 4.0" in card
        and "It was not evaluated." in card
        and "rawmm train --preset config.yaml --run kept" in card
    )


def test_what_is_missing_for_an_evaluation_is_said_with_its_command(rawmm, tmp_path):
    code, out, err = rawmm("evaluate", "--model", "portraits", "--data-dir", tmp_path)
    assert (code, out) == (
        3,
        "",
    ) and "`rawmm prepare portraits --count 50000 --size 64 --name portraits64`" in err
