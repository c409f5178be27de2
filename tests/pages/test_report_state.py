"""The report: where a run stands, the command, and what a browser sees."""

import base64
import fcntl
import hashlib
import json
import re
import shutil

import browser
import pytest
from report_runs import new_run, record, words

from rawmm_cli.pages import report

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
    from rawmm_cli.runs import loading

    config = loading.run_config(tiny_run)
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
