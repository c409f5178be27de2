"""Run folders written by hand, for the report."""

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from rawmm_cli.pages import report

HOSTILE = '</title><script>alert("x")</script>\'"><img src=x onerror=alert(1)>&lt;'


VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


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
    (run / "config.yaml").write_text(
        "data: {set: digits}\ntrain:\n  documents: 9600   # not many\n", encoding="utf-8"
    )
    return run


def record(n: int) -> dict:
    return {
        "step": n,
        "documents": 128 * n,
        "seconds": 0.2 * n,
        "loss": 1.0,
        "text": 5.0 / n,
        "image": 1 + 1 / n,
        "learning_rate": 0.002,
        "gradient_norm": 0.5,
        "documents_per_second": 640.0,
        "positions_per_second": 1e4,
    }


def while_training(samples):
    """30 contact sheets, of which the last ten have a JSON."""
    for step in range(1, 31):
        picture(samples / f"step_{step:08d}.png", 8 * step, (20, 10))
        if step > 20:
            read = [
                {"picture": 7, "truth": ["one", "1"], "written": "one" if step > 25 else HOSTILE},
                *({"picture": n, "truth": [HOSTILE], "written": ""} for n in range(7)),
            ]
            (samples / f"step_{step:08d}.json").write_text(
                json.dumps({"documents": 128 * step, "prompts": ["zero", HOSTILE], "read": read})
            )
    picture(samples / "held_out.png", 100, (2 + 8 * 10, 2 + 10))


def words(run) -> str:
    return " ".join(" ".join(Balanced(report.render(run)).words).split())
