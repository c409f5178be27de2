"""The moving average: its decay at known points, and the update against a slow loop."""

import pytest
import torch
from torch import nn

from rawmm_cli.config.model import EMA
from rawmm_cli.training import ema


@pytest.mark.parametrize(
    "documents, batch, expected",
    [
        (0, 10, 0.0),  # nothing but the first weights: forget them
        (10_000, 500, 0.5),  # half-life 0.05 * 10,000 = 500
        (10_000, 1000, 0.25),
        (20_000, 1000, 0.5),  # here the ramp meets the half-life of 1,000
        (10_000_000, 1000, 0.5),
        (10_000_000, 1, 0.5**0.001),
    ],
)
def test_decay_at_known_points(documents, batch, expected):
    assert ema.decays(EMA(half_life=1000.0, ramp=0.05), documents, batch)[0] == pytest.approx(
        expected, rel=1e-12
    )


def test_decay_is_the_same_at_any_batch_size():
    """Beyond the ramp two steps of 8 forget as much as one of 16."""
    settings = EMA(half_life=100.0, ramp=1.0)
    assert ema.decays(settings, 1000, 8)[0] ** 2 == pytest.approx(ema.decays(settings, 1000, 16)[0])


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.2, 0.25])
def test_the_exponent_gives_the_relative_width(width):
    """The profile t^gamma on (0, 1] has that standard deviation, by numerical integration."""
    gamma = ema.exponent(width)
    t = (torch.arange(2_000_000, dtype=torch.float64) + 0.5) / 2_000_000
    p = t**gamma / (t**gamma).sum()
    mean = (p * t).sum()
    assert ((p * (t - mean) ** 2).sum().sqrt()).item() == pytest.approx(width, rel=1e-4)
    assert ema.exponent(0.05) == pytest.approx(16.97, abs=0.01) and ema.exponent(0.1) == pytest.approx(
        6.94, abs=0.01
    )


def test_the_power_average_weighs_every_step_by_its_profile():
    """Equal to the weighted mean, computed at once, with weights (t_k^(g+1) - t_(k-1)^(g+1)) / T^(g+1)."""
    settings = EMA(kind="power", widths=(0.05, 0.1))
    assert ema.count(settings) == 2 and ema.count(EMA()) == 1
    for index, width in enumerate(settings.widths):
        power, average, models = ema.exponent(width) + 1, layer(0), [layer(n + 1) for n in range(40)]
        for number, model in enumerate(models):
            ema.update(average, model, ema.decays(settings, 8 * number, 8)[index])
        weights = [((n + 1) / 40) ** power - (n / 40) ** power for n in range(40)]
        expected = sum(w * model.weight.detach() for w, model in zip(weights, models))
        torch.testing.assert_close(average.weight.detach(), expected, rtol=1e-5, atol=1e-6)


def layer(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(5, 3)


def test_the_average_of_a_constant_is_exact_from_the_first_step_on():
    average, model = layer(0), layer(1)
    for number in range(20):
        ema.update(average, model, ema.decays(EMA(), 16 * number, 16)[0])
        assert torch.equal(average.weight, model.weight) and torch.equal(average.bias, model.bias)


def test_update_equals_a_slow_loop():
    settings, average, slow = EMA(half_life=50.0, ramp=0.1), layer(0), None
    for number in range(30):
        model = layer(number + 1)
        old = ema.decays(settings, 8 * number, 8)[0]
        ema.update(average, model, old)
        values = [x for p in model.parameters() for x in p.detach().flatten().tolist()]
        slow = values if slow is None else [old * a + (1 - old) * b for a, b in zip(slow, values)]
        fast = torch.cat([p.detach().flatten() for p in average.parameters()])
        torch.testing.assert_close(fast, torch.tensor(slow), rtol=1e-5, atol=1e-6)


def test_update_leaves_the_model_and_gradients_alone():
    average, model = layer(0).requires_grad_(False), layer(1)
    before = model.weight.detach().clone()
    ema.update(average, model, 0.5)
    assert torch.equal(model.weight, before)
    assert not average.weight.requires_grad and model.weight.grad is None
