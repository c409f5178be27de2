"""`rawmm show`: the right documents, in reading order, with exact pixels and without control characters."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sources import interleaved, numbers, pixels_of, prepare_source, rows

from rawmm_cli.data.items import DocumentItem, Item, Piece, Source
from rawmm_cli.data.prepared import evenly_spaced
from rawmm_cli.pages.terminal import HALF, half_blocks

HOSTILE = "\x1b[31mred\x07 \u202e [bold]x[/bold] :smile: {0}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepare_source(folder / "numbers", numbers(50, splits=True))
    prepare_source(folder / "interleaved", interleaved(20), held_out=0.2)
    items = [Item(f"{HOSTILE}{n}", n, (HOSTILE, f"a\nb {n}"), 0, {"x": HOSTILE}) for n in range(9)]
    hostile = Source(
        items=lambda start: iter(items[start:]),
        open=pixels_of,
        state="",
        card={"name": "hostile", "labels": [HOSTILE]},
    )
    prepare_source(folder / "hostile", hostile, held_out=0.3)
    words = Source(
        items=lambda start: (DocumentItem(f"{n}", (Piece(text=f"only text {n}"),)) for n in range(start, 9)),
        open=pixels_of,
        state="",
        card={"name": "words"},
        holds_documents=True,
    )
    prepare_source(folder / "words", words, held_out=0.3)
    return folder


@pytest.fixture
def show(rawmm, data):
    return lambda *words: rawmm("show", *words, "--data-dir", data)


def test_documents_are_those_of_the_table(show, data):
    stored = rows(data / "numbers")["train"]
    code, out, _ = show("numbers", "--json", "--count", 5)
    result = json.loads(out)
    assert code == 0 and result["count"]["train"] == len(stored) and result["set"] == "numbers"
    assert [entry["index"] for entry in result["documents"]] == evenly_spaced(len(stored), 5)
    for entry in result["documents"]:
        row = stored[entry["index"]]
        assert entry["source"] == row["source"] and entry["attributes"] == json.loads(row["attributes"])
        assert entry["items"] == [{"image": [8, 8]}, {"text": row["captions"][0]}] and entry["label"] == str(
            row["label"]
        )


def test_items_are_in_reading_order(show, data):
    at, row = next(
        (n, row) for n, row in enumerate(rows(data / "interleaved")["train"]) if len(row["pixels"]) == 2
    )
    code, out, _ = show("interleaved", "--index", at, "--json")
    (entry,) = json.loads(out)["documents"]
    texts, draws = iter(row["texts"]), iter(row["draw"])
    expected = [
        {"image": [8, 8], "draw": next(draws)} if shown else {"text": next(texts)} for shown in row["order"]
    ]
    assert code == 0 and entry["items"] == expected
    _, out, _ = show("interleaved", "--index", at)
    uses = {True: "  [8 x 8 pixels, to be drawn]", False: "  [8 x 8 pixels, to be read]"}
    assert out.splitlines()[2:] == [
        uses[item["draw"]] if "image" in item else "  " + item["text"] for item in expected
    ]


@pytest.mark.parametrize(
    "words, indices",
    [
        (("--index", 3), [3]),
        (("--index", 3, "--count", 2), [3, 4]),
        (("--index", 7, "--count", 100), [7, 8, 9]),
        (("--count", 100), list(range(10))),
        (("--count", 1), [0]),
        ((), list(range(10))),
    ],
)
def test_index_and_count_choose_documents(show, data, words, indices):
    total = len(rows(data / "numbers")["held_out"])
    code, out, _ = show("numbers", "--split", "held_out", "--json", *words)
    assert total == 10 and code == 0
    assert [entry["index"] for entry in json.loads(out)["documents"]] == indices


def test_a_single_picture_is_written_exactly(show, data, tmp_path):
    row = rows(data / "numbers")["train"][7]
    code, out, _ = show("numbers", "--index", 7, "--out", tmp_path / "new" / "a.png")
    assert code == 0 and out.endswith(f"written: {tmp_path}/new/a.png\n")
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == "RGB" and image.tobytes() == row["pixels"]


def test_the_contact_sheet_has_all_pictures_in_order(show, data, tmp_path):
    stored = rows(data / "numbers")["train"]
    assert show("numbers", "--index", 0, "--count", 6, "--out", tmp_path / "a.png")[0] == 0
    sheet = np.array(Image.open(tmp_path / "a.png"))
    side, columns = 8 * 16, 2  # enlarged to 128 pixels; round(sqrt(6)) columns
    for n in range(6):
        top, left = (2 + (n // columns) * (side + 2), 2 + (n % columns) * (side + 2))
        expected = np.frombuffer(stored[n]["pixels"], np.uint8).reshape(8, 8, 3)
        assert np.array_equal(sheet[top : top + side : 16, left : left + side : 16], expected)


def test_control_characters_do_not_reach_the_terminal(show):
    for words in ((), ("--index", 2), ("--json",)):
        code, out, err = show("hostile", *words)
        assert code == 0 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    assert "[bold]x[/bold] :smile: {0}" in show("hostile")[1]  # neither markup nor an emoji


def test_on_a_terminal(show, monkeypatch):
    """Pictures are drawn side by side, and no line is wider than the window."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for words in (("numbers",), ("numbers", "--index", 3), ("interleaved", "--count", 9), ("hostile",)):
        code, out, _ = show(*words)
        plain = re.sub("\x1b\\[[0-9;]*m", "", out)
        assert code == 0 and HALF * 16 in plain and "\x1b[" in out
        assert max(map(len, plain.splitlines())) <= 60 and not re.search(
            "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", plain
        )
    plain = re.sub("\x1b\\[[0-9;]*m", "", show("numbers", "--count", 6)[1])
    assert f"{HALF * 16}  {HALF * 16}" in plain and "number 1 " in plain
    assert all(str(n) in plain for n in evenly_spaced(40, 6))
    monkeypatch.setenv("NO_COLOR", "1")
    assert HALF not in show("numbers")[1]


@pytest.mark.parametrize(
    "height, width, columns, size",
    [
        (16, 16, 40, (16, 16)),
        (17, 16, 40, (17, 16)),
        (8, 8, 40, (16, 16)),
        (100, 50, 25, (50, 25)),
        (1, 1, 40, (16, 16)),
        (5, 200, 20, (1, 20)),
        (4, 4, 1, (1, 1)),
    ],
)
def test_half_blocks(height, width, columns, size):
    """Every character shows two pixels, the upper as its colour, the lower as its background."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    lines = half_blocks(pixels, columns).split("\n")
    assert (len(lines), {len(line) for line in lines}) == (-(-size[0] // 2), {size[1]})
    if size[1] >= width:
        zoom = size[1] // width
        enlarged = pixels.repeat(zoom, 0).repeat(zoom, 1)
        console = Console(force_terminal=True, color_system="truecolor", width=80)
        for n, line in enumerate(lines):
            styles = [segment.style for segment in line.render(console) for _ in segment.text.strip("\n")]
            for column, style in enumerate(styles):
                assert tuple(style.color.triplet) == tuple(enlarged[2 * n, column])
                assert (
                    style.bgcolor is None
                    if 2 * n + 1 == len(enlarged)
                    else tuple(style.bgcolor.triplet) == tuple(enlarged[2 * n + 1, column])
                )


@pytest.mark.parametrize(
    "words, code, message",
    [
        (
            ("numbers", "--index", 40),
            2,
            "--index is 40; allowed: 0 to 39, as the split train has 40 documents",
        ),
        (
            ("numbers", "--split", "training"),
            2,
            "--split is 'training' (did you mean train?); allowed: train, held_out",
        ),
        (("numbers", "--count", 0), 2, "--count"),
        (("numbers", "--index", -1), 2, "--index"),
        (("number",), 3, "is not prepared in {data} (did you mean numbers?)"),
        (("../etc",), 3, "is not prepared"),
        (("words", "--out", "{data}/a.png"), 2, "these documents have no picture, and --out writes pictures"),
        (("numbers", "--out", "/dev/null/a.png"), 2, "/dev/null"),
    ],
)
def test_bad_input_is_one_line(show, data, words, code, message):
    exit_code, out, err = show(*[str(word).format(data=data) for word in words])
    assert (
        (exit_code, out) == (code, "")
        and message.format(data=data) in err
        and len(err.strip().splitlines()) == 1
    )
    assert not list(data.glob("*.png"))


def test_a_damaged_set_is_one_line(show, data, tmp_path, rawmm):
    import shutil

    shutil.copytree(data / "numbers", tmp_path / "numbers")
    for file in (tmp_path / "numbers" / "train").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:500])
    code, out, err = rawmm("show", "numbers", "--data-dir", tmp_path)
    assert (code, out) == (3, "") and "is damaged" in err and len(err.strip().splitlines()) == 1
