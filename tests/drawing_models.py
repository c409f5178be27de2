"""Models whose drawings can be foretold or compared: a chain of tokens, and random weights that often open a
picture."""

import numpy as np
import torch
from helpers import picture, tiny_model

from rawmm_cli.core.denoising import Drawing
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import Sampling
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, VOCABULARY, encode

SMALL = Sampling(size=(4, 4), max_text=8, max_pictures=2, drawing=Drawing(steps=4))


A, B = encode("AB")


def chain(follows):
    """A model whose next token hangs on the last one alone: {token: next, or (next, if that is not
    allowed)}."""
    model = tiny_model(width=264, depth=1, std=0)
    with torch.no_grad():
        model.words.weight.copy_(torch.eye(VOCABULARY, 264))
        for token, nexts in follows.items():
            for place, one in enumerate(nexts if isinstance(nexts, tuple) else (nexts,)):
                model.text_out.weight[one, token] = 2.0 - place
    return model


def talkative(backbone="gau", prediction="clean"):
    """Random weights, and `<image>` comes often."""
    model = tiny_model(backbone, prediction=prediction)
    with torch.no_grad():
        model.text_out.weight[IMAGE] *= 3
    return model


def shape(document):
    """Tokens as they are, pictures as 'P'."""
    return ["P" if isinstance(item, Picture) else item for item in document]


def assert_same(found, expected, levels=0):
    assert [shape(document) for document in found] == [shape(document) for document in expected]
    for one, other in zip(found, expected):
        for a, b in zip(one, other):
            if isinstance(a, Picture):
                assert a.pixels.shape == b.pixels.shape and not a.draw
                assert (a.pixels.int() - b.pixels.int()).abs().max() <= levels


def prompts():
    rng = np.random.default_rng(0)
    return [
        [BOS, *encode("bird"), IMAGE],
        [BOS],
        [BOS, IMAGE, picture(rng, False, (2, 6)), END_IMAGE],
        [BOS, *encode("a long story"), IMAGE, picture(rng, False, (4, 4)), END_IMAGE, *encode("so"), IMAGE],
        [BOS, IMAGE],
        [BOS, *encode("bird"), IMAGE, picture(rng, False, (8, 2)), END_IMAGE, A, IMAGE],
    ]
