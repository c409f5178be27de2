"""A folder of images: which files are read, captions from three sources, a stable split."""

import json
import os

import pytest
from image_folders import fill, picture, prepared
from sources import prepare_source

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.data.images import fit
from rawmm_cli.data.prepared import load


def captions(path) -> dict[str, list[str]]:
    rows, _ = prepared(path, held_out=0.5)
    return {row["source"]: row["captions"] for split in rows.values() for row in split}


# Files
def test_rows_hold_the_exact_pixels_in_the_order_of_the_names(tmp_path):
    names = ["b.png", "a/z.PNG", "a/b.bmp", "c.tiff"]
    rows, card = prepared(fill(tmp_path / "birds", *names), held_out=0.5)
    stored = {row["source"]: row for split in rows.values() for row in split}
    assert sorted(stored) == sorted(names) and set(rows) == {"train", "held_out"}
    for number, name in enumerate(names):
        row = stored[name]
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
    for crop, size in (("none", [8, 14]), ("center", [8, 8])):
        rows, card = prepared(tmp_path, size=8, crop=crop)
        assert card["size"] == size
        stored = {row["source"]: row["pixels"] for split in rows.values() for row in split}
        assert stored == {
            "a.png": fit(picture(0, 12, 20), 8, crop).tobytes(),
            "b.png": fit(picture(1, 12, 20), 8, crop).tobytes(),
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


def test_starting_in_the_middle(tmp_path):
    fill(tmp_path, *(f"{n}.png" for n in range(9)))
    items = list(folder(tmp_path).items(0))
    for start in (0, 1, 8, 9, 12):
        assert list(folder(tmp_path).items(start)) == items[start:]


def test_a_change_of_the_folder_changes_the_state(tmp_path):
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
    prepare_source(tmp_path / "out", folder(tmp_path / "in"), size=8, held_out=0.4)
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

    def held_out(path, share):
        return {row["source"] for row in prepared(path, held_out=share)[0]["held_out"]}

    few, many = held_out(tmp_path / "first", 0.3), held_out(tmp_path / "second", 0.3)
    assert few == many & set(names[::2]) and 10 <= len(many) <= 26
    assert held_out(tmp_path / "second", 0.1) < many


def test_both_splits_have_an_image(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    for share in (1e-9, 0.5, 1 - 1e-9):
        rows, _ = prepared(tmp_path, held_out=share)
        assert len(rows["train"]) == len(rows["held_out"]) == 1
