"""Pages in windows of 1300 and 420 pixels: nothing is wider than the window, no table is cut where there is
room, and no word is broken in the middle."""

import json
import shutil

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Tab
from PIL import Image
from sources import prepare_source

from rawmm_cli.data.datasets.folder import folder
from rawmm_cli.evaluation.examples import Drawn, Read
from rawmm_cli.pages import card, demo, report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]
CAPTION = "a photograph of an extraordinary motorcycle in front of a lighthouse, in the middle"
# Words that stand in more than one line; names in code and clamped lines may.
BROKEN = """(() => {
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT), broken = [];
  for (let node; node = walker.nextNode();) {
    if (node.parentElement.closest("svg, code, pre, h1, .prompts")) continue;
    for (const match of node.data.matchAll(/[A-Za-z]{2,16}/g)) {
      const range = document.createRange();
      range.setStart(node, match.index); range.setEnd(node, match.index + match[0].length);
      const boxes = [...range.getClientRects()].filter(box => box.width);
      const tops = new Set(boxes.map(box => Math.round(box.top)));
      if (tops.size > 1) broken.push(match[0]);
    }
  }
  return broken;
})()"""
CUT = "[...document.querySelectorAll('.box.scroll')].map(box => box.scrollWidth - box.clientWidth)"


def picture(number: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(number).integers(0, 256, (3, 32, 32), dtype=np.uint8))


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tiny_run):
    """A report with all results, a data card with captions and sizes, and a demo, as files by name."""
    place = tmp_path_factory.mktemp("pages")
    run = shutil.copytree(tiny_run, place / "tiny")
    measured = {
        "run": "tiny",
        "documents": 3200,
        "text_to_image": {"accuracy": 0.981, "count": 1000, "steps": 10, "solver": "euler", "guidance": 2.0}
        | {"by_label": {"zero": 0.99, "seven": 0.91}},
        "image_to_text": {"accuracy": 0.975, "count": 360, "right_means": "names the class"},
        "held_out": {"caption": 0.21, "image": 1.04, "bits_per_byte": 0.11, "count": 360},
        "looks": {"kid": 0.0123, "corners": {"drawn": 0.4, "real": 0.1}},
        "written": {"prompt": "a portrait of", "parsed": 0.98, "different": 200},
        "seconds": 12.5,
    }
    (run / "evaluation.json").write_text(json.dumps(measured))
    source = place / "source"
    source.mkdir()
    for n in range(30):
        Image.fromarray(picture(n).permute(1, 2, 0).numpy()).resize((40 + n, 30 + 2 * n)).save(
            source / f"{n}.png"
        )
        (source / f"{n}.txt").write_text(f"{CAPTION} {n}")
    contents = prepare_source(place / "set", folder(source))
    drawn = [Drawn(f"{CAPTION} {n}", [picture(n)] * 3, picture(n), n > 3) for n in range(6)]
    read = [Read(picture(n), [CAPTION], CAPTION, n % 2 == 0, n < 3) for n in range(6)]
    shown = demo.Demo(
        title="my-pictures",
        summary=["27 training pictures, 3 held out"],
        parts=[demo.Part("Draws and reads", "10 denoising steps a picture.", drawn, read)],
        seconds=[("preparing", 1.5), ("training", 120.0), ("drawing and reading", 5.0)],
        next=[("train on", "the same command with --time 20m"), ("draw", 'rawmm sample "a caption" --run x')],
        notices=["27 training pictures: so few are learned by heart."],
        pictures=[picture(n) for n in range(24)],
    )
    texts = {
        "report": report.render(run),
        "card": card.render(place / "set", contents),
        "demo": demo.render(shown),
    }
    for name, text in texts.items():
        (place / f"{name}.html").write_text(text, encoding="utf-8")
    return place


@pytest.mark.parametrize("width", [1300, 420])
@pytest.mark.parametrize("name", ["report", "card", "demo"])
def test_pages_fit(name, width, pages):
    with Tab((pages / f"{name}.html").as_uri(), width, 900) as tab:
        tab.until("document.readyState === 'complete'")
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run(BROKEN) == []
        if width == 1300:
            assert set(tab.run(CUT)) <= {0}
        assert tab.console == []


@pytest.mark.parametrize("width", [1300, 420])
def test_rows_of_results_have_one_height(width, pages):
    """Rows of a plain table differ by the details below a number alone."""
    with Tab((pages / "report.html").as_uri(), width, 900) as tab:
        tab.until("document.readyState === 'complete'")
        rows = "[...document.querySelectorAll('#checkpoints tbody tr')].map(row => row.offsetHeight)"
        heights = tab.run(rows)
        assert len(heights) == 2 and max(heights) - min(heights) <= 1
