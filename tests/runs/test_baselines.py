"""Baselines through their whole life: trained, gone on with, drawn with, measured, exported; and what they
cannot do, in one line."""

import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("one_thread")
UNET = ("codec.patch=1", "baseline.kind=unet", "baseline.channels=8", "baseline.groups=4")
FLOW = ("codec.patch=4", "baseline.kind=flow", "baseline.blocks=2", "baseline.width=16", "baseline.heads=2")
KINDS = {"unet": UNET, "flow": FLOW}
SHORT = ("data.read=0", "train.documents=64", "train.log_every=16", "train.save_every=32")


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def runs(kind, once, prepared_digits):
    """A short run, as a folder of runs."""
    from typer.testing import CliRunner

    from rawmm_cli.cli import app

    def make(folder):
        words = ["train", "--preset", "tiny", "--run", kind, "--runs-dir", str(folder), "--device", "cpu"]
        words += ["--data-dir", str(prepared_digits), "--json", *SHORT, *KINDS[kind]]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    return once(f"baseline-{kind}", make)


@pytest.fixture
def call(rawmm, runs, kind, prepared_digits):
    """A command on the run -> (exit code, stdout, stderr)."""

    def called(command, *words, data=True):
        place = ("--runs-dir", runs, "--device", "cpu", *(("--data-dir", prepared_digits) if data else ()))
        return rawmm(*map(str, (command, *words, *place)))

    return called


def test_it_draws_from_a_caption(call, kind, tmp_path):
    words = ("seven", "--run", kind, "--count", 2, "--seed", 3, "--out", tmp_path, "--json", "--gif")
    code, out, _ = call("sample", *words, data=False)
    assert code == 0
    pictures = [item for item in json.loads(out)["items"] if "image" in item]
    assert all(Image.open(item["image"]).size == (8, 8) for item in pictures)


def test_it_does_not_read_and_says_so(call, kind, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    words = ("--run", kind, "--task", "caption", "--image", tmp_path / "a.png", "--out", tmp_path)
    code, _, err = call("sample", *words, data=False)
    assert code == 2 and err.splitlines()[-1] == (
        f"error: --image: {kind} draws and does not read pictures (baseline.kind = {kind} knows no "
        "sequence); leave it out, or choose another model"
    )
    code, _, err = call("entropy-budget", "audit", kind, "digits", data=True)
    assert code == 2 and f"audit of a model's input: {kind} draws and does not read pictures" in err
    code, out, err = call("evaluate", kind, "--per-label", 1, "--json")
    assert code == 0 and f"reading is not measured: baseline.kind = {kind} draws and does not read" in err
    results = json.loads(out)
    assert "image_to_text" not in results and "caption" not in results["held_out"]
    assert results["text_to_image"]["count"] == 10
    if kind == "flow":
        assert results["text_to_image"]["steps"] is None
        assert results["held_out"]["bits_per_dim_density"] == pytest.approx(
            results["held_out"]["image"], abs=0.01
        )


@pytest.mark.process
def test_the_bits_of_pictures(call, kind, prepared_digits):
    code, out, err = call("entropy-budget", "model", kind, "digits", "--limit", 20, "--steps", 4, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["text_given_image"] is None and result["text"] is not None
    assert set(result["image"]) & {"density", "bound"} == {"density" if kind == "flow" else "bound"}


def test_what_needs_noise_and_times(call, kind, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    strength = ("--run", kind, "--image", tmp_path / "a.png", "--strength", 0.5, "--out", tmp_path)
    code, _, err = call("sample", "one", *strength, "--json", data=False)
    other, _, tuned = call("tune-sampler", kind, "--pictures", 2, "--steps", 1, data=False)
    if kind == "unet":
        assert code == other == 0 or "opens no picture" in tuned
    else:
        assert (
            code == 2 and "--strength draws on a picture; flow draws whole ones (baseline.kind = flow)" in err
        )
        line = "tune-sampler needs a diffusion head; flow has baseline.kind = flow; choose another model"
        assert other == 2 and line in tuned
        code, _, err = call("sample", "one", "--run", kind, "--solver", "heun", "--out", tmp_path, data=False)
        assert code == 2 and "--solver is no setting of flow, whose baseline is flow; leave it out" in err
    size = ("--run", kind, "--size", 20 if kind == "flow" else 9, "--out", tmp_path)
    code, _, err = call("sample", "one", *size, data=False)
    wanted = (
        "the size that it learned, 2 x 2 tokens, not 5 x 5" if kind == "flow" else "cannot be halved 1 times"
    )
    assert code == 2 and wanted in err and "choose another size" in err


def test_it_is_exported_with_a_card(call, rawmm, runs, kind, prepared_digits, tmp_path):
    where = ("--runs-dir", runs, "--data-dir", prepared_digits)
    code, _, err = rawmm("export", kind, "--out", tmp_path / "model", *where)
    assert code == 0, err
    card = (tmp_path / "model" / "README.md").read_text()
    assert "It does not read pictures" in card and "--task caption" not in card
    assert f"| baseline | {kind}, " in card
    assert rawmm("sample", "one", "--model", tmp_path / "model", "--out", tmp_path, "--json")[0] == 0


def test_sizes_before_a_run(rawmm, kind, prepared_digits):
    place = ("--data-dir", prepared_digits, "--device", "cpu")
    code, out, err = rawmm("train", "--preset", "tiny", "--dry-run", "--json", *SHORT, *KINDS[kind], *place)
    assert code == 0, err
    sizes = json.loads(out)
    assert sizes["parameters"]["image"] > 1000 and sizes["flops_per_step"] > 1e6
    code, _, err = rawmm("bench", "sample", "--preset", "tiny", "--count", 2, "--json", *KINDS[kind], *SHORT)
    assert code == 0, err


def test_a_longer_run_goes_on(rawmm, runs, kind, prepared_digits):
    """With the same weights as one without a break."""
    import shutil

    from rawmm_cli.runs import checkpoint, loading

    tensors = []
    for name, stops in (("broken", (32, 64)), ("whole", (64,))):
        for documents in stops:
            words = ("--run", name, "--runs-dir", runs, "--data-dir", prepared_digits, "--device", "cpu")
            settings = (*SHORT, *KINDS[kind], f"train.documents={documents}", "train.decay=0")
            code, _, err = rawmm("train", "--preset", "tiny", "--json", *words, *settings)
            assert code == 0, err
        tensors.append(loading.tensors(checkpoint.latest(runs / name), "model"))
        shutil.rmtree(runs / name)
    assert tensors[0].keys() == tensors[1].keys()
    assert all((tensors[0][key] == tensors[1][key]).all() for key in tensors[0])
