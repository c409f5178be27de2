"""A folder of images: captions from three sources, a split that stays, and every error word by word."""

import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import made
from sources import rows as rows_of

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.data.images import fit
from rawmm_cli.data.prepared import load
from rawmm_cli.system.errors import DataError

ALLOWED = "png jpg jpeg webp bmp gif tif tiff ppm"


def picture(number: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fill(path, *names, **options):
    """Write a random picture for each name. -> path"""
    for number, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, **options)).save(path / name)
    return path


def prepared(path, *, max_bad=0.0, **options) -> tuple[dict[str, list[dict]], dict]:
    """The folder, prepared -> (rows by split, card)."""
    with tempfile.TemporaryDirectory() as out:
        card = made(Path(out) / "set", folder(path), max_bad=max_bad, **options)
        return rows_of(Path(out) / "set"), card


def captions(path) -> dict[str, list[str]]:
    rows, _ = prepared(path, held_out=0.5)
    return {row["source"]: row["captions"] for split in rows.values() for row in split}


def refused(path, message: str, **options):
    """`message` is the whole line, as a regular expression; FOLDER stands for the path."""
    with pytest.raises(DataError) as caught:
        prepared(path, **{"size": 8, **options})
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    assert re.fullmatch(message.replace("FOLDER", re.escape(str(path))), str(caught.value)), str(caught.value)


# What is read


def test_rows_hold_the_exact_pixels_in_the_order_of_the_names(tmp_path):
    names = ["b.png", "a/z.PNG", "a/b.bmp", "c.tiff"]
    rows, card = prepared(fill(tmp_path / "birds", *names), held_out=0.5)
    every = {row["source"]: row for split in rows.values() for row in split}
    assert sorted(every) == sorted(names) and set(rows) == {"train", "held_out"}
    for number, name in enumerate(names):
        row = every[name]
        assert row["pixels"] == picture(number).tobytes() and (row["height"], row["width"]) == (8, 8)
        assert row["captions"] == [] and row["label"] == -1
    for split in rows.values():
        assert [row["source"] for row in split] == sorted(row["source"] for row in split)
    assert (
        card["size"] == [8, 8]
        and card["source"] == "folder"
        and card["skipped"] == []
        and card["without_caption"] == 4
    )


def test_size_fits_and_no_size_keeps(tmp_path):
    fill(tmp_path, "a.png", "b.png", height=12, width=20)
    rows, card = prepared(tmp_path, size=8)
    assert card["size"] == [8, 8]
    found = {row["source"]: row["pixels"] for split in rows.values() for row in split}
    assert found == {
        "a.png": fit(picture(0, 12, 20), 8).tobytes(),
        "b.png": fit(picture(1, 12, 20), 8).tobytes(),
    }
    assert prepared(tmp_path)[1]["size"] == [12, 20]
    fill(tmp_path, "c.png")
    assert prepared(tmp_path)[1]["size"] is None


def test_hidden_files_and_other_files_are_ignored(tmp_path):
    fill(tmp_path, "a.png", "b.png", ".c.png", ".d/e.png", "f/.g.png")
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / ".h.txt").write_text("x")
    assert captions(tmp_path) == {"a.png": [], "b.png": []}


def test_the_card_holds_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "birds", "a.png", "b.png"))
    _, card = prepared(".")
    assert str(tmp_path) not in json.dumps(card)


def test_it_can_start_anywhere(tmp_path):
    fill(tmp_path, *(f"{n}.png" for n in range(9)))
    every = list(folder(tmp_path).items(0))
    assert [list(folder(tmp_path).items(start)) for start in (0, 1, 8, 9, 12)] == [
        every[start:] for start in (0, 1, 8, 9, 12)
    ]


def test_a_change_of_the_folder_is_seen(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    states = [folder(tmp_path).state]
    (tmp_path / "a.txt").write_text("one")
    states.append(folder(tmp_path).state)
    (tmp_path / "a.txt").write_text("three")
    states.append(folder(tmp_path).state)
    fill(tmp_path, "c.png")
    states.append(folder(tmp_path).state)
    assert len(set(states)) == 4 and folder(tmp_path).state == states[-1]


def test_rows_can_be_written_and_loaded(tmp_path):
    fill(tmp_path / "in", "a.png", "b.png", os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "in" / "a.txt").write_text("a fox \N{FOX FACE}", encoding="utf-8")
    made(tmp_path / "out", folder(tmp_path / "in"), size=8, held_out=0.4)
    data = [load(tmp_path / "out", split) for split in ("train", "held_out")]
    assert sorted(c for split in data for c in split.captions) == [[], [], ["a fox \N{FOX FACE}"]]
    assert data[0].card["count"] == {"train": len(data[0]), "held_out": len(data[1])}


# Captions


def test_captions_beside_the_image(tmp_path):
    fill(tmp_path, "a.png", "b.jpg", "sub/a.png", "c.v2.png", "c.jpg")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf  first \r\n\r\n second\rfirst\n")
    (tmp_path / "sub" / "a.TXT").write_text(" only \n \t\n")
    (tmp_path / "c.v2.txt").write_text("dotted")
    (tmp_path / "b.txt").write_text("\n")
    assert captions(tmp_path) == {
        "a.png": ["first", "second"],
        "b.jpg": [],
        "sub/a.png": ["only"],
        "c.v2.png": ["dotted"],
        "c.jpg": [],
    }
    assert prepared(tmp_path)[1]["without_caption"] == 2


@pytest.mark.parametrize(
    "caption",
    [
        "a fox \N{FOX FACE} \U0001f469\u200d\U0001f680",
        "[/x] [bold]red[/bold]",
        "<image> <bos> </image>",
        "\u202eabc",
        "狐",
        'say "hi", twice',
        "{0} %s \\n",
        "x" * 200_000,
        "in\u2028one\x0bline\x1chere",
    ],
)
def test_captions_are_kept_letter_for_letter(tmp_path, caption):
    fill(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "a.txt").write_text(caption + "\n", encoding="utf-8")
    lines = [
        {"file_name": "b.png", "text": caption},
        {"file_name": "c.png", "text": [caption, "and", caption]},
    ]
    (tmp_path / "metadata.jsonl").write_text(
        "\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8"
    )
    if len(caption) < 100_000:
        quoted = caption.replace('"', '""')
        (tmp_path / "metadata.csv").write_text(f'file_name,text\nd.png,"{quoted}"\n', encoding="utf-8")
    expected = {"a.png": [caption], "b.png": [caption], "c.png": [caption, "and"]}
    assert captions(tmp_path) == {**expected, "d.png": [caption] if len(caption) < 100_000 else []}


def test_metadata_and_text_file_together(tmp_path):
    fill(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "metadata.jsonl").write_bytes(
        b'\xef\xbb\xbf{"file_name": "./a.png", "text": ["two", " three ", ""], "id": 7}\r\n\r\n'
        b'{"file_name": "sub/../sub/b.png", "text": "four\\nlines"}\r\n'
    )
    (tmp_path / "metadata.csv").write_bytes(
        b'\xef\xbb\xbftext,other,file_name\r\n"five, ""six""",,sub/b.png\r\n,,a.png\r\n'
    )
    assert captions(tmp_path) == {
        "a.png": ["one", "two", "three"],
        "sub/b.png": ["four\nlines", 'five, "six"'],
    }


def test_names_match_in_either_form_of_unicode(tmp_path):
    fill(tmp_path, "cafe\u0301.png", "b.png")
    (tmp_path / "caf\u00e9.txt").write_text("one")
    (tmp_path / "metadata.csv").write_text("file_name,text\ncaf\u00e9.png,two\n", encoding="utf-8")
    assert captions(tmp_path) == {"caf\u00e9.png": ["one", "two"], "b.png": []}


# The split


def test_split_is_a_function_of_the_name_alone(tmp_path):
    names = [f"{number:03}.png" for number in range(60)]
    fill(tmp_path / "first", *names[::2], height=2, width=2)
    fill(tmp_path / "second", *reversed(names), height=3, width=3)

    def held(path, share):
        return {row["source"] for row in prepared(path, held_out=share)[0]["held_out"]}

    few, many = held(tmp_path / "first", 0.3), held(tmp_path / "second", 0.3)
    assert few == many & set(names[::2]) and 10 <= len(many) <= 26
    assert held(tmp_path / "second", 0.1) < many


def test_both_splits_have_an_image(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    for share in (1e-9, 0.5, 1 - 1e-9):
        rows, _ = prepared(tmp_path, held_out=share)
        assert len(rows["train"]) == len(rows["held_out"]) == 1


# Errors


def test_folder_itself(tmp_path):
    what = f"allowed: a folder with images \\({ALLOWED}\\); give the path of the folder"
    refused(tmp_path / "none", f"FOLDER does not exist; {what}")
    (tmp_path / "x.png").touch()
    refused(tmp_path / "x.png", f"FOLDER is a file; {what}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").touch()
    refused(
        tmp_path / "empty",
        f"no images in FOLDER; allowed: files ending in {ALLOWED}, subfolders included; add some",
    )


def test_unreadable_subfolder(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "b.png", "sub/c.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(tmp_path, "folder FOLDER/sub cannot be read: Permission denied; allow reading it or move it away")


def test_too_few_images(tmp_path):
    refused(
        fill(tmp_path, "a.png"),
        "only 1 usable item; allowed: at least 2, one to train and one held out; add some",
    )


def test_caption_files_without_image(tmp_path):
    fill(tmp_path, "a.png", "b.png", "sub/c.png")
    (tmp_path / "c.txt").write_text("x")
    what = f"allowed: an image of the same name beside it \\({ALLOWED}\\); add it or move the text away"
    refused(tmp_path, f"caption file 'c.txt' in FOLDER has no image; {what}")
    (tmp_path / "sub" / "a.png.txt").write_text("x")
    (tmp_path / "z.txt").write_text("x")
    refused(tmp_path, rf"caption file 'c.txt' \(and 2 more\) in FOLDER has no image; {what}")


@pytest.mark.parametrize(
    "data,message",
    [
        (
            b'{"file_name": "a.png", "text": "x"}\n{oops}\n',
            r"line 2: is not JSON \(.*\); allowed: one object a line; mend it",
        ),
        (b"[" * 100_000, r"line 1: is not JSON \(.*\); allowed: one object a line; mend it"),
        (
            b'\n\n["a.png", "x"]',
            r'line 3: is not an object; allowed: \{"file_name": "a.png", "text": "..."\}',
        ),
        (b'{"text": "x"}', "line 1: lacks `file_name`, the path of an image from the folder on; add it"),
        (
            b'{"file_name": 3, "text": "x"}',
            "line 1: lacks `file_name`, the path of an image from the folder on; add it",
        ),
        (
            b'{"file_name": "a.png"}',
            r"line 1: lacks `text`, a string \(in JSON also a list of strings\); add it",
        ),
        (
            b'{"file_name": "a.png", "text": ["x", 3]}',
            r"line 1: lacks `text`, a string \(in JSON .* strings\); add it",
        ),
        (
            b'{"file_name": "a.png", "text": "\\ud800"}',
            r"line 1: has text with a lone surrogate \(.*\), .*; mend it",
        ),
        (
            b'{"file_name": "a.png", "text": "x"}\n{"file_name": "a.png", "text": "caf\xe9"}',
            r"line 2: is not UTF-8 \(byte 0xe9\); save the file as UTF-8",
        ),
        (
            b'{"file_name": "none.png", "text": "x"}',
            "line 1: names 'none.png', which is not an image in the folder; add it or remove the line",
        ),
        (
            b'{"file_name": "no\\n\\u001bne", "text": "x"}',
            "line 1: names 'no\ufffd\ufffdne', which is not an image .*",
        ),
        (
            b'{"file_name": "../x.png", "text": "x"}',
            r"line 1: names '../x.png', which leads out of the folder; allowed: files inside it",
        ),
        (
            b'{"file_name": "sub/../../x.png", "text": "x"}',
            r"line 1: names '.*', which leads out of the folder; .*",
        ),
        (
            b'{"file_name": "/etc/x.png", "text": "x"}',
            r"line 1: names '.*', which leads out of the folder; .*",
        ),
    ],
)
def test_broken_json(tmp_path, data, message):
    fill(tmp_path / "in", "a.png", "b.png")
    fill(tmp_path, "x.png")
    (tmp_path / "in" / "metadata.jsonl").write_bytes(data)
    refused(tmp_path / "in", f"FOLDER/metadata.jsonl {message}")


@pytest.mark.parametrize(
    "data,message",
    [
        (
            b"name,text\na.png,x\n",
            "line 2: lacks `file_name`, the path of an image from the folder on; add it",
        ),
        (
            b"file_name,caption\na.png,x\n",
            r"line 2: lacks `text`, a string \(in JSON also a list of strings\); add it",
        ),
        (b"file_name;text\na.png;x\n", "line 2: lacks `file_name`, .*"),
        (b"file_name,text\na.png\n", "line 2: lacks `text`, .*"),
        (
            b"file_name,text\na.png,red, blue\n",
            'line 2: has too many cells; put text with commas in "quotes"',
        ),
        (b'file_name,text\na.png,"red\n', r"line 2: is not CSV \(.*\); mend it"),
        (b"file_name,text\na.png," + b"x" * 200_000, r"line 2: is not CSV \(field larger than .*\); mend it"),
        (
            b"\xef\xbb\xbffile_name,text\na.png,x\nb.png,caf\xe9\n",
            r"line 3: is not UTF-8 \(byte 0xe9\); save the file as UTF-8",
        ),
        (
            b"file_name,text\n../x.png,x\n",
            "line 2: names '../x.png', which leads out of the folder; allowed: .*",
        ),
        (b"file_name,text\nb.jpg,x\n", "line 2: names 'b.jpg', which is not an image in the folder; .*"),
    ],
)
def test_broken_csv(tmp_path, data, message):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_bytes(data)
    refused(tmp_path, f"FOLDER/metadata.csv {message}")


def test_broken_caption_file(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "b.txt").write_bytes(b"one\ntwo\n\xff\xfex\n")
    refused(tmp_path, r"FOLDER/b.txt line 3: is not UTF-8 \(byte 0xff\); save the file as UTF-8")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "b.txt").symlink_to(tmp_path / "none")
    refused(tmp_path, "FOLDER/b.txt cannot be read: No such file or directory; mend it or move it away")


def test_bad_images_are_named_or_skipped(tmp_path):
    fill(tmp_path, "a.png", "c.png", "e.png")
    fill(tmp_path, "d/small.png", height=8, width=5)
    (tmp_path / "b.jpg").write_text("hello")
    (tmp_path / "b.txt").write_text("a caption")
    (tmp_path / "f.png").symlink_to(tmp_path / "none")
    refused(
        tmp_path,
        r"'b.jpg' \(and 2 more\) of 6 cannot be used: its content is damaged or of another format; allowed: "
        r".*; "
        r"mend them, or allow to leave out a larger share with --max-bad-fraction \(now 0\); what is done "
        r"is kept "
        "for the same command",
    )
    rows, card = prepared(tmp_path, size=8, max_bad=0.5)
    assert sorted(row["source"] for split in rows.values() for row in split) == ["a.png", "c.png", "e.png"]
    assert [entry["file"] for entry in card["skipped"]] == ["b.jpg", "d/small.png", "f.png"]
    assert (
        card["skipped"][1]["reason"] == "it is 5 x 8 pixels; allowed: at least 8 x 8; choose a smaller size"
    )
    assert card["skipped"][2]["reason"] == "there is no such file" and card["without_caption"] == 3
    assert str(tmp_path) not in json.dumps(card)


def test_all_images_bad(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    refused(
        tmp_path,
        r"'a.png' \(and 1 more\) of 2 cannot be used: it is empty \(0 bytes\); mend them, .*",
        max_bad=0.9,
    )
    fill(tmp_path, "b.png")
    refused(tmp_path, "only 1 usable item; .*", max_bad=0.5)
