"""`rawmm entropy-budget`: its sub-commands, and the same as options."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("one_thread")
FORMS = {
    "images": ("images in --L 256 --V 16384 --size 8", "--images in --L 256 --V 16384 --size 8"),
    "images, two paths": ("images in digits --limit 9", "--images in --images digits --limit 9"),
    "images, a plot": ("images in/0.png --V 2^10 --plot PLOT", "--images in/0.png --V 2^10 --plot PLOT"),
    "codec": (
        "codec python:toy_codec:UserSquares in --size 8",
        "--codec python:toy_codec:UserSquares --images in --size 8",
    ),
    "model": (
        "model tiny digits --steps 2 --limit 3 --device cpu",
        "--model tiny --images digits --steps 2 --limit 3 --device cpu",
    ),
    "audit": ("audit runs/tiny digits in", "--model runs/tiny --audit --images digits --images in"),
    "audit, limited": ("audit tiny digits --limit 2", "--model tiny --audit --images digits --limit 2"),
    "no picture": ("images in/bad.png", "--images in/bad.png"),
    "no such codec": ("codec nope in", "--codec nope --images in"),
    "no codes": ("codec raw in", "--codec raw --images in"),
    "a model is no codec": ("codec portraits in", "--codec portraits --images in"),
    "no such run": ("model tinny digits", "--model tinny --images digits"),
    "none admitted": ("audit portraits in/0.png", "--model portraits --audit --images in/0.png"),
    "two sides": ("images in --size 8x4", "--images in --size 8x4"),
    "two sides of a codec": ("codec x in --size 8x4", "--codec x --images in --size 8x4"),
    "no number": ("images in --L many", "--images in --L many"),
}

SPAWNING = ("images", "images, two paths", "codec", "model")  # they start worker processes


@pytest.fixture
def folder(digits):
    """A folder `in` with pictures of two sizes and a broken file, beside a set and a run."""
    (digits / "in").mkdir()
    generator = np.random.default_rng(0)
    for n, side in enumerate((7, 8, 8, 8, 8)):
        Image.fromarray(generator.integers(0, 256, (side, 8, 3), dtype=np.uint8)).save(f"in/{n}.png")
    (digits / "in" / "bad.png").write_bytes(b"no picture")
    return digits


def without_times(text):
    return re.sub(r'"seconds": [\d.]+|It took \d+ s', "", text)


def both(name, rawmm, *more):
    """Results of the sub-command and of the options: exit code, stdout and stderr without times, the plot."""
    results = []
    for form, plot in zip(FORMS[name], (Path("one.png"), Path("other.png"))):
        words = form.replace("PLOT", plot.name).split()
        code, *printed = rawmm("entropy-budget", *words, *more)
        printed = [without_times(text).replace(plot.name, "PLOT") for text in printed]
        results.append((code, *printed, plot.read_bytes() if plot.exists() else b""))
    return results


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.process) if name in SPAWNING else name for name in FORMS]
)
def test_a_sub_command_equals_its_options(name, rawmm, folder):
    """The JSON is the same byte for byte."""
    one, other = both(name, rawmm, "--json")
    assert one == other
    code, out, _, plot = one
    assert code in (0, 2, 3, 4) and (code == 0) == bool(out) and bool(plot) == ("PLOT" in FORMS[name][0])


@pytest.mark.process
@pytest.mark.parametrize("name", ["images", "codec", "audit"])
def test_printed_lines_of_a_sub_command_equal_those_of_its_options(name, rawmm, folder):
    one, other = both(name, rawmm)
    assert one == other and one[0] == 0 and one[1]


@pytest.mark.process
def test_the_alias_has_the_sub_commands(rawmm, folder):
    words = "images", "in", "--limit", "2", "--json"
    assert rawmm("info-budget", *words) == rawmm("entropy-budget", *words)


def test_help_shows_the_sub_commands_first(rawmm):
    code, out, _ = rawmm("entropy-budget", "--help")
    names = ("images PATH", "codec WORD PATH", "model RUN PATH", "audit RUN PATH", "catalogue", "anchors")
    places = [out.index(name) for name in (*names, "--L", "--images")]
    assert code == 0 and places == sorted(places)
    for name in ("images", "codec", "model", "audit"):
        code, out, _ = rawmm("entropy-budget", name, "--help")
        assert code == 0 and "PATH" in out and "--images" not in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["images"], "Missing argument 'PATH"),
        (["codec", "x"], "Missing argument 'PATH"),
        (["images", "in", "--H", "5"], "No such option: --H"),
        (["audit", "tiny", "in", "--steps", "3"], "No such option: --steps"),
        (["model", "tiny", "in", "--steps", "1"], "Invalid value for '--steps'"),
        (["--L", "5", "images", "in"], "entropy-budget images takes its options after its name"),
        (["image", "in"], "No such command 'image'. Did you mean 'images'?"),
    ],
)
def test_wrong_arguments_are_one_line(words, message, rawmm, folder):
    code, out, err = rawmm("entropy-budget", *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and message in err and err.count("\n") == 1
