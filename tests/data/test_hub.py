"""Sets of the hub, from local folders in the hub's layout: columns, splits, classes, terms, and no
network."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from sources import card_of, prepare_source, rows

from rawmm_cli.data.datasets.hub import hub
from rawmm_cli.data.layout.known import CELEBA, KNOWN
from rawmm_cli.system.errors import ConfigError, DataError, DiskFullError

NAMES = ["tabby cat", "dog", "barn owl"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of `datasets`, in the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def repository(folder: Path, features: dict, splits: dict[str, dict[str, list]]) -> Path:
    """A folder in the layout of a repository of the hub: data/SPLIT-00000-of-00001.parquet."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A set\n")
    for split, columns in splits.items():
        data = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        data.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def captioned(folder: Path) -> Path:
    return repository(
        folder,
        {"image": datasets.Image(), "text": datasets.Value("string")},
        {
            split: {"image": [picture(n) for n in numbers], "text": [f"number {n}" for n in numbers]}
            for split, numbers in (("train", range(12)), ("validation", range(12, 16)))
        },
    )


def prepared(tmp_path: Path, name: str, **options) -> tuple[dict, dict]:
    """Prepare a set -> ({source: row with its split}, card)."""
    prepare_source(tmp_path / "set", hub(name, **options), held_out=0.3)
    stored = {
        row["source"]: {**row, "split": split}
        for split, split_rows in rows(tmp_path / "set").items()
        for row in split_rows
    }
    return stored, card_of(tmp_path / "set")


def test_a_copy_of_celebahq(tmp_path):
    """Its two columns, its two splits, the exact pixels, and its terms: shown first, and kept in the card."""
    messages = []
    stored, card = prepared(tmp_path, "celebahq", path=captioned(tmp_path / "repo"), notify=messages.append)
    assert messages[0] == CELEBA and messages[1] == "chosen: image column: image; caption column: text"
    assert len(stored) == 16
    for number in range(16):
        row = stored[f"train/{number}" if number < 12 else f"validation/{number - 12}"]
        assert (
            row["captions"] == [f"number {number}"] and row["pixels"] == np.asarray(picture(number)).tobytes()
        )
        assert row["split"] == ("train" if number < 12 else "held_out")
    assert (
        card["terms"] == CELEBA
        and "non-commercial" in card["licence"]
        and "Ryan-sjtu/celebahq-caption" in card["source"]
    )
    assert messages[2] == "splits of the source: train 12 (trained on), validation 4 (held out)"
    assert card["chosen"] == {
        "image column": "image",
        "caption column": "text",
        "splits": "train 12 (trained on), validation 4 (held out)",
    }


def test_classes_become_captions_and_labels(tmp_path):
    repo = repository(
        tmp_path / "repo",
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)},
        {"train": {"img": [picture(n) for n in range(9)], "label": [n % 3 for n in range(9)]}},
    )
    stored, card = prepared(tmp_path, "cifar10", path=repo)
    assert card["labels"] == NAMES and card["chosen"]["captions"] == "made by 'a photo of a {label}'"
    for name, row in stored.items():
        number = int(name.split("/")[1])
        assert row["label"] == number % 3 and row["captions"] == [f"a photo of a {NAMES[number % 3]}"]
    splits = {row["split"] for row in stored.values()}
    assert splits == {"train", "held_out"}  # a single split is divided by the names


def test_a_template_of_the_user(tmp_path):
    repo = repository(
        tmp_path / "repo",
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=NAMES),
        },
        {"train": {"image": [picture(n) for n in range(4)], "text": ["x"] * 4, "label": [0, 1, 2, 0]}},
    )
    stored, _ = prepared(tmp_path, "hf:some/one", path=repo, caption="a drawing of a {label}")
    assert {row["captions"][0] for row in stored.values()} == {f"a drawing of a {name}" for name in NAMES}


def test_lists_of_captions_and_attributes(tmp_path):
    """Several captions stay several; boolean columns are attributes, and captions where they are asked for
    and there are no others."""
    features = {
        "image": datasets.Image(),
        "captions": datasets.List(datasets.Value("string")),
        "Wavy_Hair": datasets.Value("bool"),
        "Smiling": datasets.Value("bool"),
        "celeb_id": datasets.Value("int64"),
    }
    columns = {
        "image": [picture(n) for n in range(4)],
        "captions": [["a", "b"], ["c"], [], ["d", "d", " "]],
        "Wavy_Hair": [True, False, True, True],
        "Smiling": [True, True, False, False],
        "celeb_id": [9, 8, 7, 6],
    }
    stored, _ = prepared(
        tmp_path, "hf:some/one", path=repository(tmp_path / "repo", features, {"train": columns})
    )
    assert [stored[f"train/{n}"]["captions"] for n in range(4)] == [["a", "b"], ["c"], [], ["d"]]
    assert stored["train/1"]["attributes"] == '{"Smiling": true, "Wavy_Hair": false}'
    del features["captions"], columns["captions"]
    (tmp_path / "again").mkdir()
    repo = repository(tmp_path / "other", features, {"train": columns})
    stored, _ = prepared(tmp_path / "again", "hf:some/one", path=repo, columns="attributes=*")
    assert [stored[f"train/{n}"]["captions"] for n in range(4)] == [
        ["wavy hair, smiling"],
        ["smiling"],
        ["wavy hair"],
        ["wavy hair"],
    ]


def test_a_folder_of_images_with_metadata(tmp_path):
    (tmp_path / "repo").mkdir()
    for n in range(6):
        picture(n).save(tmp_path / "repo" / f"{n}.png")
    lines = [f'{{"file_name": "{n}.png", "text": "number {n}"}}\n' for n in range(6)]
    (tmp_path / "repo" / "metadata.jsonl").write_text("".join(lines))
    stored, _ = prepared(tmp_path, "hf:some/one", path=tmp_path / "repo")
    assert {row["captions"][0]: row["pixels"] for row in stored.values()} == {
        f"number {n}": np.asarray(picture(n)).tobytes() for n in range(6)
    }


def test_bad_pictures_do_not_end_it(tmp_path):
    features = {"image": datasets.Image(), "text": datasets.Value("string")}
    images = [*map(picture, range(5)), {"bytes": b"no picture", "path": None}, None]
    repo = repository(
        tmp_path / "repo", features, {"train": {"image": images, "text": [str(n) for n in range(7)]}}
    )
    card = prepare_source(tmp_path / "set", hub("hf:some/one", path=repo), max_bad=0.5, held_out=0.3)
    assert [entry["file"] for entry in card["skipped"]] == ["train/5", "train/6"]
    assert "its content is damaged or of another format" in card["skipped"][0]["reason"]
    assert card["skipped"][1]["reason"] == "it is empty (0 bytes)"
    assert card["count"]["train"] + card["count"]["held_out"] == 5


def test_one_split_and_starting_in_the_middle(tmp_path):
    repo = captioned(tmp_path / "repo")
    assert {item.captions[0] for item in hub("celebahq", path=repo, split="validation").items(0)} == {
        f"number {n}" for n in range(12, 16)
    }
    with pytest.raises(ConfigError, match="has no split 'test'; it has train, validation"):
        hub("celebahq", path=repo, split="test")
    source = hub("celebahq", path=repo)
    items = list(source.items(0))
    assert len(items) == source.count == 16
    for start in (1, 11, 12, 13, 16):
        assert list(source.items(start)) == items[start:]


@pytest.mark.parametrize(
    "name, options, error, message",
    [
        ("hf:one", {}, ConfigError, "'hf:one' names no set; allowed: hf:OWNER/NAME"),
        ("hf:a/b/c", {}, ConfigError, "names no set"),
        ("celebahq", {"variant": "fancy"}, ConfigError, "celebahq has no variant 'fancy'; allowed: plain"),
        ("mnist", {"variant": "plain"}, ConfigError, "mnist has no variant 'plain'"),
        (
            "celebahq",
            {"path": Path("none")},
            DataError,
            "none does not exist; allowed with --path: a folder with a copy of",
        ),
    ],
)
def test_errors(name, options, error, message):
    with pytest.raises(error, match=message):
        hub(name, **options)


def test_every_known_set_has_terms_where_they_are_needed():
    assert set(KNOWN) == {"celebahq", "celebahq plain", "ffhq", "mnist", "cifar10", "imagenet64"}
    assert all(KNOWN[name].terms for name in ("celebahq", "celebahq plain", "ffhq", "imagenet64"))


def test_images_without_a_feature(tmp_path):
    """Bytes and a path in a struct, as in files that `datasets` did not write; a path alone is not
    followed."""
    picture(9).save(tmp_path / "secret.png")
    features = {
        "image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "text": datasets.Value("string"),
    }
    files = [io.BytesIO() for _ in range(3)]
    for n, file in enumerate(files):
        picture(n).save(file, "PNG")
    images = [
        *({"bytes": file.getvalue(), "path": None} for file in files),
        {"bytes": None, "path": str(tmp_path / "secret.png")},
    ]
    repo = repository(tmp_path / "repo", features, {"train": {"image": images, "text": list("abcd")}})
    card = prepare_source(tmp_path / "set", hub("hf:some/one", path=repo), max_bad=0.5, held_out=0.4)
    assert [entry["file"] for entry in card["skipped"]] == ["train/3"] and "which is not read" in card[
        "skipped"
    ][0]["reason"]
    stored = [row for split in rows(tmp_path / "set").values() for row in split]
    assert {row["captions"][0]: row["pixels"] for row in stored} == {
        "abc"[n]: np.asarray(picture(n)).tobytes() for n in range(3)
    }


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datasets, "load_dataset_builder", lambda where: datasets.load_dataset(where))
    monkeypatch.setattr(datasets, "load_dataset", full)
    with pytest.raises(
        DiskFullError, match="no room in the cache of `datasets`, .*; free some, or set HF_HOME to another"
    ):
        hub("hf:some/one")


def offline(tmp_path: Path, *words: str, **environment: str | None) -> tuple[int, list[str]]:
    """Run the command line without a network -> (exit code, lines of stderr). A variable that is None is not
    set."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in ("XDG_CACHE_HOME", "HF_DATASETS_CACHE")
    }
    variables |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "rawmm_cli", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={name: value for name, value in variables.items() if value is not None},
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.process
def test_no_network(tmp_path):
    """Fault 29: terms first, then one line with the command that fetches the set elsewhere and how to use the
    copy."""
    code, lines = offline(tmp_path, "prepare", "celebahq")
    assert code == 3 and "\n".join(lines[:-1]) == CELEBA
    assert (
        "`hf download --repo-type dataset Ryan-sjtu/celebahq-caption --local-dir celebahq-caption`"
        in lines[-1]
    )
    assert lines[-1].startswith("error: ") and "`rawmm prepare celebahq --path celebahq-caption`" in lines[-1]
    assert not (tmp_path / "data").exists()


@pytest.mark.process
def test_no_home_and_a_cache_that_cannot_be_written(tmp_path):
    """Fault 25: a local copy is prepared without a home; where there can be no cache, one line says so."""
    captioned(tmp_path / "repo")
    code, lines = offline(
        tmp_path,
        "prepare",
        "celebahq",
        "--path",
        "repo",
        "--workers",
        "0",
        HOME=str(tmp_path / "repo" / "README.md"),
    )
    said = "prepared data/celebahq: 12 training and 4 held-out pictures"
    assert code == 0 and any(line.startswith(said) for line in lines)
    (tmp_path / "file").write_text("no folder")  # no folder can be made in it
    for places in (
        {"HF_HOME": "/proc/none"},
        {"HF_HOME": None, "HOME": str(tmp_path / "file")},
        {"HF_DATASETS_CACHE": str(tmp_path / "file")},
    ):
        code, lines = offline(tmp_path, "prepare", "celebahq", "--path", "repo", "--name", "again", **places)
        assert (
            code == 3
            and lines[-1].startswith("error: the cache of `datasets` cannot be written (")
            and "HF_HOME" in lines[-1]
        )
        assert "\n".join(lines[:-1]) == CELEBA


def test_celebahq_fits_patch128_unless_a_size_is_given(tmp_path, rawmm):
    """Larger pictures get the size of the preset, smaller ones keep their own, and `--size 0` keeps all."""
    sides = [(160, 160), (200, 150), (128, 128), (40, 60)] * 5
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (*side, 3), dtype=np.uint8)) for side in sides]
    repo = repository(
        tmp_path / "repo",
        {"image": datasets.Image(), "text": datasets.Value("string")},
        {"train": {"image": images, "text": [str(n) for n in range(20)]}},
    )
    for name, words, expected in (
        ("celebahq", (), [(128, 128), (176, 128), (128, 128), (40, 60)]),
        ("own", ("--size", 0), sides),
        ("celebahq-40", ("--size", 40, "--crop", "center"), [(40, 40)]),
    ):
        code, _, err = rawmm(
            "prepare",
            "celebahq",
            "--path",
            repo,
            "--data-dir",
            tmp_path,
            "--workers",
            0,
            "--name",
            name,
            *words,
        )
        stored = [row for split in rows(tmp_path / name).values() for row in split]
        assert code == 0 and ("larger pictures are shrunk to 128 pixels" in err) == (not words)
        assert {(row["height"], row["width"]) for row in stored} == set(expected)
        for row in stored:
            number = int(row["captions"][0])
            if expected[number % len(expected)] == sides[number]:
                assert row["pixels"] == np.asarray(images[number]).tobytes()


def test_the_readme_s_first_lines(tmp_path, rawmm):
    """`rawmm prepare celebahq`, `rawmm train --preset patch128 --gpus 8`: the preset fits the set that the
    first command prepares."""
    repo = repository(
        tmp_path / "repo",
        {"image": datasets.Image(), "text": datasets.Value("string")},
        {
            "train": {
                "image": [picture(n).resize((130 + n, 140)) for n in range(20)],
                "text": ["a portrait of a smiling woman"] * 20,
            }
        },
    )
    assert rawmm("prepare", "celebahq", "--path", repo, "--data-dir", tmp_path, "--workers", 0)[0] == 0
    code, out, err = rawmm(
        "train",
        "--preset",
        "patch128",
        "--gpus",
        8,
        "--dry-run",
        "--json",
        "--data-dir",
        tmp_path,
        "--runs-dir",
        tmp_path,
        "--device",
        "cpu",
    )
    assert code == 0, err
    assert json.loads(out)["positions_from"] == "data"


def test_files_outside_of_the_set_are_not_read(tmp_path):
    """A README, and the lists of a saved set, name their files: only those in the set are used."""
    repo = captioned(tmp_path / "repo")
    captioned(tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").rglob("*.parquet"):
        file.write_bytes(b"not opened, or this would be another error")
    readme = "---\nconfigs:\n- config_name: default\n  {}\n---\n"
    elsewhere = (f"{tmp_path}/elsewhere/data", "../elsewhere/data")
    patterns = [line for path in elsewhere for line in (f"data_files: {path}/*.parquet", f"data_dir: {path}")]
    for pattern in patterns:
        (repo / "README.md").write_text(readme.format(pattern))
        with pytest.raises(
            DataError, match="repo is refused: it names '/.*', which is not in the set; allowed"
        ):
            hub("hf:some/one", path=repo)
    saved = datasets.Dataset.from_dict(
        {"image": [picture(0)] * 3}, datasets.Features({"image": datasets.Image()})
    )
    for name in ("a", "b"):
        saved.save_to_disk(str(tmp_path / name))
    (tmp_path / "a" / "more.arrow").touch()
    source = hub("hf:some/one", path=tmp_path / "a")
    assert source.count == 3 and source.unused.card() == {"files": {"more.arrow": 1}}
    state = json.loads((tmp_path / "a" / "state.json").read_text())
    for file in ("../b/data-00000-of-00001.arrow", str(tmp_path / "b" / "data-00000-of-00001.arrow")):
        state["_data_files"] = [{"filename": file}]
        (tmp_path / "a" / "state.json").write_text(json.dumps(state))
        with pytest.raises(
            DataError, match="is refused: it names '.*', which leads out of the folder; allowed"
        ):
            hub("hf:some/one", path=tmp_path / "a")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "dataset_dict.json").write_text('{"splits": ["../b"]}')
    with pytest.raises(DataError, match="is refused: it names '.*', which leads out of the folder; allowed"):
        hub("hf:some/one", path=tmp_path / "c")
    with pytest.raises(DataError, match="'hf:../repo' names no set of the hub; allowed: hf:OWNER/NAME"):
        hub("hf:../repo")


def test_a_copy_of_several_configurations(tmp_path):
    repo = captioned(tmp_path / "repo")
    configs = "".join(f"- config_name: {name}\n  data_files: data/*.parquet\n" for name in ("a", "b"))
    (repo / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with pytest.raises(DataError, match=r"Config name is missing\. .* \['a', 'b'\]"):
        hub("hf:some/one", path=repo)


def test_lists_of_pictures(tmp_path):
    """Of one picture each: pictures. Of several: documents."""
    features = {"images": datasets.List(datasets.Image()), "text": datasets.Value("string")}
    for name, counts in (("one", [1, 1, 1, 0]), ("several", [1, 2, 1, 1])):
        lists = [[picture(10 * n + m) for m in range(count)] for n, count in enumerate(counts)]
        repo = repository(tmp_path / name, features, {"train": {"images": lists, "text": list("abcd")}})
        (tmp_path / f"of {name}").mkdir()
        source = hub("hf:some/one", path=repo)
        card = prepare_source(tmp_path / f"of {name}" / "set", source, max_bad=0.3, held_out=0.3)
        stored = {
            row["source"]: row for split in rows(tmp_path / f"of {name}" / "set").values() for row in split
        }
        assert card["kind"] == ("pictures" if name == "one" else "documents")
        expected = np.asarray(picture(10)).tobytes()
        if name == "one":
            assert stored["train/1"]["pixels"] == expected and [s["file"] for s in card["skipped"]] == [
                "train/3"
            ]
        else:
            assert stored["train/1"]["pixels"] == [expected, np.asarray(picture(11)).tobytes()]
            assert stored["train/1"]["texts"] == ["b"] and stored["train/1"]["draw"] == [True, True]
