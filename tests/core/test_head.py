from itertools import product

import numpy as np
import pytest
import torch
from helpers import PATCH, blocks, picture, random_documents, randomised, tiny_head

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.core.batch import pack
from rawmm_cli.core.denoising import Drawing
from rawmm_cli.core.document import Pictures
from rawmm_cli.core.noise import (
    PREDICTIONS,
    TIME_FEATURES,
    logit_normal,
    normal,
    target,
    time_features,
    to_clean,
)
from rawmm_cli.core.parts import Prediction
from rawmm_cli.core.solvers import SOLVERS

CODEC = RawPatches(PATCH)
VALUES = CODEC.values
PAIRS = list(product(PREDICTIONS, PREDICTIONS))


def pictures_of(of, drawn, keys):
    """Pictures of one row of patches: which one each patch belongs to, and which are drawn."""
    of = torch.tensor(list(of), dtype=torch.long)
    counts = torch.bincount(of, minlength=len(drawn)).tolist()
    index = torch.tensor([n for count in counts for n in range(count)], dtype=torch.long)
    grids = tuple((1, count) for count in counts)
    return Pictures(
        of, index, torch.tensor(drawn, dtype=torch.bool), tuple(keys), grids, tuple(counts), tuple(drawn)
    )


def clean_of(batch):
    return torch.cat([CODEC.encode(images).flatten(0, 1) for images in batch.images])


def mixed_batch(seed=0):
    """-> (batch, clean, drawn (T,)) with read and drawn pictures of several sizes."""
    batch = pack(random_documents(20, seed), 60, blocks)
    drawn = batch.pictures.drawn[batch.pictures.picture_of]
    assert drawn.any() and not drawn.all()
    return batch, clean_of(batch), drawn


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_read_pictures_stay_bit_for_bit_with_time_and_weight_zero(prediction):
    batch, clean, drawn = mixed_batch()
    corrupted = tiny_head(prediction).corrupt(clean, batch.pictures)
    assert torch.equal(corrupted.inputs[~drawn], clean[~drawn])
    assert torch.equal(corrupted.time > 0, batch.pictures.drawn) and torch.equal(
        corrupted.weight, drawn.float()
    )
    assert not torch.isclose(corrupted.inputs[drawn], clean[drawn]).all(-1).any()


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_drawn_pictures_are_noised_by_the_formula_from_their_own_key(prediction, scale):
    batch, clean, _ = mixed_batch(1)
    corrupted = tiny_head(prediction, noise_scale=scale).corrupt(clean, batch.pictures)
    for number, (key, drawn) in enumerate(zip(batch.pictures.keys, batch.pictures.drawn)):
        at = batch.pictures.picture_of == number
        if drawn:
            eps, t = normal([key], [int(at.sum())], VALUES), logit_normal([key], 0.8, 0.8)
            torch.testing.assert_close(corrupted.inputs[at], (1 - t) * clean[at] + t * scale * eps)
            assert corrupted.time[number] == t
            expected = {"clean": clean[at], "noise": eps, "velocity": scale * eps - clean[at]}[prediction]
            torch.testing.assert_close(corrupted.target[at], expected)


@pytest.mark.parametrize("prediction,space", PAIRS)
def test_loss_of_a_perfect_prediction_is_zero(prediction, space):
    batch, clean, drawn = mixed_batch()
    head = tiny_head(prediction, space)
    corrupted = head.corrupt(clean, batch.pictures)
    assert head.loss(corrupted.target, corrupted, batch.pictures) == 0
    only_read_wrong = torch.where(drawn[:, None], corrupted.target, torch.full_like(clean, 9.0))
    assert head.loss(only_read_wrong, corrupted, batch.pictures) == 0, "pictures that are read have no loss"


def test_the_default_loss_by_hand():
    """mean over drawn patches of |x^ - x|^2 / max(t, 0.05)^2, the clamp met as well."""
    batch, clean, drawn = mixed_batch()
    head = tiny_head()
    corrupted = head.corrupt(clean, batch.pictures)
    of = batch.pictures.picture_of
    corrupted = corrupted._replace(
        time=torch.where(torch.arange(len(corrupted.time)) % 3 == 0, 0.01, corrupted.time)
    )
    prediction = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    parts = [
        ((prediction[n] - clean[n]) ** 2).mean().item() / max(corrupted.time[of[n]].item(), 0.05) ** 2
        for n in range(len(clean))
        if drawn[n]
    ]
    np.testing.assert_allclose(
        head.loss(prediction, corrupted, batch.pictures).item(), np.mean(parts), rtol=1e-5
    )


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("prediction,space", PAIRS)
def test_loss_is_the_squared_error_in_the_chosen_space(prediction, space, scale):
    """The second path: turn the output into clean patches, those into the chosen space, and measure there."""
    batch, clean, drawn = mixed_batch(2)
    head = tiny_head(prediction, space, clamp=1e-6, noise_scale=scale)
    corrupted = head.corrupt(clean, batch.pictures)
    output = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    of = batch.pictures.picture_of
    z, t, clean, output = (
        x[drawn].double() for x in (corrupted.inputs, corrupted.time[of, None], clean, output)
    )

    def everything(estimate):
        noise = (z - (1 - t) * estimate) / (t * scale)
        return {"clean": estimate, "noise": noise, "velocity": scale * noise - estimate}

    estimate = to_clean(prediction, output, z, t, scale, 1e-6)
    expected = (everything(estimate)[space] - everything(clean)[space]).square().mean()
    full = torch.randn(clean_of(batch).shape, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(head.loss(full, corrupted, batch.pictures).item(), expected.item(), rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_key_gives_the_same_noise_whatever_the_batch(seed):
    rng = np.random.default_rng(seed)
    marked = picture(rng, True, (4, 6), key=77)
    alone = pack([[1, marked]], 8, blocks)
    among = pack([*random_documents(5, seed), [1, 2, marked], *random_documents(5, seed + 9)], 60, blocks)
    head = tiny_head()
    one, many = (head.corrupt(clean_of(batch), batch.pictures) for batch in (alone, among))
    number = among.pictures.keys.index(77)
    at = among.pictures.picture_of == number
    assert torch.equal(one.time[0], many.time[number])
    for small, large in zip(one._replace(time=one.inputs), many._replace(time=many.inputs)):
        assert torch.equal(small, large[at])


@pytest.mark.parametrize(
    "pictures",
    [
        pictures_of([], [], ()),
        pictures_of([0, 0, 1], [False, False], (1, 2)),
    ],
    ids=["no picture", "none drawn"],
)
def test_nothing_drawn_is_a_loss_of_zero(pictures):
    head, clean = tiny_head(), torch.rand(len(pictures.picture_of), VALUES)
    corrupted = head.corrupt(clean, pictures)
    assert torch.equal(corrupted.inputs, clean)
    assert head.loss(torch.rand_like(clean), corrupted, pictures) == 0


def test_noise_is_drawn_for_drawn_pictures_only():
    """Whether a neighbour is read must not move the noise of the next picture."""
    of, clean = [0, 0, 1, 1, 1, 2], torch.zeros(6, VALUES)
    runs = [
        tiny_head().corrupt(clean, pictures_of(of, drawn, (5, 6, 7))).inputs
        for drawn in ([True, True, True], [False, True, True], [True, False, True])
    ]
    assert torch.equal(runs[0][2:], runs[1][2:]) and torch.equal(runs[0][-1], runs[2][-1])


def test_embedding_knows_the_time():
    head = randomised(tiny_head())
    patches = torch.rand(1, VALUES).expand(50, -1)
    pictures = pictures_of(range(50), [True] * 50, range(50))
    seen = head.embed(patches, torch.linspace(0, 1, 50), pictures)
    assert seen.shape == (50, 32) and torch.pdist(seen).min() > 1e-3


def test_time_features_against_their_formula():
    out = time_features(torch.tensor([0.0, 0.3, 1.0]))
    half = TIME_FEATURES // 2
    for row, t in enumerate((0.0, 0.3, 1.0)):
        angles = [1000 * t * 10_000 ** (-j / half) for j in range(half)]
        np.testing.assert_allclose(out[row], [*np.cos(angles), *np.sin(angles)], atol=2e-4)


def test_a_bottleneck_is_two_linear_maps():
    wide = tiny_head()
    narrow = type(wide)(
        VALUES,
        32,
        prediction="clean",
        space="velocity",
        time_mean=0.8,
        time_spread=0.8,
        noise_scale=1.0,
        clamp=0.05,
        bottleneck=4,
    )
    product_of_maps = narrow.into[1].weight @ narrow.into[0].weight
    assert product_of_maps.shape == wide.into.weight.shape and torch.linalg.matrix_rank(product_of_maps) == 4


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_draw_finds_the_picture_a_perfect_network_knows(solver, prediction):
    """A network that outputs what is right for certain clean patches: the drawing ends in them."""
    head = tiny_head(prediction, noise_scale=2.0)
    known = torch.rand(2, 3, VALUES, generator=torch.Generator().manual_seed(0)) * 2 - 1
    start = 2.0 * normal((3, 4), (3, 3), VALUES).view(2, 3, VALUES)

    def predict(z, t, share):
        if t == 0.9:
            assert torch.equal(z, start)
        eps = (z - (1 - t) * known) / (2.0 * t)
        output = target(prediction, known, eps, 2.0)
        return Prediction(output, output, output, 1.0)

    drawn = head.draw(predict, (3, 4), (1, 3), Drawing(grid=(0.9, 0.6, 0.3, 0.0), solver=solver))
    exact = prediction == "clean" and solver != "ab2"  # ab2 adds up slopes
    torch.testing.assert_close(drawn, known, rtol=0, atol=0 if exact else 1e-5)


def test_an_interval_is_where_guidance_acts():
    shares = {}

    def predict(z, t, share):
        shares[t] = share
        return Prediction(z, z, z, 1.0)

    tiny_head().draw(predict, (1,), (2, 2), Drawing(steps=4, interval=(0.3, 0.75)))
    assert shares == {1.0: 0.0, 0.75: 1.0, 0.5: 1.0, 0.25: 0.0}
