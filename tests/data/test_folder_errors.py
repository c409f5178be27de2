"""A folder of images: every error message in full."""

import json
import os
import re

import pytest
from image_folders import ALLOWED, fill, prepared

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.system.errors import ConfigError, DataError


def refused(path, message: str, **options):
    """Check the whole message against a regular expression, in which FOLDER stands for the path."""
    with pytest.raises(DataError) as caught:
        prepared(path, **{"size": 8, **options})
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    assert re.fullmatch(message.replace("FOLDER", re.escape(str(path))), str(caught.value)), str(caught.value)


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


def test_what_counts_as_a_bad_picture(tmp_path):
    """One missing picture or caption does not spoil the rest: each is left out and listed."""
    fill(tmp_path, *(f"{n}.png" for n in range(20)), "sub/c.png")
    (tmp_path / "c.txt").write_text("x")
    (tmp_path / "sub" / "a.png.caption").write_text("x")
    (tmp_path / "0.txt").write_bytes(b"one\ntwo\n\xff\xfex\n")
    (tmp_path / "1.json").write_text("{oops")
    rows = [
        {"file_name": "2.png", "text": None},
        {"file_name": "3.png"},
        {"file_name": "4.png", "text": ["x", 3]},
        {"file_name": "5.png", "text": "\ud800"},
        {"file_name": "none.png", "text": "x"},
        {"text": "x"},
        {"file_name": 3, "text": "x"},
        *({"file_name": f"{n}.png", "text": "x"} for n in range(6, 20)),
        {"file_name": "sub", "text": "x"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reasons = {
        "c.txt": "it is a caption file, and there is no picture of that name beside it",
        "sub/a.png.caption": "it is a caption file, and there is no picture of that name beside it",
        "0.png": "line 3 of 0.txt is not UTF-8 (byte 0xff); save the file as UTF-8",
        "1.png": "1.json is not JSON in UTF-8",
        "2.png": "it has no caption: `text` in metadata.jsonl line 1 is missing",
        "3.png": "it has no caption: `text` in metadata.jsonl line 2 is missing",
        "4.png": "its `text` in metadata.jsonl line 3 is no text but ['x', 3]",
        "5.png": "a text of it has a lone surrogate, which is not Unicode",
        "none.png": "metadata.jsonl line 5 names it, and there is no such picture",
        "metadata.jsonl line 6": "it lacks `file_name`, the path of a picture",
        "metadata.jsonl line 7": "it lacks `file_name`, the path of a picture",
        "sub": "metadata.jsonl line 22 names it, and there is no such picture",
    }
    refused(tmp_path, r"12 of 27 items cannot be used, the first '0.png' .*", max_bad=0.4)
    rows, card = prepared(tmp_path, max_bad=0.5)
    assert {entry["file"]: entry["reason"] for entry in card["skipped"]} == reasons
    assert sorted(row["source"] for split in rows.values() for row in split) == sorted(
        [*(f"{n}.png" for n in range(6, 20)), "sub/c.png"]
    )


def test_a_picture_with_a_caption_elsewhere_is_used(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "a.caption").write_text("one")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png\nb.png,two\n")
    rows, _ = prepared(tmp_path)
    assert sorted(row["captions"] for split in rows.values() for row in split) == [["one"], ["two"]]


def test_a_link_of_metadata_that_leads_out_of_the_folder(tmp_path):
    fill(tmp_path / "in", "a.png", "b.png")
    fill(tmp_path, "x.png")
    (tmp_path / "in" / "far").symlink_to(tmp_path)
    (tmp_path / "in" / "metadata.csv").write_text("file_name,text\nfar/x.png,x\n")
    what = "names 'far/x.png', which is a link that leads out of the folder; allowed: files inside of it"
    refused(tmp_path / "in", f"FOLDER/metadata.csv line 2: {what}")


def test_options_that_do_not_fit(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    with pytest.raises(ConfigError, match="--caption makes captions of classes, and there are none; .*"):
        folder(tmp_path, caption="a {label}")
    with pytest.raises(ConfigError, match="--columns is for metadata, and .* has none; .*"):
        folder(tmp_path, columns="text=x")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,x\n")
    with pytest.raises(ConfigError, match="no metadata in .* has a column 'x'; there are file_name, text"):
        folder(tmp_path, columns="text=x")


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
        (
            b'{"text": "x"}',
            "line 1: lacks `file_name`, the path of a picture .*; it has text; add it, or .*",
        ),
        (
            b'{"file_names": ["a.png"], "text": "x"}',
            "line 1: lacks `file_name`, the path of a picture .*; it has file_names, text; add it, or .*",
        ),
        (
            b'{"file_name": "a.png", "text": "x"}\n{"file_name": "a.png", "text": "caf\xe9"}',
            r"line 2: is not UTF-8 \(byte 0xe9\); save the file as UTF-8",
        ),
        (
            b'{"file_name": "../x.png", "text": "x"}',
            r"line 1: names '../x.png', which leads out of the folder; allowed: files inside of it",
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
            "line 2: lacks `file_name`, the path of a picture .*; it has name, text; add it, or .*",
        ),
        (b"file_name;text\na.png;x;y\n", 'line 2: has too many cells; put text with semicolons in "quotes"'),
        (
            b"file_name,text\na.png,red, blue\n",
            'line 2: has too many cells; put text with commas in "quotes"',
        ),
        (b'file_name,text\na.png,"red\n', r"line 2: is not CSV \(.*\); close its quotes, or mend it"),
        (
            b"\xef\xbb\xbffile_name,text\na.png,x\nb.png,caf\xe9\n",
            r"line 3: is not UTF-8 \(byte 0xe9\); save the file as UTF-8",
        ),
        (
            b"file_name,text\n../x.png,x\n",
            "line 2: names '../x.png', which leads out of the folder; allowed: .*",
        ),
    ],
)
def test_broken_csv(tmp_path, data, message):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_bytes(data)
    refused(tmp_path, f"FOLDER/metadata.csv {message}")


def test_unreadable_caption_file(tmp_path):
    fill(tmp_path, "a.png", "b.png")
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
        r"3 of 6 items cannot be used, the first 'b.jpg' \(its content is damaged or of another format; "
        r"allowed: .*\); repair them, or allow a larger share with --max-bad-fraction \(now 0\); what is "
        "done is kept for the same command",
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
        r"2 of 2 items cannot be used, the first 'a.png' \(it is empty \(0 bytes\)\); repair them, .*",
        max_bad=0.9,
    )
    fill(tmp_path, "b.png")
    refused(tmp_path, "only 1 usable item; .*", max_bad=0.5)


@pytest.mark.parametrize("name", ["a.txt", "metadata.jsonl", "metadata.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_text_file_without_an_end_is_refused_at_once(tmp_path, name, kind):
    fill(tmp_path, "a.png")
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    what = "named pipe" if kind == "pipe" else "device"
    refused(
        tmp_path, f"FOLDER/{name} cannot be read: it is a {what}; allowed: a file; mend it or move it away"
    )


def test_a_caption_file_of_gigabytes_is_refused(tmp_path):
    fill(tmp_path, "a.png")
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(4 << 30)
    size = "it has 4,294,967,296 bytes; allowed: at most 1,000,000"
    refused(tmp_path, f"FOLDER/a.txt cannot be read: {size}; mend it or move it away")
