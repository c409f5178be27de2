"""The masked head: counts, losses that are known, laws that steps must keep, and diffusers' scheduler."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny_masked
from torch.nn import functional as F

from rawmm_cli.core.codes import SCHEDULES, confidence, counts, halton, pick, uniform
from rawmm_cli.core.document import Known, Pictures
from rawmm_cli.core.heads.masked import EPSILON, Drawing, MaskedHead
from rawmm_cli.core.parts import Prediction

KEYS = list(range(100, 120))


def head(vocabulary=5, codes=1, **settings):
    """A head that knows no codec."""
    return tiny_masked(SimpleNamespace(vocabulary=vocabulary, codes=codes), 16, **settings)


def pictures(sizes, draws=None, keys=None):
    """Pictures of so many tokens each."""
    draws = draws or [True] * len(sizes)
    return Pictures(
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        torch.cat([torch.arange(size) for size in sizes]),
        torch.tensor(draws),
        tuple(keys or range(len(sizes))),
        tuple((1, size) for size in sizes),
        tuple(sizes),
        tuple(draws),
    )


def says(logits):
    """A network that says the same whatever it sees: logits (N, G, V)."""

    def predict(inputs, time=0.0, share=1.0, at=None):
        out = logits.expand(len(inputs), *logits.shape)
        return Prediction(out, out, out, 1.0)

    return predict


# ----------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    "codes, steps, expected",
    [(64, 8, [2, 3, 6, 8, 10, 11, 12, 12]), (256, 8, [5, 15, 24, 31, 39, 45, 48, 49])],
)
def test_as_many_codes_become_known_as_maskgit_says(codes, steps, expected):
    left = [codes, *counts(codes, steps, "cosine")]
    assert [before - after for before, after in pairwise(left)] == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("free, steps", [(1, 1), (1, 8), (5, 8), (16, 16), (16, 1), (192, 7), (0, 4)])
def test_every_step_says_a_code_and_the_last_one_all(schedule, free, steps):
    left = [free, *counts(free, steps, schedule)]
    assert len(left) == 1 + min(steps, free) and left[-1] == 0
    assert all(before > after for before, after in pairwise(left))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_fall_from_all_to_none_as_fast_as_they_say(schedule):
    share, falls = SCHEDULES[schedule]
    assert share(0.0) == pytest.approx(1) and share(1.0) == pytest.approx(0)
    for r in np.linspace(0.05, 0.95, 19):
        assert falls(r) == pytest.approx(-(share(r + 1e-6) - share(r - 1e-6)) / 2e-6, rel=1e-6)


def test_cosine_and_arccos_are_inverse():
    for r in np.linspace(0, 1, 11):
        assert SCHEDULES["arccos"][0](SCHEDULES["cosine"][0](r)) == pytest.approx(r)


# ------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("codes", [1, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_fresh_head_says_ln_v_whatever_is_masked(schedule, smoothing, codes):
    one, shown = head(7, codes, schedule=schedule, smoothing=smoothing), pictures([4, 9, 1, 6])
    seen = one.corrupt(torch.randint(0, 7, (20, codes)), shown)
    prediction = one.output(torch.randn(20, 16), shown)
    assert one.loss(prediction, seen, shown).item() == pytest.approx(math.log(7), rel=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "square"])
def test_the_bound_of_a_fresh_head_is_that_of_md4(schedule):
    """(1 - 1e-4) ln V a code: the integral over r, and its estimate from masks."""
    one, count = head(256, loss="bound", schedule=schedule), 4000
    shown = pictures([12] * count)
    seen = one.corrupt(torch.zeros(12 * count, 1, dtype=torch.long), shown)
    estimate = one.loss(torch.zeros(12 * count, 1, 256), seen, shown).item()
    assert estimate == pytest.approx((1 - EPSILON) * math.log(256), rel=0.03)
    share, falls = SCHEDULES[schedule]
    terms = []
    for r in (np.arange(2000) + 0.5) / 2000:  # weight times the expected share of masked codes
        masked = EPSILON + (1 - 2 * EPSILON) * share(r)
        terms.append((1 - 2 * EPSILON) * falls(r) / masked * masked)
    assert np.mean(terms) + EPSILON == pytest.approx(1 - EPSILON, rel=1e-6)


def test_the_bound_of_an_exact_network_is_the_entropy_of_independent_codes():
    one, law = head(4, loss="bound", schedule="linear"), torch.tensor([0.5, 0.25, 0.125, 0.125])
    count = 3000
    shown = pictures([16] * count)
    codes = torch.multinomial(law, 16 * count, True, generator=torch.Generator().manual_seed(0))[:, None]
    seen = one.corrupt(codes, shown)
    nats = one.loss(law.log().expand(16 * count, 1, 4), seen, shown).item()
    assert nats == pytest.approx(1.75 * math.log(2), rel=0.03)


@pytest.mark.parametrize("form", ["maskgit", "bound"])
def test_masks_follow_from_the_key_of_a_picture_alone(form):
    one = head(9, 2, loss=form)
    codes = torch.randint(0, 9, (13, 2))
    together = one.corrupt(codes, pictures([4, 9], keys=[11, 12]))
    alone = one.corrupt(codes[4:], pictures([9], keys=[12]))
    assert torch.equal(together.inputs[4:], alone.inputs) and torch.equal(together.time[1:], alone.time)
    assert torch.equal(together.weight[4:], alone.weight)
    other = one.corrupt(codes, pictures([4, 9], keys=[11, 13]))
    assert torch.equal(together.inputs[:4], other.inputs[:4]) and not torch.equal(
        together.inputs, other.inputs
    )


def test_maskgit_masks_exactly_its_share_and_pictures_that_are_read_none():
    one, sizes = head(9, 2), [4, 9, 25]
    for first in range(0, 300, 3):
        shown = pictures(sizes, [True, False, True], [first, first + 1, first + 2])
        codes = torch.randint(0, 9, (38, 2))
        seen = one.corrupt(codes, shown)
        masked = seen.inputs == 9
        assert torch.equal(torch.where(masked, codes, seen.inputs), codes)
        for number in range(len(sizes)):
            share = masked[shown.picture_of == number].float().mean()
            assert share == pytest.approx(seen.time[number].item())
            assert (share > 0) == (number != 1)
            weight = seen.weight[shown.picture_of == number]
            assert (weight * share).allclose(torch.tensor(float(number != 1)))


def test_bernoulli_masks_have_the_share_of_their_time():
    one = head(9, loss="bound", schedule="linear")
    shown = pictures([4000] * 20)
    seen = one.corrupt(torch.zeros(80_000, 1, dtype=torch.long), shown)
    shares = (seen.inputs == 9).view(20, -1).float().mean(1)
    torch.testing.assert_close(shares, seen.time, atol=0.03, rtol=0)
    assert seen.time.max() - seen.time.min() > 0.5


def test_another_target_at_a_masked_position_changes_no_input():
    """So that no prediction knows its own target, and of the loss only its own term moves."""
    one = head(5, 2)
    shown, codes = pictures([6, 6]), torch.randint(0, 5, (12, 2))
    seen = one.corrupt(codes, shown)
    for at, g in (seen.inputs == 5).nonzero().tolist():
        other = codes.clone()
        other[at, g] = (other[at, g] + 1) % 5
        assert torch.equal(one.corrupt(other, shown).inputs, seen.inputs)
    for at, g in (seen.inputs != 5).nonzero().tolist():  # nothing is learned where it is known
        prediction = torch.randn(12, 2, 5, requires_grad=True)
        one.loss(prediction, seen, shown).backward()
        assert (prediction.grad[at, g] == 0).all()


def test_smoothing_is_that_of_torch():
    one = head(5, smoothing=0.1, schedule="linear")
    shown = pictures([8])
    seen, logits = one.corrupt(torch.randint(0, 5, (8, 1)), shown), torch.randn(8, 1, 5)
    masked = seen.inputs[:, 0] == 5
    expected = F.cross_entropy(logits[masked, 0], seen.target[masked, 0], label_smoothing=0.1)
    torch.testing.assert_close(one.loss(logits, seen, shown), expected)


# ------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("order", ["halton", "random"])
def test_of_independent_codes_one_step_equals_many_in_law(order):
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [-1.0, -1.0, 1.0], [0.5, 0.0, 0.0]])[:, None]
    keys, law = range(3000), logits.softmax(-1)[:, 0]
    for steps in (1, 2, 4):
        codes = head(3).draw(says(logits), keys, (2, 2), Drawing(steps, order))[..., 0]
        for at in range(4):
            seen = torch.bincount(codes[:, at], minlength=3)
            assert _chi_square(seen, 3000 * law[at]) < 13.8, (steps, at)  # 2 degrees of freedom: p = 0.001


def test_confidence_prefers_what_is_likely():
    """Why a likelihood is drawn in another order: of codes of 0.7 and 0.3 too many are the likely one."""
    logits = torch.tensor([0.7, 0.3]).log().expand(4, 1, 2)
    codes = head(2).draw(says(logits), range(2000), (2, 2), Drawing(4, "confidence", 0.0))
    assert (codes == 0).float().mean() > 0.8
    even = head(2).draw(says(logits), range(2000), (2, 2), Drawing(4, "confidence", 1e6))
    assert (even == 0).float().mean() == pytest.approx(0.7, abs=0.03)


def correlated(inputs, time=0.0, share=1.0, at=None):
    """Two binary codes that are always the same: once one is known, so is the other."""
    other = inputs.flip(1)[..., 0]  # (M, 2)
    known = F.one_hot(other.clamp_max(1), 2) * 200.0 - 100
    logits = torch.where((other == 2)[..., None], 0.0, known)[:, :, None]
    return Prediction(logits, logits, logits, 1.0)


@pytest.mark.parametrize("order", ["confidence", "halton", "random"])
def test_one_step_breaks_half_of_the_correlated_pairs_and_two_break_none(order):
    keys, broken = range(4000), {}
    for steps in (1, 2):
        codes = head(2).draw(correlated, keys, (1, 2), Drawing(steps, order))[..., 0]
        broken[steps] = (codes[:, 0] != codes[:, 1]).float().mean().item()
        assert codes[:, 0].float().mean() == pytest.approx(0.5, abs=0.03)
    assert broken[1] == pytest.approx(0.5, abs=0.03) and broken[2] == 0


TABLE = torch.tensor([[0.1, 0.4], [0.3, 0.2]])  # of two binary codes


def joint(inputs, time=0.0, share=1.0, at=None):
    """An exact network of TABLE."""
    first, second = inputs[:, 0, 0], inputs[:, 1, 0]
    rows = torch.cat([TABLE / TABLE.sum(1, keepdim=True), TABLE.sum(0, keepdim=True)])  # behind 0, 1, masked
    columns = torch.cat([(TABLE / TABLE.sum(0)).T, TABLE.sum(1)[None]])
    logits = torch.stack([columns[second], rows[first]], 1).log()[:, :, None]
    return Prediction(logits, logits, logits, 1.0)


@pytest.mark.parametrize("order", ["halton", "random"])
def test_a_table_of_two_pixels_is_drawn_as_it_is(order):
    codes = head(2).draw(joint, range(6000), (1, 2), Drawing(2, order))[..., 0]
    seen = torch.bincount(2 * codes[:, 0] + codes[:, 1], minlength=4)
    assert _chi_square(seen, 6000 * TABLE.flatten()) < 16.3  # 3 degrees of freedom: p = 0.001


def _chi_square(seen, expected):
    return float(((seen - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("order", ["confidence", "halton", "random"])
def test_the_steps_are_free_of_the_size_and_each_computes_the_whole_picture(order):
    """T evaluations and T N positions: section 0.1 of the comparison."""
    for grid in ((4, 4), (8, 8), (3, 21)):
        seen = []
        network = says(torch.zeros(grid[0] * grid[1], 1, 5))

        def predict(inputs, time, seen=seen, network=network):
            seen.append((inputs[0] == 5).sum().item())
            assert time == pytest.approx(seen[-1] / inputs[0].numel())
            return network(inputs)

        head().draw(predict, [1, 2], grid, Drawing(8, order))
        codes = grid[0] * grid[1]
        assert seen == [codes, *counts(codes, 8, "cosine")[:-1]] and len(seen) == 8


@pytest.mark.parametrize("order", ["confidence", "halton", "random"])
def test_what_is_drawn_depends_on_its_own_key(order):
    one, drawing = head(5, 2), Drawing(3, order)
    logits = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(1))
    together = one.draw(says(logits), KEYS, (2, 3), drawing)
    for n in (0, 7, 19):
        assert torch.equal(one.draw(says(logits), [KEYS[n]], (2, 3), drawing)[0], together[n])
    assert together.min() >= 0 and together.max() < 5 and len(together.flatten(1).unique(dim=0)) == len(KEYS)


def test_temperatures_and_top_k_of_codes():
    logits = torch.randn(4, 1, 50, generator=torch.Generator().manual_seed(1))
    likeliest = logits.argmax(-1)[None].expand(20, -1, -1)
    for drawing in (Drawing(2, code_temperature=0.0), Drawing(2, code_top_k=1), Drawing(2, code_top_p=1e-9)):
        assert torch.equal(head(50).draw(says(logits), KEYS, (2, 2), drawing), likeliest)


def test_a_watcher_sees_codes_that_exist_and_the_last_estimate_is_the_picture():
    seen = []
    one = head(5)
    codes = one.draw(
        says(torch.randn(16, 1, 5)), [1, 2], (4, 4), Drawing(4), watch=lambda *args: seen.append(args)
    )
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    assert all(state.max() < 5 and clean.max() < 5 for _, state, clean in seen)
    assert torch.equal(seen[-1][2], codes)


# ------------------------------------------------------------------------------------------ what is known


@pytest.mark.parametrize("strength", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("order", ["confidence", "halton", "random"])
def test_known_codes_never_change(order, strength):
    keep = torch.rand(16, 2, generator=torch.Generator().manual_seed(0)) < 0.4
    known = Known(torch.full((16, 2), 3), keep, strength)
    seen = []

    def predict(inputs, time):
        assert (inputs[:, keep] == 3).all()
        seen.append(inputs[0].eq(5).sum().item())
        return says(torch.randn(16, 2, 5) - 50 * F.one_hot(torch.tensor(3), 5))(inputs)  # never 3

    codes = head(5, 2).draw(predict, KEYS, (4, 4), Drawing(4, order), known=known)
    assert (codes[:, keep] == 3).all()
    free = math.ceil(strength * (~keep).sum().item())
    assert (codes != 3).sum((1, 2)).eq(free).all() and seen[0] == free
    assert seen == [free, *counts(free, 4, "cosine")[:-1]]


def test_where_all_is_known_nothing_is_computed():
    known = Known(torch.full((4, 1), 3), torch.ones(4, 1, dtype=torch.bool), 1.0)
    assert (head().draw(None, [1], (2, 2), known=known) == 3).all()


def test_a_variation_of_a_picture_changes_the_share_that_was_asked():
    known = Known(torch.full((100, 1), 3), None, 0.25)
    codes = head(5).draw(says(torch.zeros(100, 1, 5)), KEYS, (10, 10), Drawing(4), known=known)
    changed = (codes != 3).flatten(1).float().mean(1)
    assert changed.max() <= 0.25 and changed.mean() == pytest.approx(0.2, abs=0.03)
    assert len({tuple(row.nonzero()[:, 0].tolist()) for row in (codes != 3).flatten(1)}) == len(KEYS)


# ----------------------------------------------------------------------------------------------- an oracle


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("painted", [False, True])
def test_steps_are_those_of_the_amused_scheduler(schedule, painted, monkeypatch):
    """The same noise and the same rule of codes go into both; what they unmask is theirs."""
    amused = pytest.importorskip("diffusers.schedulers.scheduling_amused")
    steps, shape, device = 6, (3, 25, 1), torch.device("cpu")
    keys, one = [5, 6, 7], head(11, schedule=schedule)
    table = 2 * torch.randn(25, 12, 11, generator=torch.Generator().manual_seed(3))
    now = []  # the step

    def network(codes):  # what it says depends on what it sees
        return (
            table[torch.arange(25), codes[..., 0]]
            + table.roll(1, 0)[torch.arange(25), codes[..., 0].roll(1, 1)]
        )

    def predict(inputs, time):
        logits = network(inputs)[:, :, None]
        return Prediction(logits, logits, logits, 1.0)

    def multinomial(chances, count, generator=None):
        number = uniform(keys, shape, f"codes of step {now[0]}", device)
        return pick(chances.log(), number.flatten())[:, None]

    def gumbel(like, generator=None):
        return -torch.log(-torch.log(uniform(keys, shape, f"order of step {now[0]}", device)))[..., 0].float()

    monkeypatch.setattr(torch, "multinomial", multinomial)
    monkeypatch.setattr(amused, "gumbel_noise", gumbel)
    scheduler = amused.AmusedScheduler(mask_token_id=11, masking_schedule=schedule)
    scheduler.set_timesteps(steps)
    scheduler.temperatures = 4.5 * (
        1 - (torch.arange(steps) + 1) / steps
    )  # MaskGIT's; aMUSEd goes from 2 to 0
    keep = torch.zeros(25, 1, dtype=torch.bool)
    keep[3:10] = painted
    known = Known(torch.full((25, 1), 2), keep, 1.0)
    state = torch.where(keep, 2, 11).expand(shape)[..., 0]
    start = 1 - keep.float().mean().item()
    seen = []
    result = one.draw(
        lambda inputs, time: seen.append(inputs) or predict(inputs, time),
        keys,
        (5, 5),
        Drawing(steps),
        known=known if painted else None,
    )
    for step, timestep in enumerate(scheduler.timesteps.tolist()):
        now[:] = [step]
        assert torch.equal(seen[step][..., 0], state), step
        state = scheduler.step(network(state[..., None]), timestep, state, start).prev_sample
    assert torch.equal(result[..., 0], state) and len(seen) == steps


# ------------------------------------------------------------------------------------------------- orders


def test_the_halton_order_is_that_of_the_paper():
    """Radical inverses by hand: base 2 is 1/2 1/4 3/4 1/8 ..., base 3 is 1/3 2/3 1/9 4/9 ..."""
    rank = halton(4, 3).reshape(4, 3)
    points = [(1 / 2, 1 / 3), (1 / 4, 2 / 3), (3 / 4, 1 / 9), (1 / 8, 4 / 9), (5 / 8, 7 / 9)]
    for place, (x, y) in enumerate(points):
        assert rank[int(4 * x), int(3 * y)] == place


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (8, 8), (16, 16), (5, 3), (40, 40)])
def test_an_order_meets_every_token_once_and_spreads(grid):
    rank = halton(*grid)
    assert sorted(rank.tolist()) == list(range(grid[0] * grid[1]))
    if grid == (16, 16):  # a quarter of the codes: in every quarter of the picture about as many
        early = (rank < 64).reshape(2, 8, 2, 8).sum((1, 3))
        assert early.min() >= 14 and early.max() <= 18


def test_confidence_without_noise_is_the_log_probability():
    logits, codes = torch.randn(2, 3, 1, 4), torch.tensor([[[0], [1], [2]], [[3], [0], [0]]])
    number = torch.rand(2, 3, 1).double().clamp(0.01, 0.99)
    plain = confidence(logits, codes, number, 0.0)
    torch.testing.assert_close(plain, logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0])
    noise = confidence(logits, codes, number, 2.0) - plain
    torch.testing.assert_close(noise, (-2 * torch.log(-torch.log(number))).float())


def test_gumbel_noise_on_confidence_is_a_draw_by_its_probability():
    """At temperature 1 the greatest of log p + Gumbel falls on each place as often as its probability."""
    chances = torch.tensor([0.5, 0.3, 0.2])
    logits = torch.stack([chances.log(), (1 - chances).log()], -1)[None, :, None].expand(9000, 3, 1, 2)
    number = uniform(list(range(9000)), (9000, 3, 1), "test", "cpu")
    first = confidence(logits, torch.zeros(9000, 3, 1, dtype=torch.long), number, 1.0)[..., 0].argmax(1)
    assert _chi_square(torch.bincount(first, minlength=3), 9000 * chances) < 13.8


def test_a_head_modulates_where_time_is_to():
    assert head().condition(torch.zeros(1)) is None and head(time="added").condition(torch.zeros(1)) is None
    assert head(time="modulation").condition(torch.zeros(2)).shape == (2, 16)
    assert isinstance(head(), MaskedHead) and not head().reads_ahead
