"""Folders as `datasets` reads them with its imagefolder: the same captions, classes and splits; and what it
does not read."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_folders import fill, picture, prepared
from PIL import Image
from sources import png

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.data.layout.unused import sentence
from rawmm_cli.system.errors import DataError


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def comma(path, rows):
    path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))


WRITERS = {"metadata.jsonl": jsonl, "metadata.csv": comma, "metadata.parquet": table}


def ours(path) -> dict[str, tuple]:
    """{name: (split, caption, class)}."""
    source = folder(path)
    classes = source.card["labels"]
    return {
        item.name: (
            item.split,
            *(item.captions or [None]),
            classes[item.label] if item.label >= 0 else None,
        )
        for item in source.items(0)
    }


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def load(path) -> dict[str, tuple]:
        loaded = datasets.load_dataset("imagefolder", data_dir=str(path))
        rows = {}
        for split, data in loaded.items():
            role = None if len(loaded) == 1 else "train" if split == "train" else "held_out"
            names = getattr(data.features.get("label"), "names", [])
            for row in data.cast_column("image", datasets.Image(decode=False)):
                label = None if row.get("label") is None else names[row["label"]]
                name = os.path.relpath(row["image"]["path"], path)
                rows[name] = (role, row.get("text"), label)
        return rows

    return load


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "folders",
    [
        {"": ["a.png", "sub/b.png"]},
        {"train": ["a.png", "x/b.png"], "test": ["a.png"]},
        {"one": ["a.png"], "two/three": ["b.png", "c.jpg"]},
        {"train/one": ["a.png"], "train/two": ["a.png"], "validation": ["b.png"], "test": ["c.png"]},
        {"": ["a.png"], "sub": ["b.png"]},
    ],
    ids=["root", "splits", "subfolders", "both", "nested"],
)
def test_metadata(name, folders, tmp_path, theirs):
    for place, names in folders.items():
        fill(tmp_path / "set" / place, *names)
        rows = [{"file_name": file, "text": f"{file} of /{place}"} for file in names]
        WRITERS[name](tmp_path / "set" / place / name, rows)
    assert ours(tmp_path / "set") == theirs(tmp_path / "set")
    assert len(ours(tmp_path / "set")) == sum(map(len, folders.values()))


@pytest.mark.parametrize(
    "names",
    [
        ["cat/a.png", "dog/a.png", "Bird/b.jpg"],
        ["train/cat/a.png", "train/dog/a.png", "test/dog/b.png"],
        ["cat/a.png", "dog/deeper/a.png"],
        ["cat/a.png", "cat/b.png"],
        ["a.png", "b.png"],
        ["a.png", "cat/b.png", "dog/b.png"],
        ["x/cat/a.png", "y/dog/a.png", "y/cat/a.png"],
        ["1/a.png", "10/a.png", "2/a.png"],
    ],
)
def test_classes(names, tmp_path, theirs):
    fill(tmp_path / "set", *names)
    assert ours(tmp_path / "set") == theirs(tmp_path / "set")


def test_splits_are_no_classes(tmp_path):
    """`datasets` takes train and test for classes here, and leaves the training labels empty."""
    fill(tmp_path, "train/a.png", "train/b.png", "test/c.png")
    assert ours(tmp_path) == {
        "train/a.png": ("train", None, None),
        "train/b.png": ("train", None, None),
        "test/c.png": ("held_out", None, None),
    }


def test_nothing_is_dropped_beside_splits_and_words(tmp_path):
    """`datasets` drops what is in no split, and takes 'test' in a name of a picture for one."""
    names = ["train/a.png", "test/b.png", "c.png", "more/test.png"]
    fill(tmp_path, *names)
    assert {name: row[0] for name, row in ours(tmp_path).items()} == dict(
        zip(names, ["train", "held_out", "train", "train"])
    )
    rows, card = prepared(tmp_path)
    assert [row["source"] for row in rows["held_out"]] == ["test/b.png"]
    assert card["chosen"]["splits"] == "train 1 (trained on), others 2 (trained on), test 1 (held out)"


@pytest.mark.parametrize("name", ["Metadata.jsonl", "METADATA.CSV", "sub/metadata.Parquet"])
def test_metadata_in_other_letters(name, tmp_path):
    fill(tmp_path, "a.png", "sub/b.png")
    rows = [{"file_name": "b.png" if "/" in name else "sub/b.png", "text": "x"}]
    WRITERS[os.path.basename(name).lower()](tmp_path / name, rows)
    assert ours(tmp_path)["sub/b.png"] == (None, "x", None)


def test_the_nearest_metadata_comes_first(tmp_path):
    fill(tmp_path, "a/b/c.png", "a/d.png")
    for place, text in (("", "far"), ("a", "near"), ("a/b", "nearest")):
        name = os.path.relpath(tmp_path / "a/b/c.png", tmp_path / place)
        jsonl(tmp_path / place / "metadata.jsonl", [{"file_name": name, "text": text}])
    items = {item.name: item.captions for item in folder(tmp_path).items(0)}
    assert items == {"a/b/c.png": ("nearest", "near", "far"), "a/d.png": ()}


def test_columns_of_metadata(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    comma(
        tmp_path / "metadata.csv",
        [
            {"file_name": name, "score": 1, "prompt": f"p {name}", "caption": f"c {name}", "mood": "calm"}
            for name in ("a.png", "b.png")
        ],
    )
    assert ours(tmp_path)["a.png"] == (None, "c a.png", None)
    source = folder(tmp_path)
    assert sentence(source.unused.card()) == "Not used: columns mood, prompt, score"
    chosen = {item.name: item.captions for item in folder(tmp_path, columns="text=mood").items(0)}
    assert chosen == {"a.png": ("calm",), "b.png": ("calm",)}


@pytest.mark.parametrize("labels,classes", [(["dog", "cat"], ["cat", "dog"]), (["3", "1"], [])])
def test_classes_of_metadata_become_captions(labels, classes, tmp_path):
    fill(tmp_path, "x/a.png", "y/b.png")
    rows = [{"file_name": name, "label": label} for name, label in zip(("x/a.png", "y/b.png"), labels)]
    comma(tmp_path / "metadata.csv", rows)
    lines = []
    source = folder(tmp_path, notify=lines.append)
    assert source.card["labels"] == classes
    numbers = [classes.index(label) if classes else int(label) for label in labels]
    assert [(item.label, item.captions) for item in source.items(0)] == [
        (number, (f"a photo of a {label}",)) for number, label in zip(numbers, labels)
    ]
    assert lines == ["captions are made of the classes by 'a photo of a {label}'; --caption gives another"]


def test_a_column_of_paths_with_another_name(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    comma(tmp_path / "metadata.csv", [{"path": f"{n}.png", "text": n} for n in "ab"])
    items = folder(tmp_path, columns="image=path").items(0)
    assert [(item.name, item.captions) for item in items] == [("a.png", ("a",)), ("b.png", ("b",))]


def test_why_folders_are_no_classes(tmp_path):
    fill(tmp_path, "a.png", "cat/b.png")
    lines = []
    folder(tmp_path, notify=lines.append)
    assert lines == ["folders are no classes here, since the pictures are not equally deep"]


def test_classes_of_folders_become_captions_only_on_request(tmp_path):
    fill(tmp_path, "Red_Fox/a.png", "owl/b.png")
    lines = []
    source = folder(tmp_path, notify=lines.append)
    assert [item.captions for item in source.items(0)] == [(), ()]
    assert lines == [
        "2 classes by folder (Red_Fox, owl); --caption 'a photo of a {label}' makes captions of them"
    ]
    source = folder(tmp_path, caption="one {label}")
    assert [item.captions for item in source.items(0)] == [("one red fox",), ("one owl",)]
    _, card = prepared(tmp_path)
    assert card["labels"] == ["Red_Fox", "owl"] and card["label_counts"] == {"Red_Fox": 1, "owl": 1}


def test_windows_paths_and_semicolons_and_long_cells(tmp_path):
    fill(tmp_path, "sub/a.png", "sub/b.png", "c.png", "d\\e.png")
    long = "x" * 300_000
    (tmp_path / "metadata.csv").write_text(
        f'file_name;text\nsub\\a.png;"one; two"\n.\\sub\\b.png;"three; four"\nc.png;{long}\nd\\e.png;five'
    )
    items = {item.name: item.captions for item in folder(tmp_path).items(0)}
    assert items == {
        "sub/a.png": ("one; two",),
        "sub/b.png": ("three; four",),
        "c.png": (long,),
        "d\\e.png": ("five",),
    }
    (tmp_path / "metadata.csv").write_text("sep=\t\nfile_name\ttext\nc.png\tone, two\n")
    assert ours(tmp_path)["c.png"] == (None, "one, two", None)


@pytest.mark.parametrize("ending", ["jfif", "jpe", "pjpeg", "JPE", "jif", "apng", "pnm", "dib"])
def test_other_endings_are_read_by_content(ending, tmp_path):
    fill(tmp_path, "a.png", "b.png")
    kind = {"apng": "PNG", "pnm": "PPM", "dib": "BMP"}.get(ending, "JPEG")
    Image.fromarray(picture(7)).save(tmp_path / f"c.{ending}", kind)
    rows, card = prepared(tmp_path)
    assert f"c.{ending}" in {row["source"] for split in rows.values() for row in split}
    assert card["unused"] == {} and card["skipped"] == []


def test_a_picture_of_any_ending_that_metadata_name(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    for name in ("c", "d.dat", "e.dat"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    jsonl(
        tmp_path / "metadata.jsonl", [{"file_name": name, "text": name} for name in ("c", "d.dat", "a.png")]
    )
    rows, card = prepared(tmp_path)
    assert sorted(row["source"] for split in rows.values() for row in split) == [
        "a.png",
        "b.png",
        "c",
        "d.dat",
    ]
    assert card["unused"] == {"endings": {".dat": 1}}


def test_captions_beside_a_picture_have_one_order(tmp_path):
    fill(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "a.json").write_text(json.dumps({"caption": "json", "url": "u", "width": 8}))
    (tmp_path / "a.caption").write_text("caption\ntxt\n")
    (tmp_path / "a.txt").write_text("txt\n")
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "text": ["metadata", "json"]}])
    (tmp_path / "b.CAPTION").write_text("b")
    (tmp_path / "c.json").write_text('{"captions": ["one", "two"], "label": 3}')
    (tmp_path / "d.json").write_text('{"shapes": []}')
    (tmp_path / "annotations.json").write_text("[]")
    source = folder(tmp_path)
    assert {item.name: item.captions for item in source.items(0)} == {
        "a.png": ("txt", "caption", "json", "metadata"),
        "b.png": ("b",),
        "c.png": ("one", "two"),
        "d.png": (),
    }
    assert sentence(source.unused.card()) == "Not used: annotations.json, d.json; keys url, width"


def test_what_is_not_used_is_told(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    for name in ("x.heic", "y.HEIC", "z.psd", "notes.md", "README.txt", ".DS_Store", "raw"):
        (tmp_path / name).write_text("x")
    (tmp_path / "more").symlink_to(tmp_path)
    _, card = prepared(tmp_path)
    assert sentence(card["unused"]) == (
        "Not used: 2 .heic, 1 without an ending, 1 .md, 1 .psd, 1 .txt, 1 hidden file or folder, "
        "1 linked folder"
    )


def test_a_column_without_values_says_nothing(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": f"{n}.png", "text": None} for n in "ab"])
    (tmp_path / "a.json").write_text('{"caption": null}')
    _, card = prepared(tmp_path)
    assert card["without_caption"] == 2 and card["skipped"] == []


def test_the_limit_takes_what_is_trained_on_first(tmp_path):
    fill(tmp_path, *(f"{split}/{n}.png" for n in range(4) for split in ("test", "train")))
    names = [item.name for item in folder(tmp_path).items(0)]
    assert names == [f"{split}/{n}.png" for split in ("train", "test") for n in range(4)]


def test_two_spellings_of_one_name(tmp_path):
    fill(tmp_path, "caf\u00e9.png", "cafe\u0301.png", "b.png")
    rows, card = prepared(tmp_path)
    assert sorted(row["source"] for split in rows.values() for row in split) == ["b.png", "caf\u00e9.png"]
    assert list(card["unused"]["files"].values()) == [1]


@pytest.mark.parametrize(
    "name, content, captions, unused",
    [
        ("csv", "file_name,text\r0.png,a\r1.png,b\r", "ab", {}),  # as older spreadsheets end lines
        ("csv", "\n\r\nfile_name,text\n0.png,a\n\n1.png,b\n", "ab", {}),
        ("csv", "file_name,text,caption\n0.png,,a\n1.png,b,x\n", "ab", {}),
        (
            "jsonl",
            '{"file_name": "0.png", "text": null, "caption": "a"}\n{"file_name": "1.png", "text": "b"}',
            "ab",
            {},
        ),
        (
            "jsonl",
            '{"file_name": "0.png", "text": ["a", null]}\n{"file_name": "1.png", "text": "b"}',
            "ab",
            {},
        ),
        ("csv", "file_name,text\n", None, {"files": {"metadata.csv": 1}}),
        (
            "jsonl",
            '{"file_name": "0.png", "label": true}\n{"file_name": "1.png", "text": null, "label": 0.5}',
            None,
            {"columns": {"label": 1, "text": 1}},
        ),
    ],
)
def test_metadata_of_others(name, content, captions, unused, tmp_path):
    """The first column that says something is the caption; what says nothing is told."""
    for n in range(2):
        (tmp_path / f"{n}.png").write_bytes(png(n))
    (tmp_path / f"metadata.{name}").write_bytes(content.encode())
    source = folder(tmp_path)
    assert [item.captions for item in source.items(0)] == (
        [(text,) for text in captions] if captions else [(), ()]
    )
    assert source.unused.card() == unused and [item.label for item in source.items(0)] == [-1, -1]


def test_two_columns_of_one_name(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "metadata.csv").write_text("sep=,\nfile_name,text,text,x,x\n0.png,a,b,c,d\n")
    with pytest.raises(
        DataError, match="metadata.csv line 2: has several columns 'text'; rename all but one"
    ):
        folder(tmp_path)


def test_texts_that_are_stored_as_bytes(tmp_path):
    """Spark and Polars write them without saying that they are text."""
    (tmp_path / "0.png").write_bytes(png(0))
    pq.write_table(pa.table({"file_name": [b"0.png"], "text": ["ü".encode()]}), tmp_path / "metadata.parquet")
    assert [item.captions for item in folder(tmp_path).items(0)] == [("ü",)]


@pytest.mark.parametrize("name", WRITERS)
def test_columns_in_any_letter_case(name, tmp_path):
    fill(tmp_path, "a.png", "b.png")
    WRITERS[name](
        tmp_path / name, [{"File_Name": f"{n}.png", "Caption": f"my {n}", "Label": n} for n in "ab"]
    )
    assert ours(tmp_path) == {f"{n}.png": (None, f"my {n}", n) for n in "ab"}


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.parquet", "a.json"])
def test_captions_by_field(name, tmp_path):
    """A line says what to give; then they are read."""
    fill(tmp_path, "a.png", "b.png")
    rows = [{"file_name": f"{n}.png", "text": {"en": f"my {n}", "de": f"mein {n}"}} for n in "ab"]
    if name == "a.json":
        for n, row in zip("ab", rows):
            (tmp_path / f"{n}.json").write_text(json.dumps({"text": row["text"]}))
    else:
        WRITERS[name](tmp_path / name, rows)
    reason = str(next(folder(tmp_path).items(0)).content)
    assert reason.endswith("; choose a field, as --columns text=text.en")
    source = folder(tmp_path, columns="text=text.de")
    assert [item.captions for item in source.items(0)] == [("mein a",), ("mein b",)]
    assert source.unused.card() == {}


def test_captions_beside_whole_names(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "a.png.txt").write_text("my a")
    (tmp_path / "b.png.json").write_text('{"caption": "my b"}')
    assert ours(tmp_path) == {f"{n}.png": (None, f"my {n}", None) for n in "ab"}


@pytest.mark.parametrize("delimiter", ",;\t|")
def test_lists_as_python_prints_them_stand_and_are_said(delimiter, tmp_path):
    fill(tmp_path, "a.png", "b.png")
    rows = [("file_name", "text"), ("a.png", "\"['a cat', 'x']\""), ("b.png", '"[""b"", ""y""]"')]
    (tmp_path / "metadata.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    source = folder(tmp_path, notify=(lines := []).append)
    assert [item.captions for item in source.items(0)] == [("['a cat', 'x']",), ("b", "y")]
    assert lines == [
        "captions are lists as Python prints them, read as they stand: write lists of texts, or JSON"
    ]
