"""Parquet files: exact pixels, columns by name and kind, starting in the middle, and files that cannot be
read."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sources import pixels, png, prepare_source, rows

from rawmm_cli.data.datasets.parquet import kinds, parquet
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
            ],
            "text": ["a", "b", "c", None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    card = prepare_source(tmp_path / "set", parquet(path=tmp_path / "a.parquet"), max_bad=0.5, held_out=0.5)
    assert [entry["file"] for entry in card["skipped"]] == ["a.parquet/1", "a.parquet/2"] and card[
        "without_caption"
    ] == 1


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
    refused(r"b.parquet lacks the columns \['text'\] of a.parquet; prepare the files separately")
    write(tmp_path / "in" / "b.parquet", range(2), text=[4, 5])
    refused("b.parquet has another kind of column 'text' than a.parquet; prepare the files separately")
    (tmp_path / "in" / "b.parquet").unlink()
    pq.write_table(pa.table({"n": [1], "words": ["a"]}), path)
    refused("no column of .* holds images; there are n, words; name one with --columns image=...")
