"""Sparse attention of pictures whose codes stand in order: a row's length before each, and its column."""

import pytest
import torch
from code_models import Pixels, batch_of, picture
from helpers import randomised

from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.config import presets
from rawmm_cli.core import reference
from rawmm_cli.core.backbones.transformer import Transformer
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.heads.autoregressive import AutoregressiveHead
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, VOCABULARY, encode
from rawmm_cli.system.errors import ConfigError


def made(codec=None, depth=2, strided=True):
    codec = codec or Pixels(4)
    torch.manual_seed(0)
    head, backbone = AutoregressiveHead(codec.vocabulary, codec.codes, 32), Transformer(32, depth, 2, 64)
    backbone.strided = strided
    return randomised(RawModel(codec, head, backbone, dense, VOCABULARY, 32), 0.2)


def of_a_picture(model, batch):
    """(N, N) what the positions of the first picture see of each other."""
    at = batch.patch_at[batch.pictures.picture_of == 0]
    return (model.make_mask(batch.labels)[0, -1] == 0)[at][:, at]


def test_a_hand_written_picture():
    """4 rows of 3 codes."""
    model = made()
    batch = batch_of(model, [picture(4, 3, 4)])
    table = (
        "100000000000 110000000000 111000000000 "
        "111100000000 011110000000 001111000000 "
        "100111100000 010011110000 001001111000 "
        "100100111100 010010011110 001001001111"
    )
    expected = torch.tensor([[mark == "1" for mark in row] for row in table.split()])
    assert torch.equal(of_a_picture(model, batch), expected)


@pytest.mark.parametrize(
    "codec, rows, columns", [(Pixels(4), 5, 4), (SubPixels(), 4, 4), (SubPixels(), 3, 5)]
)
def test_it_sees_what_the_paper_says_and_as_many_pairs_as_its_formula(codec, rows, columns):
    """Both sets of the strided pattern (arXiv 1904.10509, section 4.2), with stride l the positions of a row.

    Of R rows: N l - l (l - 1) / 2 pairs near by, and l R (R - 1) / 2 in columns, less those of both sets."""
    model, stride = made(codec), columns * codec.codes
    batch = batch_of(model, [picture(rows, columns, codec.vocabulary)], encode("ab"))
    seen = of_a_picture(model, batch)
    length = rows * stride
    for i in range(length):
        near = set(range(max(0, i - stride), i + 1))
        column = {j for j in range(i + 1) if (i - j) % stride == 0}
        assert set(seen[i].nonzero()[:, 0].tolist()) == near | column
    pairs = length * stride - stride * (stride - 1) // 2 + stride * rows * (rows - 1) // 2
    assert seen.sum() == pairs < length * (length + 1) // 2


def test_text_sees_whole_pictures_and_pictures_see_all_text_and_other_pictures():
    model, plain = made(), made(strided=False)
    one, other = picture(3, 3, 4), picture(4, 2, 4, 1, False)
    document = [
        BOS,
        *encode("ab"),
        IMAGE,
        one,
        END_IMAGE,
        *encode("c"),
        IMAGE,
        other,
        END_IMAGE,
        *encode("d"),
    ]
    batch = pack([document], 32, model.blocks)
    sparse, whole = (m.make_mask(batch.labels)[0, 0] == 0 for m in (model, plain))
    label = batch.labels.picture[0]
    own = (label[:, None] > 0) & (label[:, None] == label[None])
    assert torch.equal(sparse[~own], whole[~own]) and (sparse <= whole).all()
    assert sparse[own].sum() < whole[own].sum()


def test_one_layer_is_the_rule_and_two_reach_everything():
    model = made(SubPixels(), depth=2)
    batch = batch_of(model, [picture(4, 3, 256)])
    inputs, states = [], []
    model.backbone.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    model.backbone.layers[0].register_forward_hook(lambda module, arguments, output: states.append(output))
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    hidden = model(batch, seen.inputs, seen.time)
    at, rule = batch.patch_at, of_a_picture(model, batch)
    for place in range(len(at)):
        for output, allowed in ((states[0][0], rule[place]), (hidden, torch.arange(len(at)) <= place)):
            (gradient,) = torch.autograd.grad(output[at[place]].sum(), inputs[0], retain_graph=True)
            assert torch.equal(gradient[0, at].abs().sum(-1) > 0, allowed)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_cached_is_uncached(guidance):
    model, prompts = made(SubPixels()), [[BOS, *encode("ab"), IMAGE], [BOS, IMAGE]]
    sampling = Sampling(size=(3, 4), guidance=guidance)
    cached, uncached = (
        draw(model, prompts, [1, 2], sampling),
        reference.draw(model, prompts, [1, 2], sampling),
    )
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(cached, uncached))
    whole = draw(made(SubPixels(), strided=False), prompts, [1, 2], sampling)
    assert not all(torch.equal(one.pixels, other.pixels) for one, other in zip(cached, whole))


def test_pictures_that_are_read_are_sparse_too():
    """The text behind them sees all their positions, which saw each other sparsely."""
    model, plain = made(), made(strided=False)
    document = [BOS, IMAGE, Picture(picture(4, 4, 4).pixels, False), END_IMAGE, *encode("a")]
    states = [m.read(pack([document], 24, m.blocks)) for m in (model, plain)]
    first = 2 + 4 + 1 + 1  # the sixth position of the picture is the first that does not see all before it
    torch.testing.assert_close(states[0][: first - 1], states[1][: first - 1])
    assert not torch.allclose(states[0][first], states[1][first])


def test_settings():
    words = ["backbone.strided=true"]
    assert presets.load("digits-pixels", words).backbone.strided
    assert presets.load("digits-fuyu", words).backbone.strided
    for preset, more in (("digits", []), ("digits-masked", []), ("digits-fuyu", ["head.order=picture"])):
        with pytest.raises(ConfigError, match="backbone.strided = true is for positions in order, and with"):
            presets.load(preset, words + more)
