"""Splits of a source, told by names of folders and files as `datasets` tells them."""

from collections import Counter

import pytest
from PIL import Image

from rawmm_cli.data.layout.classes import classes_of
from rawmm_cli.data.layout.splits import described, roles, split_of, splits_of


@pytest.mark.parametrize(
    "name,split",
    [
        ("train", "train"),
        ("Training", "train"),
        ("train2017", "train"),
        ("coco-val", "validation"),
        ("dev", "validation"),
        ("my valid set", "validation"),
        ("test_a", "test"),
        ("evaluation.1", "test"),
        ("trainval", "train"),  # of VOC
        ("VAL2017", "validation"),
        ("images_train", "train"),
        ("strain", None),
        ("trainstation", None),
        ("TrainStation", None),
        ("devil", None),
        ("latest", None),
        ("contest", None),
        ("", None),
    ],
)
def test_a_keyword_is_a_whole_word(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "names,splits",
    [
        (["train/a.png", "test/a.png"], ["train", "test"]),
        (["x/train/cat/a.png", "x/val/cat/a.png"], ["train", "validation"]),
        (["train/test/a.png", "valid/train/a.png"], ["train", "validation"]),  # the outermost tells
        (["train/a.png", "test/a.png", "more/a.png", "b.png"], ["train", "test", None, None]),
        (["a.png", "test/a.png"], [None, "test"]),
        (["train station.png", "test.png"], [None, None]),  # names of pictures tell nothing
        (["sub/a.png", "sub/Test/x/a.png"], [None, "test"]),
        (["control/a.png", "test/a.png"], [None, None]),  # classes
        (["a.png", "test_tube/a.png"], [None, None]),
        (["beaker/a.png", "test_tube/a.png"], [None, None]),
        (["car/a.png", "train/a.png", "bus/a.png"], [None, None, None]),  # a class
        (["trainA/a.png", "trainB/a.png", "testA/a.png"], ["train", None, "test"]),
        (["trainA/a.png", "trainB/a.png", "testA/a.png", "testB/a.png"], ["train", "train", "test", "test"]),
        (["TrainImages/a.png", "x/a.png", "ValImages/a.png"], ["train", None, "validation"]),
        (["x/imagesTrain/cat/a.png", "x/imagesEval/cat/a.png"], ["train", "test"]),
        (["TrainStation/a.png", "TestTube/a.png"], [None, None]),  # classes
        (["trainA/cat/a.png", "trainA/test_tube/a.png", "testA/dog/a.png"], ["train", "train", "test"]),
        (["trainset/a.png", "valset/a.png", "testset/a.png"], ["train", "validation", "test"]),
        (["trainA/a.png", "test/a.png"], [None, None]),
        (["strain/a.png", "trainstation/a.png", "test/a.png"], [None, None, None]),
        (["test/a.png", "test/b.png"], [None, None]),
        (["val/a.png", "test/b.png"], [None, None]),
        ([], []),
    ],
)
def test_folders(names, splits):
    assert splits_of(names) == splits


@pytest.mark.parametrize(
    "names,splits",
    [
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], ["train", "test"]),
        (["data/train-00000-of-00001-ab.parquet", "minival-00000-of-00001.parquet"], ["train", "minival"]),
        (["en-00000-of-00001.parquet", "de-00000-of-00001.parquet"], [None, None]),
        (["set-train-000000.tar", "set-val-000000.tar", "more.tar"], ["train", "validation", None]),
        (["train/test-0.tar", "val/train-0.tar"], ["train", "validation"]),  # folders before names
        (["train-0.tar", "train-1.tar"], [None, None]),
        (["TrainSet.tar", "TestSet.tar"], ["train", "test"]),
        (["0.tar", "1.tar"], [None, None]),
        (["a.train.tar", "b.tar"], [None, None]),
        (["split=train/0.parquet", "split=test/0.parquet"], ["train", "test"]),
        (["wiki.train.txt", "wiki.test.txt"], ["train", "test"]),
    ],
)
def test_files(names, splits):
    assert splits_of(names, files=True) == splits


def test_roles():
    assert roles(["train", "test", "extra", None]) == {
        "train": "train",
        "test": "held_out",
        "extra": "held_out",
        None: "train",
    }
    assert roles(["test", "other"]) == {"test": "held_out", "other": "train"}
    assert roles(["train_sft", "test_sft"]) == {"train_sft": "train", "test_sft": "held_out"}
    assert set(roles(["en", "de"]).values()) == set(roles(["train"]).values()) == {None}
    assert set(roles(["test", "validation"]).values()) == {None}


def test_words_for_the_card():
    counts = Counter({"train": 800, None: 3, "test": 200})
    assert described(counts) == "train 800 (trained on), others 3 (trained on), test 200 (held out)"
    assert described(Counter({None: 5})) == ""


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("Training-1", "x_val", "eval"), ("train", "validation", "test")]
)
def test_as_datasets_splits_a_folder(folders, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = [f"{folder}/{n}.png" for folder in folders for n in range(2)]
    for name in names:
        path = tmp_path / "set" / name.lower()  # `datasets` knows small letters alone
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), drop_labels=True)
    assert {split: len(data) for split, data in theirs.items()} == Counter(splits_of(names))


@pytest.mark.parametrize(
    "folders, classes",
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["x/cat", "y/dog", "y/cat"], ["cat", "dog", "cat"]),
        (["train/cat", "test/dog"], ["cat", "dog"]),
        (["cat/train", "dog/test", "cat/test"], ["cat", "dog", "cat"]),  # as of MVTec
        (["trainA/cat", "testA/test_tube"], ["cat", "test_tube"]),
        (["train/train", "train/car", "test/train"], ["train", "car", "train"]),  # a class
        (["train", "test"], None),
        (["trainA", "trainB", "testA"], None),
        (["images/train", "images/val"], None),
        (["cat", "x/dog"], None),
        (["", "cat"], None),
        (["cat"], None),
        ([], None),
    ],
)
def test_classes_are_the_folders_that_tell_no_splits(folders, classes):
    assert classes_of(folders) == ({} if classes is None else dict(zip(folders, classes)))
