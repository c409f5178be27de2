from collections import defaultdict

import numpy as np
import pytest
import torch
from helpers import BACKBONES, blocks, picture, random_documents, tiny_model

from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.noise import PREDICTIONS, loss_factor
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from rawmm_cli.system import machine


def sums_of_one(model, document):
    """One document alone, one number at a time -> (sum, count) of its text and of its drawn patches."""
    batch = pack([document], 64, blocks)
    corrupted = model.head.corrupt(model.encode(batch), batch.pictures)
    hidden = model(batch, corrupted.inputs, corrupted.time)
    patches, row = set(batch.patch_at.tolist()), batch.tokens[0].tolist()
    text, tokens, image, drawn = 0.0, 0, 0.0, 0
    for at in range(1, batch.last[0].item() + 1):
        if at not in patches and row[at] not in (BOS, END_IMAGE):
            chances = (model.text_out.weight @ hidden[at - 1]).double().softmax(0)
            text, tokens = text - chances[row[at]].log().item(), tokens + 1
    for n, at in enumerate(batch.patch_at.tolist()):
        if batch.pictures.drawn[batch.pictures.picture_of[n]]:
            said = model.head.out.weight @ hidden[at] + model.head.out.bias
            time = corrupted.time[batch.pictures.picture_of[n]]
            factor = loss_factor(model.head.prediction, model.head.space, time, 1.0, 0.05).item()
            image += ((said - corrupted.target[n]).double() ** 2).mean().item() * factor**2
            drawn += 1
    return text, tokens, image, drawn


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_against_documents_one_by_one(backbone, prediction, seed):
    model, documents = tiny_model(backbone, prediction=prediction), random_documents(12, seed)
    text, tokens, image, drawn = map(sum, zip(*(sums_of_one(model, document) for document in documents)))
    result = joint_loss(model, pack(documents, 64, blocks), 0.3, 2.0)
    np.testing.assert_allclose(
        [result.text.item(), result.image.item()], [text / tokens, image / drawn], rtol=1e-5
    )
    np.testing.assert_allclose(result.total.item(), 0.3 * text / tokens + 2.0 * image / drawn, rtol=1e-5)


@pytest.mark.parametrize("text_weight,image_weight", [(1, 1), (0, 1), (1, 0), (0.25, 4), (0, 0)])
def test_weights(text_weight, image_weight):
    model, batch = tiny_model(), pack(random_documents(6), 64, blocks)
    plain, weighed = joint_loss(model, batch), joint_loss(model, batch, text_weight, image_weight)
    assert torch.equal(weighed.text, plain.text) and torch.equal(weighed.image, plain.image)
    torch.testing.assert_close(weighed.total, text_weight * plain.text + image_weight * plain.image)


def test_a_fresh_model_knows_nothing():
    """Zero logits: log 260 nats a token. A zero prediction: the mean square of the pixels over max(t,
    0.05)^2."""
    model, batch = tiny_model(std=0), pack(random_documents(12), 64, blocks)
    result = joint_loss(model, batch)
    corrupted = model.head.corrupt(model.encode(batch), batch.pictures)
    time = corrupted.time[batch.pictures.picture_of].clamp_min(0.05)
    square = (model.encode(batch).square().mean(-1) / time**2)[corrupted.weight > 0].mean()
    torch.testing.assert_close(result.text, torch.tensor(260.0).log())
    torch.testing.assert_close(result.image, square)


RNG = np.random.default_rng(0)
LACKING = {
    "no picture": ([[BOS, *encode("abc"), EOS]], ("image",)),
    "read pictures only": ([[BOS, IMAGE, picture(RNG, False), END_IMAGE, EOS]], ("image",)),
    "no text to predict": ([[picture(RNG, True)], [BOS, picture(RNG, True), END_IMAGE]], ("text",)),
    "one token": ([[BOS]], ("text", "image")),
    "padding alone": ([], ("text", "image")),
}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_a_batch_lacks_is_a_finite_zero(backbone, name):
    documents, zero = LACKING[name]
    model = tiny_model(backbone)
    losses = joint_loss(model, pack(documents, 16, blocks))
    assert {part for part in ("text", "image") if getattr(losses, part) == 0} == set(zero)
    assert losses.total.isfinite()
    losses.total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_every_parameter_takes_part_even_without_pictures():
    """Several processes wait for each other's gradients: one that saw no picture must still have all of
    them."""
    model = tiny_model()
    joint_loss(model, pack([[BOS, 97, EOS]], 8, blocks)).total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def four_documents():
    rng = np.random.default_rng(0)
    one, two, three, four = (picture(rng, True, (4, 4)).pixels for _ in range(4))
    return [
        [BOS, *encode("red"), IMAGE, Picture(one, True, 1), END_IMAGE, EOS],
        [BOS, *encode("sea"), IMAGE, Picture(two, True, 2), END_IMAGE, *encode("!"), EOS],
        [BOS, IMAGE, Picture(three, False), END_IMAGE, *encode("cat"), EOS],
        [BOS, IMAGE, Picture(four, False), END_IMAGE, *encode("dog"), EOS],
    ]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_four_documents_are_learned_by_heart(backbone, prediction):
    """Four first letters are a matter of chance, so the text keeps a floor: see below."""
    model, batch = tiny_model(backbone, std=0, prediction=prediction), pack(four_documents(), 32, blocks)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.0)
    for step in range(200):
        losses = joint_loss(model, batch)
        if step == 0:
            first = losses
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    # after <bos> come r, s, <image>, <image>: 1.5 bits each, once in each of the four documents
    floor = 4 * 1.5 * np.log(2) / len(batch.predict)
    assert floor - 1e-3 < losses.text.item() < floor + 0.05 * first.text.item()
    assert losses.image.item() < 0.05 * first.image.item()


def test_a_reproducible_gpu_does_not_sort_rows_that_are_written_once(monkeypatch):
    """In torch's mode for reproducible sums a GPU sorts the rows of `index_copy` and `index_add`."""
    monkeypatch.setattr(machine, "REPRODUCIBLE", True)
    model, modes = tiny_model(), defaultdict(set)

    class Recorded(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            modes[function.overloadpacket.__name__].add(torch.are_deterministic_algorithms_enabled())
            return function(*args, **(kwargs or {}))

    with machine.reproducible(torch.device("cuda")), Recorded():
        joint_loss(model, pack(four_documents(), 32, blocks)).total.backward()
    assert modes["index_copy"] == modes["index_add_"] == {False} and modes["mm"] == {True}
    assert not modes.keys() & {"index_add", "index_put", "index_put_", "_index_put_impl_", "scatter_add_"}
    assert not torch.are_deterministic_algorithms_enabled()
