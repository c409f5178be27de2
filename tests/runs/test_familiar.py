"""Bits of words: closed forms, and the same alone and in a batch."""

import math

import pytest
import torch
from helpers import tiny_model

from rawmm_cli.core.batch import pack
from rawmm_cli.core.text_tokenizer import BOS, VOCABULARY, train_pairs
from rawmm_cli.runs import familiar

BYTE = math.log2(VOCABULARY)  # bits of a byte under a fresh model, to which all tokens are equally likely


def bits(text):
    (words,) = familiar.word_bits(tiny_model(std=0), [text])
    return [(word.text, pytest.approx(word.bits / BYTE, rel=1e-5)) for word in words]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", []),
        ("  \n", []),
        ("cat", [("cat", 3)]),
        ("a cat", [("a", 1), ("cat", 4)]),  # the white space before a word is its own
        ("a cat  ", [("a", 1), ("cat", 4)]),
        ("a  cat.", [("a", 1), ("cat.", 6)]),
        (" a\tb", [("a", 2), ("b", 2)]),
        ("où 猫", [("où", 3), ("猫", 4)]),
        ("x" * 300, [("x" * 256, 256)]),  # the first tokens of a long text
    ],
)
def test_under_a_fresh_model_every_byte_of_a_word_costs_the_same(text, words):
    assert bits(text) == words


def test_bits_are_those_of_the_tokens_that_the_model_predicts():
    model = tiny_model()
    text = "red hair, red"
    batch = pack([[BOS, *model.tokenizer.encode(text)]], 32, model.blocks)
    scores = model.text(model.read(batch), batch.predict_at).log_softmax(-1)
    nats = -scores.gather(1, batch.predict[:, None])[:, 0]
    (words,) = familiar.word_bits(model, [text])
    assert [word.text for word in words] == ["red", "hair,", "red"]
    assert [word.bits for word in words] == pytest.approx(
        [part.sum().item() / math.log(2) for part in nats.split([3, 6, 4])], rel=1e-5
    )


def test_a_text_has_the_same_bits_alone_and_among_others(monkeypatch):
    model, texts = tiny_model(), ["a", "", "two words", "nine" * 20, "b c d e f"]
    together = familiar.word_bits(model, texts)
    monkeypatch.setattr(familiar, "TOGETHER", 1)
    for one, other in zip(together, familiar.word_bits(model, texts)):
        assert [word.text for word in one] == [word.text for word in other]
        assert [word.bits for word in one] == pytest.approx([word.bits for word in other], rel=1e-4)


def test_learned_pieces_of_a_word_add_up():
    model = tiny_model(std=0)
    model.tokenizer = train_pairs(["red hair"] * 9, VOCABULARY + 2)
    model.words, model.text_out = torch.nn.Embedding(262, 32), torch.nn.Linear(32, 262, bias=False)
    torch.nn.init.zeros_(model.text_out.weight)
    count = len(model.tokenizer.encode("red"))
    (words,) = familiar.word_bits(model, ["red hair"])
    assert count < 3 and [word.text for word in words] == ["red", "hair"]
    assert words[0].bits == pytest.approx(count * math.log2(VOCABULARY + 2), rel=1e-5)


def test_the_threshold_of_bits():
    own = [float(n) for n in range(1, 1001)]
    assert familiar.most_bits(own, 10) == 996  # 5 of 1,000 are at it or beyond
    assert familiar.most_bits(own[:50], 10) == 50 + 2  # log2(200 / 50)
    assert familiar.most_bits([3.0] * 1000, 2**15) == 15  # rarer than once in what it learned from
