"""Prepare, train, evaluate and sample, in a folder with an awkward name; prepare, train and one
sample in processes of their own."""

import importlib.util
import json

import pytest
from commanding import one_object, process
from PIL import Image
from training_runs import TRAINED

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]


TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an awkward name in which digits were prepared and a run was trained."""
    folder = tmp_path_factory.mktemp("cli") / 'it\'s a "test" of paths'
    folder.mkdir()
    for words in (["prepare", "digits"], ["train", "--preset", "tiny", *TRAINED]):
        done = process(*words, cwd=folder)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        (folder / f"{words[0]}.stderr").write_text(done.stderr)
    return folder


def test_prepare_and_train_print_the_next_commands(home):
    assert (
        (home / "prepare.stderr").read_text()
        == "prepared data/digits: 1,437 training and 360 held-out pictures; data card: "
        "data/digits/card.html\nnext: `rawmm train --data digits --time 10m`\n"
    )
    notes = (home / "train.stderr").read_text()
    assert "runs/tiny trained" in notes and "rawmm evaluate tiny" in notes
    assert sorted(
        path.name for path in (home / "runs" / "tiny").iterdir() if not path.name.startswith(".")
    ) == [
        "checkpoints",
        "config.yaml",
        "environment.json",
        "records.jsonl",
        "samples",
        "seen.json",
        *["tensorboard"] * TENSORBOARD,
    ]


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)


def test_train_again_has_nothing_to_do(at_home, rawmm):
    code, out, err = rawmm("train", "--preset", "tiny", *TRAINED, "--json")
    assert code == 0 and "nothing to do" in err
    result = one_object(out)
    assert result["status"] == "was trained already" and result["run"] == "tiny" and result["loss"] > 0


def test_evaluate_prints_one_object(at_home, home, rawmm):
    code, out, err = rawmm("evaluate", "--json", "--per-label", "2")
    assert code == 0, err
    result = one_object(out)
    assert 0 <= result["text_to_image"]["accuracy"] <= 1 and result["text_to_image"]["count"] == 20
    assert result["text_to_image"]["steps"] == 10 and result["text_to_image"]["without_picture"] == 0
    assert 0.2 < result["image_to_text"]["accuracy"] <= 1 and result["image_to_text"]["count"] == 360
    assert result["judge"]["held_out_accuracy"] >= 0.97
    assert (home / result["report"]).is_file()
    assert json.loads((home / "runs/tiny/evaluation.json").read_text()).items() <= result.items()


def test_sample_draws(home):
    done = process("sample", "seven", "--run", "tiny", "--count", "3", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    pictures = [item["image"] for item in result["items"] if "image" in item]
    assert pictures == [f"samples/tiny-seven-0-{n:03d}.png" for n in range(3)]
    for number, name in enumerate(pictures):
        with Image.open(home / name) as picture:
            assert (picture.size, picture.mode) == ((8, 8), "RGB")
            settings = json.loads(picture.text.pop("settings"))
            assert settings["steps"] == 10 and settings["temperature"] == 1 and settings["task"] == "continue"
            assert picture.text == {
                "prompt": "seven",
                "seed": "0",
                "steps": "10",
                "solver": "euler",
                "guidance": "2.0",
                "grid": "uniform",
                "model": "tiny",
                "model_hash": result["model_hash"],
                "number": str(number),
            }
    assert (home / result["sheet"]).is_file()
    assert sorted(path.name for path in (home / "samples").iterdir()) == [
        *(f"tiny-seven-0-{n:03d}.png" for n in range(3)),
        "tiny-seven-0-sheet.png",
    ]


def test_sample_reads(at_home, home, rawmm):
    Image.new("RGB", (12, 8), "grey").save(
        home / "to read.png"
    )  # not a size of training, but a multiple of the patch
    code, out, err = rawmm(
        "sample", "--run", "tiny", "--image", "to read.png", "--task", "caption", "--json", "--out", "read"
    )
    assert code == 0, err
    result = one_object(out)
    assert result["temperature"] == 0 and len(result["samples"]) == 1
    assert all("image" not in item for item in result["items"]) and list((home / "read").iterdir()) == []
