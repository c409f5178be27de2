"""`rawmm demo`: a page at the end, of digits and the model inside the package, or of own pictures."""

import json

import numpy as np
import pytest
from commanding import one_object
from image_folders import fill
from PIL import Image
from report_runs import Balanced

from rawmm_cli.commands import common
from rawmm_cli.commands.demo import builtin
from rawmm_cli.data.datasets.portraits.attributes import attributes_of
from rawmm_cli.pages.demo import Part

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]
SMALL = (
    "backbone.width=32",
    "backbone.depth=1",
    "train.compile=no",
    "sample.steps=2",
)
OWN = (*SMALL, "backbone.heads=2", "train.time=null", "train.documents=256", "text_tokenizer=bytes")


@pytest.fixture(autouse=True)
def no_browser(monkeypatch):
    """No window opens on the machine of who runs the tests."""
    monkeypatch.setattr(common, "_desktop", lambda: False)


def words_of(page) -> str:
    return " ".join(" ".join(Balanced(page.read_text(encoding="utf-8")).words).split())


# ------------------------------------------------------------------------------------------- without pictures


def test_the_demo_from_nothing(tmp_path, rawmm, monkeypatch):
    """Digits are trained on, with a model too small to be good; portraits are by the model in the package."""
    monkeypatch.chdir(tmp_path)
    code, out, err = rawmm("demo", *SMALL, "train.documents=256", "--json")
    assert code == 0, err
    result = one_object(out)
    assert result["documents"] == 256 and result["text_to_image"]["count"] == 1000
    assert result["image_to_text"]["count"] == 360
    run = tmp_path / "runs" / "demo"
    for name in ("report.html", "samples/drawn.png", "evaluation.json", "samples/read.json", "config.yaml"):
        assert (run / name).is_file(), name
    assert "portraits" not in result and not (tmp_path / "data" / "portraits32").exists()
    assert result["packaged"] == {"model": "portraits", "read": {"right": 12, "count": 12}}
    assert result["page"] == "runs/demo/demo.html"
    page, words = Balanced((run / "demo.html").read_text(encoding="utf-8")), words_of(run / "demo.html")
    assert "Digits" in words and "Portraits" in words and "12 of 12 right" in words and "china" in words
    assert "rawmm demo --path my-pictures" in words
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert len(page.all("img")) >= 10 + 20 + 9 * 3 + 12 + 2 * 9  # so small a model may draw no digit
    assert set(result["seconds_of"]) >= {"training on digits", "portraits by the model inside the package"}
    assert sum(result["seconds_of"].values()) == pytest.approx(result["total_seconds"], abs=0.5)


def test_portraits_of_the_demo_are_new():
    """No training portrait of the model inside the package has the attributes of one that it is shown."""

    def all_of(n):
        return tuple(sorted(attributes_of(n).items()))

    known = {all_of(n) for n in range(50_000)}
    first = builtin.FIRST
    assert not known & {all_of(n) for n in range(first, first + builtin.COUNT)}


@pytest.fixture
def without_digits(monkeypatch):
    """The demo without its digits, which are not trained on."""
    look, part = builtin.look, builtin._part
    monkeypatch.setattr(builtin, "_digits", lambda config, folder, *_: folder.mkdir() or {})
    monkeypatch.setattr(builtin, "look", lambda folder, data: folder.name != "demo" and look(folder, data))
    monkeypatch.setattr(
        builtin,
        "_part",
        lambda title, about, subject, *rest, **more: (
            part(title, about, subject, *rest, **more) if subject else Part(title, about)
        ),
    )


def test_only_the_digits(rawmm, tmp_path, without_digits):
    place = ("--data-dir", tmp_path / "data", "--runs-dir", tmp_path / "runs")
    code, out, err = rawmm("demo", "--portraits", "0", "--json", *place)
    assert code == 0, err
    assert not {"packaged", "portraits"} & json.loads(out).keys()
    assert f"--runs-dir {tmp_path / 'runs'}" in json.loads(out)["next"][0][1]


def test_the_demo_of_portraits(rawmm, tmp_path, without_digits, monkeypatch):
    """The long demo, with few portraits and briefly trained judges."""
    from rawmm_cli.evaluation import attributes, judges

    monkeypatch.setattr(attributes, "FRESH", 120)
    monkeypatch.setattr(judges, "EPOCHS", 1)
    monkeypatch.setattr(builtin, "PROMPTS", 8)
    small = (
        "train.documents=256",
        "backbone.width=32",
        "backbone.heads=2",
        "backbone.depth=1",
        "train.compile=no",
        "sample.steps=2",
        "sample.max_text=24",
    )
    code, out, err = rawmm(
        "demo",
        *small,
        "--portraits",
        "200",
        "--json",
        "--data-dir",
        tmp_path / "data",
        "--runs-dir",
        tmp_path / "runs",
    )
    assert code == 0, err
    result = json.loads(out)["portraits"]
    assert (
        result["text_to_image"]["count"] == 8
        and result["documents"] == 256
        and result["run"] == "demo-portraits"
    )
    page = (tmp_path / "runs" / "demo-portraits" / "report.html").read_text(encoding="utf-8")
    assert (
        result["report"].endswith("demo-portraits/report.html")
        and "a portrait of" in page
        and "data:image/png" in page
    )
    assert (tmp_path / "data" / "portraits32" / "card.json").is_file()
    words = words_of(tmp_path / "runs" / "demo" / "demo.html")
    assert "Portraits, trained here" in words and "rawmm demo --long" not in words


# ---------------------------------------------------------------------------------------------- own pictures

COLOURS = {"red": (230, 20, 20), "blue": (20, 20, 230)}


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """24 pictures of plain colours and of different sizes, each with its colour as its caption."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for n in range(24):
        name = list(COLOURS)[n % 2]
        size = 20 + 3 * n, 40 + n
        Image.new("RGB", size, COLOURS[name]).save(folder / f"{n}.png")
        (folder / f"{n}.txt").write_text(name)
    return folder


def test_own_pictures_become_a_page(pictures, rawmm, tmp_path):
    """The right colours are drawn and read: from each caption, and about pictures that were held out."""
    words = ("train.time=null", "train.documents=3200", "train.learning_rate=1e-2", "text_tokenizer=bytes")
    small = ("backbone.width=32", "backbone.heads=2", "backbone.depth=1", "train.compile=no")
    code, out, err = rawmm("demo", "--path", pictures, "--size", "16", *words, *small, "--json")
    assert code == 0, err
    result = one_object(out)
    held_out = result["count"]["held_out"]
    assert result["captions"] == 24 and sum(result["count"].values()) == 24 and held_out > 0
    assert result["read"]["held_out"] == {"right": held_out, "count": held_out}
    assert result["read"]["trained"] == {"right": 12, "count": 12} and result["drawn"] == 6
    assert result["page"] == "runs/my-pictures-demo/demo.html" and result["set"] == "my-pictures-demo"
    page = (tmp_path / result["page"]).read_text(encoding="utf-8")
    assert "All pictures were made to fit" in page and "16 × 16 pixels" in page
    cut = sum(1 - min(20 + 3 * n, 40 + n) / max(20 + 3 * n, 40 + n) > 0.1 for n in range(24))
    line = f"{cut} of 24 pictures lose more than a tenth to the crop, at most 50 %"
    assert line in page and line in err
    assert "so few are learned by heart" in page and "is no model yet" not in page
    text = words_of(tmp_path / result["page"])
    assert f"{held_out} of {held_out} right" in text and "Read: held out" in text and "exact" in text
    for name, colour in COLOURS.items():
        for drawn in drawings(page, name):
            assert np.abs(drawn.mean((0, 1)) - colour).max() < 40, (name, drawn.mean((0, 1)))


def drawings(page: str, caption: str) -> list[np.ndarray]:
    """The pictures that were drawn from a caption, (H, W, 3)."""
    import base64
    import io
    import re

    sources = re.findall(rf'<img src="data:image/png;base64,([^"]+)" alt="drawn: {caption}"', page)
    assert len(sources) == 3
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB"), float)
        for source in sources
    ]


def test_the_same_command_again_trains_no_more(pictures, rawmm):
    words = ("demo", "--path", pictures, "--size", "16", *OWN, "--json")
    first, again = (json.loads(rawmm(*words)[1]) for _ in range(2))
    assert (first["train"]["status"], again["train"]["status"]) == ("trained", "was trained already")
    assert again["train"]["documents"] == 256 and again["drawn"] == first["drawn"]


def test_pictures_without_captions_are_drawn_and_it_is_said(tmp_path, rawmm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "plain", *(f"{n}.png" for n in range(8)), height=24, width=30)
    code, out, err = rawmm("demo", "--path", "plain", "--size", "16", *OWN, "--json")
    assert code == 0 and "have no captions: the model will draw, not read" in err
    result = one_object(out)
    assert result["captions"] == 0 and result["drawn"] == 18
    assert result["read"] == {name: {"right": 0, "count": 0} for name in ("held_out", "trained")}
    words = words_of(tmp_path / result["page"])
    assert "The pictures have no captions, so the model draws and does not read." in words
    assert "Read:" not in words and 'rawmm sample "a caption"' not in words


def test_classes_are_captions(tmp_path, rawmm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "pets", *(f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(6)))
    code, out, err = rawmm("demo", "--path", "pets", "--size", "8", *OWN, "--json")
    assert code == 0, err
    assert one_object(out)["captions"] == 12
    page = (tmp_path / one_object(out)["page"]).read_text(encoding="utf-8")
    assert '"drawn: cat"' in page or "the model opened no picture after this caption" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--path", "pictures", "--long"), "--path pictures and --long"),
        (("--path", "pictures", "--portraits", "9"), "--path pictures and --portraits"),
        (("--path", "pictures", "--time", "soon"), "--time 'soon' is not a time"),
        (("--path", "."), "runs would lie inside --path ., among the pictures"),
        (("--path", "pictures", "--size", "4"), "--size"),
    ],
)
def test_bad_input(words, said, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "pictures", "a.png", "b.png")
    code, _, err = rawmm("demo", *words)
    assert code == 2 and said in err and err.strip().count("\n") == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_folder_without_pictures(rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, _, err = rawmm("demo", "--path", "empty", "--json")
    assert code == 3 and "error: " in err


# ---------------------------------------------------------------------------------------- opening the page


@pytest.mark.parametrize(
    ("desktop", "browser", "line", "opened"),
    [
        (True, lambda address: True, "opened a/page.html", True),
        (True, lambda address: False, "the page, to open in a browser: a/page.html", False),
        (False, lambda address: pytest.fail("tried"), "the page, to open in a browser: a/page.html", False),
    ],
)
def test_a_page_that_cannot_be_opened_is_named(desktop, browser, line, opened, monkeypatch, capsys):
    import webbrowser

    monkeypatch.setattr(common, "_desktop", lambda: desktop)
    monkeypatch.setattr(webbrowser, "open", browser)
    assert common.open_page("a/page.html") is opened
    assert capsys.readouterr().err == line + "\n"


def test_a_browser_that_fails_is_no_error(monkeypatch, capsys):
    import webbrowser

    def fails(address):
        assert address.startswith("file:///")
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(common, "_desktop", lambda: True)
    monkeypatch.setattr(webbrowser, "open", fails)
    assert common.open_page("a b.html") is False
    assert common.open_page("a b.html", wanted=False) is False
    assert capsys.readouterr().err.splitlines() == [
        "the page, to open in a browser: a b.html",
        "the page: a b.html",
    ]
