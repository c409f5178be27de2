"""Two kinds of model: random weights, where everything depends on everything, and a chain, whose next token
is fixed.

Both generators do all of this, and the same: `generate` computes every position once, `reference` all of them
every time."""

import numpy as np
import pytest
import torch
from drawing_models import SMALL, A, B, assert_same, chain, prompts, shape, talkative
from helpers import BACKBONES, PATCH, blocks, picture, tiny_head
from scipy import stats

from rawmm_cli.core.batch import pack
from rawmm_cli.core.denoising import Drawing
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import draw, guide
from rawmm_cli.core.generate import choose, generate
from rawmm_cli.core.noise import PREDICTIONS, normal
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, VOCABULARY, encode


def length(document):
    return sum(item.pixels[0].numel() // PATCH**2 if isinstance(item, Picture) else 1 for item in document)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_batch_of_prompts_is_one_by_one(backbone, guidance, temperature):
    """Tokens equal; pixels within 1 level of 255 (fp32 sums in another order may round another way)."""
    model, keys = talkative(backbone), list(range(6))
    sampling = SMALL.changed(guidance=guidance, temperature=temperature)
    together = generate(model, prompts(), keys, sampling)
    alone = [generate(model, [prompt], [k], sampling)[0] for prompt, k in zip(prompts(), keys)]
    assert_same(together, alone, levels=1)
    assert_same(generate(model, prompts()[::-1], keys[::-1], sampling)[::-1], together, levels=1)
    pictures = [item.pixels for document in together for item in document if isinstance(item, Picture)]
    assert len(pictures) >= 8
    assert all(((image > 0) & (image < 255)).float().mean() > 0.2 for image in pictures), "not all clipped"


def test_the_same_key_gives_the_same_document_and_another_key_another_picture():
    model, prompt = talkative(), [BOS, A, IMAGE]
    one, again, other = (generate(model, [prompt], [k], SMALL)[0] for k in (5, 5, 6))
    assert_same([one], [again])
    assert not torch.equal(one[3].pixels, other[3].pixels)


def test_prompts_with_equal_keys_do_not_share_their_pictures():
    """One seed for several prompts: the noise is the same, the pictures are not."""
    model, some = talkative(), [[BOS, *encode("bird"), IMAGE], [BOS, *encode("sea"), IMAGE], [BOS, B, IMAGE]]
    alone = [generate(model, [prompt], [7], SMALL)[0] for prompt in some]
    assert not torch.equal(alone[0][6].pixels, alone[1][5].pixels)
    assert_same(generate(model, some, [7, 7, 7], SMALL), alone, levels=1)


def test_pictures_of_one_document_have_noise_of_their_own():
    model = chain({END_IMAGE: (IMAGE, EOS)})
    document = generate(model, [[BOS, IMAGE]], [3], SMALL.changed(max_pictures=2))[0]
    first, second = (item for item in document if isinstance(item, Picture))
    assert first.key != second.key


def test_prompts_are_kept_and_not_written_on():
    given = prompts()
    before = [list(prompt) for prompt in given]
    result = generate(talkative(), given, list(range(6)), SMALL)
    for prompt, copy, document in zip(given, before, result):
        assert len(prompt) == len(copy) and all(a is b for a, b in zip(prompt, copy))
        assert all(a is b for a, b in zip(prompt, document)) and len(document) > len(prompt)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_pictures_in_a_prompt_are_read_whatever_their_draw_flag(backbone):
    """A document of the training set is a prompt like any other."""
    rng = np.random.default_rng(1)
    shown = picture(rng, False, (2, 6))
    one, other = ([BOS, IMAGE, Picture(shown.pixels, flag, 9), END_IMAGE, A, IMAGE] for flag in (False, True))
    model = talkative(backbone)
    assert_same(*([generate(model, [prompt], [0], SMALL)[0][len(prompt) :]] for prompt in (other, one)))


# ---------------------------------------------------------------------------------------- text and its limits


def test_interleaving_follows_the_chain():
    model = chain({BOS: A, A: IMAGE, END_IMAGE: B, B: (IMAGE, EOS)})
    document = generate(model, [[BOS]], [0], SMALL.changed(size=(2, 6)))[0]
    assert shape(document) == [BOS, A, IMAGE, "P", END_IMAGE, B, IMAGE, "P", END_IMAGE, B, EOS]
    assert all(
        item.pixels.shape == (3, 2, 6) and item.pixels.dtype == torch.uint8 and not item.draw
        for item in document
        if isinstance(item, Picture)
    )


@pytest.mark.parametrize("allowed", [0, 1, 2, 5])
def test_max_pictures(allowed):
    """Pictures of the prompt do not count."""
    model = chain({BOS: (IMAGE, EOS), END_IMAGE: (IMAGE, EOS)})
    read = picture(np.random.default_rng(0), False)
    result = generate(
        model, [[BOS], [BOS, IMAGE, read, END_IMAGE]], [0, 1], SMALL.changed(max_pictures=allowed)
    )
    assert [shape(document).count("P") for document in result] == [allowed, allowed + 1]
    assert all(document[-1] == EOS for document in result)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("start", [[BOS], [BOS, IMAGE]], ids=["text first", "picture first"])
def test_max_text_counts_every_token_written(start, limit):
    """`</image>` comes with its picture and is not counted; a picture that was opened is finished."""
    model = chain({BOS: A, A: IMAGE, END_IMAGE: B, B: (IMAGE, A)})
    document = generate(model, [start], [0], SMALL.changed(max_text=limit))[0]
    written = [item for item in document[len(start) :] if not isinstance(item, Picture) and item != END_IMAGE]
    assert len(written) == limit
    assert document[-1] != IMAGE


@pytest.mark.parametrize("context", [3, 6, 8, 9, 14, 15, 20])
def test_context_is_never_passed(context):
    """A picture of 4 patches and its `</image>` are opened only where they still fit."""
    model = chain({BOS: A, A: (IMAGE, B), END_IMAGE: B, B: (IMAGE, A)})
    sampling = SMALL.changed(context=context, max_text=50, max_pictures=3)
    document = generate(model, [[BOS]], [0], sampling)[0]
    assert length(document) <= context and document[-1] != IMAGE


@pytest.mark.parametrize("sampling", [SMALL.changed(context=6), SMALL.changed(context=4)])
def test_a_prompt_as_long_as_the_context_is_left_alone(sampling):
    prompt = [BOS, A, A, A, A, A]
    assert generate(chain({A: A}), [prompt], [0], sampling) == [prompt]


def test_a_prompt_that_has_ended_is_left_alone():
    assert generate(chain({EOS: A, A: A}), [[BOS, A, EOS]], [0], SMALL) == [[BOS, A, EOS]]


def test_documents_end_at_their_own_time():
    model = chain({A: B, B: EOS, BOS: (IMAGE, EOS), END_IMAGE: A})
    result = generate(model, [[BOS, A], [BOS], [BOS, B]], [0, 1, 2], SMALL.changed(max_pictures=1))
    assert [shape(document) for document in result] == [
        [BOS, A, B, EOS],
        [BOS, IMAGE, "P", END_IMAGE, A, B, EOS],
        [BOS, B, EOS],
    ]


def test_nothing_asked_is_nothing_done():
    assert generate(talkative(), [], [], SMALL) == []


def next_tokens(model, documents, no_picture, keys, temperature, top_p=1.0):
    batch = pack(documents, max(map(len, documents)), blocks)
    logits = model.text(model(batch, model.encode(batch), torch.zeros(0)), batch.last)
    return choose(logits, no_picture, keys, SMALL.changed(temperature=temperature, top_p=top_p))


@torch.inference_mode()
def test_bos_and_end_image_are_never_written_and_image_only_where_allowed():
    model = chain({A: (BOS, END_IMAGE), B: (IMAGE, EOS)})
    for temperature in (0.0, 1.0, 5.0):
        result = next_tokens(
            model, [[A]] * 200 + [[B]] * 200, [False] * 200 + [True] * 200, range(400), temperature
        )
        assert not {BOS, END_IMAGE} & set(result) and IMAGE not in result[200:]
    assert next_tokens(model, [[B], [B]], [False, True], [0, 0], 0.0) == [IMAGE, EOS]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@torch.inference_mode()
def test_tokens_are_drawn_from_the_softmax(temperature):
    model, count = chain({}), 3000
    weights = torch.tensor([0.1, 0.05, 0.0, -0.05])
    model.text_out.weight[:, A] = -100.0
    model.text_out.weight[[A, B, EOS, IMAGE], A] = weights
    scale = 264**0.5 * weights  # the final norm makes the one-hot so long
    result = np.array(next_tokens(model, [[A]] * count, [False] * count, range(count), temperature))
    expected = count * (scale / temperature).softmax(0).double().numpy()
    counts = [(result == token).sum() for token in (A, B, EOS, IMAGE)]
    assert sum(counts) == count
    assert stats.chisquare(counts, expected * (count / expected.sum())).pvalue > 0.01


# -------------------------------------------------------------------------------------- pictures and guidance


def estimate(model, document, key, z, t):
    """The clean patches that the model sees behind z at the end of one document, by one plain call."""
    blank = Picture(torch.zeros(3, *SMALL.size, dtype=torch.uint8), True, key)
    batch = pack([[*document, blank]], 64, blocks)
    inputs, time = model.encode(batch), batch.pictures.drawn * t
    drawn = batch.pictures.drawn[batch.pictures.picture_of]
    inputs[drawn] = z
    output = model.predictions(model(batch, inputs, time), batch)[drawn]
    if model.head.prediction == "velocity":
        return z - t * output
    return output if model.head.prediction == "clean" else (z - t * output) / max(1 - t, 0.05)


@torch.no_grad()
def drawn_by_hand(model, document, key, guidance=1.0, interval=(0.0, 1.0), steps=4):
    """Euler's steps along dz/dt = (z - clean) / t, guided: the same as `draw`, written in another way."""
    z = normal([key], [4], model.codec.values)
    for n in range(steps):
        t, clean = 1 - n / steps, estimate(model, document, key, z, 1 - n / steps)
        if interval[0] <= t <= interval[1]:
            other = estimate(model, [BOS, IMAGE], key, z, t)
            clean = clean + (guidance - 1) * (clean - other)
        z = z - (z - clean) / t / steps
    return Picture(model.codec.decode(z[None], 2)[0], False, key)


@pytest.mark.parametrize(
    "guidance,interval",
    [(1.0, (0.0, 1.0)), (2.5, (0.0, 1.0)), (0.3, (0.0, 1.0)), (2.5, (0.3, 0.8)), (2.5, (0.5, 0.5))],
)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_draw_against_steps_by_hand(prediction, guidance, interval):
    model, sampling = talkative("gau", prediction), SMALL.changed(guidance=guidance, interval=interval)
    documents = [prompt for prompt in prompts() if prompt[-1] == IMAGE]
    keys = [11 + n for n in range(len(documents))]
    by_hand = [drawn_by_hand(model, document, k, guidance, interval) for document, k in zip(documents, keys)]
    assert_same([draw(model, documents, keys, sampling)], [by_hand], levels=1)


def pictures_with(model, documents, **settings):
    return draw(model, documents, list(range(len(documents))), SMALL.changed(**settings))


@pytest.mark.parametrize("solver", ["euler", "heun", "dpm2m"])
def test_guidance_outside_its_interval_is_none(solver):
    model, documents = talkative(), [prompt for prompt in prompts() if prompt[-1] == IMAGE]
    plain = pictures_with(model, documents, solver=solver)
    assert_same(
        [pictures_with(model, documents, solver=solver, guidance=3.0, interval=(0.01, 0.02))], [plain]
    )
    guided = pictures_with(model, documents, solver=solver, guidance=3.0)
    assert sum(not torch.equal(a.pixels, b.pixels) for a, b in zip(guided, plain)) >= len(documents) - 1


def test_guidance_does_nothing_where_there_is_no_condition():
    model, documents = talkative(), [[BOS, IMAGE]] * 3
    assert_same([pictures_with(model, documents, guidance=3.0)], [pictures_with(model, documents)], levels=1)


def test_guidance_zero_forgets_the_condition():
    model, documents = talkative(), [[BOS, *encode(text), IMAGE] for text in ("bird", "sea", "")]
    assert_same(
        [pictures_with(model, documents, guidance=0.0)], [pictures_with(model, [[BOS, IMAGE]] * 3)], levels=1
    )


def test_pictures_come_back_in_the_order_asked():
    """Also where the prompts hold read pictures of the same and of other sizes."""
    model, documents = talkative(), [prompt for prompt in prompts() if prompt[-1] == IMAGE]
    result = draw(model, documents, [4, 3, 2, 1], SMALL)
    assert [one.key for one in result] == [4, 3, 2, 1]
    assert_same(
        [result], [[draw(model, [one], [k], SMALL)[0] for one, k in zip(documents, (4, 3, 2, 1))]], levels=1
    )


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_every_step_can_be_watched(solver):
    """The last estimate is the picture itself, where the solver ends with Euler's step."""
    seen, model = [], talkative()
    drawn = draw(
        model,
        [[BOS, A, IMAGE], [BOS, IMAGE]],
        [1, 2],
        SMALL.changed(guidance=2.0, solver=solver),
        lambda step, noised, clean: seen.append((step, clean)),
    )
    assert [step for step, _ in seen] == ([0, 1, 2, 3] if solver == "euler" else [0, 1, 1, 2, 2, 3, 3])
    assert all(clean.shape == (2, 3, 4, 4) for _, clean in seen)
    assert torch.equal(seen[-1][1], torch.stack([picture.pixels for picture in drawn]))
    assert not torch.equal(seen[0][1], seen[-1][1])


def test_top_p_keeps_the_likeliest():
    """Chances 0.5, 0.3, 0.15, 0.05: of the likeliest, so many that they reach p."""
    logits = torch.full((4000, VOCABULARY), -torch.inf)
    logits[:, [A, B, 5, 6]] = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    for p, stay in (
        (0.01, {A}),
        (0.49, {A}),
        (0.51, {A, B}),
        (0.79, {A, B}),
        (0.9, {A, B, 5}),
        (0.96, {A, B, 5, 6}),
        (1.0, {A, B, 5, 6}),
    ):
        result = choose(logits.clone(), [True] * 4000, range(4000), SMALL.changed(temperature=1.0, top_p=p))
        assert set(result) == stay
        if p == 0.79:
            assert abs(result.count(A) / 4000 - 0.5 / 0.8) < 0.04


def test_rescaled_guidance_keeps_the_contrast():
    """arXiv 2305.08891, equation 15 and 16, in numpy, on the clean estimates of one step."""
    rng = np.random.default_rng(0)
    clean, other = (rng.standard_normal((2, 3, 12)).astype(np.float32) for _ in range(2))
    head, drawing = tiny_head(), Drawing(steps=1, rescale=0.6)

    def predict(z, t, share):
        return guide(torch.tensor(clean), torch.tensor(other), 4.0, share)

    drawn = head.draw(predict, [1, 2], (1, 3), drawing).numpy()
    for n in range(2):
        guided = other[n] + 4 * (clean[n] - other[n])
        expected = 0.6 * guided * clean[n].std(ddof=1) / guided.std(ddof=1) + 0.4 * guided
        np.testing.assert_allclose(drawn[n], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_guidance(share):
    """From none (1) to all of it, in proportion: VAR's ramp, and the interval of a diffusion head."""
    output, other = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = output + share * 1.5 * (output - other)
    prediction = guide(output, other, 2.5, share)
    torch.testing.assert_close(prediction.guided, expected)
    torch.testing.assert_close(other + prediction.scale * (output - other), expected)
