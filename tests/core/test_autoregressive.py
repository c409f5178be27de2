"""The autoregressive head against known answers: ln V, leaks at every position, a second way to compute its
loss, a table of probabilities that is learned exactly, and sequences that are given back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from code_models import Pixels, batch_of, logits_of, made, picture

from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.core.batch import pack
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.heads.autoregressive import Drawing
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, encode

pytestmark = pytest.mark.usefixtures("one_thread")


# ------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("codec", [Pixels(2), Pixels(1000), SubPixels()], ids=["2", "1000", "subpixels"])
def test_a_fresh_model_says_ln_V(codec):
    """Exactly: all logits are 0. Of 256 values that is 8 bits a value."""
    model = made(codec, std=0)
    loss = joint_loss(model, batch_of(model, [picture(4, 4, min(codec.vocabulary, 256))])).image
    assert loss.item() == pytest.approx(math.log(codec.vocabulary), rel=1e-6)
    logits, codes = logits_of(model, batch_of(model, [picture(4, 4, 2)]))
    assert (logits == 0).all() and logits.shape == (len(codes), codec.vocabulary)


def test_the_loss_is_cross_entropy_with_its_shift_written_out():
    """A second way: one row, plain indices, log probabilities picked by hand."""
    model = made(SubPixels(), z_loss=0.0)
    one, prompt = picture(2, 3, 256), encode("ab")
    batch = batch_of(model, [one], prompt)
    hidden = model.read(batch).detach()  # inputs of a picture that is read are those of one that is drawn
    first = 2 + len(prompt)  # <bos>, prompt, <image>
    values = [int(one.pixels[c, y, x]) for y in range(2) for x in range(3) for c in range(3)]
    nats = []
    for n, value in enumerate(values):
        state = hidden[first + n - 1] + model.head.which.weight[n % 3].detach()
        logits = (model.head.out.weight @ state + model.head.out.bias).detach()
        nats.append(float(torch.log(torch.exp(logits.double()).sum()) - logits[value]))
    assert joint_loss(model, batch).image.item() == pytest.approx(np.mean(nats), rel=1e-5)
    assert len(values) == len(batch.patch_at) == 18


def test_z_loss_is_added_as_its_formula_says():
    plain, model = made(SubPixels()), made(SubPixels(), z_loss=0.5)
    batch = batch_of(model, [picture(2, 2, 256)])
    logits, _ = logits_of(plain, batch)
    extra = 0.5 * logits.double().exp().sum(-1).log().square().mean()
    difference = joint_loss(model, batch).image.item() - joint_loss(plain, batch).image.item()
    assert difference == pytest.approx(extra.item(), rel=1e-4)


def test_the_loss_and_its_shift_are_those_of_x_transformers():
    """`AutoregressiveWrapper` around our network, given <image> and the codes as one sequence of tokens."""
    wrapper = pytest.importorskip("x_transformers.autoregressive_wrapper").AutoregressiveWrapper
    model = made(SubPixels())
    batch = batch_of(model, [picture(3, 3, 256)], encode("ab"))
    tokens = model.encode(batch)

    class Network(torch.nn.Module):
        """Tokens (1, 1 + n) -> logits (1, 1 + n, V) of what follows each; nothing is said of the last one."""

        max_seq_len, add_continuous_pred_head, output_is_log_prob, looped = 64, False, False, False

        def forward(self, x, **options):
            seen = model.head.corrupt(x[0, 1:].view_as(tokens), batch.pictures)
            logits = model.predictions(model(batch, seen.inputs, seen.time), batch)
            return torch.cat([logits, torch.full_like(logits[:1], torch.nan)])[None], None

    with torch.no_grad():
        theirs = wrapper(Network())(torch.cat([torch.tensor([255]), tokens.flatten()])[None])
    assert joint_loss(model, batch).image.item() == pytest.approx(theirs.item(), rel=1e-6)


# ---------------------------------------------------------------------------------------------------- leaks


@pytest.mark.parametrize("codec, sides", [(SubPixels(), (8, 8)), (Pixels(4), (3, 4))], ids=["subpixels", "1"])
def test_no_logit_knows_its_own_code_or_later_ones(codec, sides):
    """Every position, float64, bit by bit: another code at i leaves the logits of codes 0 to i, and moves the
    next one. Of three codes a pixel green sees red, and blue sees both."""
    model = made(codec, dtype=torch.float64)
    batch = batch_of(model, [picture(*sides, codec.vocabulary)])
    tokens = model.encode(batch)

    def logits(codes):
        seen = model.head.corrupt(codes.view_as(tokens), batch.pictures)
        return model.predictions(model(batch, seen.inputs, seen.time), batch).detach()

    before = logits(tokens)
    length = len(before)
    assert length == sides[0] * sides[1] * codec.codes
    for at in range(length):
        codes = tokens.flatten().clone()
        codes[at] = (codes[at] + 1) % codec.vocabulary
        after = logits(codes)
        assert torch.equal(after[: at + 1], before[: at + 1]), at
        if at + 1 < length:
            assert (after[at + 1] != before[at + 1]).any(), at


def test_no_gradient_reaches_later_codes():
    """d logit i / d embedding j is 0 for every j >= i, and not 0 before."""
    model = made(SubPixels(), dtype=torch.float64)
    batch = batch_of(model, [picture(2, 3, 256)])
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    embedded = model.head.embed(seen.inputs, seen.time, batch.pictures).detach().requires_grad_()
    model.head.embed = lambda *arguments: embedded
    logits = model.predictions(model(batch, seen.inputs, seen.time), batch)
    for at in range(len(logits)):
        (gradient,) = torch.autograd.grad(logits[at].sum(), embedded, retain_graph=True)
        reached = gradient.abs().sum(-1) > 0
        assert not reached[at:].any() and reached[:at].all(), at


def test_a_text_token_after_the_picture_sees_all_of_it():
    model = made(SubPixels())
    one = picture(2, 2, 256)
    documents = [[BOS, IMAGE, one, END_IMAGE, *encode("a")]]
    batch = pack(documents, 20, model.blocks)
    before = model.read(batch)[batch.last]
    for channel in range(3):
        pixels = one.pixels.clone()
        pixels[channel, 1, 1] ^= 1
        other = pack([[BOS, IMAGE, replace(one, pixels=pixels), *documents[0][3:]]], 20, model.blocks)
        assert not torch.equal(model.read(other)[batch.last], before)


# ------------------------------------------------------------------------------------------------- guidance


def test_guidance_acts_on_logits():
    """u + s (c - u), by hand: the likeliest code of a guided drawing."""
    model = made(Pixels(4))
    prompt = [BOS, *encode("a"), IMAGE]
    with torch.no_grad():
        logits = []
        for document in (prompt, [BOS, IMAGE]):
            batch = pack([document], len(document), model.blocks)
            hidden = model.read(batch)[batch.last]
            logits.append(model.head.out(hidden + model.head.which.weight[0]))
        guided = logits[1] + 3.0 * (logits[0] - logits[1])
    sampling = Sampling(size=(1, 1), guidance=3.0, drawing=Drawing(0.0))
    (one,) = draw(model, [prompt], [0], sampling)
    assert int(one.pixels[0, 0, 0]) == int(guided.argmax())
