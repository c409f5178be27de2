"""The budget on a model and on a codec: the audit and what it must catch, one table, codes whose bits are
known, bad input."""

import json
import math
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_codec import Squares

from rawmm_cli.data import pictures
from rawmm_cli.information import audit
from rawmm_cli.reconstruction import choices, code_bits, code_model, round_trip
from rawmm_cli.reconstruction.choices import Choice
from rawmm_cli.runs import models
from rawmm_cli.system.errors import ConfigError, RawmmError

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def portraits():
    return models.load(models.find(None, None, "portraits"), CPU)


@pytest.fixture
def folder(tmp_path):
    """Every mode, sizes that the packaged model takes, one that it does not, and one file that is broken."""
    dice = np.random.default_rng(0)
    for n, mode in enumerate(("RGB", "L", "P", "1", "RGBA", "CMYK", "LA")):
        values = dice.integers(0, 256, (8 + 8 * (n % 2), 16, 3), dtype=np.uint8)
        Image.fromarray(values).convert(mode).save(tmp_path / f"{n}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.fromarray(dice.integers(0, 65536, (8, 8), dtype=np.uint16)).save(tmp_path / "7.png")
    Image.fromarray(dice.integers(0, 256, (24, 8, 3), dtype=np.uint8)).save(
        tmp_path / "8.jpg", quality=90, exif=_turned()
    )
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(tmp_path / "odd.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    return tmp_path


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


# ------------------------------------------------------------------------------------------------------ audit


def test_every_mode_and_size_comes_back(portraits, folder):
    result = audit.audit(portraits, pictures.find([folder], folder))
    assert result.pictures == 9 and result.tests == len(audit.TESTS) * len(audit.SIDES)
    assert sorted(Path(file).name for file in result.converted) == ["4.png", "5.tif", "6.png", "7.png"]
    assert [Path(one.file).name for one in result.not_admitted] == ["odd.png"]
    assert [Path(one.file).name for one in result.skipped] == ["broken.png"]
    assert result.first_layer == audit.FirstLayer(192, 192) and (8, 24) in result.sizes


def test_one_level_of_one_value_is_caught(portraits, folder, monkeypatch):
    decode = type(portraits.model.codec).decode

    def wrong(self, patches, rows):
        back = decode(self, patches, rows)
        back[:, 1, 3, 2] ^= int(back.shape[2:] == (16, 16))
        return back

    monkeypatch.setattr(type(portraits.model.codec), "decode", wrong)
    with pytest.raises(
        RawmmError, match=r"1.png differs first at row 3, column 2, channel 1: \d+ in the picture"
    ) as told:
        audit.audit(portraits, pictures.find([folder], folder))
    assert told.value.exit_code == 1


def test_patches_of_another_picture_are_caught(portraits, folder, monkeypatch):
    """All values are there, but two pictures of one size change places."""
    clean = type(portraits.model).clean
    monkeypatch.setattr(type(portraits.model), "clean", lambda self, batch: clean(self, batch).flip(0))
    with pytest.raises(RawmmError, match="differs first at"):
        audit.audit(portraits, pictures.find([folder], folder))


def test_a_reader_that_changes_a_level_is_caught(portraits, folder, monkeypatch):
    read = pictures.read_image
    monkeypatch.setattr(pictures, "read_image", lambda path: np.minimum(read(path), 254))
    with pytest.raises(RawmmError, match="as Pillow reads it, 254 as it was read"):
        audit.audit(portraits, pictures.find([folder], folder))


def test_a_first_layer_that_is_too_narrow():
    layer = torch.nn.Sequential(torch.nn.Linear(12, 5, bias=False), torch.nn.Linear(5, 32))
    assert audit.first_layer(layer) == audit.FirstLayer(12, 5)


# ---------------------------------------------------------------------------------------------------- a model


@pytest.fixture
def digits(tmp_path, few_digits, tiny_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(few_digits / "digits", "data/digits")
    shutil.copytree(tiny_run, "runs/tiny")
    return tmp_path


@pytest.mark.process
def test_both_modalities_in_one_table(rawmm, digits):
    words = ["entropy-budget", "--model", "tiny", "--images", "digits", "--steps", "4"]
    code, out, err = rawmm(*words, "--json")
    assert code == 0, err
    found = json.loads(out)
    image, text = found["image"], found["text"]
    assert found["pictures"] == 7 and found["size"] == 8 and text["texts"] == 7 and text["bits_per_byte"] < 8
    for way in ("bound", "uniform", "decoded"):
        assert (
            0 < image[way]["bits_per_byte"] < 30
            and image[way]["standard_error"] > 0
            and image[way]["pictures"] == 7
        )
    apart = image["bound"]["bits_per_byte"] - image["decoded"]["bits_per_byte"]
    assert image["difference"]["bits_per_byte"] == pytest.approx(apart)
    assert found["image_given_caption"]["bound"]["bits_per_byte"] > 0 and found["codecs"]["pictures"] == 7
    assert found["text_given_image"]["bits_per_byte"] > 0 and image["solver_error"]["uniform"] >= 0
    code, out, _ = rawmm(*words)
    assert code == 0 and all(
        part in out for part in ("variational bound", "ODE, uniform noise", "PNG", "text: next token")
    )
    assert out.count(f"{image['bound']['bits_per_byte']:.4f}") == 1  # the same again


@pytest.mark.process
def test_grey_pictures_cost_one_byte_a_pixel(rawmm, digits):
    """A grey picture and the same with one level of one channel changed: as many bits, a third of the
    bytes."""
    from rawmm_cli.data import prepared
    from rawmm_cli.information import model_bits

    loaded = models.load(models.find(Path("runs"), "tiny", None), CPU)
    grey = torch.stack([prepared.load(Path("data/digits"), "held_out").image(n) for n in range(3)])
    colour = grey.clone()
    colour[:, 0, 0, 0] ^= 1
    found = [model_bits.of_pictures(loaded, images, [""] * 3, 4) for images in (grey, colour)]
    for way in ("bound", "uniform", "decoded", "difference"):
        one, three = (getattr(result, way) for result in found)
        assert one.bits_per_byte == pytest.approx(3 * three.bits_per_byte, rel=0.02, abs=0.05)
        assert one.standard_error == pytest.approx(3 * three.standard_error, rel=0.1)
    for way, error in found[0].solver_error.items():
        assert error == pytest.approx(3 * found[1].solver_error[way], rel=0.1)
    code, out, _ = rawmm("entropy-budget", "--model", "tiny", "--images", "digits", "--steps", "4")
    assert code == 0 and "grey: 7 of them; there a pixel is one byte" in out


def test_audit_of_a_run(rawmm, digits):
    code, out, _ = rawmm("entropy-budget", "--model", "runs/tiny", "--audit", "--images", "digits")
    assert code == 0 and "7 pictures of 1 size," in out and "bit for bit" in out


def test_audit_looks_at_all(rawmm, digits, monkeypatch):
    find = pictures.find
    monkeypatch.setattr(pictures, "find", lambda *given: find(*given)[:1] * 1001)
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


# ---------------------------------------------------------------------------------------------------- a codec


def toy(codec=None):
    codec = codec or Squares()
    return Choice(
        "toy",
        "tokenizer",
        lambda images: round_trip.through(codec, images, CPU),
        codec.bits,
        codec.vocabulary,
    )


def flat_squares(folder, count, size=16):
    """Pictures that the toy tokenizer gives back exactly: grey squares of its own levels."""
    dice = np.random.default_rng(3)
    for n in range(count):
        levels = (dice.integers(0, 16, (size // 4, size // 4)) * 16 + 8).astype(np.uint8)
        Image.fromarray(levels.repeat(4, 0).repeat(4, 1)).convert("RGB").save(folder / f"{n:03d}.png")


@pytest.mark.process
def test_codes_that_are_known(tmp_path):
    """Sixteen levels, drawn evenly and apart: four bits a code, whatever one counts; and every picture comes
    back."""
    flat_squares(tmp_path, 60)
    result = code_bits.measure(toy(), pictures.find([tmp_path], tmp_path), None)
    row, raw = result.codec, result.raw
    assert (row.tokens, row.nominal_bits, row.exact_rate, row.psnr) == (16, 64, 1, math.inf)
    assert row.codes.dead_codes == 0 and 2**row.codes.entropy == pytest.approx(16, abs=0.3)
    assert row.used_bits == pytest.approx(64, abs=0.5) and row.conditional_bits == pytest.approx(64, rel=0.03)
    assert raw.nominal_bits == 8 * 16 * 16 and row.share == pytest.approx(64 / result.bounds.bound.bits)


def test_a_model_finds_what_hangs_together():
    """Chains in which a code is mostly the one before it and one more: entropy by hand, and the marginal
    knows nothing."""
    dice = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 8, (120, 24), generator=dice)
    for n in range(1, 24):
        kept = torch.rand(120, generator=dice) < 0.9
        codes[:, n] = torch.where(kept, (codes[:, n - 1] + 1) % 8, codes[:, n])
    same, other = 0.9 + 0.1 / 8, 0.1 / 8
    exact = (3 + 23 * -(same * math.log2(same) + 7 * other * math.log2(other))) / 24
    found, reason = code_model.conditional_bits(codes, 8)
    assert reason is None and exact - 0.1 < found < exact + 0.25
    assert code_model.conditional_bits(codes[:10], 8) == (None, "fewer than 20 pictures of one size")


def test_codes_far_from_the_first_count_too(monkeypatch):
    """1,024 codes of which the second half are dice of 256 sides: 4,096 bits a picture, and no fewer. Learned
    for a moment."""
    monkeypatch.setattr(code_model, "STEPS", 50)
    monkeypatch.setattr(code_model, "ROWS", 4)
    dice = torch.Generator().manual_seed(0)
    codes = torch.cat(
        [torch.zeros(24, 512, dtype=torch.long), torch.randint(0, 256, (24, 512), generator=dice)], 1
    )
    found, reason = code_model.conditional_bits(codes, 256)
    assert reason is None and 4096 <= 1024 * found < 4800


@pytest.mark.process
def test_pictures_of_several_lengths_have_no_one_rate(tmp_path):
    flat_squares(tmp_path, 20)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "small.png")
    row = code_bits.measure(toy(), pictures.find([tmp_path], tmp_path), None).codec
    assert row.conditional_bits is None
    assert row.codes.conditional_missing == "pictures have 2 different numbers of tokens"


@pytest.mark.process
def test_codes_are_kept_and_pixels_are_not(tmp_path, monkeypatch):
    """Pictures wait for a process that measures them, few at a time; every picture and every step is told."""
    flat_squares(tmp_path, 150)
    alive, most, done, steps = set(), [], [], []
    read = code_bits.read

    def watched(found, skipped):
        for one in read(found, skipped):
            memory = one.pixels.numpy().copy()
            alive.add(one.index)
            weakref.finalize(memory, alive.remove, one.index)
            most.append(len(alive))
            yield replace(one, pixels=torch.from_numpy(memory))
            del one, memory

    monkeypatch.setattr(code_bits, "read", watched)
    monkeypatch.setattr(code_model, "STEPS", 3)
    result = code_bits.measure(toy(), pictures.find([tmp_path], tmp_path), None, done.append, steps.append)
    assert result.bounds.pictures == 150 and done == list(range(1, 151)) and steps == [0, 1, 2, 3]
    assert max(most) <= 2 * 64 + 1  # a group of 64, and the one before it


@pytest.mark.process
def test_the_command_by_a_factory(rawmm, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    flat_squares(tmp_path / "in", 5)
    monkeypatch.chdir(tmp_path)
    words = ["entropy-budget", "--codec", "python:toy_codec:Squares", "--images", "in"]
    code, out, err = rawmm(*words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (
        found["pictures"] == 5
        and found["rows"][0]["nominal_bits"] == 64
        and found["rows"][0]["conditional_bits"] is None
    )
    code, out, _ = rawmm(*words, "--size", "8")
    assert (
        code == 0
        and "raw" in out
        and "Bits of codes are not bits of pixels" in out
        and "conditional bits are left out" in out
    )


def test_continuous_tokens_have_no_codes(folder):
    choice = choices.choices(["raw"], None, CPU, None, [])[0]
    with pytest.raises(ConfigError, match="has no codes whose bits could be counted"):
        code_bits.measure(choice, pictures.find([folder / "0.png"], folder), None)


# -------------------------------------------------------------------------------------------------- bad input


BAD = {
    "no pictures": (["--model", "portraits"], 2, "--model needs pictures; add --images PATH"),
    "no pictures, codec": (["--codec", "x"], 2, "--codec needs pictures"),
    "audit": (["--audit", "--images", "data"], 2, "--audit needs the model"),
    "empty model": (["--model", "", "--images", "digits"], 2, "--model is empty; leave it out"),
    "empty codec": (["--codec", "", "--images", "digits"], 2, "--codec is empty"),
    "no square": (
        ["--codec", "runs/codec", "--size", "64x32", "--images", "digits"],
        2,
        "--size is 64x32; of",
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
    words, expected, told = BAD[name]
    code, out, err = rawmm("entropy-budget", *words)
    lines = err.splitlines()
    assert (
        (code, out) == (expected, "")
        and lines[-1].startswith("error: ")
        and told in lines[-1]
        and len(lines) == 1
    ), err
