"""`rawmm entropy-budget`: its sub-commands, and the same as options."""

import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("one_thread")
FORMS = {
    "images": ("images in --L 256 --V 16384 --size 8", "--images in --L 256 --V 16384 --size 8"),
    "images, two paths": ("images in digits --limit 9", "--images in --images digits --limit 9"),
    "images, a plot": ("images in/0.png --V 2^10 --plot PLOT", "--images in/0.png --V 2^10 --plot PLOT"),
    "codec": (
        "codec python:toy_codec:Squares in --size 8",
        "--codec python:toy_codec:Squares --images in --size 8",
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


@pytest.fixture
def folder(tmp_path, few_digits, tiny_run, monkeypatch):
    """Pictures of two sizes, a file that is none, a set and a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    generator = np.random.default_rng(0)
    for n, side in enumerate((7, 8, 8, 8, 8)):
        Image.fromarray(generator.integers(0, 256, (side, 8, 3), dtype=np.uint8)).save(f"in/{n}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    shutil.copytree(few_digits / "digits", "data/digits")
    shutil.copytree(tiny_run, "runs/tiny")
    return tmp_path


def without_times(text):
    return re.sub(r'"seconds": [\d.]+|It took \d+ s', "", text)


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["words", "json"])
@pytest.mark.parametrize("name", FORMS)
def test_a_sub_command_is_its_options(name, json, rawmm, folder):
    """Byte for byte: exit code, stdout, stderr, and the plot."""
    plots, answers = [folder / "one.png", folder / "other.png"], []
    for form, plot in zip(FORMS[name], plots):
        code, *printed = rawmm("entropy-budget", *shlex.split(form.replace("PLOT", plot.name)), *json)
        answers.append((code, *(without_times(text).replace(plot.name, "PLOT") for text in printed)))
    assert answers[0] == answers[1]
    assert answers[0][0] in (0, 2, 3, 4) and (answers[0][0] == 0) == bool(answers[0][1])
    if "PLOT" in FORMS[name][0]:
        assert plots[0].read_bytes() == plots[1].read_bytes()


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
    "words, told",
    [
        (["images"], "Missing argument 'PATH"),
        (["codec", "x"], "Missing argument 'PATH"),
        (["images", "in", "--H", "5"], "No such option: --H"),
        (["audit", "tiny", "in", "--steps", "3"], "No such option: --steps"),
        (["model", "tiny", "in", "--steps", "1"], "Invalid value for '--steps'"),
        (["--L", "5", "images", "in"], "entropy-budget images takes its options behind its name"),
        (["image", "in"], "No such command 'image'. Did you mean 'images'?"),
    ],
)
def test_wrong_words_are_one_line(words, told, rawmm, folder):
    code, out, err = rawmm("entropy-budget", *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and told in err and err.count("\n") == 1
