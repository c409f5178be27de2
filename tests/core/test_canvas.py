"""Drawing on a picture that is there: only where a mask says, from a time on, in another size than was
learned."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from drawing_models import SMALL, A, assert_same, talkative
from helpers import BACKBONES
from toy_parts import Levels

from rawmm_cli.core import reference
from rawmm_cli.core.batch import layout
from rawmm_cli.core.denoising import Drawing, step_times
from rawmm_cli.core.document import Canvas, Picture
from rawmm_cli.core.drawing import draw, known_tokens, placed
from rawmm_cli.core.generate import generate
from rawmm_cli.core.noise import normal
from rawmm_cli.core.solvers import SOLVERS
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE
from rawmm_cli.system.errors import ConfigError

SIZE = (8, 12)
DRAWING = SMALL.changed(size=SIZE, guidance=2.0)
PROMPTS = [[BOS, A, IMAGE], [BOS, IMAGE], [BOS, A, A, A, IMAGE]]


def given(seed=0):
    return torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def half():
    """The right half and one lonely pixel."""
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:, 6:], mask[1, 1] = True, True
    return mask


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_outside_the_mask_nothing_changes(backbone, solver, strength):
    canvas = Canvas(given(), half(), strength)
    for picture in draw(
        talkative(backbone), PROMPTS, [1, 2, 3], DRAWING.changed(solver=solver), canvas=canvas
    ):
        assert torch.equal(picture.pixels[:, ~half()], canvas.pixels[:, ~half()])
        assert (picture.pixels[:, half()] != canvas.pixels[:, half()]).float().mean() > 0.5


@pytest.mark.parametrize("prediction", ["clean", "velocity"])
def test_what_is_drawn_knows_what_stands_beside_it(prediction):
    """Other pixels outside of the mask, another drawing inside, though the noise is the same."""
    model = talkative(prediction=prediction)
    one, other = (
        draw(model, PROMPTS[:1], [1], DRAWING, canvas=Canvas(given(seed), half()))[0].pixels
        for seed in (0, 1)
    )
    assert (one[:, half()] != other[:, half()]).float().mean() > 0.3


@pytest.mark.parametrize(
    "canvas", [Canvas(given(), half()), Canvas(given(), half(), 0.6), Canvas(given(), None, 0.4)]
)
@pytest.mark.parametrize("solver", ["euler", "heun", "ancestral"])
def test_on_a_canvas_the_cached_generator_is_the_uncached_one(solver, canvas):
    model, sampling = talkative(), DRAWING.changed(solver=solver)
    result, expected = (
        one(model, PROMPTS, [1, 2, 3], sampling, canvas=canvas) for one in (draw, reference.draw)
    )
    assert_same([result], [expected], levels=1)


@pytest.mark.parametrize("grid", ["uniform", "shifted", "quantiles"])
@pytest.mark.parametrize(
    "steps, strength, larger",
    [
        (1, 1.0, 1.0),
        (10, 1.0, 1.0),
        (200, 1.0, 1.0),
        (1000, 1.0, 1.0),
        (10, 0.3, 1.0),
        (10, 0.05, 1.0),
        (40, 1.0, 0.3),
    ],
)
def test_no_step_begins_where_nothing_was_learned(grid, steps, strength, larger):
    """But for the clamp the times are those of the grid, as many, and fall."""
    head = talkative().head
    times = step_times(Drawing(steps, grid=grid), head, strength, larger)
    assert times[0] == pytest.approx(strength) and times[-1] == 0 and all(a > b for a, b in pairwise(times))
    assert len(times) == (2 if strength == head.clamp else steps + 1)
    assert times[-2] >= head.clamp - 1e-9
    if (steps, strength, larger, grid) == (10, 1.0, 1.0, "uniform"):
        assert times == pytest.approx([1 - n / 10 for n in range(11)])


def test_a_variation_starts_from_the_noised_picture(monkeypatch):
    model, seen = talkative(), []
    canvas = Canvas(given(), None, 0.3)
    clean = model.codec.encode(canvas.pixels[None])[0]
    forward = model.head.embed
    monkeypatch.setattr(
        model.head, "embed", lambda inputs, time, of: seen.append((inputs, time)) or forward(inputs, time, of)
    )
    draw(model, PROMPTS[:1], [5], DRAWING.changed(guidance=1.0), canvas=canvas)
    inputs, time = next((inputs, time) for inputs, time in seen if len(inputs))
    assert time.tolist() == pytest.approx([0.3])
    torch.testing.assert_close(inputs, 0.7 * clean + 0.3 * normal([5], [24], model.codec.values))


def test_a_full_mask_is_no_canvas():
    model, mask = talkative(), torch.ones(SIZE, dtype=torch.bool)
    assert_same(
        [draw(model, PROMPTS, [1, 2, 3], DRAWING, canvas=Canvas(given(), mask))],
        [draw(model, PROMPTS, [1, 2, 3], DRAWING)],
    )


# ------------------------------------------------------------------------------------------------ other sizes


def test_positions_of_another_size_lie_where_those_learned_do():
    model = talkative()
    for learned, size in (((8, 8), (16, 16)), ((8, 8), (4, 4)), ((8, 12), (12, 12))):
        picture = placed(model, SMALL.changed(learned=learned, size=size), blank(size), True)
        as_learned, stretch = Picture(blank(learned), True), picture.stretch
        here, there = (layout([one], model.blocks).position for one in (picture, as_learned))
        for axis in (1, 2):  # the outer edges of the picture, half a patch beyond the outer middles
            ends = [
                (places[:, axis].min() - by / 2, places[:, axis].max() + by / 2)
                for places, by in ((here, stretch[axis - 1]), (there, 1))
            ]
            assert ends[0] == pytest.approx(ends[1])
    assert placed(model, SMALL, blank((8, 8)), True).stretch == (1.0, 1.0)


def blank(size):
    return torch.zeros(3, *size, dtype=torch.uint8)


@pytest.mark.parametrize("positions", ["ntk", "yarn", "plain"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_other_positions_draw_the_same_with_and_without_a_cache(positions, guidance):
    model = talkative()
    settings = replace(SMALL, learned=(4, 4), size=(8, 6), positions=positions, guidance=guidance)
    keys = [1, 2, 3]
    cached = draw(model, PROMPTS, keys, settings)
    assert_same([cached], [reference.draw(model, PROMPTS, keys, settings)])
    linear = draw(model, PROMPTS, keys, replace(settings, positions="linear"))
    assert any(not torch.equal(one.pixels, other.pixels) for one, other in zip(cached, linear))
    assert {picture.positions for picture in cached} == {positions if positions != "plain" else "linear"}


@pytest.mark.parametrize("positions", ["linear", "ntk", "yarn", "plain"])
def test_positions_of_the_learned_size_change_nothing(positions):
    model = talkative()
    settings = replace(SMALL, learned=SMALL.size, positions=positions)
    assert_same([draw(model, PROMPTS, [1, 2, 3], settings)], [draw(model, PROMPTS, [1, 2, 3], SMALL)])


def test_times_of_a_larger_picture_are_noisier():
    """At twice the side a mean over 2 x 2 pixels has half the noise: the odds t / (1 - t) must be twice as
    large."""
    head, model, seen = talkative().head, talkative(), []
    plain, large = (step_times(Drawing(4), head, larger=larger) for larger in (1.0, 2.0))
    model.head.clean = lambda output, z, time: seen.append(time.item()) or output
    draw(model, PROMPTS[:1], [0], SMALL.changed(size=(16, 16), learned=(8, 8)))
    assert seen == pytest.approx(large[:-1])
    assert (large[0], large[-1]) == (1.0, 0.0)
    for t, u in zip(plain[1:-1], large[1:-1]):
        assert u / (1 - u) == pytest.approx(2 * t / (1 - t))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_another_size_with_and_without_a_cache(backbone):
    model, sampling = talkative(backbone), DRAWING.changed(size=(12, 12), learned=(8, 8))
    result, expected = (one(model, PROMPTS, [1, 2, 3], sampling) for one in (draw, reference.draw))
    assert_same([result], [expected], levels=1)
    assert result[0].pixels.shape == (3, 12, 12) and result[0].stretch == pytest.approx((2 / 3, 2 / 3))
    plain = draw(model, PROMPTS, [1, 2, 3], sampling.changed(learned=None))
    assert any(not torch.equal(a.pixels, b.pixels) for a, b in zip(result, plain))
    document = generate(model, [PROMPTS[0]], [1], sampling)[0]
    assert document[4] == END_IMAGE and document[3].stretch == result[0].stretch


# -------------------------------------------------------------------------------------- codecs that learned


class Blurring(Levels):
    """A codec whose every code depends on all pixels, as after a normalisation over the picture."""

    vocabulary, codes = 5, 3  # odd: the middle code is its own inverse

    def encode(self, images):
        mean = images.float().mean((1, 2, 3), keepdim=True)
        return super().encode((images.float() + mean) / 2)


class Row(Blurring):
    """The same codes as a row without places."""

    def grid(self, height, width):
        rows, columns = super().grid(height, width)
        return 1, rows * columns

    def encode(self, images):
        whole = images.long().sum((1, 2, 3))[:, None, None]
        return (super().encode(images) + whole) % self.vocabulary


def with_codec(codec):
    model = talkative()
    model.codec = codec
    return model


def test_codes_stay_where_the_mask_does_not_touch_their_place():
    canvas = Canvas(given(), half())
    known = known_tokens(with_codec(Blurring()), canvas, torch.device("cpu"))
    outside = ~half().unfold(0, 2, 2).unfold(1, 2, 2).flatten(2).any(2).flatten()
    assert torch.equal(known.keep, outside[:, None].expand(-1, 3)) and 0 < outside.sum() < len(outside)


def test_a_grey_place_under_a_mask_is_drawn_anew_though_its_code_is_its_own_inverse():
    canvas = Canvas(torch.full((3, *SIZE), 127, dtype=torch.uint8), half())
    for codec in (Blurring(), Levels()):
        keep = known_tokens(with_codec(codec), canvas, torch.device("cpu")).keep
        assert not keep.view(4, 6, 3)[:, 3:].any() and keep.view(4, 6, 3)[2:, :3].all()


def test_codes_without_places_say_that_they_know_no_part():
    with pytest.raises(ConfigError, match="every token of this model's codec stands for all of it"):
        known_tokens(with_codec(Row()), Canvas(given(), half()), torch.device("cpu"))
    everything = torch.ones(SIZE, dtype=torch.bool)
    assert not known_tokens(with_codec(Row()), Canvas(given(), everything), torch.device("cpu")).keep.any()
