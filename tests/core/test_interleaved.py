"""Text, picture, text, picture: what follows a drawn picture goes on from the finished one, in training and
while documents are written, with every head."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from combinations import made
from helpers import picture

from rawmm_cli.core import reference
from rawmm_cli.core.batch import pack, size
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import Sampling
from rawmm_cli.core.generate import generate
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode

SIDE = 6
KINDS = [("clean", "raw"), ("autoregressive", "levels"), ("masked", "levels"), ("scales", "multiscale")]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])


def model(kind):
    return made((kind[0], "transformer", kind[1])).eval()


def shown(number, draw, key=0) -> Picture:
    return picture(np.random.default_rng(number), draw, (SIDE, SIDE), key)


def sum_of(first, second, result) -> list:
    """[first] plus [second] is seven [result]"""
    parts = [[IMAGE, one, END_IMAGE] for one in (first, second, result)]
    return [BOS, *parts[0], *encode(" plus "), *parts[1], *encode(" is seven "), *parts[2], EOS]


def losses(built, document):
    return joint_loss(built, pack([document], size(document, built.blocks), built.blocks))


@every_kind
def test_text_behind_a_drawn_picture_is_learned_from_its_pixels_and_not_from_its_noise(kind):
    built, result = model(kind), shown(2, True, 9)
    given = sum_of(shown(0, False), shown(1, False), result)
    drawn = sum_of(shown(0, False), shown(1, True, 5), result)
    other_noise = sum_of(shown(0, False), shown(1, True, 6), result)
    other_digit = sum_of(shown(0, False), shown(3, True, 5), result)
    text = [losses(built, one).text for one in (given, drawn, other_noise, other_digit)]
    torch.testing.assert_close(text[1], text[0], atol=2e-5, rtol=1e-5)  # read or drawn, words see the same
    torch.testing.assert_close(text[2], text[1], atol=2e-5, rtol=1e-5)
    assert abs(text[3] - text[1]) > 1e-3


@every_kind
def test_a_picture_is_drawn_from_those_drawn_before_it(kind):
    """The image loss of the last picture depends on the second one, whether it was given or drawn."""
    built = model(kind)
    last = [
        losses(built, sum_of(shown(0, False), shown(number, False), shown(2, True, 9))).image
        for number in (1, 3)
    ]
    assert abs(last[0] - last[1]) > 1e-4


@every_kind
def test_what_is_written_sees_what_was_drawn(kind):
    """Every token behind a drawn picture is the likeliest one of a model that reads the document with it."""
    built = model(kind)
    prompt = [BOS, IMAGE, shown(0, False), END_IMAGE, *encode(" plus "), IMAGE]
    settings = Sampling(max_text=5, max_pictures=1, temperature=0, size=(SIDE, SIDE), context=128)
    written, expected = (
        write(built, [prompt] * 2, [3, 4], settings) for write in (generate, reference.generate)
    )
    pictures = [one[len(prompt)] for one in written]
    assert not torch.equal(pictures[0].pixels, pictures[1].pixels)  # two keys, two pictures
    for one, other in zip(written, expected):
        assert isinstance(one[len(prompt)], Picture) and not one[len(prompt)].draw
        assert one[len(prompt) + 1 :] == other[len(prompt) + 1 :]
    assert _likeliest(built, written[0], len(prompt) + 2) == written[0][len(prompt) + 2 :]
    logits = [_logits(built, one[: len(prompt) + 2]) for one in written]
    assert (logits[0] - logits[1]).abs().max() > 1e-3  # they differ in what was drawn alone


@every_kind
def test_any_part_may_be_given(kind):
    """Prompts of no, one or two pictures go on with the others, each drawn once."""
    built = model(kind)
    head = [IMAGE, shown(0, False), END_IMAGE]
    for prompt in ([BOS, IMAGE], [BOS, *head, IMAGE], [BOS, *head, *head, *encode(" is "), IMAGE]):
        settings = Sampling(max_text=3, max_pictures=1, temperature=0, size=(SIDE, SIDE), context=128)
        (document,) = generate(built, [prompt], [0], settings)
        drawn = [item for item in document[len(prompt) :] if isinstance(item, Picture)]
        assert document[: len(prompt)] == prompt and len(drawn) == 1
        assert drawn[0].pixels.shape == (3, SIDE, SIDE)


def _likeliest(built, document, first) -> list[int]:
    tokens = []
    for end in range(first, len(document)):
        scores = _logits(built, document[:end]).clone()
        scores[[BOS, END_IMAGE, IMAGE, 255]] = -torch.inf
        tokens.append(int(scores.argmax()))
    return tokens


@torch.inference_mode()
def _logits(built, document):
    document = [replace(item, draw=False) if isinstance(item, Picture) else item for item in document]
    batch = pack([document], size(document, built.blocks), built.blocks)
    return built.text(built.read(batch), batch.last)[0]
