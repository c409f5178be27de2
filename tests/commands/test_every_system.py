"""Every command with every system of docs/systems.md: it works, or says in one line why it cannot."""

import http.client
import json
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from systems import SYSTEMS, trained, words

from rawmm_cli.core import generate
from rawmm_cli.core.text_tokenizer import EOS, IMAGE
from rawmm_cli.pages import page
from rawmm_cli.profiling import bench
from rawmm_cli.runs import models
from rawmm_cli.sampling import studio
from rawmm_cli.system import machine

pytestmark = pytest.mark.usefixtures("one_thread")
BASELINES = ("digits-unet", "digits-flow")
CODES = ("digits-next", "digits-masked", "digits-scales", "digits-query")  # of codecs that were trained
IN_ORDER = ("digits-next", "digits-pixels", "digits-query")
DENOISE = ("digits", "digits-patch1", "digits-dit", "digits-uvit", "digits-kl", "digits-unet")

NO_READING = "{name} draws and does not read pictures (baseline.kind = "
NO_DRAWING = "{name} reads pictures and draws none (head.kind = reading)"
NOT_CODES = "{name} writes codes in order, each without knowing those after it (head.kind = autoregressive)"
NO_NOISE = "needs a diffusion head; {name} has "
LOSSY = "needs a model on raw patches; {name} has codec.kind = "


def _cannot():
    """{command: {system: what it says}}"""
    inpaint = dict.fromkeys(IN_ORDER, NOT_CODES)
    inpaint |= {"digits-fuyu": NO_DRAWING, "digits-flow": "{name} draws whole ones (baseline.kind = flow)"}
    no_places = {"digits-scales": "", "digits-query": NOT_CODES}
    bits = dict.fromkeys((*CODES, "digits-kl"), LOSSY) | {"digits-fuyu": NO_NOISE}
    audit = dict.fromkeys((*CODES, "digits-kl"), LOSSY) | dict.fromkeys(BASELINES, NO_READING)
    audit |= {"digits-fuyu": NO_NOISE, "digits-pixels": NO_NOISE}
    return {
        "caption": dict.fromkeys(BASELINES, NO_READING),
        "inpaint": inpaint | no_places,
        "strength": inpaint | no_places,
        "tune-sampler": dict.fromkeys((set(SYSTEMS) - set(DENOISE)), NO_NOISE),
        "bench sample": {"digits-fuyu": "head.kind = reading reads pictures and draws none"},
        "bits": bits,
        "audit": audit,
    }


CANNOT = _cannot()


@pytest.fixture(scope="module", params=SYSTEMS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def runs(name, once, few_digits):
    """A folder with a short run of the system, and that of its codec. Read only."""
    return once(f"system {name}", lambda folder: trained(name, folder, few_digits))


@pytest.fixture
def ask(rawmm, runs, few_digits, name, tmp_path, monkeypatch):
    """ask(what, words) -> what the command prints, where it can; else None, and it has said why."""
    monkeypatch.setenv("RAWMM_RUNS", str(runs))
    for rate in ("matmul_rate", "batched_matmul_rate"):
        monkeypatch.setattr(machine, rate, lambda *arguments: 1e11)
    monkeypatch.setattr(bench, "_seconds", lambda work, device: (work(), 0.5)[1])
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")

    def asked(what, *command):
        code, out, err = rawmm(*command)
        if name not in CANNOT.get(what, {}):
            assert code == 0, err
            return json.loads(out) if out.startswith("{") else out
        line = err.splitlines()[-1]
        assert code == 2 and line.startswith("error: ") and "Traceback" not in err
        assert CANNOT[what][name].format(name=name) in line
        return None

    return asked


@pytest.fixture
def drawing(ask, runs, name, tmp_path):
    """drawing(what, words) -> as `ask`, of a drawing."""
    place = ("--run", name, "--runs-dir", runs, "--out", tmp_path / "out", "--json")
    return lambda what, *more: ask(what, "sample", *more, *place)


def test_it_draws_and_reads(drawing, name, tmp_path):
    image = ("--image", tmp_path / "a.png")
    drawn = drawing("sample", "one")
    assert "samples" in drawn and "seconds" in drawn
    drawing("caption", "--task", "caption", *image)
    drawing("inpaint", "one", *image, "--inpaint", tmp_path / "mask.png")
    drawing("strength", "one", *image, "--strength", 0.5)


def test_it_is_evaluated_reported_and_exported(ask, runs, name, few_digits, tmp_path):
    shutil.copytree(runs / name, tmp_path / "runs" / name)
    if SYSTEMS[name]:
        shutil.copytree(runs / SYSTEMS[name], tmp_path / "runs" / SYSTEMS[name])
    place = (name, "--runs-dir", tmp_path / "runs")
    result = ask("evaluate", "evaluate", *place, "--data-dir", few_digits, "--per-label", 1, "--json")
    assert ("text_to_image" in result) == ("foreign_prompts" in result) == (name != "digits-fuyu")
    assert ("image_to_text" in result) == (name not in BASELINES)
    ask("report", "report", *place)
    page = (tmp_path / "runs" / name / "report.html").read_text()
    assert name in page and "Traceback" not in page
    export = ("export", *place, "--data-dir", few_digits, "--out", tmp_path / "model", "--json")
    assert ask("export", *export)
    shutil.rmtree(tmp_path / "runs")
    drawn = ("sample", "one", "--model", tmp_path / "model", "--out", tmp_path / "drawn", "--json")
    assert "samples" in ask("sample", *drawn)


def test_its_bits_and_its_input(ask, runs, name, few_digits):
    place = (name, "digits", "--runs-dir", runs, "--data-dir", few_digits, "--limit", 1, "--json")
    result = ask("bits", "entropy-budget", "model", *place, "--steps", 2)
    if result is not None:
        kinds = {"digits-pixels": "exact", "digits-flow": "density"}
        assert kinds.get(name, "bound") in result["image"]
    ask("audit", "entropy-budget", "audit", *place)


def test_its_sampler_is_tuned(ask, runs, name, tmp_path, monkeypatch):
    """An untrained model opens no picture by itself: here it does, behind a caption of one letter."""
    letters = iter("a")

    def choose(logits, full, *rest):
        token = next((ord(letter) for letter in letters), IMAGE)
        return [EOS if one else token for one in full]

    monkeypatch.setattr(generate, "choose", choose)
    shutil.copytree(runs, tmp_path / "runs")
    place = (name, "--runs-dir", tmp_path / "runs", "--pictures", 2, "--steps", 1, "--json")
    monkeypatch.setattr("rawmm_cli.sampling.tune.REFERENCE", 8)
    monkeypatch.setattr("rawmm_cli.sampling.tune.STOPS", 4)
    ask("tune-sampler", "tune-sampler", *place)


def test_its_sizes_and_its_speed(ask, runs, name, few_digits):
    place = ("--preset", name, "--data-dir", few_digits, "--json", *words(name))
    sizes = ask("dry-run", "train", *place, "--dry-run", "--runs-dir", runs, "--run", "new")
    assert sizes["flops_per_step"] > 0 and sizes["patches_per_picture"] in (1, 16, 21, 64)
    if SYSTEMS[name]:
        place += (f"codec.run={runs / SYSTEMS[name]}",)
    ask("bench sample", "bench", "sample", *place, "--count", 2)
    assert ask("bench train", "bench", "train", *place, "--steps", 3)["documents_per_second"] > 0


def test_the_same_command_goes_on(ask, runs, name, few_digits, tmp_path):
    """A run that has begun, with more documents and otherwise the same words."""
    shutil.copytree(runs, tmp_path / "runs")
    place = ("--preset", name, "--runs-dir", tmp_path / "runs", "--data-dir", few_digits, "--device", "cpu")
    result = ask("train", "train", *place, "--json", *words(name), "train.documents=24")
    assert result["documents"] == 24


@pytest.fixture
def served(runs, name):
    loaded = models.load(runs / name, torch.device("cpu"))
    with studio.server(studio.Studio(loaded), page.render("studio"), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_studio_draws_and_reads(served, name, tmp_path):
    def answers(path, body):
        connection = http.client.HTTPConnection("127.0.0.1", served.server_port, timeout=60)
        connection.request("POST", path, body)
        answer = connection.getresponse()
        assert answer.status == 200
        return [json.loads(line) for line in answer.read().decode().splitlines()]

    lines = answers("/draw", json.dumps({"prompt": "one", "guidance": 2, "seed": 1}))
    assert not any("error" in line for line in lines) and "seconds" in lines[-1]
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "a.png")
    lines = answers("/caption", (tmp_path / "a.png").read_bytes())
    errors = [line["error"] for line in lines if "error" in line]
    if name in BASELINES:
        assert len(errors) == 1 and NO_READING.format(name=name) in errors[0]
    else:
        assert errors == [] and "seconds" in lines[-1]
