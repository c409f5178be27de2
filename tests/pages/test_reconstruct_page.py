"""The page of `rawmm reconstruct`: which pictures it shows, how it behaves in a browser, hostile names."""

import json
import math
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from browser import CHROMIUM, Tab
from PIL import Image
from round_trips import CPU, raw, reading, row, run, toy
from toy_codec import Squares

from rawmm_cli.metrics.mobilenet import MobileNetV2
from rawmm_cli.pages import reconstruct as reconstruct_page
from rawmm_cli.pages.cases import selection, worst_part
from rawmm_cli.pages.scatter import FRAME, scatter
from rawmm_cli.reconstruction import choices
from rawmm_cli.reconstruction.results import Measures, PictureResult


def picture(psnr):
    """A picture after one codec; all measures but PSNR are None."""
    unknown = dict.fromkeys(field.name for field in fields(Measures))
    measures = Measures(**unknown | {"exact": psnr == math.inf, "psnr": psnr})
    return PictureResult(0, "a", "a.png", 8, 8, codecs={"a": measures})


def test_the_worst_median_and_best_of_many_pictures_are_chosen():
    each = [picture(float((37 * n) % 1000)) for n in range(1000)]
    chosen = selection(each, 24)
    values = [each[n].codecs["a"].psnr for n, _ in chosen]
    assert len(chosen) == 24 == len({n for n, _ in chosen}) and values == sorted(values)
    assert values[:6] == [0, 1, 2, 3, 4, 5] and values[-6:] == [994, 995, 996, 997, 998, 999]
    tags = [tag for _, tag in chosen]
    assert {tag: tags.count(tag) for tag in tags} == {"worst": 6, "median": 6, "best": 6, "spread": 6}
    assert all(490 < value < 510 for value, tag in zip(values, tags) if tag == "median")
    for show in (1, 2, 3, 5, 7, 200):
        assert len({n for n, _ in selection(each, show)}) == show
    assert selection(each[:5], 24) == [(n, "") for n in range(5)]


def test_the_part_of_a_large_picture_with_the_largest_errors(tmp_path):
    errors = np.zeros((600, 700), np.uint8)
    errors[450:500, 500:560] = 200
    Image.fromarray(errors).save(tmp_path / "e.png")
    left, top, right, bottom = worst_part(600, 700, [tmp_path / "e.png"])
    assert (
        (right - left, bottom - top) == (256, 256)
        and left <= 500
        and right >= 560
        and top <= 450
        and bottom >= 500
    )
    assert worst_part(256, 9, []) is None


def test_labels_of_a_plot_do_not_cover_each_other():
    rows = [row(f"jpeg@runs/name-{n}", 5000.0 + n, 30 + n / 20, 1, kind="file") for n in range(4)]
    rows.append(row("raw", 98304.0, math.inf, 1, kind="raw"))
    plot = scatter(rows, "psnr", "PSNR", "dB", False)
    places = sorted((dot["label_y"], dot["name"]) for dot in plot["dots"] if dot["name"] != "raw")
    assert all(b[0] - a[0] >= 14 for a, b in pairwise(places)) and plot["exact"] == FRAME.top
    assert scatter(rows[:1], "psnr", "PSNR", "dB", False) is None
    assert scatter(rows, "text_survival", "T", "", True) is None  # no text was read


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of three codecs and four pictures, one of them with a hostile name and large."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    for name, size in (
        ("a", (16, 16)),
        ("b", (16, 24)),
        ("c", (300, 310)),
        ("<script>alert(1)<script>", (18, 16)),
    ):
        Image.fromarray(rng.integers(90, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "bad.png").write_bytes(b"x")
    result = run(
        folder, [raw(), toy("toy@<b>"), toy("coarse", Squares(8, 4))], out=folder / "out", reader=reading
    )
    reconstruct_page.write(replace(result, engine="<i>"), folder / "out", folder / "page.html")
    return folder / "page.html"


def test_hostile_names_are_escaped(page):
    text = page.read_text()
    assert "<script>alert" not in text and "toy@<b>" not in text and "text read by <i>" not in text
    assert "toy@&lt;b&gt;" in text and text.count("<script>") == 1 and "://" not in text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width, dark", [(1200, False), (400, True)])
def test_in_a_browser(page, width, dark):
    with Tab(page.resolve().as_uri(), width, 900, dark) as tab:
        tab.until(
            "document.readyState === 'complete' && [...document.images].every(one => one.complete && "
            "one.naturalWidth)"
        )
        assert tab.run("document.documentElement.scrollWidth") <= width
        names = "[...document.querySelectorAll('.sortable tbody th')].map(one => one.dataset.value)"
        click = (
            "[...document.querySelectorAll('.sortable button')].find(one => one.textContent === %s).click()"
        )
        bits = json.dumps("Bits")
        tab.run(click % bits)
        assert tab.run(names) == ["coarse", "toy@<b>", "raw"]
        tab.run(click % bits)
        assert tab.run(names) == ["raw", "toy@<b>", "coarse"]
        tab.run(click % json.dumps("PSNR"))
        assert tab.run(names)[-1] == "raw"  # exact is above all numbers
        tab.run(click % json.dumps("Codec"))
        assert tab.run(names) == ["coarse", "raw", "toy@<b>"]
        assert tab.run("document.querySelectorAll('[aria-sort=ascending]').length") == 1
        row = "document.querySelectorAll('.row')[1]"
        scale = f"new DOMMatrix(getComputedStyle({row}.querySelectorAll('.frame img')[%d]).transform).a"
        assert tab.run(scale % 0) == 1
        tab.run(
            f"(() => {{ const frame = {row}.querySelector('.frame'), box = frame.getBoundingClientRect(); "
            "frame.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + box.width / 4, "
            "clientY: box.top + box.height / 2 })) })()"
        )
        assert tab.run(scale % 0) == tab.run(scale % 4) == 4  # all pictures of the row are zoomed
        assert tab.run(f"{row}.style.getPropertyValue('--x')") == "25.0%"
        tab.run(f"{row}.querySelector('.frame').dispatchEvent(new PointerEvent('pointerleave'))")
        assert tab.run(scale % 0) == 1
        assert tab.console == [] and all(one.startswith(("file:", "data:")) for one in tab.requests)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A page with every column, long names, a file over its budget and one that was shrunk."""
    folder = tmp_path_factory.mktemp("full")
    rng = np.random.default_rng(0)
    for n in range(17):
        Image.fromarray(rng.integers(90, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    files = choices.choices(["jpeg@999", "webp@1800"], folder, CPU, None, [])
    tokenizers = [toy("hf:some-owner/a-tokenizer-of-16-px"), toy("runs/my-own-tokenizer", Squares(8, 4))]
    network = MobileNetV2(32).eval()
    result = run(folder, [raw(), *files, *tokenizers], out=folder / "out", reader=reading, network=network)
    rows = [replace(one, right_letters=0.5, psnr=min(one.psnr, 40.0)) for one in result.rows]
    result = replace(result, rows=rows, missing=3, notes=("17 pictures of 32 x 32 pixels, as they are",))
    reconstruct_page.write(result, folder / "out", folder / "page.html")
    return folder / "page.html"


def test_what_was_not_reached_and_which_pictures(full):
    text = full.read_text()
    assert "Stopped: 3 pictures not reached yet. The same command goes on." in text
    assert "17 pictures of 32 x 32 pixels, as they are." in text
    assert text.count("Over budget: jpeg@999") == 2 and "<title>jpeg@999" not in text  # in no plot


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_table_uses_the_width_there_is(full):
    """Nothing is cut at 1300 px; at 420 px all rows have one height; no word is broken in the middle."""
    columns = len(reconstruct_page.COLUMNS)
    boxes = "document.querySelector('.box.scroll')"
    rows = "[...document.querySelectorAll('.sortable tbody tr')]"
    lines = (
        "[...document.querySelectorAll('.row b span, .sortable tbody .words')].flatMap(one => "
        "[...one.childNodes].filter(part => part.nodeType === 3).map(part => { const range = "
        "document.createRange(); range.selectNodeContents(part); "
        "return new Set([...range.getClientRects()].map(box => box.top)).size }))"
    )
    for width in (1300, 420):
        with Tab(full.resolve().as_uri(), width, 900, False) as tab:
            tab.until("document.readyState === 'complete'")
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run("document.querySelectorAll('.sortable thead th').length") == columns + 1
            assert set(tab.run(lines)) == {1}
            if width == 1300:
                assert tab.run(f"{boxes}.scrollWidth - {boxes}.clientWidth") == 0
            else:
                heights = tab.run(f"{rows}.map(one => one.offsetHeight)")
                assert max(heights) - min(heights) <= 1  # whole pixels


def test_a_page_without_text_or_bits(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")
    result = run(tmp_path, [raw()], out=tmp_path / "out")
    reconstruct_page.write(result, tmp_path / "out", tmp_path / "page.html")
    assert "What one picture lost" in (tmp_path / "page.html").read_text()
