"""The report: everything is in it, nothing hostile gets out of its quotes, nothing missing stops it, a
browser draws it."""

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import browser
import numpy as np
import pytest
from PIL import Image

from rawmm_cli.pages import report
from rawmm_cli.system.errors import CheckpointError

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


@pytest.fixture
def run(tmp_path):
    """A run folder that has everything, with hostile names wherever a name can be."""
    run, samples = new_run(tmp_path), tmp_path / "demo" / "samples"
    lines = [json.dumps(record(n)) for n in range(1, RECORDS + 1)]
    (run / "records.jsonl").write_text("\n".join(lines) + '\n{"step": 99, "docu')
    (run / "evaluation.json").write_text(
        json.dumps(
            {
                "run": "demo",
                "data": HOSTILE,
                "documents": 9600,
                "text_to_image": {"accuracy": 0.998, "steps": 10, "count": 500},
                "image_to_text": {"accuracy": 0.975, "count": 360},
                "judge": {"held_out_accuracy": 0.99},
                "held_out": {"text": 0.28, "image": 1.03},
                "seconds": {"drawing": 75.0, HOSTILE: HOSTILE},
                HOSTILE: [HOSTILE],
            }
        )
    )
    while_training(samples)
    sheet = np.zeros((2 + 2 * 10, 2 + 3 * 10, 3), np.uint8)  # 3 columns, 2 rows of 8 x 8, gap 2
    for n in range(5):
        sheet[2 + n // 3 * 10 : 10 + n // 3 * 10, 2 + n % 3 * 10 : 10 + n % 3 * 10] = 50 * (n + 1)
    Image.fromarray(sheet).save(samples / "drawn.png")
    (samples / "drawn.json").write_text(
        json.dumps({"columns": 3, "captions": ["zero", HOSTILE, "", "\ud800", "four"]})
    )
    picture(samples / "read" / "000.png", 10)
    picture(samples / "read" / "001.png", 20)
    (samples / "read.json").write_text(
        json.dumps(
            [
                {"image": "read/000.png", "truth": "seven", "said": "seven"},
                {"image": "read/001.png", "truth": "two", "said": HOSTILE},
                {"image": "read/404.png", "truth": "two", "said": "two"},
                {"image": "../../secret.png", "truth": "two", "said": "two"},
                {"image": "\ud800\0", "truth": "two", "said": "two"},
                "nonsense",
            ]
        )
    )
    picture(tmp_path / "secret.png", 77)
    (run / "environment.json").write_text(
        json.dumps({"torch": "2.13.0+cpu", "nothing_set": "", HOSTILE: HOSTILE})
    )
    (run / "bad_batch.json").write_text(json.dumps({"step": 3, "problem": HOSTILE}))
    saved = run / "checkpoints" / "step_00000070"
    saved.mkdir(parents=True)
    (saved / "state.json").write_text('{"documents": 8960}')
    (saved / "MANIFEST.json").write_text(json.dumps({"state.json": {"size": 19}, HOSTILE: {"size": 1}}))
    return run


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


def test_everything_is_there(run):
    path = report.write(run)
    assert path == run / "report.html"
    page = Balanced(path.read_text(encoding="utf-8"))
    said = " ".join(" ".join(page.words).split())
    for expected in (
        "99.8%",
        "of 500 drawings recognised",
        "97.5%",
        "95% interval 95.3% to 98.7%",
        "1 min 15 s",
        "zero",
        "four",
        "✓ seven",
        "✗",
        "is two",
        "12 of 30 sheets",
        "2.13.0+cpu",
        "documents: 9600",
        "9,600 of 9,600 documents",
        "log scale",
        "held out 0.28",
        "8,960",
        "one",
    ):
        assert expected in said, expected
    assert "nothing_set" not in said
    assert [attributes["id"] for attributes in page.all("section")] == [
        "curves",
        "results",
        "drawn",
        "read",
        "samples",
        "captions",
        "settings",
        "checkpoints",
        "machine",
    ]


def test_captions_and_names_stay_text(run, tmp_path):
    named = run.rename(tmp_path / "<script>alert(1)<")
    page = report.write(named).read_text(encoding="utf-8")
    parsed = Balanced(page)
    assert len(re.findall("<script", page)) == 1 and "<img src=x" not in page
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)<" in parsed.words and HOSTILE in [
        attributes["alt"] for attributes in parsed.all("img")
    ]
    assert {attributes["src"][:22] for attributes in parsed.all("img")} == {"data:image/png;base64,"}


def test_it_loads_nothing(run):
    page = report.render(run)
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    assert not {"link", "iframe", "object", "base"} & {name for name, _ in Balanced(page).tags}
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        a["content"] for a in Balanced(page).all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert " ".join(policy.split()) == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{named}'; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize(
    "missing",
    [
        "records.jsonl",
        "evaluation.json",
        "samples",
        "samples/drawn.png",
        "samples/drawn.json",
        "samples/read.json",
        "samples/read",
        "samples/held_out.png",
        "samples/step_00000030.json",
        "environment.json",
        "bad_batch.json",
        "checkpoints",
        "checkpoints/step_00000070/MANIFEST.json",
        "checkpoints/step_00000070/state.json",
    ],
)
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


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "- 1",
        "data: 5\ntrain: [x]\ncodec: {patch: 0, size: nonsense}",
        "a: {b: {c: [[1]]}}",
        "train: {documents: -1, time: 0}",
        "data: {size: true}\ncodec: {patch: 2}",
        "\x00",
    ],
)
def test_settings_of_any_kind(tmp_path, text):
    run = new_run(tmp_path)
    (run / "config.yaml").write_text(text)
    (run / "records.jsonl").write_text(json.dumps(record(1)) + "\n")
    assert report.state(run)["status"] == "stopped"
    Balanced(report.render(run))


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run: it has no config.yaml"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_page(run, monkeypatch):
    old, before = report.write(run).read_bytes(), sorted(path.name for path in run.iterdir())
    (run / "evaluation.json").unlink()

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        report.write(run)
    assert (run / "report.html").read_bytes() == old
    assert sorted([*(path.name for path in run.iterdir()), "evaluation.json"]) == before


def test_the_same_folder_gives_the_same_page(run):
    assert report.render(run) == report.render(run)


# ------------------------------------------------------------------------------------------------------ state


def test_where_a_run_stands(tmp_path):
    run = new_run(tmp_path)
    assert report.state(run) | {"last_record": 0} == {
        "status": "stopped",
        "documents": 0,
        "of": 9600,
        "seconds": None,
        "share": 0,
        "eta": None,
        "last_record": 0,
    }
    (run / "records.jsonl").write_text(json.dumps(record(30) | {"eta": 8.5}) + "\n")
    (run / ".lock").touch()
    assert report.state(run)["status"] == "stopped"
    with open(run / ".lock") as held:  # as `rawmm train` does through filelock
        fcntl.flock(held, fcntl.LOCK_EX)
        state = report.state(run)
        assert (state["status"], state["eta"], state["share"]) == ("running", 8.5, 0.4)
        assert "8.5 s to go" in words(run) and "running" in words(run)
    (run / "records.jsonl").write_text(json.dumps(record(75)) + "\n")
    assert (report.state(run)["status"], report.state(run)["eta"]) == ("done", None)


def test_a_run_that_is_asked_for_minutes_is_done_when_they_are_over(tmp_path):
    run = new_run(tmp_path)
    (run / "config.yaml").write_text("train: {documents: 9600, time: 20.0}")
    for n, status in ((50, "stopped"), (100, "done")):
        (run / "records.jsonl").write_text(json.dumps(record(n)) + "\n")
        state = report.state(run)
        assert (state["status"], state["share"], state["of"]) == (status, n / 100, None)


def test_asking_for_the_state_does_not_touch_the_lock(tmp_path):
    """Who trains must get the lock at any time, and a folder that may only be read has a report."""
    from filelock import FileLock

    run = new_run(tmp_path)
    (run / ".lock").touch()
    before = (run / ".lock").stat().st_mtime_ns
    report.state(run)
    with FileLock(run / ".lock", timeout=0):
        assert report.state(run)["status"] == "running"
    with open(run / ".lock") as other:  # another reader, at the same moment
        fcntl.flock(other, fcntl.LOCK_SH)
        assert report.state(run)["status"] == "stopped"
    assert (run / ".lock").stat().st_size == 0 and before <= (run / ".lock").stat().st_mtime_ns


def test_parameters_are_those_of_the_model(tiny_run, tmp_path):
    """Once from the checkpoint's headers, once from the settings alone."""
    from rawmm_cli.config import build
    from rawmm_cli.runs import checkpoint

    config = checkpoint.run_config(tiny_run)
    expected = sum(value.numel() for value in build.model(config).parameters())
    assert f"{expected:,}" in words(tiny_run)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_run / "config.yaml", bare)
    assert f"{expected:,}" in words(bare)


# ------------------------------------------------------------------------------------------------ the command


def test_the_command(run, rawmm):
    code, out, _ = rawmm("report", run)
    assert code == 0 and out.startswith(str(run / "report.html")) and "done, 9,600 documents" in out
    assert (run / "report.html").read_text(encoding="utf-8") == report.render(run)


def test_the_command_as_json_into_another_file(run, rawmm, tmp_path):
    out = tmp_path / "page.html"
    code, printed, _ = rawmm("report", "demo", "--runs-dir", tmp_path, "--out", out, "--json")
    told = json.loads(printed)
    assert code == 0 and told["report"] == str(out) and told["status"] == "done" and told["documents"] == 9600
    assert out.read_text(encoding="utf-8") == report.render(run) and not (run / "report.html").exists()


@pytest.mark.parametrize(
    "words, code, told",
    [
        (("nothing",), 4, "no run 'nothing'"),
        (("demo", "--out", "/nowhere/at/all.html"), 2, "/nowhere/at"),
        (("demo", "--out", "."), 2, "is a directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, rawmm, tmp_path, words, code, told):
    left, out, err = rawmm("report", *words, "--runs-dir", tmp_path)
    assert (left, out) == (code, "") and told in err and len(err.strip().splitlines()) == 1


# ---------------------------------------------------------------------------------------------------- numbers


def test_wilson_interval_against_published_values():
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for count, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert report.wilson(count / of, of) == pytest.approx((low, high), abs=6e-5)


def test_torch_is_not_imported():
    code = "import sys, rawmm_cli.pages.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------------------------------------------- browser

no_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on PATH")


@pytest.mark.browser
@no_chromium
@pytest.mark.parametrize("width", [1200, 400])
def test_in_a_browser(run, width):
    """Every curve is drawn inside its frame, every picture shown, nothing is wider than the window, the
    page's own policy lets its own script run, and the script reads the curves off."""
    (found,) = browser.measured([report.write(run)], width)
    assert browser.faults(found, width) == []
    assert (
        len(found["lines"]) == 9 and len(found["before"]) == 5
    )  # all but the learning rate have a running mean
    assert found["before"] == ["0.06667", "1.013", "0.5", "0.002", "640"]
    # the middle of the picture is (280 - 44) / (546 - 44) of the axis: record 35
    assert found["hover"] == [f"at 4,480  {value}" for value in ("0.143", "1.03", "0.5", "0.002", "640")]


BREAK = {
    "an error in the script": lambda page: rescripted(page, "throw new Error('broken');"),
    "a script that the policy does not know": lambda page: page.replace(
        "</body>", "<script>let x = 1</script></body>"
    ),
    "a picture from elsewhere": lambda page: page.replace(
        "</main>", '<img src="https://example.invalid/x.png"></main>'
    ),
    "points that are no numbers": lambda page: re.sub(
        '(class="raw[^"]*" points=")[^"]*', r"\1NaN,NaN 1,NaN", page, count=1
    ),
    "a curve without colour": lambda page: page.replace(
        "</style>", "polyline { stroke: none !important }</style>"
    ),
    "hidden curves": lambda page: page.replace("</style>", ".curves { display: none !important }</style>"),
    "a curve beside its frame": lambda page: page.replace(
        "<polyline ", '<polyline transform="translate(300)" '
    ),
    "something too wide": lambda page: page.replace("<main>", '<main><div style="width: 3000px">x</div>'),
    "no curve at all": lambda page: re.sub("<polyline[^>]*>", "", page),
}


def rescripted(page: str, more: str) -> str:
    """The page with more script, and the policy that allows it."""
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    old, new = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, script + more)
    )
    return page.replace(old, new).replace(script, script + more)


@pytest.mark.browser
@no_chromium
def test_the_browser_finds_what_is_broken(run, tmp_path):
    whole, pages = report.write(run).read_text(encoding="utf-8"), []
    for number, change in enumerate(BREAK.values()):
        pages.append(tmp_path / f"{number}.html")
        pages[-1].write_text(change(whole), encoding="utf-8")
    found = dict(zip(BREAK, map(browser.faults, browser.measured(pages))))
    assert [how for how, wrong in found.items() if not wrong] == []
    for how, told in (
        ("an error in the script", "Uncaught Error: broken"),
        ("something too wide", "3"),
        ("a script that the policy does not know", "Content Security Policy"),
        ("no curve at all", "no curve"),
        ("a picture from elsewhere", "Content Security Policy"),
        ("hidden curves", "cannot be seen"),
    ):
        assert any(told in line for line in found[how]), (how, found[how])
