"""What may be added to the Transformer, against references and closed forms: modulation, skips, isolation."""

import pytest
import torch
from helpers import hidden_of, randomised, tiny_head
from torch import nn

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.core.backbones.transformer import Layer, Transformer, modulations
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Condition, Picture
from rawmm_cli.core.layers import OverPictures, rotation
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, VOCABULARY, encode

WIDTH, LENGTH = 32, 9
TEXT = torch.tensor([[0, 0, 1, 1, 1, 0, 2, 2, 0]])  # whose picture a position is, 0 text


def open_mask(length=LENGTH):
    return torch.zeros(1, 1, length, length)


def inputs(seed=0, length=LENGTH):
    rng = torch.Generator().manual_seed(seed)
    position = torch.stack([torch.arange(length).float()] * 3, -1)[None]
    return torch.randn(1, length, WIDTH, generator=rng), position


def condition(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Condition(torch.randn(2, WIDTH, generator=rng), TEXT)


def made(depth=3, std=0.0, **settings):
    torch.manual_seed(0)
    return randomised(Transformer(WIDTH, depth, 2, 48, **settings), std)


# ----------------------------------------------------------------------------------------------- modulation


def test_modulation_is_that_of_diffusers_with_its_weights():
    """Shift, scale and gate of `AdaLayerNormZero`, which gates by g where we gate by 1 + g.

    On vectors of mean 0, far from its epsilon, its LayerNorm is our RMSNorm."""
    normalization = pytest.importorskip("diffusers.models.normalization")
    torch.manual_seed(0)
    theirs = normalization.AdaLayerNormZero(WIDTH).double()
    layer = Layer(WIDTH, 2, 48, modulated=True).double()
    nn.init.normal_(theirs.linear.weight), nn.init.normal_(theirs.linear.bias)
    layer.modulation.load_state_dict(theirs.linear.state_dict())
    gates = layer.modulation.bias.data.view(6, WIDTH)[[2, 5]]
    layer.modulation.bias.data.view(6, WIDTH)[[2, 5]] = gates - 1
    c, x = torch.randn(2, WIDTH).double(), torch.randn(2, 5, WIDTH).double()
    x = 10 * (x - x.mean(-1, keepdim=True))
    wanted, gate, shift, scale, mlp_gate = theirs(x, emb=c)
    of = torch.tensor([[1] * 5, [2] * 5])
    ours = modulations(layer.modulation, Condition(c, of))
    normed = layer.attention_norm(x)
    close = {"atol": 1e-6, "rtol": 1e-6}
    torch.testing.assert_close(normed * (1 + ours[1]) + ours[0], wanted, **close)
    for one, other in ((1 + ours[2], gate), (ours[3], shift), (ours[4], scale), (1 + ours[5], mlp_gate)):
        torch.testing.assert_close(one, other[:, None].expand_as(one), **close)


@pytest.mark.parametrize("skips", [False, True])
def test_at_initialisation_every_block_is_the_identity(skips):
    backbone, (x, position) = made(5, modulated=True, skips=skips), inputs()
    assert torch.equal(backbone(x, position, open_mask(), condition()), x)
    assert torch.equal(backbone(x, position, open_mask()), x)


def test_with_gates_at_0_a_position_does_not_depend_on_its_neighbours():
    backbone, (x, position) = made(std=0.3, modulated=True), inputs()
    for layer in backbone.layers:
        for part in (layer.modulation.weight, layer.modulation.bias):
            part.data.view(6, WIDTH, -1)[[2, 5]] = 0
        layer.modulation.bias.data.view(6, WIDTH)[[2, 5]] = -1
    other = x.clone()
    other[:, 7] += 1
    one, two = (backbone(y, position, open_mask(), condition()) for y in (x, other))
    pictures = TEXT[0] > 0
    pictures[7] = False
    assert torch.equal(one[:, pictures], two[:, pictures]) and torch.equal(one[:, pictures], x[:, pictures])
    assert not torch.equal(one[:, 8], two[:, 8]), "text is not gated"


def test_equal_conditions_modulate_equally_whatever_the_pixels():
    layer = randomised(Layer(WIDTH, 2, 48, modulated=True), 0.3)
    same = Condition(torch.ones(2, WIDTH), TEXT)
    for part in modulations(layer.modulation, same):
        assert torch.equal(part[0, 2], part[0, 6]) and torch.equal(part[0, 2], part[0, 4])
        assert not part[0, [0, 1, 5, 8]].any(), "text: the identity"


def test_text_has_the_plain_layer():
    """Where nothing is a picture, a modulated stack is the plain one of the same weights."""
    backbone, plain, (x, position) = made(std=0.3, modulated=True), made(), inputs()
    plain.load_state_dict(backbone.state_dict(), strict=False)
    nobody = Condition(torch.randn(2, WIDTH), torch.zeros_like(TEXT))
    assert torch.equal(backbone(x, position, open_mask(), nobody), plain(x, position, open_mask()))


def test_modulation_is_a_third_of_the_weights_of_dit_and_hardly_any_of_the_work():
    """6 of 18 D^2 a block, with an MLP of 8 D^2 as that of DiT: here 3 D h, h = 8/3 D."""
    width = 96
    backbone = Transformer(width, 2, 2, 8 * width // 3, modulated=True)
    weights = sum(m.weight.numel() for m in backbone.modules() if isinstance(m, nn.Linear))
    modulation = sum(layer.modulation.weight.numel() for layer in backbone.layers)
    assert weights == 2 * 18 * width**2 and 3 * modulation == weights
    assert backbone.work().picture == modulation and backbone.work().position == weights - modulation


# ---------------------------------------------------------------------------------------------------- skips


def by_hand(backbone, x, position, pairs):
    """The stack layer by layer; pairs: {layer: the layer whose output it joins}."""
    cos, sin = rotation(position, WIDTH // 2)
    outputs = []
    for n, layer in enumerate(backbone.layers):
        x = layer(x, cos, sin, open_mask(), None, outputs[pairs[n]] if n in pairs else None)
        outputs.append(x)
    return x


@pytest.mark.parametrize(
    "depth, pairs",
    [
        (3, {2: 0}),
        (4, {3: 0}),
        (5, {3: 1, 4: 0}),
        (7, {4: 2, 5: 1, 6: 0}),
        (13, {n: 12 - n for n in range(7, 13)}),
    ],
)
def test_what_was_kept_last_is_joined_first(depth, pairs):
    backbone, (x, position) = made(depth, 0.1, skips=True), inputs()
    out = backbone(x, position, open_mask())
    assert torch.equal(out, by_hand(backbone, x, position, pairs))
    assert [n for n, layer in enumerate(backbone.layers) if layer.join is not None] == sorted(pairs)
    if depth >= 5:
        first_in_first_out = dict(zip(sorted(pairs), sorted(pairs.values())))
        assert not torch.allclose(out, by_hand(backbone, x, position, first_in_first_out))


def test_with_the_skip_half_0_it_is_the_plain_stack():
    backbone, plain, (x, position) = made(13, 0.1, skips=True), made(13), inputs()
    plain.load_state_dict(backbone.state_dict(), strict=False)
    for layer in backbone.layers[7:]:
        nn.init.eye_(layer.join.weight), nn.init.zeros_(layer.join.bias)
    torch.testing.assert_close(backbone(x, position, open_mask()), plain(x, position, open_mask()))


@pytest.mark.parametrize("patch, parameters", [(2, 44_255_328), (4, 44_292_228)])
def test_joins_and_the_convolution_have_the_parameters_of_u_vit(patch, parameters):
    """CIFAR-10 S/2 and CelebA S/4: 13 blocks of width 512, whose attention, MLP with biases, norms and
    learned positions are not ours; joins and the last convolution are."""
    width = 512
    with torch.device("meta"):
        backbone = Transformer(width, 13, 8, 8, skips=True)
        over = OverPictures(3, patch)
    ours = sum(p.numel() for layer in backbone.layers if layer.join for p in layer.join.parameters())
    ours += sum(p.numel() for p in over.parameters())
    block = 2 * 2 * width + 3 * width**2 + width**2 + width + 2 * 4 * width**2 + 5 * width
    patches = 3 * patch**2 * width + width + 257 * width  # and positions, of the time too
    assert 13 * block + patches + 2 * width + (width + 1) * 3 * patch**2 + ours == parameters


# ------------------------------------------------------------------------------------------------- isolation


def two_pictures(isolated, depth=3, token=False, std=0.2):
    torch.manual_seed(0)
    head = tiny_head(width=WIDTH, time="token" if token else "added")
    backbone = Transformer(WIDTH, depth, 2, 48, isolated=isolated)
    model = RawModel(RawPatches(2), head, backbone, dense, VOCABULARY, WIDTH)
    return randomised(model, std)


def gradients(model, draw=False):
    """Of the second picture's and of the last text's hidden states, by the pixels of the first picture."""
    rng = torch.Generator().manual_seed(1)
    first, second = (
        Picture(torch.randint(0, 256, (3, 4, 4), generator=rng).byte(), draw and n == 1, 3) for n in (0, 1)
    )
    document = [BOS, IMAGE, first, END_IMAGE, *encode("and"), IMAGE, second, END_IMAGE, *encode("same"), EOS]
    batch = pack([document], 96, model.blocks)
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    pixels = seen.inputs.clone().requires_grad_()
    hidden = model(batch, pixels, seen.time)
    own = batch.pictures.picture_of == 0
    weights = torch.randn(hidden.shape, generator=rng)
    picture = torch.autograd.grad((hidden * weights)[batch.patch_at[~own]].sum(), pixels, retain_graph=True)[
        0
    ][own]
    text = torch.autograd.grad((hidden * weights)[batch.last].sum(), pixels)[0][own]
    return picture.abs().max().item(), text.abs().max().item()


@pytest.mark.parametrize("draw", [False, True])
@pytest.mark.parametrize("token", [False, True])
def test_isolated_pictures_do_not_see_each_other(token, draw):
    """Exact zeros where all layers are isolated; text sees both in any case."""
    for isolated, sees in ((0, True), (2, True), (3, False)):
        picture, text = gradients(two_pictures(isolated, token=token), draw)
        assert (picture > 0) == sees and text > 0, isolated


def test_isolated_layers_are_the_first_ones():
    """With one layer of three usual it matters which: what is isolated is as if it stood alone there."""
    model = two_pictures(2)
    states = []
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda module, _, output: states.append(output.detach().clone()))
    rng = torch.Generator().manual_seed(1)
    shown = [torch.randint(0, 256, (3, 4, 4), generator=rng).byte() for _ in range(3)]
    for first in shown[:2]:
        document = [BOS, IMAGE, Picture(first, False), END_IMAGE, IMAGE, Picture(shown[2], False), END_IMAGE]
        batch = pack([document], 16, model.blocks)
        hidden_of(model, batch)
    second = batch.patch_at[batch.pictures.picture_of == 1]
    same = [torch.equal(states[n][0, second], states[n + 3][0, second]) for n in range(3)]
    assert same == [True, True, False]
