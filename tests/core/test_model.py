"""Raw patches and a diffusion head alone; what is asked of all parts stands in `test_parts.py`."""

import numpy as np
import pytest
import torch
from helpers import (
    BACKBONES,
    blocks,
    hidden_of,
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
every_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def story(seed=0):
    """Text, a picture read, text, a picture drawn, text, a last picture drawn."""
    rng = np.random.default_rng(seed)
    return [
        BOS,
        *encode("ab"),
        IMAGE,
        picture(rng, False, (4, 4)),
        END_IMAGE,
        *encode("cd"),
        IMAGE,
        picture(rng, True, (2, 6)),
        END_IMAGE,
        *encode("ef"),
        IMAGE,
        picture(rng, True, (4, 4)),
        END_IMAGE,
        EOS,
    ]


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


@pytest.mark.filterwarnings("ignore:.*flex_attention.*")
@every_backbone
def test_flex_gives_what_dense_gives(backbone):
    documents = random_documents(10, seed=5)
    one, other = (by_document(tiny_model(backbone, make_mask=form), documents) for form in (dense, flex))
    torch.testing.assert_close(torch.cat(one), torch.cat(other), **CLOSE)


@every_backbone
def test_gradient_is_the_slope_of_the_loss(backbone):
    model, batch = tiny_model(backbone), pack(random_documents(6, seed=7), 64, blocks)
    joint_loss(model, batch).total.backward()
    rng = torch.Generator().manual_seed(0)
    directions = [
        torch.randn(p.shape, generator=rng) * p.grad.abs().mean() + p.grad for p in model.parameters()
    ]
    slope = sum((p.grad * d).sum() for p, d in zip(model.parameters(), directions)).item()
    step, ends = 1e-3 / sum(d.square().sum() for d in directions).sqrt().item(), []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, direction in zip(model.parameters(), directions):
                parameter += sign * step * direction
            ends.append(joint_loss(model, batch).total.double().item())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=0.02)


@every_backbone
def test_place_in_a_picture_counts(backbone):
    """Equal patches at unequal places get unequal hidden states, also along rows and columns alone."""
    flat = Picture(torch.full((3, 6, 6), 90, dtype=torch.uint8), False)
    model = tiny_model(backbone)
    hidden = hidden_of(model, pack([[BOS, IMAGE, flat]], 11, blocks))[2:]
    assert torch.pdist(hidden).min() > 1e-4
