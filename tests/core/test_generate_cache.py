"""Every position computed once: the cached generator is the uncached one, and no row moves another."""

import gc
import weakref

import numpy as np
import pytest
import torch
from drawing_models import SMALL, A, B, assert_same, chain, prompts, shape, talkative
from helpers import BACKBONES, blocks, picture, tiny_model

from rawmm_cli.core import generate as cached
from rawmm_cli.core import reference
from rawmm_cli.core.batch import pack
from rawmm_cli.core.cache import Cache
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import draw
from rawmm_cli.core.generate import generate
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from rawmm_cli.runs.loading import for_sampling

# ------------------------------------------------------------------------------- every position computed once


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "solver,guidance,interval,rescale",
    [
        ("euler", 1.0, (0.0, 1.0), 0.0),
        ("euler", 2.0, (0.0, 1.0), 0.0),
        ("heun", 3.0, (0.2, 0.8), 0.0),
        ("dpm2m", 0.5, (0.0, 0.6), 0.7),
        ("ancestral", 2.0, (0.0, 1.0), 0.0),
        ("ab2", 2.0, (0.4, 0.4), 0.5),
    ],
)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_cached_generator_is_the_uncached_one(backbone, solver, guidance, interval, rescale, temperature):
    """Tokens equal; pixels within 1 level of 255: fp32, sums in another order."""
    model, sampling = (
        talkative(backbone),
        SMALL.changed(
            solver=solver,
            guidance=guidance,
            interval=interval,
            rescale=rescale,
            temperature=temperature,
            max_pictures=3,
            max_text=12,
            top_p=0.9,
        ),
    )
    result = generate(model, prompts(), list(range(6)), sampling)
    assert_same(result, reference.generate(model, prompts(), list(range(6)), sampling), levels=1)
    assert max(shape(document).count("P") for document in result) >= 2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hidden_vectors_with_and_without_a_cache(backbone):
    """However a document is cut into what is read at once, its last position says the same, to 1e-5."""
    rng, model = np.random.default_rng(3), tiny_model(backbone)
    whole = [
        [
            BOS,
            *encode("one two"),
            IMAGE,
            picture(rng, False, (4, 6)),
            END_IMAGE,
            *encode("three"),
            IMAGE,
            picture(rng, False, (2, 2)),
            END_IMAGE,
            A,
        ],
        [BOS, A, IMAGE, picture(rng, False, (4, 4)), END_IMAGE, B, B],
    ]
    for cuts in ([1, 2, 3, 20], [4, 9, 10, 20], [20], list(range(1, 20))):
        memory = cached.Cache(model, 2, 60)
        for cut in cuts:
            parts = [document[: max(cut, 1)] for document in whole]
            hidden = memory.read(parts)
            batch = pack(parts, 80, blocks)
            expected = model(batch, model.encode(batch), torch.zeros(len(batch.pictures.drawn)))[batch.last]
            new = [
                n
                for n, document in enumerate(whole)
                if cut == cuts[0] or len(document) > cuts[cuts.index(cut) - 1]
            ]
            torch.testing.assert_close(hidden[new], expected[new], rtol=1e-5, atol=1e-5)


def test_rows_that_leave_the_cache_do_not_move_the_others():
    rng, model = np.random.default_rng(4), tiny_model()
    some = [
        [BOS, A],
        [BOS, B, IMAGE, picture(rng, False, (4, 4)), END_IMAGE],
        [BOS, *encode("longer")],
        [BOS, B],
    ]
    memory, alone = cached.Cache(model, 4, 40), cached.Cache(model, 2, 40)
    memory.read(some)
    memory.keep([1, 2])
    alone.read(some[1:3])
    torch.testing.assert_close(
        memory.read([[*one, A] for one in some[1:3]]),
        alone.read([[*one, A] for one in some[1:3]]),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("solver", ["euler", "ancestral"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_same_picture_to_the_bit_whatever_the_batch(backbone, solver, one_thread):
    """The same prompt and key among few or many, longer and shorter ones. On the CPU, products of 32 rows and
    more are summed in the same order, and sums over keys too, where their number is a multiple of 64."""
    model = for_sampling(tiny_model(backbone, width=64))
    sampling = SMALL.changed(size=(12, 12), guidance=2.5, solver=solver)
    mine = [BOS, *encode("the one that is asked for"), IMAGE]
    others = [[BOS, *encode("x" * n), IMAGE] for n in (1, 3, 80, 130, 30, 2, 25)]
    alone = draw(model, [mine], [7], sampling)[0]
    assert ((alone.pixels > 0) & (alone.pixels < 255)).float().mean() > 0.2
    for n in (1, 3, 4, 7):
        among = draw(model, [*others[:n], mine], [*range(n), 7], sampling)[-1]
        assert torch.equal(among.pixels, alone.pixels)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_pictures_drawn_in_bf16_are_nearly_the_same(backbone, guidance):
    """Only the network is in bf16: the noise, the state and what is watched stay fp32, and text is written as
    before."""
    model, settings = talkative(backbone), SMALL.changed(guidance=guidance, max_text=20)
    result = generate(model, prompts(), list(range(6)), settings.changed(precision="bf16"))
    expected, differences = generate(model, prompts(), list(range(6)), settings), []
    for one, other in zip(result, expected):
        first = next(
            n for n, item in enumerate(other) if isinstance(item, Picture) and item.key
        )  # text after it may differ
        assert shape(one[: first + 1]) == shape(other[: first + 1])
        differences.append((one[first].pixels.float() - other[first].pixels.float()).abs())
    spread = torch.cat([difference.flatten() for difference in differences])
    assert 0 < spread.mean() < 4 and spread.max() < 60


def test_what_is_added_is_told():
    model, result = chain({BOS: A, A: IMAGE, END_IMAGE: B, B: EOS}), []
    document = generate(model, [[BOS]], [0], SMALL, lambda i, item: result.append((i, item)))[0]
    assert [i for i, _ in result] == [0] * 5 and shape([item for _, item in result]) == [
        A,
        IMAGE,
        "P",
        B,
        EOS,
    ]
    assert result[2][1] is document[3]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_was_kept_is_gone_when_a_document_is_done(backbone, monkeypatch):
    """At once, not when Python next looks for circles: on a GPU these are gigabytes."""
    model, made = talkative(backbone), []
    begin = Cache.__init__

    def noting(cache, *arguments, **named):
        begin(cache, *arguments, **named)
        made.append(weakref.ref(cache))

    monkeypatch.setattr(Cache, "__init__", noting)
    gc.collect()
    gc.disable()
    try:
        generate(model, prompts(), list(range(6)), SMALL.changed(guidance=2.0))
        assert len(made) >= 2 and not any(cache() for cache in made)
    finally:
        gc.enable()
