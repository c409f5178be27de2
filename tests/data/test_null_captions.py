"""A caption that is null counts like a bad picture, in every source and in streams; a set, or a file of it,
without any caption has none."""

import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources import png, prepare_source
from test_streams_of_others import opened

from rawmm_cli.data import sources
from rawmm_cli.data.items import NO_CAPTION
from rawmm_cli.system.errors import DataError

COUNT = 40
Captions = list[str | None]


def captions(*null: int) -> Captions:
    return [None if n in null else f"picture {n}" for n in range(COUNT)]


def pictures(folder: Path, texts: Captions) -> None:
    for n in range(len(texts)):
        (folder / f"{n:02}.png").write_bytes(png(n))


def tables(folder: Path, texts: Captions) -> None:
    images = [{"bytes": png(n), "path": None} for n in range(len(texts))]
    pq.write_table(
        pa.table({"image": images, "text": pa.array(texts, pa.string())}), folder / "train.parquet"
    )


def lists(folder: Path, texts: Captions) -> None:
    captions = pa.array([[text, None] for text in texts], pa.list_(pa.string()))
    pq.write_table(
        pa.table({"image": [png(n) for n in range(len(texts))], "text": captions}), folder / "a.parquet"
    )


def members(texts: Captions, kind: str) -> Iterator[tuple[str, bytes]]:
    for n, text in enumerate(texts):
        yield f"{n:02}.png", png(n)
        if kind == "json":
            yield f"{n:02}.json", json.dumps({"caption": text, "id": n}).encode()
        elif text is not None:
            yield f"{n:02}.txt", text.encode()


def tar(kind: str) -> Callable[[Path, Captions], None]:
    def write(folder: Path, texts: Captions) -> None:
        with tarfile.open(folder / "a.tar", "w") as archive:
            for name, data in members(texts, kind):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, BytesIO(data))

    return write


def zips(folder: Path, texts: Captions) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name, data in members(texts, "txt"):
            archive.writestr(name, data)


def rows(texts: Captions) -> list[dict]:
    return [{"file_name": f"{n:02}.png", "text": text} for n, text in enumerate(texts)]


def jsonl(folder: Path, texts: Captions) -> None:
    pictures(folder, texts)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows(texts))))


def csv(folder: Path, texts: Captions) -> None:
    pictures(folder, texts)
    lines = [f"{row['file_name']},{row['text'] or ''}" for row in rows(texts)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines]))


def metadata_table(folder: Path, texts: Captions) -> None:
    pictures(folder, texts)
    pq.write_table(pa.Table.from_pylist(rows(texts)), folder / "metadata.parquet")


def beside(folder: Path, texts: Captions) -> None:
    pictures(folder, texts)
    for n, text in enumerate(texts):
        (folder / f"{n:02}.json").write_text(json.dumps({"caption": text, "url": "x"}))


CASES = {
    "parquet": ("parquet", tables),
    "lists": ("parquet", lists),
    "hub": ("hf:some/one", tables),
    "tar": ("webdataset", tar("txt")),
    "tar, json": ("webdataset", tar("json")),
    "zip": ("webdataset", zips),
    "jsonl": ("folder", jsonl),
    "csv": ("folder", csv),
    "metadata.parquet": ("folder", metadata_table),
    "json": ("folder", beside),
}
STREAMS = ("parquet", "lists", "tar", "tar, json")


@pytest.fixture(params=CASES)
def case(request, tmp_path, monkeypatch):
    """(name of the case, function that writes captions into a folder and opens the source)."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    name, write = CASES[request.param]

    def source(texts: Captions, **options):
        (tmp_path / "in").mkdir(exist_ok=True)
        write(tmp_path / "in", texts)
        return sources.source(name, {"path": tmp_path / "in", **options})

    return request.param, source


def test_one_null_caption_counts_like_a_bad_picture(case, tmp_path):
    card = prepare_source(tmp_path / "set", case[1](captions(7)))
    (skipped,) = card["skipped"]
    assert skipped["file"].rpartition("/")[2] in ("7", "07", "07.png") and skipped["reason"].startswith(
        NO_CAPTION
    )
    assert sum(card["count"].values()) == COUNT - 1 and card["without_caption"] == 0


def test_they_are_kept_on_request(case, tmp_path):
    card = prepare_source(tmp_path / "set", case[1](captions(7, 8), keep_uncaptioned=True))
    assert card["skipped"] == [] and card["without_caption"] == 2 and sum(card["count"].values()) == COUNT


def test_too_many_say_what_to_do(case, tmp_path):
    with pytest.raises(
        DataError,
        match="3 of 40 items cannot be used, .*--max-bad-fraction .now 0.05., or keep the 3 without a "
        "caption with --keep-uncaptioned; what is done",
    ):
        prepare_source(tmp_path / "set", case[1](captions(7, 8, 9)))


def test_a_set_without_captions_has_none(case, tmp_path):
    card = prepare_source(tmp_path / "set", case[1](captions(*range(COUNT))))
    assert card["skipped"] == [] and card["without_caption"] == COUNT


@pytest.mark.parametrize("name", STREAMS)
def test_in_streams(name, tmp_path):
    """They are skipped and listed like bad pictures, or kept."""
    (tmp_path / "in").mkdir()
    CASES[name][1](tmp_path / "in", captions(*range(0, COUNT, 3)))

    def seen(*words: str) -> tuple[set[str | None], set[int]]:
        data = opened(tmp_path / "in", *words)
        items = [data.picture(lane, n)[0] for lane, size in enumerate(data.sizes) for n in range(size)]
        shown = {item.captions[0] if item.captions else None for item in items}
        assert all(reason.startswith(NO_CAPTION) for reason in data.skipped.values())
        return shown, {int(name.rpartition("/")[2]) for name in data.skipped}

    shown, skipped = seen()
    assert None not in shown and skipped <= set(range(0, COUNT, 3)) and len(skipped) > 8
    shown, skipped = seen("data.stream.keep_uncaptioned=true")
    assert None in shown and not skipped


@pytest.mark.parametrize("name", ["parquet", "tar"])
def test_a_file_without_captions_among_others(name, tmp_path):
    """Its column has no kind: its pictures are used, in prepare and in streams."""
    (tmp_path / "in").mkdir()
    source, write = CASES[name]
    write(tmp_path / "in", [None] * 20)
    (file,) = (tmp_path / "in").iterdir()
    file.rename(tmp_path / "in" / f"0{file.name}")
    write(tmp_path / "in", captions())
    items = list(sources.source(source, {"path": tmp_path / "in"}).items(0))
    assert [item.captions for item in items] == [()] * 20 + [(text,) for text in captions()]
    assert all(isinstance(item.content, bytes) for item in items)
    data = opened(tmp_path / "in")
    assert not any(data.picture(lane, n) is None for lane, size in enumerate(data.sizes) for n in range(size))
    assert not data.skipped


def test_an_empty_text_is_kept(tmp_path):
    """It is there and says nothing, on purpose."""
    texts = ["" if n == 5 else text for n, text in enumerate(captions())]
    for name in ("parquet", "tar", "tar, json", "jsonl", "json"):
        (tmp_path / name).mkdir()
        CASES[name][1](tmp_path / name, texts)
        source = sources.source(CASES[name][0], {"path": tmp_path / name})
        card = prepare_source(tmp_path / f"{name} set", source)
        assert card["skipped"] == [] and card["without_caption"] == 1


def test_rows_of_several_pictures(tmp_path):
    images = [[png(2 * n), png(2 * n + 1)] for n in range(COUNT)]
    pq.write_table(pa.table({"images": images, "text": captions(7)}), tmp_path / "a.parquet")
    card = prepare_source(tmp_path / "set", sources.source("parquet", {"path": tmp_path}))
    assert [entry["file"] for entry in card["skipped"]] == ["a.parquet/7"]
    kept = sources.source("parquet", {"path": tmp_path, "keep_uncaptioned": True})
    assert prepare_source(tmp_path / "other", kept)["skipped"] == []
