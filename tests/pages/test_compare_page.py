"""The page of `rawmm compare`: known numbers in tables and plots, what is missing, a browser."""

import json

import numpy as np
import pytest
from browser import CHROMIUM, Tab
from made_up_comparison import comparison
from PIL import Image
from report_runs import HOSTILE, Balanced

from rawmm_cli.comparison.answer import answer
from rawmm_cli.comparison.differences import differences
from rawmm_cli.data.images import contact_sheet
from rawmm_cli.pages import compare, compare_pictures, compare_plots, compare_table

READ, DRAWN, KID = "image_to_text.accuracy", "text_to_image.accuracy", "fidelity.kid"
LABELS = ["zero", "one", "two"]


def pictures(count, rng, size=8):
    return [rng.integers(90, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def keep(place, rng, wrong=0):
    """The files of a finished cell: a sheet of three classes with six drawings each, five pictures read, of
    which the first `wrong` are read wrong, three pictures after a codec, a curve."""
    (place / "read").mkdir(parents=True)
    Image.fromarray(contact_sheet(pictures(18, rng), 3, 8)).save(place / "drawn.png")
    (place / "drawn.json").write_text(json.dumps({"columns": 3, "captions": LABELS}))
    notes = []
    for n, pixels in enumerate(pictures(5, np.random.default_rng(7))):
        Image.fromarray(pixels).save(place / "read" / f"{n:04d}.png")
        said = HOSTILE if n < wrong else "two"
        notes.append({"image": f"read/{n:04d}.png", "truth": "two", "said": said, "right": n >= wrong})
    (place / "read.json").write_text(json.dumps([*notes, "nonsense", {"image": "../../x.png"}]))
    Image.fromarray(contact_sheet(pictures(6, rng), 3, 8)).save(place / "kept.png")
    (place / "kept.json").write_text(json.dumps({"psnr": [20.04, None, 30]}))
    (place / "curve.json").write_text(json.dumps({"steps": [1, 2, 10], DRAWN: [0.1, 0.5, 0.9]}))


def written(folder, results, values):
    """The folder of a comparison; the second system reads two pictures wrong."""
    results["differences"] = differences(results, values)
    results["answer"] = answer(results)
    rng = np.random.default_rng(0)
    for cell in results["cells"]:
        if cell["state"] == "done" and not (folder / cell["folder"]).exists():
            keep(folder / cell["folder"], rng, 2 if cell["system"] == results["systems"][1]["name"] else 0)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def loaded(folder):
    return json.loads((folder / "results.json").read_text())


TRUTH = {
    "raw": {READ: 0.95, DRAWN: 0.9, KID: 0.02},
    "fsq-512": {READ: 0.7, DRAWN: 0.9, KID: 0.08},
    "unet": {DRAWN: 0.9, KID: 0.02},
}


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path, *comparison(TRUTH))


def test_the_answer_comes_first_and_every_part_is_there(folder):
    path = compare.write(folder, loaded(folder))
    text = path.read_text()
    page = Balanced(text)
    ids = [one["id"] for tag, one in page.tags if tag == "section"]
    assert ids == ["answer", "results", "plots", "drawn", "read", "codecs", "systems", "cells"]
    assert path == folder / "report.html" and "Raw patches or a tokenizer?" in text
    assert "At equal time, raw reads" in text.split('id="results"')[0] and "://" not in text
    assert compare.render(folder, loaded(folder)) == text


def test_medians_and_the_ends_of_the_seeds(folder):
    results = loaded(folder)
    for cell in results["cells"]:
        if cell["system"] == "fsq-512":
            cell["results"] |= {DRAWN: 0.9 + cell["seed"] / 100, KID: 0.012}
    drawing, reading, cost = compare_table.tables(results)
    assert [part["title"] for part in (drawing, reading, cost)] == ["Drawing", "Reading", "Cost"]
    assert drawing["columns"] == [("Drawn right", "%, higher is better", 2), ("KID", "lower is better", 2)]
    assert drawing["heads"] == ["time", "documents"] * 2
    cells = drawing["rows"][1]["cells"]
    assert [(cell["text"], cell["spread"]) for cell in cells[:3]] == [("91.0", "90.0–92.0")] * 2 + [
        ("0.0120", "")
    ]
    assert [row["reference"] for row in drawing["rows"]] == [True, False, False]
    assert [cell["text"] for cell in reading["rows"][2]["cells"]] == ["–", "–"]  # a U-Net does not read
    assert [cell["mark"] for cell in reading["rows"][1]["cells"]] == ["bad", "bad"]
    assert "Holm" in reading["rows"][1]["cells"][0]["why"] and drawing["rows"][2]["cells"][0]["mark"] == ""
    assert [column[0] for column in cost["columns"]][:3] == ["Training", "FLOPs", "Documents"]
    assert cost["rows"][0]["cells"][0] == {
        "text": "1 min 00 s",
        "spread": "",
        "sort": "60.0",
        "mark": "",
        "why": "",
    }


def test_many_metrics_stand_in_several_tables(folder):
    results = loaded(folder)
    for n in range(13):
        results["metrics"][f"m{n}"] = results["metrics"][KID] | {"title": f"metric {n}"}
        results["cells"][0]["results"][f"m{n}"] = float(n)
    shown = [(part["title"], len(part["columns"])) for part in compare_table.tables(results)]
    assert shown[:3] == [("Drawing", 5), ("Drawing, continued", 5), ("Drawing, continued", 5)]
    assert [title for title, _ in shown[3:]] == ["Reading", "Cost"]


def test_differences_lie_where_their_numbers_are(folder):
    results = loaded(folder)
    results["differences"] = [
        {"metric": READ, "budget": "time", "system": "fsq-512", "against": "raw", "difference": -0.05}
        | {"interval": [-0.075, -0.025], "p": 0, "p_holm": 0, "claimed": True, "seeds": 3, "pictures": 9}
    ]
    plot = compare_plots.forest(results, READ)
    at = {label: place for place, label in plot["ticks"]}
    (line,) = plot["rows"][0]["lines"]
    assert plot["zero"] == at["0"] and line["state"] == "bad"
    per_point = (at["0"] - at["-4"]) / 4
    assert line["at"] == pytest.approx(at["0"] - 5 * per_point, abs=0.02)
    assert line["width"] == pytest.approx(5 * per_point, abs=0.02)
    assert line["left"] == pytest.approx(at["0"] - 7.5 * per_point, abs=0.02)
    assert (line["value"], line["interval"]) == ("-5.0", "[-7.5, -2.5]")
    assert compare_plots.forest(results, KID) is None


def test_an_interval_far_beyond_all_others_does_not_flatten_them():
    row = {"difference": 0.01, "interval": [-0.01, 0.03]}
    low, high = compare_plots._reach([row, row, {"difference": 0.02, "interval": [-90.0, 90.0]}])
    assert -0.06 <= low <= -0.01 and 0.03 <= high <= 0.06
    assert compare_plots._reach([{"difference": 0.0, "interval": None}]) == (-1, 1)


def test_quality_against_time_and_bits(folder):
    results = loaded(folder)
    for system, bits in zip(results["systems"], (1536.0, 512.0, None)):
        system["bits"] = bits
    time = compare_plots.against_time(results, DRAWN)
    assert [dot["name"] for dot in time["dots"] if dot["name"]] != [] and len(time["dots"]) == 1 + 2 + 2
    bits = compare_plots.against_bits(results, DRAWN)
    across = {dot["name"]: dot["x"] for dot in bits["dots"]}
    assert across["fsq-512"] < across["raw"] and bits["missing"] == ["unet"]
    results["systems"][0]["bits"] = 512.0
    assert compare_plots.against_bits(results, DRAWN) is None  # one number of bits is no axis
    curve = {"steps": [1, 2, 10], DRAWN: [0.1, None, 0.9]}
    steps = compare_plots.against_steps(results, {"raw": curve, "unet": curve}, DRAWN)
    assert len(steps["dots"]) == 4 and compare_plots.against_steps(results, {"raw": curve}, DRAWN) is None


def test_the_same_prompts_and_pictures_of_every_system(folder):
    results = loaded(folder)
    drawn = compare_pictures.drawn(results, folder, "documents")
    assert drawn["heads"] == LABELS and [row["name"] for row in drawn["rows"]] == list(TRUTH)
    assert all(len(cell) == 4 and cell[0]["width"] == 64 for row in drawn["rows"] for cell in row["cells"])
    read = compare_pictures.read(results, folder, "time")
    assert [row["right"] for row in read["rows"]] == [5, 3, 5] and read["rows"][0]["count"] == 5
    assert [one["image"] for one in read["heads"]][:2] == [
        "read/0000.png",
        "read/0001.png",
    ]  # disputed ones first
    assert [one["right"] for one in read["rows"][1]["said"]] == [False, False, True, True, True]
    kept = compare_pictures.kept(results, folder)
    assert [one["psnr"] for one in kept["rows"][0]["cells"]] == ["20.0 dB", "exact", "30.0 dB"]
    assert len(kept["originals"]) == 3


def test_mistakes_are_marked():
    """Characters of a few words, whole words of a sentence, a dot for what is missing."""
    marked = compare_pictures.marked
    assert marked("abc def", "abx def") == [("ab", True), ("x", False), (" def", True)]
    assert marked("abc", "ab") == [("ab", True), ("·", False)] and marked("abc", " ") == []
    assert marked("two", "one") == [("one", False)]  # another word: not one that has an o in common
    sentence = "a woman with short brown hair"
    assert marked(sentence, "a woman with long brown hair") == [
        ("a woman with ", True), ("long", False), (" brown hair", True)
    ]  # fmt: skip


def test_a_sheet_with_a_caption_for_each_picture(folder):
    """As portraits have: one drawing of each caption, and only captions that every system has drawn."""
    results = loaded(folder)
    for n, cell in enumerate(results["cells"]):
        names = [f"caption {one}" for one in range(5 + (n > 3))]
        sheet = contact_sheet(pictures(len(names), np.random.default_rng(n), 32), 4)
        Image.fromarray(sheet).save(folder / cell["folder"] / "drawn.png")
        note = json.dumps({"columns": 4, "captions": names})
        (folder / cell["folder"] / "drawn.json").write_text(note)
    drawn = compare_pictures.drawn(results, folder, "time")
    assert drawn["heads"] == [f"caption {one}" for one in range(5)]
    assert all(len(cell) == 1 and cell[0]["width"] == 32 for row in drawn["rows"] for cell in row["cells"])


def test_cells_that_failed_diverged_or_wait_are_said(tmp_path):
    results, values = comparison(TRUTH)
    for cell, state in zip(results["cells"][6:], ("failed", "diverged", "waiting")):
        cell["state"], cell["results"], cell["message"] = state, {}, f"why it {state}"
    text = compare.render(written(tmp_path, results, values), results)
    assert "1 diverged, 1 failed" in text and "1 of 15 cells not run yet" in text
    assert all(f"why it {state}" in text for state in ("failed", "diverged"))
    assert "Failed: fsq-512 (seed 0, equal time)." in text


def test_a_comparison_that_has_just_begun(tmp_path):
    """No cell is done: no number, no picture, and still a page."""
    results, _ = comparison(TRUTH)
    for cell in results["cells"]:
        cell |= {
            "state": "waiting",
            "results": {},
            "documents": None,
            "epochs": None,
            "memory": None,
            "sampler": {},
        }
        cell |= {"seconds": {}, "flops": {}}
    results["budget"] |= {"time": None}
    for system in results["systems"]:
        system |= {"parameters": None, "bits": None}
    text = compare.render(written(tmp_path, results, {}), results)
    Balanced(text)
    assert "Nothing to compare yet" in text and 'id="drawn"' not in text


def test_hostile_names_are_escaped(tmp_path):
    results, values = comparison({"raw": TRUTH["raw"], HOSTILE: TRUTH["fsq-512"]})
    results |= {"question": HOSTILE, "name": HOSTILE, "left_out": {"text": HOSTILE}, "data": {"set": HOSTILE}}
    for n, cell in enumerate(results["cells"]):
        cell |= {"folder": f"cells/{n}", "message": HOSTILE, "sampler": {HOSTILE: HOSTILE}}
    values = {f"cells/{n}": one for n, one in enumerate(values.values())}
    text = compare.render(written(tmp_path, results, values), results)
    Balanced(text)
    assert text.count("<script") == 1 and "onerror=alert(1)>" not in text.replace("&gt;", "")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width, dark", [(1300, False), (420, True)])
def test_in_a_browser(folder, width, dark):
    path = compare.write(folder, loaded(folder))
    with Tab(path.resolve().as_uri(), width, 900, dark) as tab:
        tab.until(
            "document.readyState === 'complete' && [...document.images].every(one => one.complete && "
            "one.naturalWidth)"
        )
        assert tab.run("document.documentElement.scrollWidth") <= width
        shown = "[...document.querySelectorAll('#drawn .panel')].map(one => one.offsetHeight > 0)"
        assert tab.run(shown) == [True, False]
        tab.run("document.querySelector('label[for=drawn-at-2]').click()")
        assert tab.run(shown) == [False, True]
        names = (
            "[...document.querySelectorAll('.compared')[1].querySelectorAll('tbody th')]"
            ".map(one => one.dataset.value)"
        )
        assert tab.run(names) == ["raw", "fsq-512", "unet"]
        tab.run("document.querySelectorAll('.compared')[1].querySelectorAll('.budgets button')[1].click()")
        assert tab.run(names) == ["fsq-512", "raw", "unet"]  # what is not measured stays below
        inside = (
            "[...document.querySelectorAll('.reach')].every(one => { "
            "const box = one.getBoundingClientRect(), track = one.parentElement.getBoundingClientRect(); "
            "return box.left >= track.left - 1 && box.right <= track.right + 1 })"
        )
        assert tab.run(inside)
        if width == 1300:
            cut = (
                "[...document.querySelectorAll('.box.scroll')].map(one => one.scrollWidth - one.clientWidth)"
            )
            assert set(tab.run(cut)) == {0}
        assert tab.console == [] and all(one.startswith(("file:", "data:")) for one in tab.requests)
