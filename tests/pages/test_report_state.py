"""The report of a run: the state of the run, the command, and the page in a browser."""

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


def test_states_of_a_run(tmp_path):
    run = new_run(tmp_path)
    assert report.state(run) | {"last_record": 0} == {
        "status": "stopped",
        "documents": 0,
        "few": "",
        "of": 9600,
        "seconds": None,
        "share": 0,
        "eta": None,
        "last_record": 0,
    }
    (run / "records.jsonl").write_text(json.dumps(record(30) | {"eta": 8.5}) + "\n")
    (run / ".lock").touch()
    assert report.state(run)["status"] == "stopped"
    with open(run / ".lock") as lock:  # as `rawmm train` does through filelock
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = report.state(run)
        assert (state["status"], state["eta"], state["share"]) == ("running", 8.5, 0.4)
        assert "8.5 s to go" in words(run) and "running" in words(run)
    (run / "records.jsonl").write_text(json.dumps(record(75)) + "\n")
    assert (report.state(run)["status"], report.state(run)["eta"]) == ("done", None)


def test_a_run_with_a_time_limit_is_done_when_it_is_over(tmp_path):
    run = new_run(tmp_path)
    (run / "config.yaml").write_text("train: {documents: 9600, time: 20.0}")
    for n, status in ((50, "stopped"), (100, "done")):
        (run / "records.jsonl").write_text(json.dumps(record(n)) + "\n")
        state = report.state(run)
        assert (state["status"], state["share"], state["of"]) == (status, n / 100, None)


def test_a_run_that_is_no_model_yet(tmp_path):
    """100 steps of 16 documents are the least, and by time a tenth of the preset's documents too."""
    run = new_run(tmp_path)
    seen = record(5)["documents"]
    (run / "records.jsonl").write_text(json.dumps(record(5)) + "\n")
    for train, few in (
        (f"{{documents: 9600, warmup: 0, batch: {seen // 100 + 1}}}", True),
        (f"{{documents: 9600, warmup: {seen // 2}, batch: 1}}", False),
        (f"{{documents: {11 * seen}, warmup: 0, batch: 1, time: 20.0}}", True),
        ("{documents: 9600, warmup: many, batch: 1}", False),
    ):
        (run / "config.yaml").write_text(f"train: {train}")
        assert bool(report.state(run)["few"]) == few
        assert ("no model yet" in words(run)) == few


def test_reading_the_state_does_not_take_the_lock(tmp_path):
    """`rawmm train` must be able to take the lock at any time, and a read-only folder has a report."""
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
    """By the headers of the checkpoint, and by the settings where there is none."""
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
    state = json.loads(printed)
    assert code == 0 and state["report"] == str(out)
    assert state["status"] == "done" and state["documents"] == 9600
    assert out.read_text(encoding="utf-8") == report.render(run) and not (run / "report.html").exists()


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("nothing",), 4, "no run 'nothing'"),
        (("demo", "--out", "/nowhere/at/all.html"), 2, "/nowhere/at"),
        (("demo", "--out", "."), 2, "is a directory"),
    ],
)
def test_bad_input_is_one_line(run, rawmm, tmp_path, words, code, message):
    exit_code, out, err = rawmm("report", *words, "--runs-dir", tmp_path)
    assert (exit_code, out) == (code, "") and message in err and len(err.strip().splitlines()) == 1


# ---------------------------------------------------------------------------------------------------- browser

no_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on PATH")


@pytest.mark.browser
@no_chromium
@pytest.mark.parametrize("width", [1200, 400])
def test_in_a_browser(run, width):
    """Curves are inside their frames, all pictures are shown, nothing is wider than the window, the page's
    policy allows its script, and the script shows values under the pointer."""
    (measured,) = browser.measured([report.write(run)], width)
    assert browser.faults(measured, width) == []
    assert len(measured["lines"]) == 9  # five curves, and running means of all but the learning rate
    assert measured["before"] == ["0.06667", "1.013", "0.5", "0.002", "640"]
    # the middle of the picture is (280 - 44) / (546 - 44) of the axis: record 35
    assert measured["hover"] == [f"at 4,480  {value}" for value in ("0.143", "1.03", "0.5", "0.002", "640")]


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
    "a curve outside its frame": lambda page: page.replace(
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
def test_broken_pages_are_detected(run, tmp_path):
    page, paths = report.write(run).read_text(encoding="utf-8"), []
    for number, change in enumerate(BREAK.values()):
        paths.append(tmp_path / f"{number}.html")
        paths[-1].write_text(change(page), encoding="utf-8")
    faults = dict(zip(BREAK, map(browser.faults, browser.measured(paths))))
    assert [how for how, messages in faults.items() if not messages] == []
    for how, message in (
        ("an error in the script", "Uncaught Error: broken"),
        ("something too wide", "3"),
        ("a script that the policy does not know", "Content Security Policy"),
        ("no curve at all", "no curve"),
        ("a picture from elsewhere", "Content Security Policy"),
        ("hidden curves", "cannot be seen"),
    ):
        assert any(message in line for line in faults[how]), (how, faults[how])
