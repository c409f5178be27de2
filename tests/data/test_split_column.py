"""Splits that a column tells: in Parquet files, streams, metadata and saved sets."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import struct, table_bytes, write
from sources import png

from rawmm_cli.config import presets
from rawmm_cli.data import sets, sources
from rawmm_cli.data.layout.split_column import of_rows
from rawmm_cli.data.layout.splits import roles_in_column, split_columns

KARPATHY = ["test", "train", "restval", "val", "train", None] * 5
TRAINED_ON = "restval 5 (trained on), train 10 (trained on), others 5 (trained on)"
LINE = f"{TRAINED_ON}, test 5 (held out), val 5 (held out)"
HELD_OUT = [n for n, split in enumerate(KARPATHY) if split in ("val", "test")]
TRAINED = [n for n in range(30) if n not in HELD_OUT]


def table(path: Path, numbers=range(30), **columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = {"image": [*map(struct, numbers)], "text": [f"picture {n}" for n in numbers]}
    pq.write_table(pa.table(pictures | columns), path, row_group_size=4)


def prepared(path: Path, name: str = "parquet", **options):
    """(source, its lines, {item: its split} in order)."""
    lines = []
    source = sources.source(name, {"path": path, **options}, lines.append)
    return source, lines, {item.name: item.split for item in source.items(0)}


def streamed(path: Path, *words: str):
    settings = ["data.set=x", "data.size=8", "train.batch=4", "train.length=64", "data.stream=true"]
    words = [*settings, f"data.stream.path={path}", "data.stream.lanes=1", *words]
    lines = []
    (stream,), _ = sets.load(presets.load("tiny", words), Path("nowhere"), lines.append)
    return stream, lines


def of_stream(stream) -> dict[str, str]:
    """{item: its split} in a stream."""
    return {
        item.name: "train" if trains else "held_out"
        for block in stream.shards.blocks
        for item, trains in zip(stream.shards.read(block, [True] * block.count), stream._trains(block))
    }


@pytest.mark.parametrize(
    "column,texts,held_out",
    [
        ("split", ["train", "restval", "val", "test", None], ["val", "test"]),
        ("Split", ["TRAIN", " Validation "], [" Validation "]),
        ("split", ["test", ""], ["test"]),  # what is beside the splits is trained on
        ("split", ["train2017", "val2017"], ["val2017"]),
        ("split", ["train", "restval"], []),
        ("split", ["val", "test"], []),
        ("split", ["banana split", "tear"], []),
        ("subset", ["train", "validation", "test"], ["validation", "test"]),
        ("subset", ["train", "test", "coco"], []),  # it says where a picture is from
        ("split", ["train", *(f"test {n}" for n in range(100))], []),
    ],
)
def test_texts_of_a_column(column, texts, held_out):
    roles = roles_in_column(column, texts)
    assert [text for text, role in roles.items() if role == "held_out"] == held_out
    assert not held_out or roles.keys() == set(texts)


def test_values_of_every_type():
    texts = ["train", None, "test", "train"]
    kinds = [
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.string_view()),
        pa.array([1, None, 0, 1], pa.int8()),
    ]
    for values in kinds:
        splits = of_rows("split", [[values, pa.nulls(1)], [pa.array(["test"])]], ["test", "train"])
        assert [part.tolist() for part in splits.held_out] == [[False, False, True, False, False], [True]]
        assert splits.line == "train 2 (trained on), others 2 (trained on), test 2 (held out)"
    wrong = pa.array([0, 1, 2, -1])  # numbers outside of the names
    assert of_rows("split", [[wrong]], ["test", "train"]).held_out[0].tolist() == [True, False, False, False]
    assert of_rows("split", [[pa.array([0, 1])]]) is None
    assert of_rows("split", [[pa.array([["train"], ["test"]])]]) is None


def test_prepare_and_stream_take_the_same_rows(tmp_path):
    path = tmp_path / "set"
    table(path / "a.parquet", range(20), Split=KARPATHY[:20])
    table(path / "b.parquet", range(20, 30), Split=KARPATHY[20:])
    source, lines, items = prepared(path)
    names = [f"a.parquet/{n}" if n < 20 else f"b.parquet/{n - 20}" for n in range(30)]
    assert items == {names[n]: "train" for n in TRAINED} | {names[n]: "held_out" for n in HELD_OUT}
    assert list(items) == [names[n] for n in (*TRAINED, *HELD_OUT)]  # --limit takes those to train on first
    for start in range(31):  # resumed
        assert [item.name for item in source.items(start)] == list(items)[start:]
    assert source.count == 30
    assert f"splits of the source, in column Split: {LINE}" in lines
    assert source.card["chosen"]["split column"] == "Split" and source.card["chosen"]["splits"] == LINE
    assert not source.unused.card()

    stream, lines = streamed(path, "data.stream.held_out=0.9")
    assert of_stream(stream) == items
    assert stream.card["count"] == {"train": 20, "held_out": 10} and len(stream) == 20
    assert not stream.unused.card() and f"split column: Split; splits: {LINE}" in lines[0]
    shown = {text for n in range(40) for text in stream.item(0, n).captions}
    assert shown <= {f"picture {n}" for n in TRAINED}


def test_where_it_does_not_count(tmp_path):
    """Another role by --columns, folders and names of files, texts that are no splits: the hash decides."""
    table(tmp_path / "role" / "a.parquet", split=KARPATHY)
    source, _, items = prepared(tmp_path / "role", columns="text=split")
    assert set(items.values()) == {None} and "splits" not in source.card["chosen"]
    stream, _ = streamed(tmp_path / "role", "data.stream.columns='label=split,text=text'")
    assert "splits" not in stream.shards.about and not stream.unused.card()

    for part in ("train", "test"):
        table(tmp_path / "files" / f"{part}.parquet", split=KARPATHY)
    source, _, items = prepared(tmp_path / "files")
    assert Counter(items.values()) == {"train": 30, "held_out": 30} and items["test.parquet/1"] == "held_out"
    assert source.unused.card() == {"columns": {"split": 1}}
    stream, _ = streamed(tmp_path / "files")
    assert of_stream(stream) == items and stream.unused.card() == source.unused.card()

    for name, values in {"words": ["a", "b"] * 15, "numbers": [1, 2] * 15, "only": ["train"] * 30}.items():
        table(tmp_path / name / "a.parquet", split=values)
        source, _, items = prepared(tmp_path / name)
        assert set(items.values()) == {None} and source.unused.card() == {"columns": {"split": 1}}


def test_a_file_without_the_column_is_trained_on(tmp_path):
    table(tmp_path / "a.parquet", range(20), split=KARPATHY[:20])
    table(tmp_path / "b.parquet", range(20, 30))
    table(tmp_path / "c.parquet", range(30, 32), split=[1, 2])
    source, _, items = prepared(tmp_path)
    assert {split for name, split in items.items() if name[0] in "bc"} == {"train"}
    assert "others 13 (trained on)" in source.card["chosen"]["splits"]
    assert of_stream(streamed(tmp_path)[0]) == items


def test_another_state_resumes_nothing(tmp_path):
    """Parts by the hash and parts by the column do not mix."""
    table(tmp_path / "a.parquet", split=KARPATHY)
    by_column = prepared(tmp_path)[0].state
    assert by_column != prepared(tmp_path, columns="label=split")[0].state
    assert by_column == prepared(tmp_path)[0].state and "split column" in by_column


def pictures(folder: Path, name="{:02}.png".format) -> list[str]:
    names = [name(n) for n in range(30)]
    write(folder, {name: png(n) for n, name in enumerate(names)})
    return names


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "metadata.parquet"])
def test_metadata(name, tmp_path):
    names = pictures(tmp_path)
    rows = [{"file_name": file, "text": "x", "Split": split} for file, split in zip(names, KARPATHY)]
    rows.append({"file_name": "gone.png", "text": "x", "Split": "test"})
    write(tmp_path, {name: table_bytes(name, rows)})
    source, lines, items = prepared(tmp_path, "folder")
    assert [file for file, split in items.items() if split == "held_out"] == [names[n] for n in HELD_OUT]
    assert [file for file in items if file != "gone.png"] == [names[n] for n in (*TRAINED, *HELD_OUT)]
    assert f"splits of the source, in column Split: {LINE}" in lines
    assert source.card["chosen"] == {"split column": "Split", "splits": LINE}
    assert not source.unused.card() and "Split" in source.state


def test_folders_come_before_metadata_and_json(tmp_path):
    names = pictures(tmp_path, lambda n: f"{'test' if n < 3 else 'train'}/{n:02}.png")
    rows = [{"file_name": file, "split": split or ""} for file, split in zip(names, KARPATHY)]
    write(tmp_path, {"metadata.jsonl": table_bytes("metadata.jsonl", rows)})
    source, _, items = prepared(tmp_path, "folder")
    assert [file for file, split in items.items() if split == "held_out"] == names[:3]
    assert source.unused.card() == {"columns": {"split": 1}}
    assert set(prepared(tmp_path, "folder", columns="text=split")[0].unused.card()) == set()


def test_json_beside_pictures(tmp_path):
    names = pictures(tmp_path)
    for file, split in zip(names, KARPATHY):
        write(tmp_path, {file.replace("png", "json"): json.dumps({"split": split, "caption": "x"})})
    source, _, items = prepared(tmp_path, "folder")
    assert [file for file, split in items.items() if split == "held_out"] == [names[n] for n in HELD_OUT]
    assert not source.unused.card()
    write(tmp_path, {"metadata.jsonl": json.dumps({"file_name": names[1], "split": "test", "text": "y"})})
    assert prepared(tmp_path, "folder")[2] == items  # the nearest comes first


def test_a_set_that_has_one_split_and_a_column(tmp_path, monkeypatch):
    """As nlphuji/flickr30k: everything is in test-*.parquet, and a column tells the splits."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "set"
    table(path / "data" / "test-00000-of-00002.parquet", range(15), split=KARPATHY[:15])
    table(path / "data" / "test-00001-of-00002.parquet", range(15, 30), split=KARPATHY[15:])
    source, lines, items = prepared(path, "hf:owner/name")
    assert items == {f"test/{n}": "train" for n in TRAINED} | {f"test/{n}": "held_out" for n in HELD_OUT}
    for start in (0, 7, 19, 20, 21, 29, 30):
        assert [item.name for item in source.items(start)] == list(items)[start:]
    assert [item.captions[0] for item in source.items(0)] == [f"picture {n}" for n in (*TRAINED, *HELD_OUT)]
    assert f"splits of the source, in column split: {LINE}" in lines and not source.unused.card()
    assert [*of_stream(streamed(path)[0]).values()] == [
        *map(dict(items).get, (f"test/{n}" for n in range(30)))
    ]


def test_columns_of_classes(tmp_path, monkeypatch):
    """`split` as a ClassLabel of `datasets`."""
    datasets = pytest.importorskip("datasets")
    features = {"image": datasets.Image(), "split": datasets.ClassLabel(names=["test", "train"])}
    columns = {"image": [struct(n) for n in range(30)], "split": [int(n % 3 > 0) for n in range(30)]}
    data = datasets.Dataset.from_dict(columns, datasets.Features(features))
    (tmp_path / "set").mkdir()
    data.to_parquet(str(tmp_path / "set" / "a.parquet"))
    data.save_to_disk(str(tmp_path / "saved"))
    _, lines, items = prepared(tmp_path / "set")
    assert "splits of the source, in column split: train 20 (trained on), test 10 (held out)" in lines
    held_out = {name.rpartition("/")[2] for name, split in items.items() if split == "held_out"}
    assert held_out == {str(n) for n in range(0, 30, 3)}
    assert of_stream(streamed(tmp_path / "set")[0]) == items
    saved = prepared(tmp_path / "saved", "hf:owner/name")[2]
    assert {name.rpartition("/")[2] for name, split in saved.items() if split == "held_out"} == held_out


@pytest.mark.parametrize(
    "column, values, roles",
    [
        ("partition", ["0", "1", "2"], {"0": "train", "1": "held_out", "2": "held_out"}),
        ("Partition", ["0", "2", None], {"0": "train", "2": "held_out", None: "train"}),
        ("partition", ["0", "1", "2", "3"], {}),
        ("partition", ["train", "valid"], {"train": "train", "valid": "held_out"}),
        ("partition", ["a", "test"], {}),
        ("split", ["0", "1", "2"], {}),  # which is which?
        ("is_train", ["true", "false"], {"true": "train", "false": "held_out"}),
        ("is_training_image", ["1", "0"], {"1": "train", "0": "held_out"}),
        ("Is_Test", ["True", "False"], {"True": "held_out", "False": "train"}),
        ("is_val", ["1", "0", "2"], {}),
        ("is_train", ["1"], {}),
    ],
)
def test_numbers_and_truth_values(column, values, roles):
    assert roles_in_column(column, values) == roles
    assert split_columns(["is_valid", column], ()) == [column]  # is a picture for validation, or valid?


@pytest.mark.parametrize(
    "name, values",
    [
        ("partition", [n % 3 for n in range(30)]),
        ("is_training", [n % 3 == 0 for n in range(30)]),
        ("is_test", pa.array([int(n % 3 > 0) for n in range(30)], pa.int8())),
        ("split", pa.array([[b"train", b"val", b"test"][n % 3] for n in range(30)], pa.binary())),
    ],
)
def test_columns_of_numbers_truth_values_and_bytes(name, values, tmp_path, monkeypatch):
    """In Parquet files, streams, saved sets and metadata."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table(tmp_path / "in" / "a.parquet", **{name: values})
    expected = {n: "train" if n % 3 == 0 else "held_out" for n in range(30)}
    source, lines, splits = prepared(tmp_path / "in")
    assert {int(item.rpartition("/")[2]): role for item, role in splits.items()} == expected
    assert any(f"in column {name}: " in line for line in lines)
    _, _, splits = prepared(tmp_path / "in", "hf:owner/name")
    assert {int(item.rpartition("/")[2]): role for item, role in splits.items()} == expected
    stream, _ = streamed(tmp_path / "in")
    assert {int(item.rpartition("/")[2]): role for item, role in of_stream(stream).items()} == expected
    assert source.unused.card() == {}
    if name == "split":
        return
    rows = [{"file_name": f"{n}.png", name: value} for n, value in enumerate(pa.array(values).to_pylist())]
    for file in ("metadata.jsonl", "metadata.csv", "metadata.parquet"):
        write(tmp_path / file, {f"{n}.png": png(n) for n in range(30)} | {file: table_bytes(file, rows)})
        _, _, splits = prepared(tmp_path / file, "folder")
        assert {int(item.partition(".")[0]): role for item, role in splits.items()} == expected


def test_numbers_in_one_file_and_texts_in_another(tmp_path):
    table(tmp_path / "in" / "a.parquet", partition=[n % 3 for n in range(30)])
    table(tmp_path / "in" / "b.parquet", partition=[str(n % 3) for n in range(30)])
    _, _, splits = prepared(tmp_path / "in")
    held_out = sorted(int(item.rpartition("/")[2]) for item, role in splits.items() if role == "held_out")
    assert held_out == sorted([n for n in range(30) if n % 3] * 2)
