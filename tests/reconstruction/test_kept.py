"""What is measured once is not measured again: rerun, interruption, changes, damage; and pictures that are
shrunk, left out or held out."""

import json
import os
import signal
import sqlite3

import numpy as np
import pytest
from PIL import Image
from round_trips import reading
from toy_codec import UserSquares

from rawmm_cli.data import pictures
from rawmm_cli.reconstruction import kept, keys, ocr, reconstruct

CODECS = ("--codec", "python:toy_codec:UserSquares", "--codec", "webp@2000", "--codec", "resize@4")


@pytest.fixture
def work(rawmm, folder, monkeypatch):
    """work(*more) -> (results, stderr, number of pictures encoded), of three codecs, with a page."""
    encoded = []
    encode = UserSquares.encode
    monkeypatch.setattr(keys, "of_loaded", lambda codec, go: codec.name)  # without its round trip
    monkeypatch.setattr(
        UserSquares, "encode", lambda self, images: (encoded.append(len(images)), encode(self, images))[1]
    )
    page = folder.parent / f"{folder.name}-page" / "p.html"
    page.parent.mkdir()

    def call(*more, code=0):
        encoded.clear()
        words = (
            "reconstruct",
            folder,
            *CODECS,
            "--report",
            page,
            "--json",
            "--ocr",
            "none",
            "--features",
            "none",
        )
        given, out, err = rawmm(*words, *more)
        assert given == code, err
        return json.loads(out) if out else None, err, sum(encoded)

    call.page, call.out = page, page.with_name("p_files")
    return call


def each(work):
    return json.loads((work.out / "results.json").read_text())["each"]


def test_a_second_command_measures_nothing(work):
    first, _, count = work()
    pictures_first = each(work)
    page = work.page.read_text()
    second, _, again = work()
    assert count == 8 and again == 0 and first == second and each(work) == pictures_first
    assert work.page.read_text() == page


def test_what_is_kept_is_found_without_loading_a_codec(rawmm, folder, monkeypatch):
    from rawmm_cli.reconstruction import choices

    words = (
        "reconstruct",
        folder,
        "--codec",
        "raw",
        "--codec",
        "jpeg@4000",
        "--json",
        "--ocr",
        "none",
        "--out",
    )
    first = rawmm(*words, folder.with_name("o"))
    monkeypatch.setattr(choices, "choices", lambda *all: pytest.fail("a codec was loaded"))
    assert rawmm(*words, folder.with_name("o"))[:2] == first[:2] and first[0] == 0


def test_only_what_has_changed_is_measured(work, folder):
    before, _, _ = work()
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(folder / "0.png")  # another picture of that name
    after, _, count = work()
    assert count == 1 and before["rows"][0]["mse"] != after["rows"][0]["mse"]
    (work.out / "python-toy-codec-usersquares" / "3.png").unlink()
    assert work()[2] == 1 and (work.out / "python-toy-codec-usersquares" / "3.png").is_file()
    assert work("--size", "8")[2] == 8  # other pixels
    assert work()[2] == 8  # their files have taken the place of the first ones
    assert work()[2] == 0


def test_other_settings_codecs_and_code_have_keys_of_their_own(monkeypatch, tmp_path):
    def key(codecs, settings):
        return kept.Kept(tmp_path, codecs, settings)._key("digest", "a")

    keys_ = [key({"a": "1"}, {}), key({"a": "2"}, {}), key({"a": "1"}, {"size": 8})]
    monkeypatch.setattr(kept, "_code", lambda: "other code")
    assert len({*keys_, key({"a": "1"}, {})}) == 4


def test_a_damaged_file_is_begun_anew(work):
    first, _, _ = work()
    (work.out / kept.NAME).write_bytes(b"SQLite format 3\0" + bytes(range(200)) * 40)
    second, _, count = work()
    assert count == 8
    assert {**second, "rows": None} == {**first, "rows": None}
    assert work()[2] == 0
    with sqlite3.connect(work.out / kept.NAME) as connection:
        connection.execute("update entry set facts = 'x', tensors = 'y'")
    assert work()[2] == 8


def test_a_full_disk_keeps_nothing_and_ends_nothing(work, monkeypatch):
    """Or a file that may not grow so far: pictures are measured all the same."""

    class Full(sqlite3.Connection):
        def executescript(self, script):
            raise sqlite3.OperationalError("database or disk is full")

    connect = sqlite3.connect
    monkeypatch.setattr(kept.sqlite3, "connect", lambda path, **more: connect(path, factory=Full, **more))
    assert work()[2] == 8 and work.page.is_file()
    assert work()[2] == 8


def test_the_oldest_entries_go(work, folder, monkeypatch):
    work()
    size = sqlite3.connect(work.out / kept.NAME).execute(
        "select sum(length(facts) + length(tensors)) from entry where key in (select key from file)"
    )
    monkeypatch.setattr(kept, "MOST", size.fetchone()[0] + 100)
    work("--codec", "resize@2")
    rest = sqlite3.connect(work.out / kept.NAME).execute("select count(*) from entry").fetchone()[0]
    assert 0 < rest < 8 * 5
    monkeypatch.setattr(kept, "MOST", 0)
    work()
    assert not sqlite3.connect(work.out / kept.NAME).execute("select count(*) from entry").fetchone()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_shows_what_is_done_and_goes_on(work, number, monkeypatch):
    """As many round trips as without the stop; the same results."""
    monkeypatch.setattr(reconstruct, "MOST", 1)
    whole, _, _ = work()
    (work.out / kept.NAME).unlink()
    encode, calls = UserSquares.encode, []

    def stopping(self, images):
        calls.append(len(images))
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return encode(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(UserSquares, "encode", stopping)
        part, err, first = work(code=128 + number)
    assert 0 < part["pictures"] < 8 and part["pictures"] + part["missing"] == 8
    line = (
        f"stopped by {number.name} with {part['pictures']} of 8 pictures through every codec; the page shows"
    )
    assert line in err and "the same command goes on" in err
    assert f"Stopped: {part['missing']} pictures not reached yet." in work.page.read_text()
    rest, _, second = work()
    assert first + second == 8 + 0 and rest["missing"] == 0
    same = ("mse", "ssim", "used_bits", "bits")
    assert [[row[name] for name in same] for row in rest["rows"]] == [
        [row[name] for name in same] for row in whole["rows"]
    ]


def test_texts_are_kept(rawmm, folder, monkeypatch):
    read = []

    class Reader:
        def __init__(self, engine):
            pass

        def __enter__(self):
            return lambda shown: (read.append(len(shown)), reading(shown))[1]

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(ocr, "Reader", Reader)
    monkeypatch.setattr(ocr, "choose", lambda word: "rapidocr")
    words = ("reconstruct", folder, "--codec", "resize@4", "--json", "--features", "none", "--out")
    first = json.loads(rawmm(*words, folder.with_name("t"))[1])
    assert sum(read) == 8 + 8 + 8 and first["text"]["read_twice"] == 8
    read.clear()
    assert json.loads(rawmm(*words, folder.with_name("t"))[1]) == first and not read


# --------------------------------------------------------------------------------------------- which pictures


def test_pictures_are_shrunk_whole(rawmm, tmp_path):
    wide = np.zeros((30, 60, 3), np.uint8)
    wide[:, 30:] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide[:10, :12]).save(tmp_path / "small.png")
    words = ("reconstruct", tmp_path, "--codec", "raw", "--ocr", "none", "--features", "none", "--json")
    code, _, err = rawmm(*words, "--size", "20", "--out", tmp_path / "o")
    assert code == 0 and "2 pictures with longer sides of 12 to 60 pixels, 1 of them shrunk to 20" in err
    back = np.asarray(Image.open(tmp_path / "o" / "original" / "wide.png"))
    assert back.shape == (10, 20, 3) and back[:, :7].max() < 20 and back[:, 13:].min() > 180
    assert Image.open(tmp_path / "o" / "original" / "small.png").size == (12, 10)
    assert "2 pictures with longer sides of 12 to 60 pixels, as they are" in rawmm(*words)[2]


def test_pictures_of_formats_that_are_not_read_are_named(rawmm, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.HEIC").write_bytes(b"x")
    code, out, err = rawmm("reconstruct", tmp_path, "--codec", "raw", "--ocr", "none", "--json")
    assert code == 0 and "b.HEIC: files of .heic are not read; convert it to PNG or JPEG" in err
    assert len(json.loads(out)["skipped"]) == 1


@pytest.mark.process
def test_held_out_pictures_of_a_set_are_called_so(rawmm, tmp_path):
    from rawmm_cli.data import prepared

    words = ("text-images", "--count", "40", "--size", "32", "--name", "words", "--data-dir", tmp_path)
    assert rawmm("prepare", *words)[0] == 0
    count = prepared.read_card(tmp_path / "words")["count"]
    words = ("reconstruct", "words", "--data-dir", tmp_path, "--codec", "raw", "--ocr", "none")
    code, _, err = rawmm(*words)
    assert code == 0 and f"of the set 'words' the {count['held_out']} held-out picture" in err
    assert f"({count['train']} others for training)" in err
    assert len(pictures.find([tmp_path / "words"], tmp_path)) == count["held_out"]
