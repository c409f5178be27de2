from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import (
    BACKBONES,
    HEADS,
    blocks,
    hidden_of,
    noised_inputs,
    picture,
    positions_of,
    random_documents,
    tiny_model,
)

from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.mask import dense, flex
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode

CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # fp32, another order of summation
every_model = pytest.mark.parametrize("backbone,prediction", [(b, h) for b in BACKBONES for h in HEADS])
every_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def story(seed=0):
    """Text, a picture read, text, a picture drawn, text, a last picture drawn."""
    dice = np.random.default_rng(seed)
    return [
        BOS,
        *encode("ab"),
        IMAGE,
        picture(dice, False, (4, 4)),
        END_IMAGE,
        *encode("cd"),
        IMAGE,
        picture(dice, True, (2, 6)),
        END_IMAGE,
        *encode("ef"),
        IMAGE,
        picture(dice, True, (4, 4)),
        END_IMAGE,
        EOS,
    ]


def two_stories():
    return pack([story(0), story(1), [BOS, *encode("xyz"), EOS]], 96, blocks)


def changed(model, batch, other=None, inputs=None, time=None, other_inputs=None):
    """Flat positions whose hidden state is not bit for bit the same."""
    if inputs is None:
        inputs, time = noised_inputs(model, batch)
    before = hidden_of(model, batch, inputs, time)
    after = hidden_of(model, other or batch, inputs if other_inputs is None else other_inputs, time)
    return (before != after).any(-1).nonzero()[:, 0].tolist()


def with_other_token(batch, at):
    tokens = batch.tokens.clone()
    tokens.view(-1)[at] = (tokens.view(-1)[at] + 1) % 256
    return replace(batch, tokens=tokens)


def assert_no_text_leaks(model):
    """Change one token: nothing before it and nothing in another document moves."""
    batch = two_stories()
    mine = positions_of(batch, 1).tolist()
    patches = set(batch.patch_at.tolist())
    for at in [at for at in mine if at not in patches][::3]:
        moved = changed(model, batch, with_other_token(batch, at))
        assert at in moved
        assert all(at <= place <= mine[-1] for place in moved)


def assert_no_picture_leaks(model):
    """Change one patch of one picture: its own picture moves; before it and in other documents nothing
    does."""
    batch = two_stories()
    inputs, time = noised_inputs(model, batch)
    mine = positions_of(batch, 1).tolist()
    block, private = batch.labels.block.flatten(), batch.labels.private.flatten()
    tested = set()
    for number in batch.pictures.picture_of.unique().tolist():
        patches = (batch.pictures.picture_of == number).nonzero()[:, 0]
        own = batch.patch_at[patches].tolist()
        if own[0] not in mine:
            continue
        other = inputs.clone()
        other[patches[-1]] += 1.0  # the last patch: all are to move with it
        moved = changed(model, batch, None, inputs, time, other)
        after = [place for place in mine if block[place] > block[own[0]]]
        assert set(own) <= set(moved)
        if private[own[0]]:
            assert moved == own, "a noised picture moves nothing but itself"
        else:
            assert all(own[0] <= place <= mine[-1] for place in moved) and set(moved) <= {*own, *after}
            assert len(moved) > len(own), "what follows a clean or a last picture sees it"
        tested.add((bool(private[own[0]]), bool(batch.pictures.drawn[number])))
    assert tested == {(False, False), (True, True), (False, True)}, (
        "read or copied; noised and private; drawn last"
    )


@every_model
def test_no_text_leaks(backbone, prediction):
    assert_no_text_leaks(tiny_model(backbone, prediction=prediction))


@every_model
def test_no_picture_leaks(backbone, prediction):
    assert_no_picture_leaks(tiny_model(backbone, prediction=prediction))


def everyone(labels):
    return torch.zeros_like(dense(labels))


def causal(labels):
    return torch.full_like(dense(labels), -torch.inf).triu(1)


def forgets_private(labels):
    return dense(labels._replace(private=torch.zeros_like(labels.private)))


@pytest.mark.parametrize(
    "wrong,leak",
    [
        (everyone, assert_no_text_leaks),
        (everyone, assert_no_picture_leaks),
        (causal, assert_no_text_leaks),
        (causal, assert_no_picture_leaks),
        (forgets_private, assert_no_picture_leaks),
    ],
)
@every_backbone
def test_a_wrong_mask_is_found_out(backbone, wrong, leak):
    """A test of the tests above. Plain causal attention leaks between the documents of a row."""
    with pytest.raises(AssertionError):
        leak(tiny_model(backbone, make_mask=wrong))


@every_backbone
def test_a_fresh_model_would_hide_every_leak(backbone):
    """Why the helpers put noise on all parameters."""
    with pytest.raises(AssertionError):
        assert_no_picture_leaks(tiny_model(backbone, std=0))


@every_backbone
def test_text_after_a_drawn_picture_sees_it_as_if_it_were_read(backbone):
    """Training with a clean copy is what happens at generation, when the finished picture has taken its
    place."""
    model, document = tiny_model(backbone), story()
    read = [Picture(item.pixels, False) if isinstance(item, Picture) else item for item in document]
    training, generating = (pack([one], 96, blocks) for one in (document, read))
    private = training.labels.private.flatten()
    here = [at for at in positions_of(training, 0).tolist() if not private[at]]
    there = positions_of(generating, 0).tolist()
    assert len(here) == len(there) and private.any()
    here, there = here[:-6], there[:-6]  # up to the last picture, which is noised
    torch.testing.assert_close(hidden_of(model, training)[here], hidden_of(model, generating)[there], **CLOSE)


@every_backbone
def test_a_drawn_picture_does_not_care_what_follows(backbone):
    """The noised copy in the middle of a document is denoised as if the document ended with it."""
    model, document = tiny_model(backbone), story()
    at = [place for place, item in enumerate(document) if isinstance(item, Picture)][1]
    whole, part = pack([document], 96, blocks), pack([document[: at + 1]], 96, blocks)
    noised = whole.labels.private.flatten().bool()
    ending = part.patch_at[part.pictures.drawn[part.pictures.picture_of]]
    torch.testing.assert_close(hidden_of(model, whole)[noised], hidden_of(model, part)[ending], **CLOSE)


def by_document(model, documents, length=64):
    batch = pack(documents, length, blocks)
    hidden = hidden_of(model, batch)
    return [hidden[positions_of(batch, number)] for number in range(len(documents))]


@every_model
def test_packed_equals_alone(backbone, prediction):
    """Pictures of many sizes side by side, documents in one row, padding and empty rows: nobody notices."""
    model, documents = tiny_model(backbone, prediction=prediction), random_documents(14, seed=3)
    together = by_document(model, documents)
    for document, found in zip(documents, together):
        torch.testing.assert_close(found, by_document(model, [document], len(found))[0], **CLOSE)


@every_model
def test_order_of_documents_does_not_matter(backbone, prediction):
    model, documents = tiny_model(backbone, prediction=prediction), random_documents(14, seed=4)
    order = np.random.default_rng(0).permutation(14).tolist()
    plain, shuffled = by_document(model, documents), by_document(model, [documents[n] for n in order])
    for n, found in zip(order, shuffled):
        torch.testing.assert_close(found, plain[n], **CLOSE)
    losses = [
        joint_loss(model, pack(some, 64, blocks)) for some in (documents, [documents[n] for n in order])
    ]
    torch.testing.assert_close(losses[0], losses[1], **CLOSE)


@pytest.mark.filterwarnings("ignore:.*flex_attention.*")
@every_backbone
def test_flex_gives_what_dense_gives(backbone):
    documents = random_documents(10, seed=5)
    one, other = (by_document(tiny_model(backbone, make_mask=form), documents) for form in (dense, flex))
    torch.testing.assert_close(torch.cat(one), torch.cat(other), **CLOSE)


@every_model
def test_every_parameter_gets_a_finite_gradient(backbone, prediction):
    model = tiny_model(backbone, prediction=prediction)
    joint_loss(model, pack(random_documents(10, seed=6), 64, blocks)).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@every_backbone
def test_gradient_is_the_slope_of_the_loss(backbone):
    model, batch = tiny_model(backbone), pack(random_documents(6, seed=7), 64, blocks)
    joint_loss(model, batch).total.backward()
    dice = torch.Generator().manual_seed(0)
    directions = [
        torch.randn(p.shape, generator=dice) * p.grad.abs().mean() + p.grad for p in model.parameters()
    ]
    slope = sum((p.grad * d).sum() for p, d in zip(model.parameters(), directions)).item()
    step, ends = 1e-3 / sum(d.square().sum() for d in directions).sqrt().item(), []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, direction in zip(model.parameters(), directions):
                parameter += sign * step * direction
            ends.append(joint_loss(model, batch).total.double().item())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=0.02)


@every_model
def test_a_saved_model_is_the_same_model(backbone, prediction):
    from safetensors.torch import load, save

    batch = pack(random_documents(8, seed=8), 64, blocks)
    one, other = (tiny_model(backbone, prediction=prediction, seed=seed) for seed in (0, 1))
    assert not torch.equal(hidden_of(one, batch), hidden_of(other, batch))
    other.load_state_dict(load(save(one.state_dict())))
    assert torch.equal(hidden_of(one, batch), hidden_of(other, batch))
    assert [x.item() for x in joint_loss(one, batch)] == [x.item() for x in joint_loss(other, batch)]


@every_backbone
def test_time_reaches_the_picture_and_what_follows(backbone):
    model, batch = tiny_model(backbone), two_stories()
    inputs, time = noised_inputs(model, batch)
    drawn = batch.pictures.drawn[batch.pictures.picture_of]
    moved = hidden_of(model, batch, inputs, time) != hidden_of(
        model, batch, inputs, time + 0.1 * batch.pictures.drawn
    )
    assert set(batch.patch_at[drawn].tolist()) <= set(moved.any(-1).nonzero()[:, 0].tolist())


@every_backbone
def test_place_in_a_picture_counts(backbone):
    """Equal patches at unequal places get unequal hidden states, also along rows and columns alone."""
    flat = Picture(torch.full((3, 6, 6), 90, dtype=torch.uint8), False)
    model = tiny_model(backbone)
    hidden = hidden_of(model, pack([[BOS, IMAGE, flat]], 11, blocks))[2:]
    assert torch.pdist(hidden).min() > 1e-4
