"""What a source saw and left unused: counted, told in one line, held in full by the card."""

import json
import os

import pytest
from image_folders import fill
from sources import prepare_source

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.data.datasets.parquet import parquet
from rawmm_cli.data.datasets.webdataset import webdataset
from rawmm_cli.data.layout.files import files
from rawmm_cli.data.layout.unused import COLUMNS, FILES, LINKS, NAMES, REST, SHOWN, Unused, lists, sentence
from rawmm_cli.pages import card as page
from rawmm_cli.system.errors import DataError


def test_the_line_names_kinds_and_the_largest_counts():
    unused = Unused()
    for number in range(4):
        unused.file(f"a/{number}.JFIF")
    unused.file("LICENSE")
    unused.add(LINKS, "more")
    unused.add(FILES, "train/metadata.jsonl")
    unused.add_all(COLUMNS, ["score", "captions_fr"])
    assert sentence(unused.card()) == (
        "Not used: 4 .jfif, 1 without an ending, 1 linked folder, train/metadata.jsonl; "
        "columns captions_fr, score"
    )
    assert sentence({}) == "" and Unused().card() == {}


def test_tables_and_archives_are_named_where_there_are_few():
    unused = Unused()
    for name in ("meta_cap.json", "a/captions.csv", *(f"{n}.tar" for n in range(5)), "x.svg"):
        unused.file(name)
    assert sentence(unused.card()) == "Not used: 1 .svg, 5 .tar, a/captions.csv, meta_cap.json"
    assert len(unused.card()[FILES]) == 7


def test_a_count_that_is_taken_back_is_gone():
    unused = Unused()
    unused.file("a.heic")
    unused.add("endings", ".heic", -1)
    assert unused.card() == {}


def test_the_line_is_short_and_the_card_is_whole():
    unused = Unused()
    unused.add_all(COLUMNS, [f"column {n:02}" for n in range(50)])
    for n in range(20):
        unused.file(f"x.e{n:02}")
    line = sentence(unused.card())
    assert "14 others" in line and line.endswith(f"{50 - SHOWN} more") and len(line) < 200
    assert len(unused.card()[COLUMNS]) == 50 and len(lists(unused.card())["Columns"]) == 50
    assert len(lists(unused.card())["Files by ending"]) == 20


def test_the_count_is_whole_where_there_are_too_many_names():
    unused = Unused()
    unused.add_all(FILES, (str(n) for n in range(NAMES + 7)))
    card = unused.card()[FILES]
    assert len(card) == NAMES + 1 and card[REST] == 7 and sum(card.values()) == NAMES + 7


def test_control_characters_of_names_are_not_printed():
    unused = Unused()
    unused.add(FILES, "a\x1b[31m\n.tar")
    assert "\x1b" not in json.dumps(unused.card(), ensure_ascii=False) and "\n" not in sentence(unused.card())


def test_files_of_a_folder(tmp_path):
    fill(tmp_path, "a.png", "b/c.png", ".d.png", "b/.e/f.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "again").symlink_to(tmp_path / "b")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "gone.png").symlink_to(tmp_path / "none.png")
    unused = Unused()
    assert {tuple(seen) for seen in files(tmp_path, unused)} == {
        ("a.png", True),
        ("b/c.png", True),
        ("pipe", False),
        ("link.png", True),
        ("circle", False),
        ("gone.png", False),
    }
    assert unused.card() == {"hidden": {".d.png": 1, ".e": 1}, "linked folders": {"again": 1}}


def test_card_and_page_hold_what_a_folder_did_not_use(tmp_path):
    fill(tmp_path / "in", *(f"{n}.png" for n in range(4)))
    (tmp_path / "in" / "a.heic").write_bytes(b"x")
    (tmp_path / "in" / "b<i>.<i>x").write_bytes(b"x")
    card = prepare_source(tmp_path / "out", folder(tmp_path / "in"))
    assert card["unused"] == {"endings": {".<i>x": 1, ".heic": 1}}
    assert json.loads((tmp_path / "out" / "card.json").read_text())["unused"] == card["unused"]
    html = (tmp_path / "out" / "card.html").read_text()
    assert "1 .heic" in html and "1 .&lt;i&gt;x" in html and "<i>x" not in html
    assert 'id="unused"' not in page.render(tmp_path / "out", {**card, "unused": {}})


def test_an_interrupted_preparation_keeps_what_was_told_while_reading(tmp_path, monkeypatch):
    """An archive tells only while it is read; where all parts are done it is not read again."""
    from sources import numbers

    from rawmm_cli.data import prepare

    def source():
        made = numbers(20)
        items, unused = made.items, made.unused

        def counted(start):
            for item in items(start):
                unused.add("members", ".wav")
                yield item

        object.__setattr__(made, "items", counted)
        return made

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_assemble", stop)
        try:
            prepare_source(tmp_path / "out", source())
        except KeyboardInterrupt:
            pass
    assert prepare_source(tmp_path / "out", source())["unused"] == {"members": {".wav": 20}}


def test_a_source_that_reads_nothing_says_what_is_there(tmp_path):
    for name in ("a.heic", "b.heic", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "elsewhere").symlink_to("/")
    for source in (folder, parquet, webdataset):
        with pytest.raises(DataError, match="; it has 2 .heic, 1 .md, 1 linked folder$"):
            source(path=tmp_path)
    (tmp_path / "c.png").touch()
    with pytest.raises(DataError, match="; it has 1 .png, which `rawmm prepare folder --path ...` reads$"):
        parquet(path=tmp_path)


@pytest.mark.parametrize("source, ending", [(parquet, ".parquet"), (webdataset, ".tar")])
def test_files_that_are_not_there_are_not_advised(source, ending, tmp_path):
    """Links to nothing, as git-annex leaves them before it fetches, are not a matter of another source."""
    (tmp_path / f"a{ending}").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=f"what it has, 1 {ending}, is no file: a link to nothing, a named pipe"
    ):
        source(path=tmp_path)
