"""What fitting does to the shapes of pictures: told with figures, the same after any interruption."""

import json

import numpy as np
import pytest
from PIL import Image
from sources import card_of, listing, prepare_source, rows

from rawmm_cli.data import prepare
from rawmm_cli.data.items import DocumentItem, Item, Piece, Source
from rawmm_cli.data.rows import Fitting
from rawmm_cli.data.shapes import originals
from rawmm_cli.data.shapes.figures import change_figures, fitted_lines, size_figures
from rawmm_cli.pages import card as page
from rawmm_cli.system.errors import DataError

SIDES = [(80, 80), (80, 88), (80, 100), (100, 80), (80, 320)]  # cut off: 0, 9 %, 20 %, 20 %, 75 %


def drawn(number: int, background=None) -> np.ndarray:
    """Picture `number`: one of SIDES, red in the square in the centre, blue beside it."""
    height, width = SIDES[number % len(SIDES)]
    pixels = np.full((height, width, 3), (0, 0, 255), np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = 255 - number, 0, 0
    return pixels


def shaped(count: int, start_state: str = "shaped") -> Source:
    return Source(
        items=lambda start: (Item(f"{n}.png", n, (f"number {n}",)) for n in range(start, count)),
        open=drawn,
        count=count,
        state=start_state,
        card={"name": "shaped"},
    )


def test_sizes_counted():
    sizes = np.array([(3, 4)] * 2 + [(4, 3)] * 5 + [(70_000, 1), (2, 2)])
    assert size_figures(sizes) == {
        "different": 4,
        "frequent": [[4, 3, 5], [3, 4, 2], [2, 2, 1], [70_000, 1, 1]],
        "smallest": [2, 2],
        "largest": [70_000, 1],
    }
    assert size_figures(np.zeros((0, 2), int))["smallest"] is None


def test_what_a_crop_cuts_off():
    change = change_figures(np.array(SIDES), Fitting(64, "center"))
    assert change == {
        "pictures": 5,
        "cropped": 4,
        "cropped_much": 3,
        "lost": round((1 - 80 / 88 + 0.2 + 0.2 + 0.75) / 5, 4),
        "lost_most": 0.75,
        "reshaped": 0,
        "reshaped_most": 0.0,
    }


def test_how_shapes_change_without_a_crop():
    """64 high: 70.4 -> 64 (1.1), 80 -> 80, 256 -> 256."""
    change = change_figures(np.array(SIDES), Fitting(64, "none"))
    assert (change["cropped"], change["reshaped"], change["reshaped_most"]) == (0, 1, 0.1)
    as_they_are = change_figures(np.array(SIDES), Fitting(128, "none", at_most=True))
    assert as_they_are["reshaped_most"] == 0


def test_pictures_that_are_small_enough_stay_as_they_are(tmp_path):
    prepare_source(tmp_path / "set", shaped(20), size=80, at_most=True)
    for row in (row for split in rows(tmp_path / "set").values() for row in split):
        assert row["pixels"] == drawn(int(row["source"][:-4])).tobytes()


@pytest.mark.parametrize("crop", ["center", "none"])
def test_the_card_has_originals_and_examples(tmp_path, crop):
    prepare_source(tmp_path / "set", shaped(50), size=64, crop=crop, held_out=0.3)
    card = card_of(tmp_path / "set")
    figures = card["originals"]
    assert figures["pictures"] == 50 and figures["different"] == 5
    assert {(h, w): count for h, w, count in figures["frequent"]} == dict.fromkeys(SIDES, 10)
    assert figures["cropped_much"] == (30 if crop == "center" else 0)
    assert figures["reshaped"] == (0 if crop == "center" else 10)
    examples = figures["examples"]
    assert len(examples) == originals.EXAMPLES == len(listing(tmp_path / "set" / "originals"))
    visible = (2, 3, 4) if crop == "center" else (1,)
    for facts in examples:
        number = int(facts["source"][:-4])
        assert number % len(SIDES) in visible and (facts["height"], facts["width"]) == drawn(number).shape[:2]
        before = originals.example(tmp_path / "set", facts)
        assert before.size[0] * facts["height"] == pytest.approx(before.size[1] * facts["width"], rel=0.02)
    html = (tmp_path / "set" / "card.html").read_text(encoding="utf-8")
    assert html.count('<figure title="number ') >= originals.EXAMPLES and "Before and after" in html
    assert ("20 % cut off" in html) == (crop == "center") and ("10 % narrower" in html) == (crop == "none")


def test_a_page_without_the_originals(tmp_path):
    prepare_source(tmp_path / "set", shaped(50), size=64, crop="center", held_out=0.3)
    (tmp_path / "set" / "originals" / "2.jpg").unlink()
    (tmp_path / "set" / "originals" / "3.jpg").write_bytes(b"no picture")
    (tmp_path / "set" / "card.html").unlink()
    page.complete(tmp_path / "set")
    html = (tmp_path / "set" / "card.html").read_text(encoding="utf-8")
    assert html.count("% cut off") == originals.EXAMPLES - 2


def test_sets_of_earlier_versions_have_a_page_too(tmp_path):
    prepare_source(tmp_path / "set", shaped(50), size=64, crop="center", held_out=0.3)
    card = card_of(tmp_path / "set")
    del card["originals"]
    (tmp_path / "set" / "card.json").write_text(json.dumps(card))
    (tmp_path / "set" / "card.html").unlink()
    page.complete(tmp_path / "set")
    html = (tmp_path / "set" / "card.html").read_text(encoding="utf-8")
    assert "all 64 × 64" in html and "in the source" not in html and "Before and after" not in html
    assert fitted_lines(card) == []


@pytest.mark.parametrize(
    "key, value", [("split", "../other"), ("index", -1), ("height", 0), ("file", 3), ("picture", "a")]
)
def test_examples_of_a_card_from_elsewhere_are_checked(tmp_path, key, value):
    prepare_source(tmp_path / "set", shaped(50), size=64, crop="center", held_out=0.3)
    card = card_of(tmp_path / "set")
    card["originals"]["examples"][0][key] = value
    (tmp_path / "set" / "card.json").write_text(json.dumps(card))
    (tmp_path / "set" / "card.html").unlink()
    with pytest.raises(DataError, match=f"card.json is damaged .originals.examples.0.{key}"):
        page.complete(tmp_path / "set")


def test_the_frame_stands_round_what_is_kept():
    marked = np.asarray(page._marked(Image.fromarray(drawn(2))))  # 80 x 100: columns 10 to 89
    assert (marked[2:-2, 12:88] == (253, 0, 0)).all()
    assert (marked[:, [10, 11, 88, 89]] == page.FRAME).all() and (
        marked[[0, 1, -1], 10:90] == page.FRAME
    ).all()
    paler = np.rint(0.7 * np.array(page.PALE) + 0.3 * np.array((0, 0, 255)))
    assert np.abs(marked[:, :10] - paler).max() <= 1 and np.abs(marked[:, 90:] - paler).max() <= 1


def test_lines_for_people(tmp_path):
    def lines(count, **options):
        options = {"size": 64, **options}
        return fitted_lines(prepare_source(tmp_path / f"{count}{options['crop']}", shaped(count), **options))

    assert lines(50, crop="center") == [
        "30 of 50 pictures lose more than a tenth to the crop, at most 75 %; `--crop none` keeps all"
    ]
    assert lines(3, crop="center") == [
        "1 of 3 pictures loses more than a tenth to the crop, at most 20 %; `--crop none` keeps all"
    ]
    assert lines(2, crop="center") == ["1 of 2 pictures loses up to 9 % to the crop; `--crop none` keeps all"]
    assert lines(50, crop="none") == [
        "10 of 50 pictures become more than a twentieth wider or narrower, at most 10 %: longer sides are "
        "multiples of 16",
        "nothing is cropped: pictures have 4 sizes, from 64 x 64 to 64 x 256 (height x width); `--crop "
        "center` makes all of them 64 x 64",
    ]
    assert lines(50, crop="none", size=None) == []


def test_sets_of_one_shape_say_nothing(tmp_path):
    source = Source(
        items=lambda start: (Item(f"{n}.png", 5 * n) for n in range(start, 20)),
        open=drawn,
        state="squares",
        card={},
    )
    for crop in ("none", "center"):
        card = prepare_source(tmp_path / crop, source, size=64, crop=crop)
        assert fitted_lines(card) == [] and card["originals"]["examples"] == []
        assert not (tmp_path / crop / "originals").exists()


def test_pictures_of_documents_count_too(tmp_path):
    def items(start):
        for n in range(start, 30):
            yield DocumentItem(
                f"story {n}",
                (Piece(text="a"), Piece(content=5 * n), Piece(text="b"), Piece(content=5 * n + 4)),
            )

    source = Source(items=items, open=drawn, state="", card={}, holds_documents=True)
    card = prepare_source(tmp_path / "set", source, size=64, crop="center")
    assert card["originals"]["pictures"] == 60 and card["originals"]["cropped_much"] == 30
    assert {facts["picture"] for facts in card["originals"]["examples"]} == {1}
    assert "75 % cut off" in (tmp_path / "set" / "card.html").read_text(encoding="utf-8")


@pytest.mark.process
def test_the_same_whatever_stops_the_work(tmp_path, monkeypatch):
    """In parts, by worker processes, and continued: the same bytes, examples among them."""
    monkeypatch.setattr(prepare, "PART", 16)
    monkeypatch.setattr(prepare, "CHUNK", 4)
    options = {"size": 64, "crop": "center", "held_out": 0.3}
    prepare_source(tmp_path / "whole" / "set", shaped(60), **options)
    prepare_source(tmp_path / "helped" / "set", shaped(60), workers=2, **options)

    def progress(done, skipped):
        if done == 40:
            raise KeyboardInterrupt

    chosen = prepare.Options(Fitting(64, "center"), held_out=0.3, workers=0)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(shaped(60), tmp_path / "stopped" / "set", chosen, progress=progress)
    prepare_source(tmp_path / "stopped" / "set", shaped(60), **options)
    whole = listing(tmp_path / "whole")
    assert any("originals" in name for name in whole)
    assert whole == listing(tmp_path / "helped") == listing(tmp_path / "stopped")
