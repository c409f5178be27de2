"""The moving average: its decay at known points, and the update against a slow loop."""

import pytest
import torch
from torch import nn

from rawmm_cli.core import ema
from rawmm_cli.core.config import EMA


@pytest.mark.parametrize("documents, batch, expected", [
    (0, 10, 0.0),                                       # nothing but the first weights: forget them
    (10_000, 500, 0.5),                                 # half-life 0.05 * 10,000 = 500
    (10_000, 1000, 0.25),
    (20_000, 1000, 0.5),                                # here the ramp meets the half-life of 1,000
    (10_000_000, 1000, 0.5),
    (10_000_000, 1, 0.5 ** 0.001),
])
def test_decay_at_known_points(documents, batch, expected):
    assert ema.decay(EMA(half_life=1000.0, ramp=0.05), documents, batch) == pytest.approx(expected, rel=1e-12)


def test_decay_is_the_same_at_any_batch_size():
    """Beyond the ramp two steps of 8 forget as much as one of 16."""
    settings = EMA(half_life=100.0, ramp=1.0)
    assert ema.decay(settings, 1000, 8) ** 2 == pytest.approx(ema.decay(settings, 1000, 16))


def layer(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(5, 3)


def test_the_average_of_a_constant_is_exact_from_the_first_step_on():
    average, model = layer(0), layer(1)
    for number in range(20):
        ema.update(average, model, ema.decay(EMA(), 16 * number, 16))
        assert torch.equal(average.weight, model.weight) and torch.equal(average.bias, model.bias)


def test_update_equals_a_slow_loop():
    settings, average, slow = EMA(half_life=50.0, ramp=0.1), layer(0), None
    for number in range(30):
        model = layer(number + 1)
        old = ema.decay(settings, 8 * number, 8)
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
