"""Pictures of the report: exact, in order, and only those of the run."""

import io
import json
import os
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.data.images import contact_sheet
from rawmm_cli.pages import gallery


@pytest.fixture
def samples(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    return folder


def pixels(picture: dict) -> np.ndarray:
    with Image.open(io.BytesIO(b64decode(picture["uri"].partition(",")[2]))) as image:
        assert (image.width, image.height) == (picture["width"], picture["height"])
        return np.array(image.convert("RGB"))


def random_pictures(count: int, size=(8, 8)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("count, columns", [(5, 3), (6, 3), (1, 1), (4, 10), (11, 10)])
def test_cells_of_a_sheet_are_exact(samples, count, columns):
    pictures = random_pictures(count)
    Image.fromarray(contact_sheet(pictures, columns)).save(samples / "drawn.png")
    (samples / "drawn.json").write_text(
        json.dumps({"columns": columns, "captions": [str(n) for n in range(count)]})
    )
    drawn = gallery.drawn(samples)
    assert [cell["caption"] for cell in drawn["cells"]] == [str(n) for n in range(count)]
    for cell, expected in zip(drawn["cells"], pictures):
        assert np.array_equal(pixels(cell), expected)


def test_a_sheet_without_captions_is_shown_whole(samples):
    Image.fromarray(contact_sheet(random_pictures(6), 3)).save(samples / "drawn.png")
    (cell,) = gallery.drawn(samples)["cells"]
    assert (cell["width"] + 2 * gallery.GAP, cell["height"] + 2 * gallery.GAP) == (32, 22)


def test_mistakes_are_first_and_only_files_of_the_run_are_shown(samples):
    (samples / "read").mkdir()
    for path in (samples / "read" / "0.png", samples / "read" / "1.png", samples.parent / "secret.png"):
        Image.new("RGB", (8, 8)).save(path)
    (samples / "read.json").write_text(
        json.dumps(
            [
                {"image": "read/0.png", "truth": "seven", "said": "a seven", "right": True},
                {"image": "read/1.png", "truth": "two", "said": "three"},
                {"image": "read/404.png", "truth": "2", "said": "2"},
                {"image": "../secret.png", "truth": "2", "said": "2"},
                {"image": "\ud800\0", "truth": "2", "said": "2"},
                "nonsense",
            ]
        )
    )
    read = gallery.read(samples)
    assert [item["right"] for item in read["pictures"]] == [False, True]
    assert (read["right"], read["count"]) == (4, 5)


def test_of_many_sheets_a_part_is_shown_in_order(samples):
    for step in range(1, 101):
        Image.new("RGB", (2, 2), (step, 0, 0)).save(samples / f"step_{step:08d}.png")
    (samples / "step_x.png").write_bytes(b"")
    timeline = gallery.timeline(samples, [{"step": 100, "documents": 12_700}])
    steps = [sheet["step"] for sheet in timeline["sheets"]]
    assert timeline["count"] == 101 and len(steps) == gallery.MOST_SHEETS
    assert steps[:3] == [1, 2, 4] and steps[-1] == 100 and steps == sorted(set(steps))
    assert [pixels(sheet)[0, 0, 0] for sheet in timeline["sheets"]] == steps
    assert timeline["sheets"][0]["documents"] == 127


def test_documents_of_a_sheet_are_from_its_json_or_the_records(samples):
    for step in (10, 20, 25, 40):
        Image.new("RGB", (2, 2)).save(samples / f"step_{step:08d}.png")
    (samples / "step_00000010.json").write_text('{"documents": 1281, "prompts": ["a", "b"]}')
    rows = [{"step": 16, "documents": 2048}, {"step": 32, "documents": 4000}]
    sheets = gallery.timeline(samples, rows)["sheets"]
    assert [sheet["documents"] for sheet in sheets] == [1281, 2048 + 4 * 122, 2048 + 9 * 122, None]
    assert [sheet["prompts"] for sheet in sheets] == [["a", "b"], [], [], []]


def test_captions_over_time(samples):
    pictures = random_pictures(2)
    Image.fromarray(contact_sheet(pictures, 2)).save(samples / "held_out.png")
    for step, first in ((1, "nine"), (2, " one"), (3, None)):
        read = [
            {"picture": 4, "truth": ["one", "1"], "written": first},
            {"picture": 9, "truth": ["two"], "written": "two"},
        ]
        (samples / f"step_{step:08d}.json").write_text(
            json.dumps({"documents": 100 * step, "read": read[first is None :]})
        )
    (samples / "step_00000003.json").write_text(
        json.dumps(
            {
                "documents": None,
                "read": [
                    {"picture": 4, "truth": ["one", "1"], "written": "1"},
                    {"picture": 11, "truth": [], "written": ""},
                ],
            }
        )
    )
    captions = gallery.written(samples)
    assert [head["truth"] for head in captions["heads"]] == [["one", "1"], []]
    assert all(np.array_equal(pixels(head), expected) for head, expected in zip(captions["heads"], pictures))
    assert [line["documents"] for line in captions["lines"]] == [100, 200, None]
    assert [
        [(c["text"], c["right"], c["missing"]) for c in line["captions"]] for line in captions["lines"]
    ] == [
        [("nine", False, False), ("", False, True)],
        [(" one", True, False), ("", False, True)],
        [("1", True, False), ("", False, False)],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"read": 5}',
        '{"read": [5]}',
        '{"read": [{"truth": 5}]}',
        "null",
        '{"read": [{"picture": [1], "written": {}}], "documents": "x", "prompts": 4}',
    ],
)
def test_any_json_beside_a_sheet(samples, text):
    Image.new("RGB", (2, 2)).save(samples / "step_00000001.png")
    (samples / "step_00000001.json").write_text(text)
    captions = gallery.written(samples)
    assert gallery.timeline(samples, [])["sheets"][0]["prompts"] == []
    assert captions is None or len(captions["lines"]) == 1


def test_very_wide_sheets_are_shrunk(samples):
    Image.new("RGB", (4000, 1000)).save(samples / "step_00000001.png")
    (sheet,) = gallery.timeline(samples, [])["sheets"]
    assert pixels(sheet).shape == (320, gallery.MOST_WIDE, 3)


def test_files_without_an_end_and_links_in_a_circle_are_left_out(samples):
    """As somebody else's run may have them."""
    os.mkfifo(samples / "drawn.png")
    os.mkfifo(samples / "step_00000010.png")
    os.mkfifo(samples / "drawn.json")
    (samples / "circle.png").symlink_to(samples / "circle.png")
    (samples / "endless.png").symlink_to("/dev/zero")
    names = ["circle.png", "endless.png", "x" * 5000, "drawn.png", "../../../etc/passwd", "circle.png/a"]
    (samples / "read.json").write_text(json.dumps([{"image": name} for name in names]))
    assert gallery.drawn(samples) is None and gallery.read(samples) is None
    assert gallery.timeline(samples, []) is None
