"""The U-Net of DDPM: its known answers, and the same as a baseline that draws by the diffusion loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import picture, randomised, tiny_head, tiny_unet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.core import flops
from rawmm_cli.core.backbones.transformer import Transformer
from rawmm_cli.core.baselines import whole
from rawmm_cli.core.baselines.unet import UNet, features
from rawmm_cli.core.batch import pack
from rawmm_cli.core.denoising import Drawing
from rawmm_cli.core.document import Canvas
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.loss import Shares, joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, VOCABULARY, encode


def test_the_network_of_cifar10_has_the_parameters_of_the_reference():
    """35.7M as printed; exactly this from the reference's code."""
    network = UNet(3, 128, (1, 2, 2, 2), 2, attention=(1,))
    assert sum(p.numel() for p in network.parameters()) == 35_746_307
    pictures = torch.randn(2, 3, 32, 32)
    assert (network(pictures, torch.tensor([0.3, 1.0])) == 0).all(), "it begins at 0"
    with FlopCounterMode(display=False) as counter:
        network(pictures[:1], torch.ones(1))
    assert counter.get_total_flops() == 2 * network.multiplications(32, 32)


def tiny(attention=(1,), caption=6, std=0.2):
    torch.manual_seed(0)
    return randomised(UNet(3, 8, (1, 2, 2), 2, attention, groups=4, caption=caption), std).double()


def test_rolling_the_picture_rolls_the_prediction():
    """By the smallest side of a level, where pictures are rings and nobody looks at all places."""
    network = tiny(attention=(), caption=None)
    network.middle[0].attention = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
    x, t = torch.randn(2, 3, 16, 8, dtype=torch.float64), torch.tensor([0.2, 0.7])
    rolled = network(x.roll((4, -4), (2, 3)), t)
    torch.testing.assert_close(rolled, network(x, t).roll((4, -4), (2, 3)), rtol=0, atol=1e-12)
    other = network(x.roll(1, 3), t) - network(x, t).roll(1, 3)
    assert other.abs().max() > 1e-3, "but not by a pixel: places of lower levels are larger"


def test_gradients_reach_every_parameter():
    """Those of key biases are 0 but for rounding: a softmax does not change with what is added to all of its
    scores."""
    network = tiny()
    x, t = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.rand(4)
    network(x, t, torch.randn(4, 6, dtype=torch.float64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        if name.endswith("qkv.bias"):
            query, key, value = gradient.chunk(3)
            assert key.abs().max() < 1e-9
            gradient = torch.cat([query, value])
        assert gradient.abs().max() > 1e-9, name


def test_a_fresh_caption_changes_nothing_and_a_learned_one_does():
    network, x, t = tiny(std=0), torch.randn(1, 3, 8, 8).double(), torch.rand(1)
    assert (network.caption(torch.randn(1, 6).double()) == 0).all()
    network = tiny()
    one, other = (network(x, t, torch.full((1, 6), value).double()) for value in (0.0, 1.0))
    assert (one - other).abs().max() > 1e-3


def test_attention_equals_that_of_torch():
    """nn.MultiheadAttention with the same weights."""
    block = tiny().middle[0].attention
    x = torch.randn(2, 16, 4, 2, dtype=torch.float64)
    other = nn.MultiheadAttention(16, 1, batch_first=True).double()
    other.in_proj_weight.data, other.in_proj_bias.data = (
        block.qkv.weight.data[:, :, 0, 0],
        block.qkv.bias.data,
    )
    other.out_proj.weight.data, other.out_proj.bias.data = (
        block.mix.weight.data[:, :, 0, 0],
        block.mix.bias.data,
    )
    normed = block.norm(x).flatten(2).mT
    mixed = other(normed, normed, normed)[0].mT.view_as(x)
    torch.testing.assert_close(block(x), x + mixed)


def test_blocks_and_times_equal_those_of_diffusers():
    """`ResnetBlock2D` and `Timesteps` with the same weights."""
    resnet = pytest.importorskip("diffusers.models.resnet")
    from diffusers.models.embeddings import Timesteps

    block = tiny(attention=()).up[0].blocks[0].float()
    before, after = block.norm.num_channels, block.again.num_channels
    other = resnet.ResnetBlock2D(
        in_channels=before, out_channels=after, temb_channels=32, groups=4, eps=1e-6, dropout=0.0
    )
    names = {"norm1": "norm", "conv1": "first", "time_emb_proj": "clock", "norm2": "again", "conv2": "second"}
    for theirs, ours in (*names.items(), ("conv_shortcut", "shortcut")):
        getattr(other, theirs).load_state_dict(getattr(block, ours).state_dict())
    x, clock = torch.randn(2, before, 4, 4), torch.randn(2, 32)
    torch.testing.assert_close(block(x, nn.functional.silu(clock)), other(x, clock))
    times = torch.rand(5)
    theirs = Timesteps(64, flip_sin_to_cos=False, downscale_freq_shift=1)(1000 * times)
    torch.testing.assert_close(features(times, 64), theirs, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------- as a baseline


def model(std=0.2, patch=1, multipliers=(1, 2), grid=(8, 8)):
    torch.manual_seed(0)
    codec = RawPatches(patch)
    head = tiny_unet(codec.values, 32, multipliers, grid)
    built = RawModel(codec, head, Transformer(32, 2, 2, 64), dense, VOCABULARY, 32)
    return randomised(built, std)


def documents(count=6, size=(8, 8), seed=0):
    rng = np.random.default_rng(seed)
    return [
        [BOS, *encode("abcdef"[: 1 + n % 4]), IMAGE, picture(rng, True, size), END_IMAGE, EOS]
        for n in range(count)
    ]


def test_a_picture_is_one_position_and_its_size_must_divide():
    built = model()
    assert len(built.blocks(8, 8).block) == len(built.blocks(4, 12).block) == 1
    with pytest.raises(ValueError, match="9 x 8 tokens cannot be halved 1 times .* allowed: multiples of 2"):
        built.blocks(9, 8)


def test_the_loss_is_that_of_the_diffusion_head_on_the_same_predictions():
    built, head = model(), tiny_head(values=3)
    batch = pack(documents(), 64, built.blocks)
    tokens, own = built.encode(batch), whole.in_tokens(batch.pictures)
    wanted = head.corrupt(tokens, own)
    seen = built.head.corrupt(tokens, batch.pictures)
    assert (whole.to_tokens(seen.inputs, batch.pictures, 3) == wanted.inputs).all(), "the same noise"
    vectors = built.predictions(built(batch, seen.inputs, seen.time), batch)
    out = built.head.predicted(vectors, wanted.inputs, wanted.time, batch.pictures)
    torch.testing.assert_close(built.head.loss(vectors, seen, batch.pictures), head.loss(out, wanted, own))


def test_pictures_of_several_sizes_count_the_same():
    """Each picture alone, and all together in two batches: the same mean."""
    built = model()
    mixed = [*documents(2), *documents(3, (4, 12), 1), *documents(1, (16, 2), 2)]
    together = joint_loss(built, pack(mixed, 64, built.blocks)).image
    alone = [joint_loss(built, pack([one], 64, built.blocks)).image for one in mixed]
    torch.testing.assert_close(together, torch.stack(alone).mean())
    halves = sum(
        joint_loss(built, pack(part, 64, built.blocks), shares=Shares(image=0.5)).image
        for part in (mixed[:3], mixed[3:])
    )
    torch.testing.assert_close(together, halves)


def test_a_drawing_is_the_uncaptioned_one_and_the_difference_that_the_caption_makes():
    """Guidance of 0 and 1 are drawings without and with the caption; the solver is the diffusion head's."""
    built, one = model(), documents(2)
    prompts, keys = [document[: document.index(IMAGE) + 1] for document in one], [1, 2]
    settings = Sampling(size=(8, 8), drawing=Drawing(steps=3, solver="heun"))
    drawn = [draw(built, prompts, keys, replace(settings, guidance=g)) for g in (1.0, 0.0, 2.0)]
    bare = draw(built, [[BOS, IMAGE]] * 2, keys, settings)
    pixels = [torch.stack([one.pixels for one in pictures]) for pictures in (*drawn, bare)]
    assert (pixels[1] == pixels[3]).all() and (pixels[0] != pixels[3]).any()
    assert (pixels[2] != pixels[0]).any()
    alone = draw(built, prompts[1:], keys[1:], replace(settings, guidance=2.0))
    assert (alone[0].pixels == drawn[2][1].pixels).all(), "whatever is drawn beside it"


def test_it_paints_in():
    built = model()
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    canvas = Canvas(torch.full((3, 8, 8), 77, dtype=torch.uint8), mask)
    settings = Sampling(size=(8, 8), drawing=Drawing(steps=3))
    pixels = draw(built, [[BOS, *encode("ab"), IMAGE]], [3], settings, canvas=canvas)[0].pixels
    assert (pixels[:, 4:] == 77).all() and (pixels[:, :4] != 77).any()


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_precision_of_a_drawing_is_that_of_the_u_net_too(guidance):
    """In bf16 its convolutions are, and the picture is nearly the same; the state stays fp32."""
    built, drawn, seen = model(std=0.1), [], []
    built.head.network.into.register_forward_hook(lambda module, arguments, out: seen.append(out.dtype))
    built.head.network.register_forward_hook(lambda module, arguments, out: seen.append(arguments[0].dtype))
    for precision in ("fp32", "bf16"):
        sampling = Sampling(size=(8, 8), guidance=guidance, precision=precision, drawing=Drawing(2))
        drawn += draw(built, [[BOS, *encode("ab"), IMAGE]], [1], sampling)
    assert seen == [torch.float32] * 4 + [torch.bfloat16, torch.float32] * 2
    difference = (drawn[0].pixels.float() - drawn[1].pixels.float()).abs()
    assert 0 < difference.mean() < 4


def test_a_picture_that_is_read_changes_nothing():
    """It does not read: whatever the picture, the text after it has the same probabilities."""
    built, rng = model(), np.random.default_rng(0)
    logits = []
    for _ in range(2):
        batch = pack([[BOS, IMAGE, picture(rng, False, (8, 8)), END_IMAGE, *encode("abc")]], 32, built.blocks)
        logits.append(built.text(built.read(batch), batch.last))
    assert (logits[0] == logits[1]).all()


def test_what_is_kept_for_the_backward_pass():
    """On the meta device as on this one, and in proportion to the pictures."""
    built = model()
    here, network = built.head.kept(), built.head.network
    assert built.to("meta").head.kept() == here
    one, two = (torch.zeros(n, 3, 8, 8, device="meta") for n in (1, 2))
    parts = [whole.kept(network, x, x[:, 0, 0, 0], x.new_zeros(len(x), 32)) for x in (one, two)]
    assert parts[0] == here and parts[1] == pytest.approx(2 * here, rel=1e-3)
    assert here > 4 * 8 * 64 * 20, "twenty states of the first level, at least"


def test_flops_are_those_that_torch_counts():
    built = model()
    batch = pack(documents(), 64, built.blocks)
    seen = built.head.corrupt(built.encode(batch), batch.pictures)
    vectors = torch.randn(6, 32, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        loss = built.head.loss(vectors, seen, batch.pictures)
    work, scores = built.head.work(), 4 * 2 * 16 * 16**2  # of four fused kernels, which it does not know
    assert forward.get_total_flops() == 2 * 6 * (work.picture - scores)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert backward.get_total_flops() == 2 * 6 * (2 * (work.picture - scores) - work.first_picture)
    fewer = flops.step(built, 1, 64, 5, 5, 20)
    one = flops.step(built, 1, 64, 6, 6, 20) - fewer
    assert one == 3 * 2 * work.picture - 2 * work.first_picture
