"""What each system computes to draw one picture of 8 x 8 pixels: evaluations in sequence, positions, FLOPs,
by the formulae of docs/systems.md."""

from typing import NamedTuple

import pytest
import torch
from code_models import made as writing
from helpers import randomised, tiny_backbone, tiny_head, tiny_masked, tiny_multiscale, tiny_unet
from torch.utils.flop_counter import FlopCounterMode
from toy_codec import Squares

from rawmm_cli.codecs.convolutional import Decoder, Encoder
from rawmm_cli.codecs.kl import KLCodec
from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.core import denoising
from rawmm_cli.core.backbones import transformer
from rawmm_cli.core.baselines.density import Density
from rawmm_cli.core.baselines.flow import Flow, FlowBlock
from rawmm_cli.core.baselines.unet import UNet
from rawmm_cli.core.drawing import Network, Sampling, draw
from rawmm_cli.core.heads import masked
from rawmm_cli.core.heads.scales import ScalesHead
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, IMAGE, VOCABULARY, encode

PROMPT = [BOS, *encode("ab"), IMAGE]


def joined(codec, head, backbone="transformer"):
    return randomised(RawModel(codec, head, tiny_backbone(backbone), dense, VOCABULARY, 32), 0.1).eval()


def denoiser(patch=2, time="added", backbone="transformer", convolution=None):
    codec = RawPatches(patch)
    head = tiny_head(values=codec.values, time=time, convolution=convolution)
    return joined(codec, head, backbone)


def latents():
    codec = KLCodec(Encoder(2, 2, 16, 1), Decoder(2, 2, 16, 1), 3)
    return joined(codec, tiny_head(values=codec.values))


def of_masks():
    codec = Squares(2)
    return joined(codec, tiny_masked(codec, 32))


def of_scales():
    codec = tiny_multiscale((1, 2, 4))
    return joined(codec, ScalesHead(codec, 32))


class Cost(NamedTuple):
    """evaluations, and positions that they compute: of codes in order the first is said at `<image>`."""

    model: object
    drawing: object
    evaluations: int
    positions: int


STEPS = denoising.Drawing(10)
COSTS = {
    "raw patches: S, S N": Cost(denoiser, STEPS, 10, 10 * 16),
    "Heun: 2 S - 1": Cost(denoiser, denoising.Drawing(50, "heun"), 99, 99 * 16),
    "Pixel Transformer: S n^2": Cost(lambda: denoiser(1), STEPS, 10, 10 * 64),
    "DiT": Cost(lambda: denoiser(2, "modulation", "modulated"), STEPS, 10, 10 * 16),
    "U-ViT: S (N + 1)": Cost(lambda: denoiser(2, "token", "skips", 2), STEPS, 10, 10 * 17),
    "latents": Cost(latents, STEPS, 10, 10 * 16),
    "pixels one by one: 3 n^2": Cost(lambda: writing(SubPixels()), None, 192, 192 - 1),
    "next code: (n / f)^2": Cost(lambda: writing(Squares(2)), None, 16, 16 - 1),
    "masked codes: T, T N": Cost(of_masks, masked.Drawing(8), 8, 8 * 16),
    "next scale: K, the sum of squares": Cost(of_scales, None, 3, 1 + 4 + 16),
}
every_cost = pytest.mark.parametrize("name", COSTS)


@pytest.fixture
def calls(monkeypatch):
    """[(rows, positions of each, predictions of each, FLOPs, columns of the cache)] of a drawing."""
    monkeypatch.setattr(  # the counter does not know the fused kernel of a CPU
        transformer, "attention", lambda q, k, v, mask: (q @ k.mT + mask).softmax(-1) @ v
    )
    seen, compute = [], Network._compute

    def counted(self, at, inputs, time, before):
        with FlopCounterMode(display=False) as counter:
            out = compute(self, at, inputs, time, before)
        seen.append((*inputs.shape[:2], out.shape[1], counter.get_total_flops(), self.cache.used))
        return out

    monkeypatch.setattr(Network, "_compute", counted)
    return seen


@every_cost
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_evaluations_and_positions(name, guidance, calls):
    cost = COSTS[name]
    draw(cost.model(), [PROMPT], [1], Sampling(size=(8, 8), guidance=guidance, drawing=cost.drawing))
    assert len(calls) == cost.evaluations
    assert sum(rows * positions for rows, positions, *_ in calls) == cost.positions * (2 - (guidance == 1))


@every_cost
def test_flops(name, calls):
    """Of each evaluation: what head and backbone multiply for a position and a picture, and for pairs with
    the columns of the cache."""
    cost = COSTS[name]
    model = cost.model()
    draw(model, [PROMPT], [1], Sampling(size=(8, 8), drawing=cost.drawing))
    head, backbone = model.head.work(), model.backbone.work()
    for _, positions, predictions, operations, columns in calls:
        once = (head.picture + backbone.picture) * (positions > 0)
        each = backbone.position + columns * backbone.pair
        assert operations == 2 * (positions * each + predictions * head.position + once)


def test_a_u_net_is_computed_once_a_step_and_its_caption_once(calls, monkeypatch):
    model = joined(RawPatches(2), tiny_unet(multipliers=(1, 2), grid=(4, 4)))
    runs, forward = [], UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, *rest: (runs.append(1), forward(self, *rest))[1])
    for guidance, once in ((1.0, 1), (2.0, 1)):
        runs.clear()
        calls.clear()
        draw(model, [PROMPT], [1], Sampling(size=(8, 8), guidance=guidance, drawing=STEPS))
        assert len(runs) == 10 and len(calls) == once
        assert sum(rows * positions for rows, positions, *_ in calls) == 0


def test_a_flow_takes_k_times_n_minus_1_steps_of_a_position(calls, monkeypatch):
    """n = 8, patches of 2, K = 8: 120 steps of one position through one block, N - 1 = 15 through all."""
    model = joined(RawPatches(2), Density(Flow(12, 16, 16, 2, 1, 8, 32), 12, (4, 4), 32, 2, None))
    steps, scales = [], FlowBlock._scales

    def counted(self, x, *rest):
        steps.append(x.shape[1])
        return scales(self, x, *rest)

    monkeypatch.setattr(FlowBlock, "_scales", counted)
    draw(model, [PROMPT], [1], Sampling(size=(8, 8)))
    assert len(calls) == 1 and steps == [1] * 120


def test_at_other_sizes_positions_follow_and_steps_of_diffusion_and_masks_do_not(calls):
    for name, side, evaluations, positions in (
        ("raw patches: S, S N", 16, 10, 640),
        ("masked codes: T, T N", 16, 8, 8 * 64),
        ("next code: (n / f)^2", 16, 64, 64 - 1),
    ):
        calls.clear()
        cost = COSTS[name]
        with torch.inference_mode():
            draw(cost.model(), [PROMPT], [1], Sampling(size=(side, side), drawing=cost.drawing))
        assert (len(calls), sum(n for _, n, *_ in calls)) == (evaluations, positions)
