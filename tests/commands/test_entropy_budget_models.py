"""`rawmm entropy-budget` for models and tokenizers: tables, the audit, bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.data import pictures

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.process
def test_both_modalities_in_one_table(rawmm, digits):
    words = ["entropy-budget", "--model", "tiny", "--images", "digits", "--steps", "4"]
    code, out, err = rawmm(*words, "--json")
    assert code == 0, err
    result = json.loads(out)
    image, text = result["image"], result["text"]
    assert (
        result["pictures"] == 7 and result["size"] == 8 and text["texts"] == 7 and text["bits_per_byte"] < 8
    )
    for way in ("bound", "uniform", "decoded"):
        assert (
            0 < image[way]["bits_per_byte"] < 30
            and image[way]["standard_error"] > 0
            and image[way]["pictures"] == 7
        )
    difference = image["bound"]["bits_per_byte"] - image["decoded"]["bits_per_byte"]
    assert image["difference"]["bits_per_byte"] == pytest.approx(difference)
    assert result["image_given_caption"]["bound"]["bits_per_byte"] > 0 and result["codecs"]["pictures"] == 7
    assert result["text_given_image"]["bits_per_byte"] > 0 and image["solver_error"]["uniform"] >= 0
    code, out, _ = rawmm(*words)
    assert code == 0 and all(
        part in out for part in ("variational bound", "ODE, uniform noise", "PNG", "text: next token")
    )
    assert out.count(f"{image['bound']['bits_per_byte']:.4f}") == 1  # the same figure in the table


@pytest.mark.process
def test_grey_pictures_are_counted(rawmm, digits):
    code, out, _ = rawmm("entropy-budget", "model", "tiny", "digits", "--steps", "4")
    assert code == 0 and "grey: 7 of them; there a pixel is one byte" in out


def test_audit_of_a_run(rawmm, digits):
    code, out, _ = rawmm("entropy-budget", "--model", "runs/tiny", "--audit", "--images", "digits")
    assert code == 0 and "7 pictures of 1 size," in out and "bit for bit" in out


def test_the_audit_has_no_default_limit(rawmm, digits, monkeypatch):
    find = pictures.find
    monkeypatch.setattr(pictures, "find", lambda *arguments: find(*arguments)[:1] * 1001)
    words = "entropy-budget", "--model", "tiny", "--audit", "--images", "digits"
    assert (
        "lossless: 1,001 pictures" in rawmm(*words)[1]
        and "lossless: 5 pictures" in rawmm(*words, "--limit", 5)[1]
    )


def test_a_difference_is_exit_code_one(rawmm, digits, monkeypatch):
    from rawmm_cli.codecs.raw import RawPatches

    decode = RawPatches.decode
    monkeypatch.setattr(RawPatches, "decode", lambda self, patches, rows: decode(self, patches, rows) ^ 1)
    code, out, err = rawmm("entropy-budget", "--model", "tiny", "--audit", "--images", "digits")
    assert (
        (code, out) == (1, "")
        and "differs first at row 0, column 0, channel 0" in err
        and err.count("\n") == 1
    )


@pytest.mark.process
def test_a_tokenizer_by_a_factory(rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for n in range(5):
        Image.new("RGB", (16, 16), (16 * n + 8,) * 3).save(f"in/{n}.png")
    words = ["entropy-budget", "--codec", "python:toy_codec:UserSquares", "--images", "in"]
    code, out, err = rawmm(*words, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (
        result["pictures"] == 5
        and result["rows"][0]["nominal_bits"] == 64
        and result["rows"][0]["conditional_bits"] is None
    )
    code, out, _ = rawmm(*words, "--size", "8")
    assert (
        code == 0
        and "raw" in out
        and "Bits of codes are not bits of pixels" in out
        and "conditional bits are left out" in out
    )


BAD = {
    "no pictures": (["--model", "portraits"], 2, "--model needs pictures; add --images PATH"),
    "no pictures, codec": (["--codec", "x"], 2, "--codec needs pictures"),
    "audit": (["--audit", "--images", "data"], 2, "--audit needs the model"),
    "empty model": (["--model", "", "--images", "digits"], 2, "--model is empty; leave it out"),
    "empty codec": (["--codec", "", "--images", "digits"], 2, "--codec is empty"),
    "no square": (
        ["--codec", "runs/codec", "--size", "64x32", "--images", "digits"],
        2,
        "--size is 64x32; allowed: one number",
    ),
    "steps of images": (["--images", "digits", "--steps", "4"], 2, "--images takes no --steps"),
    "device of images": (["--images", "digits", "--device", "cpu"], 2, "--images takes no --device"),
    "steps of audit": (
        ["--model", "tiny", "--audit", "--images", "digits", "--steps", "4"],
        2,
        "--audit takes no --steps",
    ),
    "both": (["--model", "a", "--codec", "b", "--images", "data"], 2, "--model and --codec are both given"),
    "size": (["--model", "a", "--size", "5", "--images", "data"], 2, "--model takes no --size"),
    "L": (["--codec", "a", "--L", "5", "--images", "data"], 2, "--codec takes no --L"),
    "steps": (["--model", "portraits", "--steps", "1", "--images", "digits"], 2, "--steps"),
    "model": (["--model", "tinny", "--images", "digits"], 4, "no run 'tinny' in runs (did you mean tiny?)"),
    "kind": (
        ["--codec", "runs/tiny", "--images", "digits"],
        4,
        "is a run of a model that draws and reads, not of a codec",
    ),
    "codec kind": (["--model", "runs/codec", "--images", "digits"], 4, "codec"),
    "codec": (["--codec", "none", "--images", "digits"], 2, "unknown codec 'none'"),
    "packaged": (
        ["--codec", "portraits", "--images", "digits"],
        2,
        "codec portraits is a model that draws and reads",
    ),
    "allowed": (["--codec", "nope", "--images", "digits"], 2, "unknown codec 'nope'; allowed: a run that"),
    "raw": (["--codec", "raw", "--images", "digits"], 2, "codec raw has no codes"),
    "smaller": (["--model", "portraits", "--images", "digits"], 3, "no picture is left"),
    "not admitted": (
        ["--model", "portraits", "--audit", "--images", "odd.png"],
        3,
        "does not divide into patches of 8",
    ),
    "device": (["--model", "tiny", "--images", "digits", "--device", "gpu"], 2, "unknown device 'gpu'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, rawmm, digits):
    from rawmm_cli.config import presets

    Path("runs/codec").mkdir()
    Path("runs/codec/config.yaml").write_text(presets.dump(presets.load("fsq-f8", [])))
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save("odd.png")
    words, expected, message = BAD[name]
    code, out, err = rawmm("entropy-budget", *words)
    lines = err.splitlines()
    assert (
        (code, out) == (expected, "")
        and lines[-1].startswith("error: ")
        and message in lines[-1]
        and len(lines) == 1
    ), err
