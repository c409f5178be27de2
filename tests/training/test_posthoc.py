"""An average of a width chosen after training: its algebra against integrals, and against the average
itself."""

import numpy as np
import pytest
import torch
from torch import nn

from rawmm_cli.config import presets
from rawmm_cli.config.model import EMA
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system.errors import CheckpointError, ConfigError
from rawmm_cli.training import ema, posthoc
from rawmm_cli.training.train import train


@pytest.mark.parametrize(
    "one, other", [((1.0, 17.0), (1.0, 7.0)), ((0.4, 17.0), (1.0, 7.0)), ((0.9, 7.0), (0.3, 7.0))]
)
def test_inner_products_are_integrals(one, other):
    t = (np.arange(400_000) + 0.5) / 400_000

    def profile(time, gamma):
        return np.where(t <= time, (gamma + 1) * t**gamma / time ** (gamma + 1), 0)

    assert posthoc.inner(*one, *other) == pytest.approx((profile(*one) * profile(*other)).mean(), rel=1e-4)


def test_a_width_that_was_kept_needs_one_snapshot():
    times, gammas = [0.25, 0.25, 0.5, 0.5, 1.0, 1.0], [ema.exponent(w) for w in (0.05, 0.1)] * 3
    actual = posthoc.weights(times, gammas, 1.0, gammas[1])
    np.testing.assert_allclose(actual, [0, 0, 0, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("width", [0.04, 0.07, 0.13, 0.2])
def test_any_width_comes_out_of_the_snapshots(width):
    """A walk of weights, averaged directly with that width, and put together from 32 snapshots of two other
    widths."""
    torch.manual_seed(0)
    steps, widths = 640, (0.05, 0.1)
    settings, model = EMA(kind="power", widths=widths), nn.Linear(20, 20)
    averages, direct, stored = [nn.Linear(20, 20) for _ in widths], nn.Linear(20, 20), []
    for number in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn_like(p) + 0.02)
        for average, old in zip(averages, ema.decays(settings, number, 1)):
            ema.update(average, model, old)
        ema.update(direct, model, (1 - 1 / (number + 1)) ** (ema.exponent(width) + 1))
        if (number + 1) % 20 == 0:
            stored += [
                ((number + 1) / steps, ema.exponent(w), a.weight.detach().clone())
                for w, a in zip(widths, averages)
            ]
    shares = posthoc.weights([k[0] for k in stored], [k[1] for k in stored], 1.0, ema.exponent(width))
    actual = sum(float(share) * k[2] for share, k in zip(shares, stored))
    expected, last = direct.weight.detach(), model.weight.detach()
    assert (actual - expected).norm() < 0.02 * (last - expected).norm(), (
        "far nearer to the average than the weights are"
    )


@pytest.fixture(scope="module")
def power_run(few_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("power") / "run"
    chosen = presets.load(
        "tiny",
        [
            "train.documents=640",
            "train.threads=1",
            "train.ema.kind=power",
            "train.save_every=320",
            "train.ema.snapshots=8",
            "sample.steps=1",
            "train.sample_every=640",
        ],
    )
    for _ in train(chosen, few_digits, folder, torch.device("cpu"), lambda message: None):
        pass
    return folder


def test_a_run_keeps_snapshots_and_two_averages(power_run):
    assert [documents for documents, _ in posthoc.snapshots(power_run)] == list(range(80, 641, 80))
    newest = checkpoint.latest(power_run)
    for number, name in enumerate(("ema", "ema_2"), 1):
        saved = loading.tensors(newest, name)
        tensors, documents = posthoc.average(power_run, (0.05, 0.1)[number - 1])
        assert documents == 640 and tensors.keys() == saved.keys()
        for key in saved:
            torch.testing.assert_close(tensors[key], saved[key], rtol=1e-4, atol=1e-5)


def test_the_command_makes_a_run_that_samples(power_run, tmp_path, rawmm):
    code, out, err = rawmm(
        "average", power_run, "--width", "0.15", "--name", "wide", "--runs-dir", tmp_path, "--json"
    )
    assert code == 0, err
    assert '"width": 0.15' in out and '"snapshots": 8' in out
    code, out, err = rawmm(
        "sample",
        "one",
        "--run",
        tmp_path / "wide",
        "--json",
        "--runs-dir",
        tmp_path,
        "--count",
        1,
        "--out",
        tmp_path / "drawn",
    )
    assert code == 0, err
    code, _, err = rawmm("average", power_run, "--width", "0.15", "--name", "wide", "--runs-dir", tmp_path)
    assert code == 2 and "is there already" in err


def test_what_cannot_be_averaged_is_said(power_run, tiny_run):
    with pytest.raises(CheckpointError, match="train.ema.kind=power"):
        posthoc.average(tiny_run, 0.1)
    with pytest.raises(ConfigError, match="width = 0.5 is not allowed"):
        posthoc.average(power_run, 0.5)
