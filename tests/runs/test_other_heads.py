"""A model whose head is of another kind: what needs noise and times is refused in one line, and what does not
works without steps."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from combinations import made
from helpers import as_loaded

from rawmm_cli.commands.tune_sampler import tune_sampler
from rawmm_cli.config import build, presets
from rawmm_cli.information import audit, image_bits
from rawmm_cli.profiling import bench
from rawmm_cli.reconstruction import choices
from rawmm_cli.runs import abilities, models
from rawmm_cli.sampling import session, studio
from rawmm_cli.sampling.request import Request
from rawmm_cli.system import machine
from rawmm_cli.system.errors import ConfigError

CPU = torch.device("cpu")
HEAD = ("patch by patch", "transformer", "raw")
PICTURES = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)


def other(config):
    """Settings with a head of a kind that the package does not have."""
    return config.model_copy(update={"head": SimpleNamespace(kind="blank", draws=True)})


@pytest.fixture
def loaded(monkeypatch):
    """A toy that draws patch by patch, without settings of drawing."""
    drawing = build._drawing
    monkeypatch.setattr(build, "_drawing", lambda c: None if c.head.kind == "blank" else drawing(c))
    return as_loaded(made(HEAD), other(presets.load("tiny")))


@pytest.mark.parametrize(
    "what, work",
    [
        ("the likelihood of pictures", lambda m: image_bits.of_pictures(m, PICTURES, [""], 1)),
        ("the likelihood of pictures", lambda m: image_bits.denoiser(m, PICTURES, [""])),
        ("the audit of a model's input", lambda m: audit.audit(m, [])),
        ("--codec ode", lambda m: choices.choices(["ode"], None, CPU, lambda: m, [2])),
        ("--strength", lambda m: session.prepare(m, Request(images=(PICTURES[0],), strength=0.5))),
    ],
)
def test_what_needs_noise_and_times_is_refused(what, work, loaded):
    with pytest.raises(ConfigError) as error:
        work(loaded)
    assert str(error.value) == (
        f"{what} needs a diffusion head; tiny has head.kind = blank; choose another model"
    )


def test_the_sampler_is_not_tuned(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "find", lambda *names: tmp_path)
    monkeypatch.setattr(models, "load", lambda *arguments: loaded)
    (tmp_path / models.FACTS).touch()
    with pytest.raises(ConfigError, match="^tune-sampler needs a diffusion head; tiny has head.kind = blank"):
        tune_sampler(str(tmp_path), [4], 2, 0, "cpu", tmp_path, True)


def test_the_studio_draws_without_steps(loaded):
    page, lines = studio.Studio(loaded), []
    assert page.about()["steps"] is None
    page.draw({"prompt": "a", "guidance": 1.0, "seed": 3}, lines.append)
    assert "seconds" in lines[-1] and not any("error" in line for line in lines)


def test_the_benchmark_draws_without_steps(loaded, monkeypatch):
    monkeypatch.setattr(build, "model", lambda config, device: loaded.model)
    monkeypatch.setattr(machine, "matmul_rate", lambda *arguments: 1e11)
    monkeypatch.setattr(bench, "_seconds", lambda work, device: (work(), 0.5)[1])
    figures = bench.sample(loaded.config, CPU, 2)
    assert figures["steps"] is figures["solver"] is figures["seconds_per_step"] is figures["mfu"] is None
    assert figures["pictures_per_second"] == 4 and figures["seconds_per_picture_alone"] == 0.5


def test_a_diffusion_head_is_returned(loaded):
    model = made(("clean", "transformer", "raw"))
    assert abilities.diffusion_head(replace(loaded, model=model), "a test") is model.head
