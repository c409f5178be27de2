"""The flow of TarFlow: its known answers, and the same as a baseline that draws by its inverse."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import picture, randomised
from torch.utils.flop_counter import FlopCounterMode

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.core.backbones.transformer import Transformer
from rawmm_cli.core.baselines.density import Density, Drawing, rotation
from rawmm_cli.core.baselines.flow import Flow
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Canvas
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, VOCABULARY, encode
from rawmm_cli.system.errors import ConfigError


def flow(values=3, tokens=4, blocks=5, std=0.2, seed=0):
    torch.manual_seed(seed)
    return randomised(Flow(values, tokens, 16, 2, 2, blocks, 8), std)


@pytest.mark.parametrize("blocks", [1, 2, 5, 8])
def test_the_inverse_is_exact(blocks):
    network, x, caption = flow(blocks=blocks, std=0.1), 2 * torch.rand(3, 4, 3) - 1, torch.randn(3, 8)
    z, _ = network(x, caption)
    assert (network.inverse(z, caption) - x).abs().max() < 1e-5
    assert (z - x).abs().max() > 0.1
    network, x, caption = network.double(), x.double(), caption.double()
    assert (network.inverse(network(x, caption)[0], caption) - x).abs().max() < 1e-12


def test_the_log_determinant_is_that_of_the_jacobian():
    """4 patches of 3 values in float64, by autograd."""
    network, x, caption = flow().double(), torch.randn(4, 3).double(), torch.randn(1, 8).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None], caption)[0].flatten(), x)
    wanted = torch.linalg.slogdet(jacobian.view(12, 12))[1]
    assert network(x[None], caption)[1].item() == pytest.approx(wanted.item(), abs=1e-10)


def test_each_block_is_causal_in_its_order():
    """The first token of the order passes untouched, and no token depends on a later one."""
    network, x, caption = flow(), torch.randn(1, 4, 3), torch.randn(1, 8)
    for block in network.blocks[:2]:
        order = range(4)[:: -1 if block.backwards else 1]
        z, _ = block(x, caption)
        assert (z[:, order[0]] == x[:, order[0]]).all()
        for place, at in enumerate(order):
            other = x.clone()
            other[:, at] += 1
            moved = (block(other, caption)[0] != z).any(-1)[0].nonzero()[:, 0].tolist()
            assert set(moved) == set(order[place:])
    assert [block.backwards for block in network.blocks] == [False, True, False, True, False]


def test_it_begins_as_the_identity():
    network, x = flow(std=0), torch.randn(2, 4, 3)
    z, change = network(x, torch.randn(2, 8))
    assert (z == x).all() and (change == 0).all()


def test_a_log_determinant_in_bf16_is_refused():
    with pytest.raises(
        TypeError, match="log-determinant in torch.bfloat16 would be wrong; allowed: fp32, fp64"
    ):
        flow()(torch.randn(1, 4, 3).bfloat16(), torch.randn(1, 8))
    with torch.autocast("cpu", torch.bfloat16):
        z, change = flow()(torch.randn(1, 4, 3), torch.randn(1, 8))
    assert z.dtype == change.dtype == torch.float32


def test_white_noise_is_learned_to_its_entropy():
    """Numbers that are a linear image of white noise: the least loss is their entropy, which is known."""
    torch.manual_seed(0)
    network, caption = Flow(2, 3, 32, 2, 1, 4, 1), torch.zeros(256, 1)
    mix = torch.eye(6) + 0.5 * torch.randn(6, 6).tril(-1)
    mix[range(6), range(6)] = torch.tensor([0.3, 0.5, 1.0, 2.0, 0.7, 1.5])
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)

    def nats(count):
        x = (torch.randn(count, 6) @ mix.T).view(count, 3, 2)
        z, change = network(x, caption[:1].expand(count, 1))
        return (z.square().flatten(1).sum(1) / 2 + 3 * math.log(2 * math.pi) - change).mean()

    for step in range(600):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 600)
        optimizer.zero_grad()
        nats(256).backward()
        optimizer.step()
    entropy = 3 * math.log(2 * math.pi * math.e) + mix.diagonal().log().sum().item()
    with torch.no_grad():
        assert nats(50_000).item() == pytest.approx(entropy, abs=0.04)


def test_multiplications_are_those_that_torch_counts(monkeypatch):
    def plain(q, k, v, is_causal):  # the counter does not know the fused kernel of a CPU
        scores = (q @ k.mT) * q.shape[-1] ** -0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(hidden & is_causal, -torch.inf).softmax(-1) @ v

    network, x, caption = flow(), torch.randn(1, 4, 3), torch.randn(1, 8)
    wanted = network(x, caption)[0]
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", plain)
    with FlopCounterMode(display=False) as counter:
        torch.testing.assert_close(network(x, caption)[0], wanted)
    assert counter.get_total_flops() == 2 * network.multiplications()


# ------------------------------------------------------------------------------------------- as a baseline


def model(std=0.1, patch=2, noise=None, codec=None):
    torch.manual_seed(0)
    codec = RawPatches(2) if codec is None else codec
    head = Density(Flow(12, 4, 16, 2, 1, 3, 32), 12, (2, 2), 32, patch, noise)
    return randomised(RawModel(codec, head, Transformer(32, 1, 2, 64), dense, VOCABULARY, 32), std)


def documents(count=6, draw=True):
    rng = np.random.default_rng(0)
    return [
        [BOS, *encode("abcdef"[: 1 + n % 4]), IMAGE, picture(rng, draw, (4, 4)), END_IMAGE, EOS]
        for n in range(count)
    ]


def test_the_rotation_is_orthonormal_and_luma_comes_first():
    for patch in (1, 2, 4):
        turn = rotation(patch).double()
        torch.testing.assert_close(turn @ turn.T, torch.eye(3 * patch**2).double(), atol=1e-6, rtol=0)
        grey = torch.ones(3 * patch**2).double() @ turn
        assert grey[0] == pytest.approx((3 * patch**2) ** 0.5) and grey[1:].abs().max() < 1e-6
    turned = torch.rand(4, 1, 1).expand(4, 1, 3).flatten() @ rotation(2)
    assert turned.view(4, 3)[:, 1:].abs().max() < 1e-6, "grey pictures have no colours"


def test_the_loss_at_initialisation_is_known():
    """8.3257 + 0.7213 mean(x^2) bits/dim for x in [-1, 1]."""
    built = model(std=0)
    batch = pack(documents(), 64, built.blocks)
    x = built.head.corrupt(built.encode(batch), batch.pictures).inputs
    levels = torch.stack([item.pixels for one in documents() for item in one if hasattr(item, "pixels")])
    assert -1 <= x.min() and x.max() < 1
    places = (x.view(-1, 12) + 1) * 128 - (
        levels.view(6, 3, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 12)
    )
    assert 0 <= places.min() and places.max() < 1, "within the levels"
    assert places.mean().item() == pytest.approx(0.5, abs=0.1)
    wanted = 8.3257 + 0.7213 * x.square().mean().item()
    assert joint_loss(built, batch).image.item() == pytest.approx(wanted, abs=1e-4)


def test_levels_go_there_and_back():
    """All 256, uniform noise of any size."""
    head = model().head
    tokens = torch.arange(256).float() / 127.5 - 1
    for within in (0.0, 0.5, 0.99):
        back = head.to_tokens(head.to_x(tokens, within))
        assert ((back - tokens).abs() < 1e-6).all()


def test_bits_are_the_same_at_any_noise_that_was_learned():
    built, noised = model(), model(noise=0.3)
    batch = pack(documents(), 64, built.blocks)
    tokens, vectors = built.encode(batch), torch.randn(6, 32)
    bits = [one.head.bits(vectors, tokens.view(6, 4, 12), batch.pictures.keys) for one in (built, noised)]
    assert (bits[0] == bits[1]).all()
    seen = [one.head.corrupt(tokens, batch.pictures) for one in (built, noised)]
    torch.testing.assert_close(built.head.loss(vectors, seen[0], batch.pictures), bits[0].mean())
    assert noised.head.loss(vectors, seen[1], batch.pictures) != bits[0].mean()
    with pytest.raises(ConfigError, match="no bits of pixels"):
        model(patch=None, noise=0.3).head.bits(vectors, tokens.view(6, 4, 12), batch.pictures.keys)


def test_probabilities_of_pictures_sum_to_at_most_one():
    """One token of one value of 256 levels: the mean over u of p(x), summed over all levels; what lies beyond
    the levels is missing."""
    head = Density(randomised(Flow(1, 1, 8, 1, 1, 2, 1), 0.2), 1, (1, 1), 1, None, 0.1)
    head.levels = True
    tokens = (torch.arange(256).float() / 127.5 - 1).view(256, 1, 1)
    total = sum(
        (2 ** -head.bits(torch.zeros(256, 1), tokens, [256 * n + m for m in range(256)])).sum().item()
        for n in range(20)
    )
    assert total / 20 == pytest.approx(0.6827, abs=2e-3), "N(0, 1) inside [-1, 1]"


def test_what_is_drawn_is_the_inverse_of_the_noise():
    built = model()
    prompts, keys = [document[: document.index(IMAGE) + 1] for document in documents(3)], [1, 2, 3]
    states = []
    settings = Sampling(size=(4, 4))
    drawn = draw(built, prompts, keys, settings, lambda step, z, x: states.append((step, x)))
    assert [step for step, _ in states] == [0, 1, 2], "a block after the other"
    pixels = torch.stack([one.pixels for one in drawn])
    assert (states[-1][1] == pixels).all()
    alone = draw(built, prompts[1:2], keys[1:2], settings)
    assert (alone[0].pixels == pixels[1]).all(), "whatever is drawn beside it"
    with pytest.raises(ConfigError, match="cannot draw on one"):
        draw(built, prompts[:1], [1], settings, canvas=Canvas(torch.zeros(3, 4, 4, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="of the size that it learned, 2 x 2 tokens, not 2 x 3"):
        built.blocks(4, 6)


@pytest.mark.parametrize("guide", ["ab", "a", "b"])
def test_guidance_acts_on_scales_and_shifts(guide):
    """Against the formula, block by block without a cache: s c + (1 - s) u on what is guided."""
    built, scale = model(), 1.7
    z, (with_, without) = torch.randn(2, 4, 12), torch.randn(2, 2, 32)
    x = z
    for block in reversed(built.head.network.blocks):
        z_in, x = x.flip(1) if block.backwards else x, torch.zeros_like(x)
        for at in range(4):
            a = b = torch.zeros(2, 12)
            if at:
                (a, b), (other_a, other_b) = (
                    [y[:, -1] for y in block._scales(x[:, :at], block.place[:at], caption)]
                    for caption in (with_, without)
                )
                a = other_a + scale * (a - other_a) if "a" in guide else a
                b = other_b + scale * (b - other_b) if "b" in guide else b
            x[:, at] = z_in[:, at] * torch.exp(a) + b
        x = x.flip(1) if block.backwards else x
    from rawmm_cli.core.baselines.density import _guide

    drawn = built.head.network.inverse(z, torch.cat([with_, without]), _guide(scale, guide))
    torch.testing.assert_close(drawn, x, rtol=1e-4, atol=1e-5)


def test_guidance_of_a_drawing():
    built = model()
    prompts, keys = [document[: document.index(IMAGE) + 1] for document in documents(2)], [1, 2]
    settings = Sampling(size=(4, 4), drawing=Drawing())
    one, none, more = (
        torch.stack([p.pixels for p in draw(built, prompts, keys, replace(settings, guidance=g))])
        for g in (1.0, 0.0, 3.0)
    )
    bare = torch.stack([p.pixels for p in draw(built, [[BOS, IMAGE]] * 2, keys, settings)])
    assert (none == bare).all() and (one != bare).any() and (more != one).any()


def test_a_drawing_of_noised_pictures_is_cleaned_by_the_slope():
    """At initialisation the density is N(0, 1): x + noise^2 d log p / dx = (1 - noise^2) x."""
    built, keys = model(std=0, noise=0.5), [1, 2]
    prompts = [document[: document.index(IMAGE) + 1] for document in documents(2)]
    states = []
    drawn = draw(built, prompts, keys, Sampling(size=(4, 4)), lambda step, z, x: states.append(x))
    levels = (states[-1].float() + 0.5) / 128 - 1
    inside = levels.abs() < 0.9
    cleaned = (torch.stack([one.pixels for one in drawn]).float() + 0.5) / 128 - 1
    assert (cleaned - 0.75 * levels)[inside].abs().max() < 0.02


def test_gradients_reach_every_parameter_and_no_picture_is_no_loss():
    built = model()
    batch = pack(documents(), 64, built.blocks)
    joint_loss(built, batch).total.backward()
    for name, parameter in built.head.named_parameters():
        assert (parameter.grad is not None and (parameter.grad != 0).any()) or "qkv.bias" in name, name
    assert joint_loss(built, pack(documents(2, draw=False), 64, built.blocks)).image == 0
    losses = joint_loss(built, pack([[BOS, *encode("ab"), EOS]], 8, built.blocks))
    losses.total.backward()
    assert losses.image == 0
