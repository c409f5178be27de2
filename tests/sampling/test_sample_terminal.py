"""Pictures in the terminal: the protocol that it speaks, blocks, and readers that leave."""

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.pages import terminal

SLOW = "loading the model\n"  # said after a second


def listening(tmp_path, leave, ignore_hangup):
    """`sample` in a process whose terminal is closed after `leave` characters -> (exit code, stderr)."""
    import pty
    import signal

    process, outer = pty.fork()
    if process == 0:  # pragma: no cover
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN if ignore_hangup else signal.SIG_DFL
        )  # as under nohup, or not
        inner = os.open(tmp_path / "stderr", os.O_CREAT | os.O_WRONLY)
        os.dup2(inner, 2)
        os.execv(
            sys.executable,
            [sys.executable, "-m", "rawmm_cli", "sample", "a portrait of", "--out", str(tmp_path / "out")],
        )
    os.read(outer, leave)
    os.close(outer)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), (tmp_path / "stderr").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs pseudo-terminals that hang up")
@pytest.mark.parametrize(
    "ignore, code", [(False, -1), (True, 0)]
)  # -1: ended by SIGHUP, as everything in that terminal
@pytest.mark.process
def test_a_terminal_that_is_closed_in_mid_stream(ignore, code, tmp_path, monkeypatch):
    """No traceback, and no half picture."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ended, err = listening(tmp_path, 2, ignore)
    assert (ended, err.replace(SLOW, "")) == (code, "")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("how, left", [("| head -c 3", []), (">&-", ["portraits-a-portrait-of-0-000.png"])])
@pytest.mark.process
def test_nobody_listens(how, left, tmp_path, monkeypatch):
    """A reader that leaves ends it; without a stdout it draws all the same."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    line = f"{sys.executable} -m rawmm_cli sample 'a portrait of' --out {tmp_path / 'out'} {how}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.replace(SLOW, "")) == (0, "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == left


# --------------------------------------------------------------------------------------------------- terminal


WORDS = ("sample", "seven", "--preview", "blocks", "--run")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminals_that_show_no_colours(environment, place, tiny_run, rawmm, monkeypatch):
    """Nothing of one colour; the name of the file all the same."""
    for name in ("NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, out, err = rawmm(*WORDS, tiny_run)
    assert (code, err) == (0, "") and "tiny-seven-0-000.png" in out
    assert "?" not in out and "\u2580" not in out


@pytest.mark.process
def test_a_terminal_that_cannot_show_blocks(place, tiny_run):
    """Characters that its encoding lacks are replaced; no traceback."""
    usual = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLORTERM")
    }
    done = subprocess.run(
        [sys.executable, "-m", "rawmm_cli", *WORDS, str(tiny_run)],
        capture_output=True,
        cwd=place,
        env=usual | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stderr.replace(SLOW.encode(), b"")) == (
        0,
        b"",
    ) and b"tiny-seven-0-000.png" in done.stdout
    assert b"?" in done.stdout and "\u2580".encode() not in done.stdout


@pytest.mark.parametrize(
    "environment, kind",
    [
        ({}, "blocks"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-kitty", "TMUX": "x"}, "blocks"),
        ({"TERM": "screen.xterm-kitty"}, "blocks"),
    ],
)
def test_the_protocol_that_a_terminal_speaks(environment, kind):
    assert terminal.protocol(environment) == kind


def noise(height, width, colours=256):
    palette = np.random.default_rng(2).integers(0, 256, (colours, 3), dtype=np.uint8)
    return np.random.default_rng(1).choice(palette, (height, width))


def test_kitty_and_iterm_send_the_picture_as_png():
    picture = noise(70, 50)
    sent = terminal.escapes(picture, "kitty")
    parts = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", sent)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == sent and len(parts) > 1
    assert (
        parts[0][0] == "a=T,f=100,q=2,m=1"
        and parts[-1][0] == "m=0"
        and {keys for keys, _ in parts[1:-1]} <= {"m=1"}
    )
    assert all(len(data) <= 4096 for _, data in parts)
    decoded = Image.open(io.BytesIO(base64.standard_b64decode("".join(data for _, data in parts))))
    assert np.array_equal(np.asarray(decoded), picture)
    sent = terminal.escapes(picture, "iterm")
    size, data = re.fullmatch(
        "\x1b]1337;File=inline=1;size=([0-9]+);width=50px:([^\x07]*)\x07", sent
    ).groups()
    content = base64.standard_b64decode(data)
    assert len(content) == int(size) and np.array_equal(np.asarray(Image.open(io.BytesIO(content))), picture)


def unsixel(text):
    """A picture out of sixel letters, (H, W, 3) in percent: DEC STD 070, decoded by hand."""
    width, height = map(int, re.match('\x1bPq"1;1;([0-9]+);([0-9]+)', text).groups())
    body = text[text.index('"') : -2]
    palette, canvas = {}, np.full((height + 5, width, 3), -1)
    for n, r, g, b in re.findall(r"#([0-9]+);2;([0-9]+);([0-9]+);([0-9]+)", body):
        palette[int(n)] = (int(r), int(g), int(b))
    body = re.sub(r"#[0-9]+;2;[0-9]+;[0-9]+;[0-9]+", "", body[body.index("#") :])
    top = left = 0
    colour = None
    for token in re.findall(r"#[0-9]+|![0-9]+.|[$-]|[?-~]", body):
        if token[0] == "#":
            colour = palette[int(token[1:])]
        elif token == "$":
            left = 0
        elif token == "-":
            top, left = top + 6, 0
        else:
            count, letter = (int(token[1:-1]), token[-1]) if token[0] == "!" else (1, token)
            for bit in range(6):
                if (ord(letter) - 63) >> bit & 1:
                    canvas[top + bit, left : left + count] = colour
            left += count
    return canvas[:height]


@pytest.mark.parametrize("height, width", [(1, 1), (6, 6), (13, 40), (64, 64)])
def test_sixels_show_the_picture(height, width):
    picture = noise(height, width, 200)
    picture[:, width // 2 :] = (255, 0, 128)  # runs of a colour
    decoded = unsixel(terminal.escapes(picture, "sixel"))
    assert (decoded >= 0).all(), "no pixel is left out"
    assert np.abs(decoded - picture / 2.55).max() <= 1 + 8 * (
        len(np.unique(picture.reshape(-1, 3), axis=0)) > 256
    )


@pytest.mark.parametrize("kind", ["blocks", "kitty", "iterm", "sixel"])
def test_a_preview_can_be_asked_for(kind, rawmm, place, tiny_run):
    code, out, _ = rawmm("sample", "seven", "--run", tiny_run, "--preview", kind)
    assert (
        code == 0
        and {"blocks": "\u2580", "kitty": "\x1b_G", "iterm": "\x1b]1337", "sixel": "\x1bPq"}[kind] in out
    )
    assert out.rstrip().endswith(".png")


def test_without_a_terminal_there_are_no_escapes(rawmm, place, tiny_run):
    code, out, err = rawmm("sample", "seven", "--run", tiny_run, "--count", "3")
    assert code == 0 and "\x1b" not in out + err and "\u2580" not in out
