"""All heads x backbones x codecs that go together, those of the package and toys: names, and small models
with random weights."""

import pytest
import torch
import toy_parts
from helpers import BACKBONES, CODECS, FORMS, HEADS, random_documents, randomised

from rawmm_cli.core.batch import pack
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import VOCABULARY

CODECS, HEADS, BACKBONES = CODECS | toy_parts.CODECS, HEADS | toy_parts.HEADS, BACKBONES | FORMS
WIDTH, DEPTH = 32, 3
FURTHER = (
    "skips",
    "isolated",
    "strided",
)  # forms of the Transformer, asked with a head of each kind of blocks


def goes_with(name, backbone):
    if backbone == "modulated" or HEADS[name].modulates:
        return backbone == "modulated" and HEADS[name].modulates
    if HEADS[name].ordered:
        return True
    return backbone not in FURTHER or (name in ("clean", "time token") and backbone != "strided")


COMBINATIONS = [
    (name, backbone, codec)
    for name, head in HEADS.items()
    for codec in head.codecs
    for backbone in BACKBONES
    if goes_with(name, backbone)
]
every_combination = pytest.mark.parametrize("combination", COMBINATIONS, ids=", ".join)
every_head = pytest.mark.parametrize(
    "combination",
    [c for c in COMBINATIONS if c[1] in ("transformer", "modulated")],
    ids=lambda c: f"{c[0]}, {c[2]}",
)


def made(combination, seed=0, std=0.2):
    """A model whose random weights hide nothing (`helpers.py`)."""
    head, backbone, codec = combination
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codec = randomised(CODECS[codec](), std).requires_grad_(False).eval()
        head, backbone = HEADS[head].make(codec, WIDTH), BACKBONES[backbone](WIDTH, DEPTH)
        model = RawModel(codec, head, backbone, dense, VOCABULARY, WIDTH)
        randomised(model.head, std), randomised(model.backbone, std)
        randomised(model.words, std), randomised(model.norm, std), randomised(model.text_out, std)
    return model


def packed(model, count=12, seed=0, length=96):
    return pack(random_documents(count, seed), length, model.blocks)


def corrupted(model, batch):
    return model.head.corrupt(model.encode(batch), batch.pictures)


def drawn(batch):
    """(T,) whether a position belongs to a drawn picture."""
    return batch.pictures.drawn[batch.pictures.picture_of]
