"""The cost of a drawing against the formulae of FLOPs, and against what each kind of model must compute."""

import pytest
import torch
from helpers import as_loaded, randomised

from rawmm_cli.config import build, presets
from rawmm_cli.core.text_tokenizer import BOS, IMAGE, encode
from rawmm_cli.data import prepared
from rawmm_cli.evaluation import cost
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.sampling.request import Request
from rawmm_cli.system import machine

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = [BOS, *encode("seven"), IMAGE]
ROOM = 64  # columns of the cache: 1 for padding, 4 of the picture, 7 of the prompt, up to a multiple of 64


def built(*words):
    config = presets.load("tiny", ["data.size=8", *words])
    return randomised(build.model(config), std=0.1).eval(), build.sampling(config), config


def by_formula(model, guided, evaluations, patches, prompt=32):
    """A prompt of 32 positions, padded, then each evaluation with its patches before all columns."""
    backbone, head, rows = model.backbone.work(), model.head.work(), 1 + guided
    positions = rows * (prompt + evaluations * patches)
    return 2 * (
        positions * (backbone.position + ROOM * backbone.pair)
        + rows * evaluations * patches * head.position
        + evaluations * (head.picture + backbone.picture)
    )


@pytest.mark.parametrize("kind", ["gau", "transformer"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("steps, solver, evaluations", [(3, "euler", 3), (3, "heun", 5), (4, "ab2", 4)])
def test_a_diffusion_head_by_the_formulae(kind, guidance, steps, solver, evaluations):
    """Heun needs two evaluations a step, but for the last."""
    model, settings, _ = built(f"backbone.kind={kind}", "codec.patch=4")
    settings = settings.changed(steps=steps, solver=solver, guidance=guidance, precision="fp32")
    guided = int(guidance != 1)
    assert cost.steps_of(model, PROMPT, settings) == (evaluations, evaluations * 4 * (1 + guided))
    whole, codec = cost.flops_of(model, PROMPT, settings)
    assert codec == 0 and whole == by_formula(model, guided, evaluations, 4)


def test_codes_one_after_the_other():
    """192 codes of an 8-px picture: an evaluation each, the first of which is the prompt's own."""
    model, settings, _ = built("codec.kind=subpixels", "head.kind=autoregressive", "train.length=300")
    settings = settings.changed(guidance=1.0, precision="fp32")
    assert cost.steps_of(model, PROMPT, settings) == (192, 192)
    assert cost.flops_of(model, PROMPT, settings)[1] == 0


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_baselines(guidance):
    """A U-Net computes all places at each step; a flow one token at a time, in each of its blocks."""
    settings = ["data.read=0", "baseline={kind: unet, channels: 8, groups: 8}"]
    model, sampling, _ = built(*settings, "codec.patch=1", "backbone.width=32")
    sampling = sampling.changed(guidance=guidance, steps=3, solver="euler", precision="fp32")
    rows = 1 + (guidance != 1)
    assert cost.steps_of(model, PROMPT, sampling) == (3, 3 * 64 * rows)
    network = 3 * rows * 2 * model.head.network.multiplications(8, 8)
    prompt = 2 * rows * 32 * (model.backbone.work().position + 64 * model.backbone.work().pair)
    assert cost.flops_of(model, PROMPT, sampling)[0] == pytest.approx(network + prompt, rel=1e-3)
    model, sampling, _ = built("data.read=0", "baseline={kind: flow, noise: uniform}", "codec.patch=4")
    sampling = sampling.changed(guidance=guidance, precision="fp32")
    blocks = len(model.head.network.blocks)
    assert cost.steps_of(model, PROMPT, sampling) == (3 * blocks, 3 * blocks * rows)


def test_the_evaluator(few_digits, tmp_path):
    model, _, config = built("sample.steps=2")
    splits = [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]
    of = Subject(as_loaded(model, config), Request(), *splits, tmp_path, prompts=4)
    result = cost.measure(of)["cost"]
    assert (result.evaluations, result.together, result.codec_flops) == (2, 4, 0)
    assert 0 < result.seconds <= result.seconds_alone < 60 and result.flops > 1e5
    reading = as_loaded(model, presets.load("tiny", ["head={kind: reading}", "data.read=1"]))
    assert cost.measure(Subject(reading, Request(), *splits, tmp_path)) == {}


def test_memory_that_is_added():
    def work():
        return torch.ones(100_000_000)  # 400 MB; the system may take pages of others away meanwhile

    added = machine.added_memory(work, torch.device("cpu"))
    assert added is None or 200e6 < added < 800e6
