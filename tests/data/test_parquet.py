"""Parquet files: exact pixels, columns by name and kind, starting in the middle, and files that cannot be
read."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sources import pixels, png, prepare_source, rows

from rawmm_cli.data.datasets.parquet import parquet
from rawmm_cli.data.layout.schemas import kinds
from rawmm_cli.system.errors import ConfigError, DataError


def write(path, numbers, group: int = 4, image="image", struct=True, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [{"bytes": png(n), "path": None} if struct else png(n) for n in numbers]
    table = pa.table({image: data, **(columns or {"text": [f"number {n}" for n in numbers]})})
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.mark.parametrize("struct", [True, False])
def test_pixels_and_captions_are_exact(tmp_path, struct):
    write(tmp_path / "in" / "b.parquet", range(5), struct=struct)
    write(tmp_path / "in" / "a" / "c.parquet", range(5, 12), struct=struct)
    prepare_source(tmp_path / "set", parquet(path=tmp_path / "in"), held_out=0.3)
    stored = {row["source"]: row for split in rows(tmp_path / "set").values() for row in split}
    names = {f"b.parquet/{n}": n for n in range(5)} | {f"a/c.parquet/{n}": 5 + n for n in range(7)}
    assert set(stored) == set(names)
    for name, number in names.items():
        assert stored[name]["pixels"] == pixels(number).tobytes()
        assert stored[name]["captions"] == [f"number {number}"]


def test_starting_in_the_middle(tmp_path):
    """At any row: inside a row group, at its border, in the second file, at the end."""
    for name, numbers in (("a", range(10)), ("b", range(10, 13))):
        write(tmp_path / f"{name}.parquet", numbers)
    source = parquet(path=tmp_path)
    items = list(source.items(0))
    assert len(items) == source.count == 13
    for start in range(14):
        assert list(source.items(start)) == items[start:]


def test_classes_with_names(tmp_path):
    """As `datasets` writes them into the schema."""
    table = pa.table({"img": [{"bytes": png(n), "path": None} for n in range(4)], "label": [0, 1, 1, 0]})
    features = b'{"info": {"features": {"label": {"names": ["a_cat", "dog"], "_type": "ClassLabel"}}}}'
    pq.write_table(table.replace_schema_metadata({b"huggingface": features}), tmp_path / "a.parquet")
    source = parquet(path=tmp_path, caption="one {label}")
    assert [(item.label, item.captions) for item in source.items(0)] == [
        (0, ("one a cat",)),
        (1, ("one dog",)),
        (1, ("one dog",)),
        (0, ("one a cat",)),
    ]
    assert source.card["labels"] == ["a_cat", "dog"]


def test_columns_that_the_user_chooses(tmp_path):
    write(tmp_path / "a.parquet", range(2), image="webp", alt=["x", "y"], text=["t", "u"], group=1)
    messages = []
    source = parquet(path=tmp_path, columns="text=alt", notify=messages.append)
    assert [item.captions for item in source.items(0)] == [("x",), ("y",)]
    assert messages == ["chosen: image column: webp; caption column: alt"]
    with pytest.raises(ConfigError, match="has no column 'alts'; it has alt, text, webp"):
        parquet(path=tmp_path, columns="text=alts")


def test_kinds_of_columns():
    types = {
        "a": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        "b": pa.binary(),
        "c": pa.string(),
        "d": pa.list_(pa.string()),
        "e": pa.int64(),
        "f": pa.bool_(),
        "g": pa.float32(),
        "h": pa.list_(pa.int64()),
        "i": pa.large_string(),
        "j": pa.struct([("x", pa.int64())]),
    }
    assert kinds(pa.schema(list(types.items()))) == {
        "a": "image",
        "b": "image",
        "c": "text",
        "d": "texts",
        "e": "integer",
        "f": "boolean",
        "g": "other",
        "h": "other",
        "i": "text",
        "j": "other",
    }


def test_bad_pictures_do_not_end_it(tmp_path):
    table = pa.table(
        {
            "image": [
                {"bytes": png(0), "path": None},
                {"bytes": b"GIF89a", "path": None},
                None,
                {"bytes": png(1), "path": None},
                {"bytes": png(2), "path": None},
            ],
            "text": ["a", "b", "c", "d", None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    card = prepare_source(tmp_path / "set", parquet(path=tmp_path / "a.parquet"), max_bad=0.6, held_out=0.5)
    assert [entry["file"] for entry in card["skipped"]] == ["a.parquet/1", "a.parquet/2", "a.parquet/4"]


def test_paths_are_not_followed(tmp_path):
    """A row cannot name a picture elsewhere on the disk."""
    Image.fromarray(pixels(0)).save(tmp_path / "secret.png")
    images = [
        *({"bytes": png(n), "path": "n.png"} for n in range(3)),
        {"bytes": None, "path": str(tmp_path / "secret.png")},
    ]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    card = prepare_source(tmp_path / "set", parquet(path=tmp_path / "a.parquet"), max_bad=0.5)
    assert [entry["file"] for entry in card["skipped"]] == ["a.parquet/3"] and "secret.png" in card[
        "skipped"
    ][0]["reason"]


def test_text_of_any_type(tmp_path):
    """A dictionary, large strings, and a file where no row has a text."""
    texts = pa.array(["a", "b", "a"])
    for name, column in (
        ("a", texts.dictionary_encode()),
        ("b", texts.cast(pa.large_string())),
        ("c", pa.nulls(3)),
    ):
        pq.write_table(
            pa.table({"image": [png(n) for n in range(3)], "text": column}), tmp_path / f"{name}.parquet"
        )
    assert [item.captions for item in parquet(path=tmp_path).items(0)] == [("a",), ("b",), ("a",)] * 2 + [
        ()
    ] * 3


def test_a_class_that_no_number_holds(tmp_path):
    write(tmp_path / "a.parquet", range(3), label=pa.array([2**64 - 1, 5, None], pa.uint64()))
    prepare_source(tmp_path / "set", parquet(path=tmp_path / "a.parquet"), held_out=0.5)
    stored = [row for split in rows(tmp_path / "set").values() for row in split]
    assert sorted(row["label"] for row in stored) == [-1, -1, 5]


def test_any_damage_is_an_error_of_one_line(tmp_path):
    """Bytes changed at random, in pages too: the items, or a DataError."""
    path, rng, messages = write(tmp_path / "a.parquet", range(60), group=20), np.random.default_rng(0), []
    whole = path.read_bytes()
    for _ in range(80):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 5):
            data[position] = rng.integers(256)
        path.write_bytes(data)
        try:
            list(parquet(path=path).items(0))
        except DataError as error:
            messages.append(str(error))
    assert any("is damaged (" in line for line in messages)
    assert all(str(path) in line and "\n" not in line for line in messages)


def test_errors(tmp_path):
    def refused(message, **options):
        with pytest.raises(DataError, match=message) as caught:
            parquet(path=tmp_path / "in", **options)
        assert "\n" not in str(caught.value)

    refused("in does not exist; allowed: a parquet file or a folder with some")
    (tmp_path / "in").mkdir()
    refused("no parquet files in .*; allowed: files ending in .parquet")
    path = write(tmp_path / "in" / "a.parquet", range(3))
    whole = path.read_bytes()
    for cut in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused(f"{re.escape(str(path))} is not a whole parquet file")
    path.write_bytes(whole)
    write(tmp_path / "in" / "b.parquet", range(2), caption=["a", "b"])
    refused(r"b.parquet lacks column 'text', which .*a.parquet has; write the file again")
    write(tmp_path / "in" / "b.parquet", range(2), text=[4, 5])
    refused("b.parquet has whole numbers in column 'text', where .*a.parquet has text; write")
    (tmp_path / "in" / "b.parquet").unlink()
    pq.write_table(pa.table({"n": [1], "words": ["a"]}), path)
    refused("no column of .* holds images; there are n, words; name one with --columns image=...")


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(path, **columns):
    """A file with two pictures and these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [png(0), png(1)], **columns}), path)
    return path.parent


CAPTIONS = {
    "strings": (pa.array(["a", "b"]), [("a",), ("b",)]),
    "views": (pa.array(["a", "b"], pa.string_view()), [("a",), ("b",)]),
    "dictionaries": (pa.array(["a", "a"]).dictionary_encode(), [("a",), ("a",)]),
    "lists": (pa.array([["a", "b"], []], pa.list_(pa.string())), [("a", "b"), ()]),
    "large lists": (pa.array([["a", "b"], None], pa.large_list(pa.large_string())), [("a", "b"), ()]),
    "lists of one length": (
        pa.array([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2)),
        [("a", "b"), ("c", "d")],
    ),
    "list views": (pa.array([["a", "b"], ["c"]], pa.list_view(pa.string())), [("a", "b"), ("c",)]),
    "large list views": (pa.array([["a"], ["c"]], pa.large_list_view(pa.string())), [("a",), ("c",)]),
    "lists of dictionaries": (
        pa.array([["a", "b"], ["c"]], pa.list_(pa.string())).cast(
            pa.list_(pa.dictionary(pa.int32(), pa.string()))
        ),
        [("a", "b"), ("c",)],
    ),
}


@pytest.mark.parametrize("case", CAPTIONS)
def test_captions_of_every_kind(case, tmp_path):
    column, captions = CAPTIONS[case]
    source = parquet(path=table(tmp_path / "in" / "a.parquet", text=column))
    assert [item.captions for item in source.items(0)] == captions and source.unused.card() == {}


WITHOUT_VALUES = {
    "no rows": lambda folder: pq.write_table(
        pa.table({"image": pa.array([], IMAGE), "text": pa.array([], pa.float64())}), folder / "a.parquet"
    ),
    "no type": lambda folder: table(folder / "a.parquet", text=pa.nulls(2)),
    "numbers that are all missing": lambda folder: table(
        folder / "a.parquet", text=pa.nulls(2, pa.float64())
    ),
    "empty lists": lambda folder: table(folder / "a.parquet", text=pa.array([[], None])),
    "no column in a file without rows": lambda folder: pq.write_table(
        pa.table({"image": pa.array([], IMAGE)}), folder / "a.parquet"
    ),
}


@pytest.mark.parametrize("case", WITHOUT_VALUES)
@pytest.mark.parametrize("first", [True, False])
def test_a_column_without_values_has_no_kind(case, first, tmp_path):
    """In the first file or a later one: the captions are those of the other."""
    table(tmp_path / ("b.parquet" if first else "0.parquet"), text=["t", "u"])
    WITHOUT_VALUES[case](tmp_path)
    captions = [item.captions for item in parquet(path=tmp_path).items(0)]
    assert sorted(filter(None, captions)) == [("t",), ("u",)]


@pytest.mark.parametrize(
    "columns, message",
    [
        ({}, "b.parquet lacks column 'text', which .*a.parquet has"),
        ({"caption": ["t", "u"]}, "b.parquet lacks column 'text', which .*a.parquet has"),
        ({"text": [1, 2]}, "b.parquet has whole numbers in column 'text', where .*a.parquet has text"),
        (
            {"text": [b"\xff\xd8\xff", b"u"]},
            "b.parquet has images in column 'text', where .*a.parquet has text",
        ),
        (
            {"text": ["t", "u"], "image": ["/x", "y"]},
            "b.parquet has text in column 'image', where .* has images",
        ),
    ],
)
def test_every_file_has_the_columns_that_are_used(columns, message, tmp_path):
    """All files are looked at before the first picture; others than the used columns may differ."""
    table(tmp_path / "a.parquet", text=["t", "u"], score=[1, 2])
    table(tmp_path / "c.parquet", text=[["t"], ["u", "v"]], score=["good", "bad"])
    assert [item.captions for item in parquet(path=tmp_path).items(0)][2:] == [("t",), ("u", "v")]
    table(tmp_path / "b.parquet", **columns)
    with pytest.raises(DataError, match=message) as caught:
        parquet(path=tmp_path)
    assert "\n" not in str(caught.value)


def test_files_with_other_names_of_classes(tmp_path):
    """Number 0 is a cat in one and a dog in the other."""
    for file, names in (("a", ["cat", "dog"]), ("b", ["dog", "cat"])):
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        data = pa.table({"image": [png(0)], "label": [0]})
        meta = {b"huggingface": json.dumps(features).encode()}
        pq.write_table(data.replace_schema_metadata(meta), tmp_path / f"{file}.parquet")
    with pytest.raises(DataError, match="b.parquet has other names of classes in column 'label'"):
        parquet(path=tmp_path)


def test_what_is_not_used(tmp_path):
    table(tmp_path / "a.parquet", text=["t", "u"], score=[1, 2], captions_fr=["x", "y"], nsfw=[True, False])
    (tmp_path / "notes.txt").touch()
    source = parquet(path=tmp_path)
    assert [item.captions for item in source.items(0)] == [("t",), ("u",)]
    assert source.unused.card() == {"endings": {".txt": 1}, "columns": {"captions_fr": 1, "score": 1}}


def test_truth_columns_are_captions_only_where_they_are_asked_for(tmp_path):
    table(tmp_path / "a.parquet", nsfw=[True, False], is_duplicate=[True, True])
    assert [item.captions for item in parquet(path=tmp_path).items(0)] == [(), ()]
    asked = parquet(path=tmp_path, columns="attributes=is_duplicate,attributes=nsfw")
    assert [item.captions for item in asked.items(0)] == [("is duplicate, nsfw",), ("is duplicate",)]
    table(tmp_path / "b.parquet", nsfw=[True, False])  # nobody asked for it: not used, and no error
    source = parquet(path=tmp_path)
    assert [item.attributes for item in source.items(0)][3] == {"nsfw": False}
    assert source.unused.card() == {"columns": {"is_duplicate": 1}}


def test_splits_of_the_source_are_kept(tmp_path):
    messages = []
    for name, numbers in (("train-00000-of-00001", range(6)), ("test-00000-of-00001", range(6, 8))):
        write(tmp_path / "in" / "data" / f"{name}.parquet", numbers)
    source = parquet(path=tmp_path / "in", notify=messages.append)
    prepare_source(tmp_path / "set", source)
    stored = rows(tmp_path / "set")
    assert [row["captions"] for row in stored["train"]] == [[f"number {n}"] for n in range(6)]
    assert [row["captions"] for row in stored["held_out"]] == [["number 6"], ["number 7"]]
    assert messages[1] == "splits of the source, in files: train 1 (trained on), test 1 (held out)"
    prepare_source(tmp_path / "few", source, limit=3, held_out=0.3)  # not of the test split alone
    kept = [row["captions"][0] for split in rows(tmp_path / "few").values() for row in split]
    assert sorted(kept) == ["number 0", "number 1", "number 2"]


def test_rows_of_several_pictures_are_documents(tmp_path):
    lists = pa.list_(IMAGE)
    one, two = ([{"bytes": png(n), "path": None} for n in numbers] for numbers in ([0], [1, 2]))
    data = pa.table(
        {"images": pa.array([one, two, one, None], lists), "text": ["one", "two", "three", "none"]}
    )
    pq.write_table(data, tmp_path / "a.parquet")
    messages = []
    source = parquet(path=tmp_path, notify=messages.append)
    assert "rows: documents of several pictures, each drawn after its caption" in messages[0]
    card = prepare_source(tmp_path / "set", source, max_bad=0.3, held_out=0.3)
    stored = {row["source"]: row for split in rows(tmp_path / "set").values() for row in split}
    assert card["kind"] == "documents" and card["skipped"][0]["file"] == "a.parquet/3"
    assert stored["a.parquet/1"]["texts"] == ["two"] and stored["a.parquet/1"]["order"] == [False, True, True]
    assert stored["a.parquet/1"]["pixels"] == [pixels(1).tobytes(), pixels(2).tobytes()]
    pq.write_table(data.slice(0, 1), tmp_path / "a.parquet")
    assert [item.content for item in parquet(path=tmp_path).items(0)] == [png(0)]


@pytest.mark.parametrize("index", [True, False])
def test_files_joined_end_to_end(index, tmp_path):
    """The last one says where its rows are, counted from the beginning: those of the first would come."""
    parts = []
    for n in range(2):
        pq.write_table(
            pa.table({"image": [png(n)], "text": [str(n)]}), tmp_path / "a", write_page_index=index
        )
        parts.append((tmp_path / "a").read_bytes())
    (tmp_path / "x.parquet").write_bytes(parts[0] + parts[1])
    with pytest.raises(
        DataError, match="x.parquet is not a whole parquet file .several are joined end to end"
    ):
        parquet(path=tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(parts[1])
    assert [item.captions for item in parquet(path=tmp_path / "x.parquet").items(0)] == [("1",)]


def test_two_columns_of_one_name(tmp_path):
    columns = [pa.array([png(0)]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.table(columns, names=["image", "text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="a.parquet has several columns 'text'; rename all but one"):
        parquet(path=tmp_path)
    pq.write_table(pa.table(columns, names=["image", "n", "n"]), tmp_path / "a.parquet")
    assert parquet(path=tmp_path).unused.card() == {"columns": {"n": 1}}
