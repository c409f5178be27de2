"""Bits of words and distances of pictures: closed forms, and the same alone and in a batch."""

import math

import numpy as np
import pytest
import torch
from helpers import tiny_model

from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, VOCABULARY, train_pairs
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


def test_the_place_of_a_picture_is_its_mean_hidden_vector(monkeypatch):
    model = tiny_model()
    pictures = [
        Picture(torch.randint(0, 256, (3, *size), dtype=torch.uint8), False)
        for size in ((8, 8), (4, 8), (8, 8), (6, 6))
    ]
    places = familiar.places(model, pictures)
    for picture, place in zip(pictures, places):
        batch = pack([[BOS, IMAGE, picture, END_IMAGE]], 32, model.blocks)
        hidden = model.read(batch)[2 : 2 + len(batch.patch_at)]
        assert torch.allclose(place, hidden.mean(0), atol=1e-4)
    monkeypatch.setattr(familiar, "TOGETHER", 1)
    assert torch.allclose(familiar.places(model, pictures), places, atol=1e-4)
    assert familiar.places(model, []).shape == (0, 32)


def test_distances_from_a_plane():
    """Points of the plane z = 2 in eight dimensions; of others the squared height above it counts."""
    rng = torch.Generator().manual_seed(0)
    points = torch.zeros(400, 8)
    points[:, :2], points[:, 2] = torch.randn(400, 2, generator=rng), 2.0
    space = familiar.spanned(points)
    assert space.basis.shape == (2, 8)  # a quarter of the dimensions
    others = torch.zeros(3, 8)
    others[:, 0], others[:, 2] = torch.tensor([7.0, 0.0, -3.0]), torch.tensor([2.0, 5.0, 2.0])
    others[2, 7] = -4.0
    assert space.distances(others) == pytest.approx([0, 9, 16], abs=0.05)
    again = familiar.unpacked(space.packed(), 8, 4.0)
    assert again.distances(others) == pytest.approx([0, 9 / 4, 4], abs=0.02)


@pytest.mark.parametrize("text", ["", "AA", "not base64!", "AH4=" * 8, "AAAA"])
def test_what_is_no_subspace(text):
    with pytest.raises(ValueError):
        familiar.unpacked(text, 8, 1.0)
    with pytest.raises(ValueError):
        familiar.unpacked("AAAA" * 4, 6, 0.0)


def test_the_threshold_of_bits():
    own = [float(n) for n in range(1, 1001)]
    assert familiar.most_bits(own, 10) == 996  # 5 of 1,000 are at it or beyond
    assert familiar.most_bits(own[:50], 10) == 50 + 2  # log2(200 / 50)
    assert familiar.most_bits([3.0] * 1000, 2**15) == 15  # rarer than once in what it learned from


@pytest.mark.parametrize("count", [5, 12, 49])
def test_the_threshold_of_few_distances_is_a_prediction_interval(count):
    from scipy import stats

    logs = np.random.default_rng(count).normal(0.2, 0.5, count)
    spread = logs.std(ddof=1) * math.sqrt(1 + 1 / count)
    exact = math.exp(logs.mean() + stats.t.ppf(1 - familiar.PASS, count - 1) * spread)
    exact = max(exact, float(np.exp(logs.max())))
    assert familiar.most_distance(np.exp(logs).tolist()) == pytest.approx(exact, rel=0.06)


@pytest.mark.parametrize("count, error", [(200, 0.25), (20_000, 0.03)])
def test_the_threshold_of_many_distances_is_their_upper_quantile(count, error):
    """Of a Pareto distribution with exponent 4, of which one in 200 is beyond 200^(1/4)."""
    own = np.random.default_rng(0).uniform(size=count) ** (-1 / 4)
    assert familiar.most_distance(own.tolist()) == pytest.approx(200**0.25, rel=error)


def test_where_few_pictures_are_unseen_those_of_training_are_left_out_in_turn():
    """Points of a plane in 8 dimensions with noise of 0.1 around it, in 6 of them; unseen ones of 0.2."""
    rng = torch.Generator().manual_seed(1)
    points = torch.zeros(200, 8)
    points[:, :2] = torch.randn(200, 2, generator=rng)
    learned, far = (points + size * torch.randn(200, 8, generator=rng) for size in (0.1, 0.2))
    space = familiar.spanned(learned)
    own = familiar.own_distances(space, learned, far[:20])
    assert len(own) == 220 and own[:20] == space.distances(far[:20])
    assert np.median(own[20:]) == pytest.approx(np.median(own[:20]), rel=1e-3), "enlarged as unseen ones are"
    assert np.median(own) == pytest.approx(6 * 0.2**2, rel=0.35)
    assert familiar.own_distances(space, learned, far) == space.distances(far)
    near = familiar.own_distances(space, learned, learned[:3])
    assert len(near) == 203 and np.median(near) == pytest.approx(6 * 0.1**2, rel=0.2)
