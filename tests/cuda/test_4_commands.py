"""Commands on a card, from their words to their files."""

import http.client
import json
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commanding import one_object, process
from PIL import Image
from training_runs import SHORT

from rawmm_cli.pages import page
from rawmm_cli.profiling import bench
from rawmm_cli.runs import models
from rawmm_cli.sampling import studio

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.process,
    pytest.mark.timeout(90),
    pytest.mark.usefixtures("one_thread", "quick"),
]
CODEC = (
    *(
        "codec.kind=fsq",
        "codec.levels=[5, 4]",
        "codec.factor=4",
        "codec.patch=2",
        "codec.width=16",
        "codec.blocks=1",
    ),
    *("data.set=digits", "data.size=8", "train.documents=32", "train.batch=8", "train.save_every=16"),
    *("train.sample_every=32", "train.threads=1", "train.trackers=[]", "train.compile=no"),
)


@pytest.fixture
def run(rawmm, home, card):
    """run("sample", ...) on the card -> the object of --json."""

    def call(*words, device=card):
        code, out, err = rawmm(*words, "--device", device, "--json")
        assert code == 0, err
        return one_object(out)

    return call


def pictures(result):
    """All pictures of a result, (n, H, W, 3)."""
    names = [item["image"] for item in result["items"] if "image" in item]
    return np.stack([np.asarray(Image.open(name)) for name in names]).astype(int)


def test_the_same_seed_draws_the_same_pictures(run):
    """Twice on the card, to the bit; another seed draws others."""
    words = ("sample", "seven", "--run", "tiny", "--count", "3", "--out")
    one, again, other = run(*words, "one"), run(*words, "two"), run(*words, "three", "--seed", "1")
    assert (pictures(one) == pictures(again)).all() and one["samples"][0]["items"]
    assert (pictures(one) != pictures(other)).any()


def test_sample_draws_what_the_cpu_draws(run, noise_of_cpu):
    """From the same noise, up to levels between two."""
    words = ("sample", "seven", "--run", "tiny", "--count", "3", "--precision", "fp32", "--out")
    one, cpu = run(*words, "one"), run(*words, "two", device="cpu")
    assert pictures(one).shape == (3, 8, 8, 3) and one["model_hash"] == cpu["model_hash"]
    assert abs(pictures(one) - pictures(cpu)).max() <= 2
    texts = [[item.get("text") for item in result["items"]] for result in (one, cpu)]
    assert texts[0] == texts[1]


def test_sample_in_bf16_paints_and_reads(run):
    words = ("sample", "--run", "tiny", "--out")
    one, two = (run(*words, out, "seven", "--precision", "bf16") for out in ("one", "two"))
    assert (pictures(one) == pictures(two)).all()
    name = next(item["image"] for item in one["items"] if "image" in item)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save("mask.png")
    (painted,) = pictures(run(*words, "painted", "seven", "--image", name, "--inpaint", "mask.png"))
    assert (painted[:, :4] == pictures(one)[0][:, :4]).all() and (painted != pictures(one)[0]).any()
    read = run("sample", "--run", "tiny", "--image", name, "--task", "caption", "--out", "read")
    read_on_cpu = run(
        "sample", "--run", "tiny", "--image", name, "--task", "caption", "--out", "read", device="cpu"
    )
    assert read["items"] == read_on_cpu["items"]


def test_studio_answers(home, card):
    """From the thread of its server."""
    loaded = models.load(home / "runs" / "tiny", card)
    with studio.server(studio.Studio(loaded), page.render("studio"), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request("POST", "/draw", json.dumps({"prompt": "seven", "steps": 3}), {})
            lines = [json.loads(line) for line in connection.getresponse().read().decode().splitlines()]
        finally:
            server.shutdown()
            thread.join()
    assert [line["step"] for line in lines if "step" in line] == [1, 2, 3]
    assert not [line for line in lines if "error" in line] and lines[-1].keys() == {"seconds"}


def test_a_model_is_trained_and_evaluated(run, home):
    place = ("--run", "mine", "--preset", "tiny", "train.workers=0", *SHORT)
    assert run("train", *place)["documents"] == 160
    assert run("train", *place)["status"] == "was trained already"
    words = ("evaluate", "mine", "--per-label", "1")
    cpu, one = run(*words, device="cpu"), run(*words)
    assert one["text_to_image"]["count"] == cpu["text_to_image"]["count"] == 10
    assert one["image_to_text"]["accuracy"] == cpu["image_to_text"]["accuracy"]
    # text of documents whose picture is read: no noise
    assert one["held_out"]["bits_per_byte"] == pytest.approx(cpu["held_out"]["bits_per_byte"], rel=1e-3)
    assert (home / one["report"]).is_file()


def test_a_codec_is_trained_and_reconstructs(run, exact):
    done = run("train", *CODEC, "--preset", "fsq-f8", "--run", "codec")
    assert done["documents"] == 32 and done["held_out_psnr"] > 0 and done["memory"] > 0
    assert run("train", *CODEC, "--preset", "fsq-f8", "--run", "codec")["status"] == "was trained already"
    words = (
        "reconstruct",
        "data/digits",
        "--ocr",
        "none",
        "--features",
        "none",
        "--limit",
        "5",
        "--run",
        "tiny",
    )
    words = (*words, "--codec", "codec", "--codec", "raw", "--codec", "ode", "--steps", "4")
    one, cpu = run(*words), run(*words, device="cpu")
    for row, other in zip(one["rows"], cpu["rows"], strict=True):
        assert row["psnr"] == pytest.approx(other["psnr"], abs=0.5), row["codec"]  # a code between two
    assert one["rows"][1]["exact"] == 1


@pytest.mark.process
def test_the_bits_of_a_model(run):
    words = ("entropy-budget", "model", "tiny", "digits", "--steps", "2", "--limit", "3")
    one, cpu = run(*words), run(*words, device="cpu")
    for name in ("bound", "uniform", "decoded"):  # noise from the CPU: the same bits, but for rounding
        assert one["image"][name]["bits_per_byte"] == pytest.approx(
            cpu["image"][name]["bits_per_byte"], rel=1e-3
        )
    assert one["text"]["bits_per_byte"] == pytest.approx(cpu["text"]["bits_per_byte"], rel=1e-4)


def test_the_sampler_is_tuned(run):
    result = run("tune-sampler", "tiny", "--steps", "2", "--pictures", "2")
    assert result["steps"]["2"]["error"] >= 0
    assert run("sample", "seven", "--run", "tiny", "--steps", "2")["grid"] == "tuned"


def test_bench(run, card, monkeypatch):
    monkeypatch.setattr(bench, "_seconds", partial(bench._seconds, least=0.0))
    figures = run(
        "bench", "train", "--preset", "tiny", "--steps", "3", "train.precision=auto", "train.workers=0"
    )
    assert figures["positions_per_second"] > 0 and figures["peak_memory"] > 0 and figures["mfu"] > 0
    if card.type == "cuda":
        assert figures["precision"] == "bf16" and figures["estimate"]["peak_memory"] > 0
    drawn = run("bench", "sample", "--preset", "tiny", "--count", "4")
    assert drawn["pictures_per_second"] > 0 and drawn["tokens_per_second"] > 0


def test_a_dry_run_of_training(run):
    sizes = run("train", "--preset", "tiny", "--dry-run")
    assert sizes["memory"]["total"] > 0 and sizes["step_seconds"] > 0


def test_doctor(rawmm, card, home):
    """Every line is printed, and says of the card what it can do."""
    code, out, err = rawmm("doctor", "--json")
    assert code == 0, err
    facts = one_object(out)
    here = facts["devices"][-1]
    assert here["device"] == ("cuda:0" if card.type == "cuda" else "cpu")
    assert all(kind["works"] for kind in here["dtypes"].values()), here
    assert facts["training"][here["device"]] is None
    if card.type == "cuda":
        assert here["name"] == torch.cuda.get_device_name(0) and here["memory"] > 1 << 30
        assert "nccl" in facts["distributed"]
    code, out, err = rawmm("doctor")
    assert code == 0 and here["name"] in out, err


@pytest.mark.process
def test_rawmm_starts_from_its_folder(card, tmp_path):
    """As `python -m rawmm_cli`, where it is not installed, in another folder."""
    places = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    here = {"PYTHONPATH": os.pathsep.join(places)}
    done = process("presets", module=True, cwd=tmp_path, env=os.environ | here)
    assert done.returncode == 0 and "tiny" in done.stdout, done.stderr
