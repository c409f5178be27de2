"""Plain text: nothing is lost or changed, long files are cut at line ends, and what is not UTF-8 is named."""

import pytest
from sources import prepare_source

from rawmm_cli.data.datasets import text as module
from rawmm_cli.data.datasets.text import text
from rawmm_cli.data.prepared import load
from rawmm_cli.system.errors import DataError


def texts(path) -> dict[str, str]:
    return {item.name: item.pieces[0].text for item in text(path=path).items(0)}


def test_files_come_back_as_they_are(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes("\ufeffone\r\ntwo é\n".encode())
    (tmp_path / "in" / "deep" / "b.md").write_bytes("three \U0001f642\u202e".encode())
    (tmp_path / "in" / "c.py").write_text("not text")
    (tmp_path / "in" / ".hidden").mkdir()
    (tmp_path / "in" / ".hidden" / "d.txt").write_text("hidden")
    (tmp_path / "in" / "empty.txt").write_text(" \n")
    card = prepare_source(tmp_path / "set", text(path=tmp_path / "in"), held_out=0.5)
    stored = {}
    for split in ("train", "held_out"):
        data = load(tmp_path / "set", split)
        stored |= {data.source(row): data.pieces(row) for row in range(len(data))}
    assert stored == {"a.txt/0": ["one\r\ntwo é\n"], "deep/b.md/0": ["three \U0001f642\u202e"]}
    assert card["kind"] == "documents"


def test_long_files_are_cut_at_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 50)
    whole = (
        "".join(f"line {n} é\U0001f642 of some words\n" for n in range(40)) + "x" * 333 + "é" * 200 + "\nend"
    )
    (tmp_path / "a.txt").write_text(whole, encoding="utf-8")
    pieces = list(texts(tmp_path / "a.txt").values())
    assert "".join(pieces) == whole and len(pieces) > 30
    assert all(len(piece) <= 50 for piece in pieces)
    assert all(piece.endswith("\n") for piece in pieces[:20])


def test_starting_in_the_middle(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 20)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("some words\n" * 7)
    source = text(path=tmp_path)
    items = list(source.items(0))
    assert len(items) > 8
    for start in range(len(items) + 1):
        assert list(source.items(start)) == items[start:]


def test_errors(tmp_path):
    with pytest.raises(DataError, match="no text files in .*; allowed: files ending in .txt, .md, .text"):
        text(path=tmp_path)
    with pytest.raises(
        DataError, match="does not exist; allowed with --path: a text file or a folder with some"
    ):
        text(path=tmp_path / "none")
    (tmp_path / "a.txt").write_bytes(b"fine\nfine\n" + b"caf\xe9 here\n")
    with pytest.raises(DataError, match=r"a.txt is not UTF-8 \(byte 0xe9 in line 3\); save it as UTF-8"):
        list(text(path=tmp_path / "a.txt").items(0))


@pytest.mark.parametrize(
    "before, bad, place",
    [
        (b"fine\n" * 5000, b"caf\xe9\nmore\n" * 3, "byte 0xe9 in line 5001"),
        ("é\n".encode() * 40_000, b"\xff", "byte 0xff in line 40001"),
        (b"x" * 70_000 + b"\n", b"\xe2\x82", "byte 0xe2 in line 2"),
        (b"\n" * 65_535, b"\xe2\n", "byte 0xe2 in line 65536"),
    ],
)
def test_the_line_is_exact(tmp_path, before, bad, place):
    """Far into a file, across blocks, and where a character is cut off by the end."""
    (tmp_path / "a.txt").write_bytes(before + bad)
    with pytest.raises(DataError, match=rf"a.txt is not UTF-8 \({place}\)"):
        list(text(path=tmp_path / "a.txt").items(0))


def test_characters_across_every_border(tmp_path, monkeypatch):
    """A long line of characters of four bytes, cut in pieces, wherever it begins."""
    monkeypatch.setattr(module, "PIECE", 7)
    for shift in range(8):
        whole = "a" * shift + "\U0001f642é" * 5000
        (tmp_path / "a.txt").write_text(whole, encoding="utf-8")
        assert "".join(texts(tmp_path / "a.txt").values()) == whole


def test_blank_pieces_are_left_out(tmp_path, monkeypatch):
    """In one pass: a join at every line would take minutes."""
    monkeypatch.setattr(module, "PIECE", 50)
    (tmp_path / "a.txt").write_text("one\n" + "\n" * 1000 + " " * 1000 + "\ntwo\n")
    pieces = list(texts(tmp_path / "a.txt").values())
    assert [piece.strip() for piece in pieces] == ["one", "two"] and all(len(piece) <= 50 for piece in pieces)


def test_splits_of_the_source_are_kept(tmp_path):
    for name in ("wiki.train", "wiki.valid", "wiki.test"):
        (tmp_path / f"{name}.txt").write_text(f"text of {name}\n")
    source = text(path=tmp_path)
    assert {item.name: item.split for item in source.items(0)} == {
        "wiki.train.txt/0": "train",
        "wiki.valid.txt/0": "held_out",
        "wiki.test.txt/0": "held_out",
    }
    assert source.card["chosen"] == {
        "files by split": "train 1 (trained on), test 1 (held out), validation 1 (held out)"
    }
