"""`rawmm reconstruct`: files, pages, adapters, bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from round_trips import CPU, raw, run, toy
from toy_codec import Squares

import rawmm_cli.runs.codec
from rawmm_cli.data.images import read_image
from rawmm_cli.reconstruction import results
from rawmm_cli.reconstruction.round_trip import through
from rawmm_cli.system.errors import DataError

# ---------------------------------------------------------------------------------------------------- command


@pytest.fixture
def runs(tmp_path, monkeypatch):
    (tmp_path / "runs" / "toy").mkdir(parents=True)
    (tmp_path / "runs" / "toy" / "config.yaml").write_text("codec: {kind: fsq}\n")
    monkeypatch.setattr(rawmm_cli.runs.codec, "load_codec", lambda folder, device, warn=None: Squares())
    return tmp_path / "runs"


def test_the_command(rawmm, folder, runs):
    words = (
        "reconstruct",
        folder / "0.png",
        folder / "3.png",
        folder / "broken.png",
        "--runs-dir",
        runs,
        "--ocr",
        "none",
    )
    code, out, err = rawmm(
        *words,
        "--codec",
        "raw",
        "--codec",
        "toy",
        "--codec",
        "jpeg@toy",
        "--report",
        folder / "page.html",
        "--json",
    )
    assert code == 0, err
    result, page = json.loads(out), (folder / "page.html").read_text()
    assert result["pictures"] == 2 and [one["codec"] for one in result["rows"]] == ["raw", "toy", "jpeg@toy"]
    assert result["rows"][0]["exact"] == 1 and result["rows"][2]["over_budget"] == 2
    saved = json.loads((folder / "page_files" / "results.json").read_text())
    assert (
        saved["rows"] == result["rows"]
        and len(saved["each"]) == 2
        and f"left out {folder / 'broken.png'}: " in err
    )
    assert (
        "What 2 pictures lost" in page
        and page.count("data:image/png") == 2 * (1 + 2 * 3)
        and "://" not in page
    )
    code, out, err = rawmm(*words, "--codec", "toy")
    assert code == 0 and out.split()[0] == "codec" and "toy" in out and "padded" in out


def test_the_users_files_are_not_overwritten_and_outputs_not_read(rawmm, folder, runs):
    """The user has a folder `original` beside the page; a second run does not read the output of the
    first."""
    (folder / "original").mkdir()
    Image.fromarray(np.full((5, 5), 40_000, np.uint16)).save(folder / "original" / "0.png")
    before = (folder / "original" / "0.png").read_bytes()
    words = (
        "reconstruct",
        folder,
        "--runs-dir",
        runs,
        "--ocr",
        "none",
        "--codec",
        "raw",
        "--json",
        "--report",
    )
    for _ in range(2):
        code, out, err = rawmm(*words, folder / "page.html")
        assert code == 0 and json.loads(out)["pictures"] == 9, err
    code, out, err = rawmm(*words, folder / "page.html", "--out", folder)
    assert code == 2 and "holds pictures to reconstruct; give another folder with --out" in err
    code, out, err = rawmm("reconstruct", folder / "0.png", "--codec", "raw", "--ocr", "none", "--out", runs)
    assert code == 2 and "holds other files; give a new one with --out" in err
    assert (folder / "original" / "0.png").read_bytes() == before
    (folder / "page_files" / "results.json").unlink()
    code, out, err = rawmm(*words, folder / "page.html")
    assert code == 2 and "holds pictures to reconstruct" in err


def test_a_missing_engine_is_noted(rawmm, folder, monkeypatch):
    from rawmm_cli.reconstruction import ocr

    monkeypatch.setattr(ocr, "choose", lambda word: None)
    words = ("reconstruct", folder / "0.png", "--codec", "raw")
    assert "no OCR engine is installed: text survival is left out; Debian: apt install" in rawmm(*words)[2]
    assert "no OCR engine" not in rawmm(*words, "--ocr", "none")[2]


def test_used_bits_and_time_of_every_picture(folder):
    result = run(folder, [toy("coarse", Squares(8, 4)), raw()])
    row, costs = result.rows[0], [one.codecs["coarse"].used_bits for one in result.each]
    counts = torch.zeros(row.vocabulary)
    for one in result.each:
        image = torch.from_numpy(read_image(one.file).transpose(2, 0, 1).copy())[None]
        counts += torch.bincount(through(Squares(8, 4), image, CPU).codes.flatten(), minlength=len(counts))
    share = counts[counts > 0].double() / counts.sum()
    assert sum(costs) == pytest.approx(-float((share * share.log2()).sum()) * int(counts.sum()), rel=1e-6)
    assert (
        row.quantiles["used_bits"].p05 == pytest.approx(min(costs))
        and row.quantiles["milliseconds"].median > 0
    )
    assert result.each[0].codecs["raw"].used_bits is None
    assert "used_bits" not in results.as_json(result)["each"][0]["codecs"]["raw"]


def test_a_failing_adapter_is_named(folder):
    from rawmm_cli.codecs.adapter import Adapted

    class Broken:
        vocabulary = 4

        def __init__(self, *more):
            self.more = more  # axes too many

        def length(self, height, width):
            return 4

        def encode(self, images):
            if images.shape[2] == 8:
                return images.no_such_thing
            return (
                torch.rand(len(images), 4)
                if images.shape[2] == 5
                else torch.zeros(len(images), 4, *self.more, dtype=torch.long)
            )

        def decode(self, tokens, rows):
            return tokens

    for name, message in (
        ("0", "codec python:a:B failed in encode (AttributeError: "),
        ("6", "its encode returned torch.float32; allowed: integers"),
        ("2", "its decode returned 2 axes"),
    ):
        with pytest.raises(DataError) as caught:
            run(folder / f"{name}.png", [toy("python:a:B", Adapted(Broken(), "python:a:B"))])
        assert message in str(caught.value)
    with pytest.raises(DataError, match="its encode returned 3 axes; allowed: .M, N. integers"):
        run(folder / "2.png", [toy("python:a:B", Adapted(Broken(1), "python:a:B"))])


def test_inversion_by_the_ode(rawmm, folder, tiny_run):
    words = (
        "reconstruct",
        folder / "0.png",
        folder / "1.png",
        folder / "2.png",
        "--run",
        tiny_run,
        "--ocr",
        "none",
    )
    code, out, err = rawmm(*words, "--steps", "20", "--steps", "5", "--json", "--out", folder / "o")
    assert code == 0, err
    result = json.loads(out)["rows"]
    assert [(one["codec"], one["steps"]) for one in result] == [("ode@5", 5), ("ode@20", 20)]
    assert result[0]["psnr"] < result[1]["psnr"]
    assert result[0]["bits"] is None
    assert (folder / "o" / "ode-20" / "2.png").is_file()
    code, out, err = rawmm(*words, "--codec", "raw", "--json")
    assert json.loads(out)["rows"][0]["lossless"] == 1
    code, out, err = rawmm(
        "reconstruct", folder / "3.png", "--run", tiny_run, "--steps", "5", "--ocr", "none", "--json"
    )
    assert code == 0 and json.loads(out)["rows"][0]["padded"] == 1  # 9 x 13 are no multiples of the patch


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("none.png",), 3, "image none.png cannot be read"),
        (("empty",), 3, "empty holds no pictures"),
        (("odd.png", "--codec", "rwa"), 2, "unknown codec 'rwa' (did you mean raw?)"),
        (("odd.png", "--steps", "0"), 2, "Invalid value for '--steps'"),
        (("odd.png", "--codec", "raw", "--report", "none/x.html"), 2, "report none/x.html cannot be created"),
        (("odd.png", "--codec", "raw", "--out", "odd.png"), 2, "output folder odd.png cannot be created"),
        (
            ("odd.png", "--codec", "raw", "--ocr", "tesserakt"),
            2,
            "unknown engine 'tesserakt' (did you mean tesseract?)",
        ),
        (("odd.png", "--codec", "raw", "--features", "none.pth"), 2, "none.pth cannot be read"),
    ],
)
def test_bad_input_is_one_line(words, code, message, rawmm, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (9, 8)).save("odd.png")
    features = () if "--features" in words else ("--features", "none")
    exit_code, out, err = rawmm(
        "reconstruct", *words, "--run", tiny_run, *features, *(() if "--ocr" in words else ("--ocr", "none"))
    )
    assert (exit_code, out) == (code, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("words", [("odd.png", "--codec", "nope"), ("bad.png", "--codec", "raw")])
def test_an_error_before_the_first_picture_leaves_no_folder(words, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 8)).save("odd.png")
    (tmp_path / "bad.png").write_text("no picture")
    code, out, err = rawmm("reconstruct", *words, "--report", "o.html", "--ocr", "none", "--features", "none")
    assert code in (2, 3) and out == "" and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.png", "odd.png"]
