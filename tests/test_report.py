"""The report: everything is in it, nothing hostile gets out of its quotes, nothing missing stops it."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.core import report
from rawmm_cli.core.errors import CheckpointError

HOSTILE = '</title><script>alert("x")</script>\'"><img src=x onerror=alert(1)>&lt;'
VOID = {"meta", "img", "br", "link", "input", "hr"}
RECORDS = 75


class Balanced(HTMLParser):
    """Fails on a tag that closes another than the one open; collects tags and text."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes), f"<{tag}> has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)


def new_run(folder, name="demo"):
    run = folder / name
    run.mkdir()
    (run / "config.yaml").write_text("data: {set: digits}\ntrain:\n  documents: 9600   # not many\n", encoding="utf-8")
    return run


def record(n: int) -> dict:
    return {"step": n, "documents": 128 * n, "seconds": 0.2 * n, "loss": 1.0, "text": 5.0 / n, "image": 1 + 1 / n,
            "learning_rate": 0.002, "gradient_norm": 0.5, "documents_per_second": 640.0, "positions_per_second": 1e4}


@pytest.fixture
def run(tmp_path):
    """A run folder that has everything, with hostile names wherever a name can be."""
    run, samples = new_run(tmp_path), tmp_path / "demo" / "samples"
    lines = [json.dumps(record(n)) for n in range(1, RECORDS + 1)]
    (run / "records.jsonl").write_text("\n".join(lines) + '\n{"step": 99, "docu')
    (run / "evaluation.json").write_text(json.dumps({
        "run": "demo", "data": HOSTILE, "documents": 9600,
        "text_to_image": {"accuracy": 0.998, "steps": 10, "count": 500},
        "image_to_text": {"accuracy": 0.975, "count": 360}, "judge": {"held_out_accuracy": 0.99},
        "held_out": {"text": 0.28, "image": 1.03}, "seconds": {"drawing": 75.0, HOSTILE: HOSTILE}, HOSTILE: [HOSTILE]}))
    for step in range(1, 31):
        picture(samples / f"step_{step:08d}.png", 8 * step, (20, 10))
    sheet = np.zeros((2 + 2 * 10, 2 + 3 * 10, 3), np.uint8)                 # 3 columns, 2 rows of 8 x 8, gap 2
    for n in range(5):
        sheet[2 + n // 3 * 10:, 2 + n % 3 * 10:] = 0
        sheet[2 + n // 3 * 10:10 + n // 3 * 10, 2 + n % 3 * 10:10 + n % 3 * 10] = 50 * (n + 1)
    Image.fromarray(sheet).save(samples / "drawn.png")
    (samples / "drawn.json").write_text(json.dumps({"columns": 3, "captions": ["zero", HOSTILE, "", "\ud800", "four"]}))
    picture(samples / "read" / "000.png", 10)
    picture(samples / "read" / "001.png", 20)
    (samples / "read.json").write_text(json.dumps([
        {"image": "read/000.png", "truth": "seven", "said": "seven"},
        {"image": "read/001.png", "truth": "two", "said": HOSTILE},
        {"image": "read/404.png", "truth": "two", "said": "two"},
        {"image": "../../secret.png", "truth": "two", "said": "two"},
        {"image": "\ud800\0", "truth": "two", "said": "two"}, "nonsense"]))
    picture(tmp_path / "secret.png", 77)
    (run / "environment.json").write_text(json.dumps({"torch": "2.13.0+cpu", "nothing_set": "", HOSTILE: HOSTILE}))
    return run


def test_everything_is_there(run):
    path = report.write(run)
    assert path == run / "report.html"
    page = Balanced(path.read_text(encoding="utf-8"))
    words = " ".join(" ".join(page.words).split())
    for expected in ("99.8%", "of 500 drawings recognised", "97.5%", "95% interval 95.3% to 98.7%", "1 min 15 s",
                     "zero", "four", "✓ seven", "✗", "is two", "12 of 30 sheets", "2.13.0+cpu", "# not many",
                     "9,600 documents", "logarithmic", "held out 0.28"):
        assert expected in words, expected
    assert "nothing_set" not in words
    assert [attributes["id"] for attributes in page.all("section")] == [
        "curves", "results", "drawn", "read", "timeline", "settings", "machine"]


def test_every_record_is_a_point(run):
    page = Balanced(report.render(run))
    curves = page.all("polyline")
    assert len(page.all("svg")) == 4 and len(curves) == 7       # with a running mean for all but the learning rate
    for curve in curves:
        points = [tuple(map(float, pair.split(","))) for pair in curve["points"].split()]
        assert len(points) == RECORDS
        assert points == sorted(points, key=lambda point: point[0])
        assert all(50 <= x <= 548 and 14 <= y <= 226 for x, y in points)


def test_logarithmic_curve_can_be_read_back():
    rows = [record(n) for n in (1, 10, 100)]
    curve = report._curve(rows, {}, "text", "Text", "", True)
    heights = [float(pair.split(",")[1]) for pair in curve["points"].split()]
    values = [curve["low"] * (curve["high"] / curve["low"]) ** ((226 - y) / 212) for y in heights]
    assert curve["log"] and values == pytest.approx([5, 0.5, 0.05], rel=1e-3)


@pytest.mark.parametrize("low, high", [
    (0, 0), (3, 3), (-1, 1), (0, 512000), (0.28, 1.17), (0, 2e-3), (1e-9, 2e-9), (0, 1e12)])
def test_axis_holds_what_it_shows(low, high):
    first, last, ticks = report._axis(low, high)
    assert first <= low <= high <= last and first < last and 2 <= len(ticks) <= 9


def test_many_records_are_thinned_and_the_last_one_stays():
    rows = [record(n) for n in range(1, 5002)]
    curve = report._curve(rows, {}, "image", "Image", "", True)
    assert 1000 < len(curve["points"].split()) <= report.MOST_POINTS
    assert curve["points"].split()[-1].startswith("548.0,")


def test_values_that_are_not_finite_leave_gaps(tmp_path):
    run = new_run(tmp_path)
    rows = [record(1), {**record(2), "text": float("nan"), "image": None}, {**record(3), "text": float("inf")}]
    (run / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = [len(curve["points"].split()) for curve in Balanced(report.render(run)).all("polyline")]
    assert counts == [1, 2, 3, 3]


def test_captions_and_names_stay_text(run, tmp_path):
    named = run.rename(tmp_path / "<script>alert(1)<")
    page = report.write(named).read_text(encoding="utf-8")
    parsed = Balanced(page)
    assert len(re.findall("<script", page)) == 1 and "<img src=x" not in page
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)<" in parsed.words and HOSTILE in [attributes["alt"] for attributes in parsed.all("img")]
    assert {attributes["src"][:22] for attributes in parsed.all("img")} == {"data:image/png;base64,"}


def test_it_loads_nothing(run):
    page = report.render(run)
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    assert not {"link", "iframe", "object", "base"} & {name for name, _ in Balanced(page).tags}
    assert "default-src 'none'" in page and "unsafe-inline'; script" in page


def test_cells_are_cut_out_of_the_sheet_exactly(run):
    cells = report._drawn(run / "samples")["cells"]
    assert [(cell["width"], cell["height"]) for cell in cells] == [(8, 8)] * 5
    for n, cell in enumerate(cells):
        Image.new("RGB", (8, 8), (50 * (n + 1),) * 3).save(run / "cell.png")
        assert report._picture(report._image(run / "cell.png"))["uri"] == cell["uri"]


def test_a_sheet_without_captions_is_shown_whole(run):
    (run / "samples" / "drawn.json").unlink()
    cell, = report._drawn(run / "samples")["cells"]
    assert (cell["width"] + 2 * report.GAP, cell["height"] + 2 * report.GAP) == (32, 22)
    assert "pictures whole" in report.render(run)


def test_mistakes_come_first_and_only_files_of_the_run_are_shown(run):
    read = report._read(run / "samples")
    assert [item["right"] for item in read["pictures"]] == [False, True]
    assert (read["right"], read["count"]) == (4, 5)


@pytest.mark.parametrize("missing", [
    "records.jsonl", "evaluation.json", "samples", "samples/drawn.png", "samples/drawn.json", "samples/read.json",
    "samples/read", "environment.json"])
@pytest.mark.parametrize("how", ["gone", "torn"])
def test_what_is_missing_or_torn_is_left_out(run, missing, how):
    path = run / missing
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    Balanced(report.render(run))


def test_a_run_that_just_began(tmp_path):
    page = Balanced(report.render(new_run(tmp_path)))
    assert [attributes["id"] for attributes in page.all("section")] == ["settings"]
    assert "no record yet" in page.words


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run: it has no config.yaml"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_page(run, monkeypatch):
    old = report.write(run).read_bytes()
    (run / "evaluation.json").unlink()

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        report.write(run)
    assert (run / "report.html").read_bytes() == old
    assert not list(run.glob(".report*"))


def test_wilson_interval_against_published_values():
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for count, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                 (1, 29, 0.0061, 0.1718)):
        assert report.wilson(count / of, of) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("seconds, expected", [
    (21.34, "21.3 s"), (59.99, "60 s"), (252, "4 min 12 s"), (7380, "2 h 03 min")])
def test_duration(seconds, expected):
    assert report.duration(seconds) == expected


def test_torch_is_not_imported():
    code = "import sys, rawmm_cli.core.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on PATH")
def test_in_a_browser(run, tmp_path):
    """The curves are in the DOM, and the page's own policy lets its own script run."""
    path = report.write(run)
    flags = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --dump-dom "
             "--disable-background-networking --disable-component-update --enable-logging=stderr").split()
    result = subprocess.run(["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
                            capture_output=True, text=True, timeout=60)
    assert result.stdout.count("<polyline") == 7 and result.stdout.count("<svg") == 4
    assert "CONSOLE" not in result.stderr, result.stderr
