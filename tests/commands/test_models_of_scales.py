"""Commands with a model that draws scale by scale: what works, and what says in one line that it cannot."""

import json
import shutil

import pytest
from frozen_runs import MODEL, go, settings, train_codec
from PIL import Image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(few_pictures, once):
    """A folder of runs: the codec `tokens`, scales 1 and 2 of pictures of 16 px, and the model `model`."""

    def make(folder):
        train_codec(few_pictures, folder, "multiscale")
        chosen = settings("head.kind=scales", kind="multiscale")
        go(chosen, few_pictures, folder / "model")

    return once("a model of scales", make)


@pytest.fixture
def run(made, few_pictures, rawmm, tmp_path):
    """run(words) -> (exit code, object on stdout or its text, stderr), beside a copy of the runs."""
    shutil.copytree(made, tmp_path / "runs")

    def call(*words):
        code, out, err = rawmm(*words)
        return code, json.loads(out) if out.startswith("{") else out, err

    call.data, call.runs, call.out = few_pictures, tmp_path / "runs", tmp_path / "out"
    return call


def test_it_draws_and_takes_settings_of_each_scale(run):
    words = ("sample", "", "--run", "model", "--runs-dir", run.runs, "--out", run.out, "--json")
    code, plain, _ = run(*words, "--count", "2")
    assert code == 0 and len(plain["samples"]) == 2
    code, _, _ = run(*words, "--gif")
    with Image.open(next(run.out.glob("*.gif"))) as frames:
        assert code == 0 and frames.n_frames >= 2, "a frame a scale"
    code, _, _ = run(*words, "--code-temperature", "1,0.5", "--code-top-k", "0,3", "--code-top-p", "0.9")
    assert code == 0
    code, _, err = run(*words, "--code-temperature", "1,0.5,0.2")
    assert code == 2 and "--code-temperature = 1.0, 0.5, 0.2 has a value for each scale, and the codec" in err
    code, _, err = run(*words, "--code-top-k", "1,x")
    assert code == 2 and "--code-top-k = '1,x'; allowed: a whole number, or one for each scale" in err
    code, _, err = run(*words, "--steps", "3")
    assert code == 2 and "--steps is no setting of model, whose head is scales; leave it out" in err


def test_what_needs_noise_or_a_likelihood_says_so(run):
    code, _, err = run("tune-sampler", "model", "--runs-dir", run.runs)
    assert code == 2 and "tune-sampler needs a diffusion head; model has head.kind = scales" in err
    code, _, err = run(
        "entropy-budget", "model", "model", "few", "--runs-dir", run.runs, "--data-dir", run.data
    )
    assert code == 2 and "s codec.kind = multiscale, which loses a part of every picture" in err
    words = ("--data-dir", run.data, "--codec", "ode", "--model", run.runs / "model")
    code, _, err = run("reconstruct", "few", *words)
    assert code == 2 and "--codec ode needs a diffusion head" in err


def test_export_takes_the_codec_along(run):
    words = ("export", "model", "--runs-dir", run.runs, "--out", run.out, "--json")
    assert run(*words)[0] == 0
    shutil.rmtree(run.runs)
    code, drawn, _ = run("sample", "", "--model", run.out, "--out", run.out / "samples", "--json")
    assert code == 0 and len(drawn["samples"]) == 1


def test_sizes_before_training(run):
    words = ("backbone.kind=gau", "codec.kind=multiscale", "codec.run=tokens", "head.kind=scales")
    words = (*MODEL, *words, "--dry-run", "--json")
    code, sizes, err = run("train", *words, f"--runs-dir={run.runs}", f"--data-dir={run.data}")
    assert code == 0, err
    assert sizes["patches_per_picture"] == 1 + 4 and sizes["vocabulary"] == 8


def test_reconstruct_counts_every_scale(run):
    words = ("reconstruct", "few", "--codec", "tokens", "--runs-dir", run.runs, "--data-dir", run.data)
    code, result, _ = run(*words, "--json", "--out", run.out)
    assert code == 0 and list(result["rows"][0]["sections"]) == ["1x1", "2x2"]


def test_tokens_that_are_kept_on_disk_train_the_same_model(run):
    """Losses of a run on codes that were kept are those of a run that encodes as it goes."""
    chosen = settings("head.kind=scales", kind="multiscale")
    losses = []
    for name in ("before", "after"):
        losses.append([one["loss"] for one in go(chosen, run.data, run.runs / name)])
        if name == "before":
            data = run.out.parent / "data"
            shutil.copytree(run.data, data)
            run.data = data
            words = ("prepare", "few", "--codec", "tokens", "--runs-dir", run.runs, "--data-dir", data)
            code, _, err = run(*words)
            assert code == 0, err
    assert losses[0] == losses[1]
