"""Columns of tables that others write: without a value, bytes that are no pictures, lists with gaps."""

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources import png

from rawmm_cli.config import presets
from rawmm_cli.data import sets
from rawmm_cli.data.datasets.hub import hub
from rawmm_cli.data.datasets.parquet import parquet
from rawmm_cli.system.errors import ConfigError, DataError


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


def both(path, monkeypatch, **options):
    """Items of the Parquet source, which are those of `hf:`; what was chosen; what was not used."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", path.with_name("cache"))
    source = parquet(path=path, **options)
    items = list(source.items(0))
    if any(pa.types.is_map(field.type) for field in pq.read_schema(path / "a.parquet")):
        return items, source.card["chosen"], source.unused.card().get("columns", {})  # `datasets` reads none
    other = hub("hf:owner/name", path=path, **options)
    known = [(str(item.content), item.captions, item.label) for item in items]
    assert [(str(item.content), item.captions, item.label) for item in other.items(0)] == known
    return items, source.card["chosen"], source.unused.card().get("columns", {})


@pytest.mark.parametrize("dtype", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_captions_and_classes_as_bytes(dtype, tmp_path, monkeypatch):
    texts = pa.array(["grün".encode(), b"\xff bad"], pa.binary()).cast(dtype)
    table(tmp_path, image=[{"bytes": png(n), "path": None} for n in range(2)], caption=texts)
    items = list(parquet(path=tmp_path).items(0))
    assert items[0].captions == ("grün",) and str(items[1].content) == "a text of it is not UTF-8"
    table(tmp_path, label=pa.array([b"cat", b"dog"], pa.binary()).cast(dtype))
    items, _, _ = both(tmp_path, monkeypatch)
    assert [item.captions for item in items] == [("a photo of a cat",), ("a photo of a dog",)]
    table(tmp_path, text=pa.array([[b"a", b"b"], [b"c"]], pa.list_(pa.binary())))
    assert [item.captions for item in both(tmp_path, monkeypatch)[0]] == [("a", "b"), ("c",)]


STRUCTS = pa.array([{"en": "cat", "de": "Katze", "n": 1}, {"en": "dog", "de": None, "n": 2}])
MAPS = pa.array([[("en", "cat"), ("de", "Katze")], [("en", "dog")]], pa.map_(pa.string(), pa.string()))
LISTS = pa.array([[{"en": "cat"}, {"en": "tom"}], [{"en": "dog"}]])


@pytest.mark.parametrize("texts", [STRUCTS, MAPS], ids=["structs", "maps"])
def test_captions_by_field(texts, tmp_path, monkeypatch):
    """Nothing is chosen for the user, and one line says what to give."""
    table(tmp_path, text=texts)
    items, chosen, unused = both(tmp_path, monkeypatch)
    assert [item.captions for item in items] == [(), ()] and unused == {"text": 1}
    assert chosen["captions"].startswith("none; column text has the fields en, de")
    assert chosen["captions"].endswith(": choose one, as --columns text=text.en")
    items, chosen, unused = both(tmp_path, monkeypatch, columns="text=text.en")
    assert [item.captions for item in items] == [("cat",), ("dog",)] and not unused
    assert chosen["caption column"] == "text.en" and "captions" not in chosen
    items, _, _ = both(tmp_path, monkeypatch, columns="text=text.de")
    assert [item.captions for item in items] == [("Katze",), ()]


def test_fields_that_are_not_there(tmp_path):
    table(tmp_path, text=STRUCTS)
    with pytest.raises(ConfigError, match="column 'text' of .* has no field 'fr'; it has en, de, n"):
        parquet(path=tmp_path, columns="text=text.fr")
    with pytest.raises(ConfigError, match="holds fields of text; allowed: .*; or one .*, as text=text.en"):
        parquet(path=tmp_path, columns="text=text")
    table(tmp_path, text=LISTS)
    items = parquet(path=tmp_path, columns="text=text.en").items(0)
    assert [item.captions for item in items] == [("cat", "tom"), ("dog",)]


def test_lists_of_captions_in_texts(tmp_path, monkeypatch):
    """JSON is a list; what Python prints stands as it is, and that is said."""
    table(tmp_path, text=['["a cat", "a tom"]', '["b", null]'])
    assert [item.captions for item in both(tmp_path, monkeypatch)[0]] == [("a cat", "a tom"), ("b",)]
    table(tmp_path, text=['["a cat", "a tom"]', "[sic] a dog"])
    items, chosen, _ = both(tmp_path, monkeypatch)
    assert [item.captions for item in items] == [
        ("a cat", "a tom"),
        ("[sic] a dog",),
    ] and "captions" not in chosen
    table(tmp_path, text=["['a cat', 'a tom']", "x"])
    items, chosen, _ = both(tmp_path, monkeypatch)
    assert items[0].captions == ("['a cat', 'a tom']",)
    assert chosen["captions"].startswith("lists as Python prints them, read as they stand")


def test_names_of_columns_in_any_letter_case(tmp_path, monkeypatch):
    table(tmp_path, Caption=["a", "b"], LABEL=[1, 2])
    items, _, unused = both(tmp_path, monkeypatch)
    assert [(item.captions, item.label) for item in items] == [(("a",), 1), (("b",), 2)] and not unused
    table(tmp_path, Caption=["a", "b"], caption=["c", "d"])
    assert parquet(path=tmp_path).card["chosen"]["caption column"] == "caption"


@pytest.mark.parametrize("pixels", [[[1, 2], [3, 4]], [[[0.5]], [[0.5]]]])
def test_pictures_as_lists_of_numbers_are_named(pixels, tmp_path):
    pq.write_table(pa.table({"image": pixels, "text": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'image' has lists of numbers, which are not read; store the bytes"):
        parquet(path=tmp_path)


def test_texts_in_one_file_and_bytes_in_another(tmp_path):
    table(tmp_path, "a", text=SOME)
    table(tmp_path, "b", text=pa.array([b"v", b"w"], pa.binary()))
    assert [item.captions for item in parquet(path=tmp_path).items(0)] == [("t",), ("u",), ("v",), ("w",)]


@pytest.mark.parametrize("open_", [lambda path: parquet(path=path, columns="text=text.en"), None])
def test_a_later_file_without_the_chosen_field(open_, tmp_path):
    """Found before the first picture, in prepare and in streams; a map may have any keys."""
    table(tmp_path, "a", text=[{"en": "a", "fr": "b"}] * 2)
    table(tmp_path, "b", text=[{"de": "c", "fr": "b"}] * 2)
    if open_ is None:
        words = [f"data.stream.path={tmp_path}", "data.stream.columns=text=text.en", "data.set=x"]
        open_ = lambda path: sets.load(presets.load("tiny", words), Path("nowhere"))  # noqa: E731
    with pytest.raises(DataError, match=r"b\.parquet lacks 'text\.en': 'text' has de, fr; write"):
        open_(tmp_path)
