"""What is shown while something is done: the line of training, and activities."""

import io
import time

import pytest
from rich.console import Console

from rawmm_cli.commands import screen
from rawmm_cli.config import presets
from rawmm_cli.system.activity import doing, shown_by

RECORD = {
    "loss": 0.5,
    "text": 0.3,
    "image": 0.2,
    "documents": 4_000,
    "seconds": 90.0,
    "documents_per_second": 500.4,
    "mfu": 0.25,
    "memory": 2**30,
    "learning_rate": 2e-3,
}


@pytest.fixture
def terminal(monkeypatch):
    """stderr as a terminal of 120 columns, or as a file -> a function that returns what was written."""

    def on(is_terminal):
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal, width=120, highlight=False, soft_wrap=True)
        monkeypatch.setattr(screen, "console", lambda: console)
        return out.getvalue

    return on


def line(*words, **changes):
    shown = screen.Training(presets.load("digits", list(words)).train, time.perf_counter() - 65)
    shown.record = RECORD | changes
    return shown.text()


def test_the_line_of_training(terminal):
    terminal(False)
    figures = "4,000 documents, loss 0.500 (text 0.300 image 0.200), 500 documents/s"
    figures += ", MFU 25%, 1.0 GiB, rate 2.0e-03"
    assert line() == f"10%, 1 min 05 s gone, {figures}"  # what is left is not known yet
    assert line(eta=490.3) == f"10%, 1 min 05 s gone, about 8 min 10 s left, {figures}"
    assert line("train.time=120", eta=30.0) == f"75%, 1 min 05 s gone, about 30 s left, {figures}"


def test_the_line_of_a_codec():
    record = {"loss": 0.1, "l1": 0.2, "l2": 0.05, "psnr": 19.03, "usage": 0.5, "documents": 320}
    record |= {"documents_per_second": 100.0, "memory": 2**29, "learning_rate": 1e-3}
    assert screen.facts(record) == (
        "320 documents, loss 0.1000 (l1 0.2000 l2 0.0500), PSNR 19.03 dB, 50.0% of the codes in use, "
        "100 documents/s, 0.5 GiB, rate 1.0e-03"
    )


def test_elsewhere_a_line_every_ten_seconds(terminal, monkeypatch):
    written, now = terminal(False), [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    with screen.Training(presets.load("digits").train, time.perf_counter()) as shown:
        for now[0] in (1.0, 9.0, 10.5, 12.0, 21.0):
            shown(RECORD)
    assert written().count("\n") == 2 == written().count("10%")


def test_on_a_terminal_a_bar_that_stays_in_place(terminal, monkeypatch):
    monkeypatch.setattr(screen, "AFTER", 0.0)
    written = terminal(True)
    with shown_by(screen.activity), screen.Training(presets.load("digits").train, time.perf_counter()) as bar:
        bar(RECORD | {"eta": 490.3})
        bar.live.refresh()
        with doing("saving"):
            time.sleep(0.01)
            bar.live.refresh()
    assert "10%" in written() and "about 8 min 10 s left" in written() and "saving: " in written()
    assert "\x1b[1A" in written() and screen._bars == [] == screen._activities


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_activity_shows_itself_after_a_while(is_terminal, terminal, monkeypatch):
    monkeypatch.setattr(screen, "AFTER", 0.05)
    monkeypatch.setattr(screen, "EVERY", 0.1)
    written = terminal(is_terminal)
    with shown_by(screen.activity):
        with doing("loading"):
            pass
        assert written() == ""
        with doing("measuring", 2048) as done:
            time.sleep(0.1)
            done(512)
            time.sleep(0.4)
    assert "loading" not in written() and "measuring" in written()
    assert "measuring: 512 of 2,048, 0 s gone" in written()
    before = written()
    time.sleep(0.2)
    assert written() == before


def test_without_a_screen_nothing_is_shown(capsys):
    with doing("measuring", 10) as done:
        done(5)
    assert capsys.readouterr() == ("", "")
