"""Columns of tables that others write: without a value, bytes that are no pictures, lists with gaps."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources import png

from rawmm_cli.data.datasets.hub import hub
from rawmm_cli.data.datasets.parquet import parquet
from rawmm_cli.system.errors import DataError


def table(folder, name="a", **columns):
    """A Parquet file with two pictures, where `columns` has none, and these columns -> its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [png(0), png(1)]} | columns), folder / f"{name}.parquet")
    return folder


NONE, SOME = pa.nulls(2, pa.string()), pa.array(["t", "u"])
IMAGE = pa.array([png(0), png(1)])


@pytest.mark.parametrize(
    "columns, captions",
    [
        ({"text": NONE, "caption": SOME}, [("t",), ("u",)]),
        ({"text": NONE, "label": [0, 1]}, [("a photo of a 0",), ("a photo of a 1",)]),
        ({"image": pa.nulls(2, pa.binary()), "img": IMAGE, "text": SOME}, [("t",), ("u",)]),
        ({"text": NONE}, [(), ()]),
    ],
)
@pytest.mark.parametrize("source", ["parquet", "hf"])
def test_a_column_without_any_value_gives_way_to_another(source, columns, captions, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = table(tmp_path / "in", **columns)
    data = parquet(path=path) if source == "parquet" else hub("hf:owner/name", path=path)
    items = list(data.items(0))
    assert [item.captions for item in items] == captions and [item.content for item in items] == [
        png(0),
        png(1),
    ]
    assert next(iter(columns)) in data.unused.card()["columns"]


def test_a_column_of_bytes_that_are_no_pictures_is_not_taken_for_one(tmp_path):
    path = table(tmp_path, image=[1, 2], clip=[b"\0\1\2\3", b"\4\5\6\7"], photo=IMAGE, text=SOME)
    source = parquet(path=path)
    assert [item.content for item in source.items(0)] == [png(0), png(1)]
    assert source.unused.card() == {"columns": {"clip": 1, "image": 1}}


@pytest.mark.parametrize("label", [["x", "y"], [True, False], None])
def test_classes_that_nobody_asked_for_end_nothing_where_there_are_captions(label, tmp_path):
    table(tmp_path, "a", text=SOME, label=[0, 1])
    table(tmp_path, "b", text=SOME, **({} if label is None else {"label": label}))
    source = parquet(path=tmp_path)
    assert [item.captions for item in source.items(0)] == [("t",), ("u",)] * 2
    assert source.unused.card() == {"columns": {"label": 1}}
    with pytest.raises(DataError, match="b.parquet (lacks|has .* in) column 'label'"):
        parquet(path=tmp_path, columns="label=label")


@pytest.mark.parametrize(
    "pictures, texts, pieces",
    [
        ([0, 1], ["t", "u"], ["t", 0, "u", 1]),
        ([0, 1], ["t", "t"], ["t", 0, "t", 1]),
        ([0, 1], ["t", None], ["t", 0, 1]),
        ([0, 1], [None, "u"], [0, "u", 1]),
        ([0, 1], ["t"], ["t", 0, 1]),
        ([0, None, 1], [None, "t", " "], [0, "t", 1]),  # interleaved, as in OBELICS
        ([0, None], ["t", None], ["t", 0]),
        ([0, None], "t", ["t", 0]),
    ],
)
def test_several_pictures_each_after_its_own_caption(pictures, texts, pieces, tmp_path):
    """A picture that is null fills a list up; a caption that is repeated belongs to both."""
    images = [None if n is None else png(n) for n in pictures]
    table(tmp_path, image=[images], text=[texts])
    (item,) = parquet(path=tmp_path).items(0)
    assert [piece.text or piece.content for piece in item.pieces] == [
        piece if isinstance(piece, str) else png(piece) for piece in pieces
    ]


@pytest.mark.parametrize(
    "image, message",
    [
        ({"data": png(0), "mime": "image/png"}, "pictures in the field 'data' of a struct; name .* 'bytes'"),
        ('{"bytes": "iVBO"}', "'image' has the text '{.*', which is not read; store the bytes"),
        ("a/b.png", "'image' has the path 'a/b.png', which is not read"),
        ("AAAAHGZ0eXBhdmlm" * 100, "'image' has a picture in base64"),
    ],
)
def test_what_stands_in_place_of_pictures(image, message, tmp_path):
    table(tmp_path, image=[image, image])
    with pytest.raises(DataError, match=message):
        parquet(path=tmp_path)
