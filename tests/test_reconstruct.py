"""Pictures to noise and back: lossless in the limit of small steps, whatever the model; and against a known solution."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import BACKBONES
from PIL import Image
from test_generate import talkative

from rawmm_cli.core import reconstruct
from rawmm_cli.core.images import read_image


def pictures(count=3, size=(8, 12)):
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_patches_lose_nothing():
    for size in ((2, 2), (8, 12), (64, 64)):
        before = pictures(2, size)
        assert torch.equal(reconstruct.raw(talkative(), before), before)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_more_steps_lose_less_until_nothing_is_lost(backbone):
    """Heun's error falls with the square of the step: 12 dB each time that the steps are doubled."""
    found = [reconstruct.compare(pictures(), reconstruct.ode(talkative(backbone), pictures(), steps)[0]).psnr
             for steps in (40, 80, 160)]
    assert found[0] < found[1] < found[2]
    fine = reconstruct.compare(pictures(), reconstruct.ode(talkative(backbone), pictures(), 600)[0])
    assert fine.psnr > 45 and fine.exact > 0.5


def test_noise_of_a_known_distribution(monkeypatch):
    """Pictures ~ N(0.2, 0.3^2) in every value, and a network that knows it: x keeps its place in units of the spread."""
    mean, spread, model = 0.2, 0.3, talkative()

    def clean(output, z, time):
        t = time.reshape(-1, 1)
        return mean + (1 - t) * spread ** 2 / ((1 - t) ** 2 * spread ** 2 + t ** 2) * (z - (1 - t) * mean)

    monkeypatch.setattr(model.head, "clean", clean)
    before = pictures()
    back, noise = reconstruct.ode(model, before, 100)
    t = reconstruct.BEGIN
    start = (model.codec.encode(before) - (1 - t) * mean) / math.sqrt((1 - t) ** 2 * spread ** 2 + t ** 2)
    torch.testing.assert_close(noise, start, rtol=1e-3, atol=1e-3)
    assert torch.equal(back, before)


def test_what_came_back_is_counted():
    one = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    other = one.clone()
    other[0, 0, 0, 0] = 12
    found = reconstruct.compare(one, other)
    assert found == reconstruct.Report(pytest.approx(10 * math.log10(255 ** 2 * 48 / 144)), 47 / 48, 3 / 4)
    assert reconstruct.compare(one, one) == reconstruct.Report(math.inf, 1.0, 1.0)


def test_the_command(rawmm, tiny_run, tmp_path):
    (tmp_path / "in").mkdir()
    for n, size in enumerate(((8, 8), (8, 8), (12, 8))):
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{n}.png")
    words = ("reconstruct", tmp_path / "in", "--run", tiny_run, "--json")
    code, out, err = rawmm(*words, "--codec", "raw", "--out", tmp_path / "raw")
    assert code == 0, err
    assert json.loads(out)["rows"] == [{"steps": 0, "psnr": None, "exact": 1.0, "lossless": 1.0}]
    for n in range(3):
        assert np.array_equal(read_image(tmp_path / "raw" / f"{n}.png"), read_image(tmp_path / "in" / f"{n}.png"))
    code, out, err = rawmm(*words, "--steps", "20", "--steps", "5")
    found = json.loads(out)
    assert [row["steps"] for row in found["rows"]] == [5, 20] and found["pictures"] == 3
    assert found["rows"][0]["psnr"] < found["rows"][1]["psnr"]
    code, out, err = rawmm("reconstruct", tmp_path / "in" / "0.png", "--run", tiny_run, "--steps", "5")
    assert code == 0 and out.startswith("ode     5 steps  PSNR") and out.count("\n") == 1


@pytest.mark.parametrize("words, code, told", [
    (("none.png",), 3, "image none.png cannot be read"), (("empty",), 3, "empty holds no pictures"),
    (("odd.png",), 3, "does not divide into patches"),
    (("odd.png", "--codec", "rwa"), 2, "unknown codec 'rwa' (did you mean raw?)"),
    (("odd.png", "--steps", "0"), 2, "Invalid value for '--steps'")])
def test_bad_input_is_one_line(words, code, told, rawmm, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (9, 8)).save("odd.png")
    found, out, err = rawmm("reconstruct", *words, "--run", tiny_run)
    assert (found, out) == (code, "") and told in err and err.count("\n") == 1
