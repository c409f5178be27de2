"""Commands with models that write pictures code by code, of sub-pixels and of a tokenizer: what works, and
what says in one line that it cannot."""

import json
import math
import shutil

import pytest
from frozen_runs import go, settings, train_codec
from PIL import Image

from rawmm_cli.config import presets

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = [
    "backbone.width=32",
    "backbone.heads=2",
    "backbone.depth=1",
    "backbone.hidden=48",
    "train.documents=48",
    "train.batch=8",
    "train.warmup=8",
    "train.log_every=16",
    "train.sample_every=1000",
    "train.threads=1",
    "train.workers=0",
    "train.compile=no",
    "train.precision=fp32",
    "train.trackers=[]",
    "sample.max_text=4",
]


@pytest.fixture(scope="module")
def pixels(few_digits, once):
    """A run on sub-pixels of digits."""
    return once(
        "pixels", lambda folder: go(presets.load("digits-pixels", SMALL), few_digits, folder / "pixels")
    )


@pytest.fixture(scope="module")
def codes(few_pictures, once):
    """A codec of two codes a token, and a run on it."""

    def make(folder):
        train_codec(few_pictures, folder, "rvq")
        chosen = settings("head.kind=autoregressive", "head.z_loss=1e-3", "train.length=64", kind="rvq")
        go(chosen, few_pictures, folder / "codes")

    return once("codes", make)


@pytest.fixture
def call(rawmm):
    """call(words) -> (exit code, object on stdout or its text, stderr)."""

    def run(*words):
        code, out, err = rawmm(*words)
        return code, json.loads(out) if out.startswith("{") else out, err

    return run


@pytest.mark.parametrize("name", ["pixels", "codes"])
def test_it_draws_by_its_own_settings(name, call, request, tmp_path):
    runs = request.getfixturevalue(name)
    words = ("sample", "{{image:", "--run", name, "--runs-dir", runs, "--out", tmp_path, "--json")
    code, plain, _ = call(*words, "--count", 2, "--code-top-k", 5, "--code-top-p", 0.9, "--gif")
    assert code == 0 and len(plain["samples"]) == 2 and "steps" not in plain
    code, _, err = call(*words, "--code-temperature", 0)
    assert code == 0 and "code_temperature = 0 takes the likeliest codes" in err
    code, _, err = call(*words, "--steps", 3)
    assert code == 2 and f"--steps is no setting of {name}, whose head is autoregressive; leave it out" in err
    code, _, err = call(*words, "--code-temperature", "1,0.5")
    assert code == 2 and "has a value for each scale, and head.kind = autoregressive has no scales" in err


def test_it_does_not_draw_on_a_picture(call, pixels, tmp_path):
    for name, level in (("a", 90), ("mask", 255)):
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / f"{name}.png")
    words = ("sample", "--run", "pixels", "--runs-dir", pixels, "--image", tmp_path / "a.png")
    words = (*words, "--out", tmp_path / "out")
    for more in (("--inpaint", tmp_path / "mask.png"), ("--strength", 0.5)):
        code, _, err = call(*words, *more)
        option = more[0]
        assert code == 2 and f"error: {option} draws on a picture; pixels writes codes in order" in err
        assert not (tmp_path / "out").exists()


@pytest.mark.process
def test_exact_bits_of_pixels_are_printed(call, pixels, few_digits):
    words = ("entropy-budget", "model", "pixels", "digits", "--runs-dir", pixels, "--data-dir", few_digits)
    code, result, err = call(*words, "--limit", 3, "--json")
    assert code == 0, err
    assert set(result["image"]) == {"exact"} and 0 < result["image"]["exact"]["bits_per_byte"] < 24
    code, text, _ = call(*words, "--limit", 3)
    assert code == 0 and "pictures: next value" in text and "exact" in text


def test_evaluate_gives_bits_of_pixels_and_reads(call, pixels, few_digits, tmp_path):
    shutil.copytree(pixels / "pixels", tmp_path / "pixels")
    words = ("evaluate", "pixels", "--runs-dir", tmp_path, "--data-dir", few_digits, "--per-label", 1)
    code, result, err = call(*words, "--json")
    assert code == 0, err
    held_out = result["held_out"]
    assert held_out["bits_per_dim"] == pytest.approx(held_out["image"] / math.log(2), rel=1e-4)
    assert "image_to_text" in result or "text_to_image" in result
    code, _, err = call("export", "pixels", "--runs-dir", tmp_path, "--out", tmp_path / "out", "--json")
    assert code == 0 and "bits/dim, exact" in (tmp_path / "out" / "README.md").read_text(), err
    words = ("sample", "", "--model", tmp_path / "out", "--out", tmp_path / "drawn", "--json")
    assert call(*words)[0] == 0
    code, _, err = call("report", "pixels", "--runs-dir", tmp_path)
    assert code == 0, err


def test_codes_of_a_tokenizer_have_no_bits_of_pictures_and_nothing_to_tune(call, codes, few_pictures):
    place = ("--runs-dir", codes, "--data-dir", few_pictures)
    code, _, err = call("entropy-budget", "model", "codes", "few", *place)
    assert code == 2 and "codec.kind = rvq" in err
    code, _, err = call("tune-sampler", "codes", "--runs-dir", codes)
    assert code == 2 and "tune-sampler needs a diffusion head; codes has head.kind = autoregressive" in err


def test_sizes_before_training(call, few_digits):
    words = ("train", "--preset", "digits-pixels", *SMALL, "--dry-run", "--json", f"--data-dir={few_digits}")
    code, sizes, err = call(*words)
    assert code == 0, err
    assert sizes["patches_per_picture"] == 64 and sizes["vocabulary"] == 256
