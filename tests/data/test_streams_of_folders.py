"""Streams of what is neither Parquet nor plain tar: compressed archives, folders of pictures, saved sets."""

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
from shard_files import parquet, tars
from sources import pixels, png
from test_streams_of_others import captions, held_out, opened

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.data.prepared import hash_fraction
from rawmm_cli.data.streamed import Streamed
from rawmm_cli.system.errors import DataError


@pytest.mark.parametrize("packing", ["gzip", "zip"])
def test_archives_that_are_compressed(packing, tmp_path):
    """The same pictures as of a tar file; that reading them is slow is said."""
    tars(tmp_path / "plain", range(300), files=1)
    (tmp_path / "in").mkdir()
    if packing == "gzip":
        (tmp_path / "in" / "0.tar").write_bytes(gzip.compress((tmp_path / "plain" / "0.tar").read_bytes()))
    else:
        with (
            tarfile.open(tmp_path / "plain" / "0.tar") as plain,
            zipfile.ZipFile(tmp_path / "in" / "0.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for info in plain:
                archive.writestr(info.name, plain.extractfile(info).read())
    lines = []
    there, here = opened(tmp_path / "in", lines=lines), opened(tmp_path / "plain")
    assert packing == "zip" or captions(there) == captions(here)  # which are held out follows from names
    assert sorted(captions(there) + held_out(there)) == list(range(300))
    assert ("read from their beginning" in "".join(lines)) == (packing == "gzip")


def test_compressed_archives_that_are_not_safe_or_damaged(tmp_path):
    bomb = io.BytesIO()
    with tarfile.open(fileobj=bomb, mode="w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = 20_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    (tmp_path / "0.tgz").write_bytes(gzip.compress(bomb.getvalue()))
    with pytest.raises(DataError, match="more than 200 times as large as the archive"):
        opened(tmp_path)
    tars(tmp_path / "plain", range(300), files=1)
    packed = gzip.compress((tmp_path / "plain" / "0.tar").read_bytes())
    half = len(packed) // 2
    (tmp_path / "0.tgz").write_bytes(packed[:half] + bytes(100) + packed[half + 100 :])
    with pytest.raises(DataError, match="0.tgz cannot be read .*; fetch it again"):
        opened(tmp_path / "0.tgz")
    with zipfile.ZipFile(tmp_path / "0.zip", "w") as archive:
        archive.writestr("../a.png", png(0))
    with pytest.raises(DataError, match="its member '../a.png' leads out"):
        opened(tmp_path / "0.zip")


def image_folder(path: Path, count: int) -> Path:
    """Numbered pictures in two folders, with captions beside them."""
    for n in range(count):
        (path / f"{n % 2}").mkdir(parents=True, exist_ok=True)
        (path / f"{n % 2}" / f"{n:03}.png").write_bytes(png(n))
        (path / f"{n % 2}" / f"{n:03}.txt").write_text(str(n))
    return path


def numbers(data: Streamed) -> list[int]:
    """Captions of one epoch, after checking the pixels."""
    shown = [data.picture(lane, n) for lane, size in enumerate(data.sizes) for n in range(size)]
    assert all((array == pixels(int(item.captions[0]))).all() for item, array in shown)
    return sorted(int(item.captions[0]) for item, _ in shown)


def test_a_folder_of_pictures(tmp_path):
    """The items, names and splits of `prepare`; another file is another fingerprint."""
    data = opened(image_folder(tmp_path / "in", 300), lines=(lines := []))
    assert sorted(numbers(data) + held_out(data)) == list(range(300)) and 60 < len(held_out(data)) < 120
    expected = {name for name, _ in folder(tmp_path / "in").outline() if hash_fraction(name) < 0.3}
    assert {f"{n % 2}/{n:03}.png" for n in held_out(data)} == expected
    assert data.card["fingerprint"] == opened(tmp_path / "in").card["fingerprint"] and "chosen: " not in lines
    (tmp_path / "in" / "0" / "000.png").write_bytes(png(0) + b" ")
    assert data.card["fingerprint"] != opened(tmp_path / "in").card["fingerprint"]
    other = pickle.loads(pickle.dumps(data.shards))
    assert other.blocks == data.shards.blocks and (other.held_out == data.shards.held_out).all()


def test_a_folder_of_pictures_with_a_bad_one_and_classes(tmp_path):
    for n in range(60):
        (tmp_path / "in" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "ab"[n % 2] / f"{n:03}.png").write_bytes(b"bad" if n == 8 else png(n))
    data = opened(tmp_path / "in", lines=(lines := []))
    for lane, size in enumerate(data.sizes):
        assert all(data.picture(lane, n)[0].captions == () for n in range(size))
    assert set(data.skipped) <= {"a/008.png"} and data.card["labels"] == ["a", "b"]
    assert any("data.stream.caption='a photo of a {label}' makes captions of them" in line for line in lines)
    data = opened(tmp_path / "in", "data.stream.caption=a {label}")
    assert {data.picture(0, n)[0].captions for n in range(20)} == {("a a",), ("a b",)}


def test_a_saved_set(tmp_path):
    """Rows of a Dataset with a column of splits, and of pictures in lists, as documents."""
    import datasets

    columns = {"image": [png(n) for n in range(90)], "text": [*map(str, range(90))]}
    columns["split"] = ["val" if n % 3 == 0 else "train" for n in range(90)]
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "in"))
    data = opened(tmp_path / "in")
    assert numbers(data) == [n for n in range(90) if n % 3] and held_out(data) == [*range(0, 90, 3)]
    assert data.card["fingerprint"] == opened(tmp_path / "in").card["fingerprint"]
    several = {"images": [[png(n), png(n + 1)] for n in range(90)], "text": [*map(str, range(90))]}
    datasets.Dataset.from_dict(several).save_to_disk(str(tmp_path / "other"))
    data = opened(tmp_path / "other", "train.length=128")
    item, arrays = data.picture(0, 0)
    assert data.holds_documents and (arrays[1] == pixels(int(item.pieces[0].text))).all()


def test_archives_of_annotations_beside_pictures(tmp_path):
    """An archive without a picture is not what is streamed: pictures and Parquet files beside it are."""
    for name in ("pictures", "tables"):
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "annotations.zip", "w") as archive:
            archive.writestr("boxes.json", "{}")
        with tarfile.open(tmp_path / name / "labels.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo("labels/0.txt"))
    for n in range(40):
        (tmp_path / "pictures" / f"{n}.png").write_bytes(png(n))
        (tmp_path / "pictures" / f"{n}.txt").write_text(str(n))
    parquet(tmp_path / "tables", range(40), files=1)
    for name in ("pictures", "tables"):
        data = opened(tmp_path / name, lines=(lines := []))
        trained = [int(text[0]) for text in data.first_pictures("train", 99).captions]
        assert sorted(trained + held_out(data)) == list(range(40))
        assert data.unused.card()["files"] == {"annotations.zip": 1, "labels.tar": 1}
        assert any(line.startswith("Not used: annotations.zip, labels.tar") for line in lines)
