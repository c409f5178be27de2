"""Who owns which parameter, the learning rate at known points, and state that continues bit for bit."""

import pytest
import torch

from rawmm_cli.config import build, presets
from rawmm_cli.training import optimizer

KINDS = ("adamw", "muon")


def settings(*words):
    return presets.load("tiny", words)


def model_and_optimizers(kind, backbone="gau"):
    chosen = settings(f"train.optimizer={kind}", f"backbone.kind={backbone}", "train.weight_decay=0.1")
    model = build.model(chosen)
    return model, optimizer.optimizers(model, chosen.train)


def owned(one):
    return [p for group in one.param_groups for p in group["params"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", ["gau", "transformer"])
def test_every_parameter_is_owned_once(kind, backbone):
    model, optimizers = model_and_optimizers(kind, backbone)
    ids = [id(p) for one in optimizers for p in owned(one)]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("backbone", ["gau", "transformer"])
def test_muon_owns_the_hidden_matrices_and_nothing_else(backbone):
    model, (adamw, muon) = model_and_optimizers("muon", backbone)
    names = {id(p): name for name, p in model.named_parameters()}
    hidden = {name for name, module in model.backbone.named_modules() if isinstance(module, torch.nn.Linear)}
    assert {names[id(p)] for p in owned(muon)} == {f"backbone.{name}.weight" for name in hidden}
    assert len(hidden) >= 2 * 2  # two layers, at least a way in and a way out in each
    assert all(p.ndim == 2 for p in owned(muon))
    rest = {names[id(p)] for p in owned(adamw)}
    assert {"words.weight", "text_out.weight", "norm.weight", "head.out.weight", "head.into.weight"} <= rest
    assert isinstance(muon, torch.optim.Muon) and isinstance(adamw, torch.optim.AdamW)


def test_the_rates_are_those_of_the_settings():
    _, (adamw, muon) = model_and_optimizers("muon")
    optimizer.set_rate([adamw, muon], 0.25)
    assert {group["lr"] for group in adamw.param_groups} == {0.25 * 2e-3}
    assert {group["lr"] for group in muon.param_groups} == {0.25 * 0.02}
    optimizer.set_rate([adamw, muon], 0.5)  # of the full rate, not of the last one
    assert {group["lr"] for group in adamw.param_groups} == {0.5 * 2e-3}


@pytest.mark.parametrize(
    "documents, share",
    [
        (0, 0.1),
        (10, 0.2),
        (50, 0.6),
        (90, 1.0),
        (100, 1.0),
        (500, 1.0),  # warm-up of 100, batches of 10
        (800, 1.0),
        (850, 0.75),
        (900, 0.5),
        (990, 0.05),
        (1000, 0.0),
        (1100, 0.0),
    ],
)
def test_rate_at_known_points(documents, share):
    train = settings("train.documents=1000", "train.batch=10", "train.warmup=100", "train.decay=0.2").train
    assert optimizer.rate(train, documents, 1 - documents / 1000) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    "words, documents, share",
    [
        (("train.warmup=0", "train.decay=0"), 0, 1.0),
        (("train.warmup=0", "train.decay=0"), 999, 1.0),
        (("train.warmup=0", "train.decay=1"), 250, 0.75),
        (("train.warmup=1000", "train.decay=1"), 490, 0.5 * 0.51),  # both at once
    ],
)
def test_rate_without_a_part(words, documents, share):
    train = settings("train.documents=1000", "train.batch=10", *words).train
    assert optimizer.rate(train, documents, 1 - documents / 1000) == pytest.approx(share)


def test_a_run_by_time_falls_with_the_time():
    train = settings("train.time=200", "train.batch=10", "train.warmup=100", "train.decay=0.2").train
    for seconds, share in ((0, 1.0), (160, 1.0), (180, 0.5), (200, 0.0), (210, 0.0)):
        assert optimizer.rate(train, 5000, 1 - seconds / 200) == pytest.approx(share, abs=1e-12)


SHAPES = ((96, 32), (96, 32), (32, 64), (32, 64), (32, 32))


def muon_run(kind, missing=None):
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    one = kind(matrices, lr=0.04, weight_decay=0.1, momentum=0.95)
    for _ in range(4):
        for number, p in enumerate(matrices):
            p.grad = None if number == missing else torch.randn(p.shape, generator=generator)
        one.step()
    return matrices


@pytest.mark.parametrize("missing", [None, 1])
def test_muon_is_the_muon_of_torch(missing, one_thread):
    for actual, expected in zip(muon_run(optimizer.Muon, missing), muon_run(torch.optim.Muon, missing)):
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=2e-3)  # bf16 inside


def test_singular_values_are_pushed_towards_one():
    matrices = torch.randn(3, 48, 16, generator=torch.Generator().manual_seed(0)) * 7
    actual = optimizer.orthogonal(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7)
    values = torch.linalg.svdvals(actual.float())
    assert torch.linalg.svdvals(matrices).max() > 20 and values.min() > 0.5 and values.max() < 1.4
    for one, both in zip(matrices, actual):  # each by itself gives the same
        torch.testing.assert_close(
            optimizer.orthogonal(one[None], (3.4445, -4.775, 2.0315), 5, 1e-7)[0], both
        )


def step(model, optimizers, number):
    """One update with gradients that depend on the number of the step and on the weights."""
    generator = torch.Generator().manual_seed(number)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator) + p.detach()
    optimizer.set_rate(optimizers, 1 / (number + 1))
    for one in optimizers:
        one.step()


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_through_a_file_and_continues_bit_for_bit(kind, tmp_path, one_thread):
    from safetensors.torch import load_file, save_file

    model, optimizers = model_and_optimizers(kind)
    for number in range(3):
        step(model, optimizers, number)
    save_file({k: v.contiguous() for k, v in optimizer.state(optimizers, model).items()}, tmp_path / "state")
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    for number in range(3, 6):
        step(model, optimizers, number)

    other_model, others = model_and_optimizers(kind)
    other_model.load_state_dict(weights)
    optimizer.load_state(others, other_model, load_file(tmp_path / "state"))
    for number in range(3, 6):
        step(other_model, others, number)
    for (name, p), q in zip(model.named_parameters(), other_model.parameters()):
        assert torch.equal(p, q), name
    before, after = optimizer.state(optimizers, model), optimizer.state(others, other_model)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_state_names_parameter_and_key():
    model, optimizers = model_and_optimizers("muon")
    assert optimizer.state(optimizers, model) == {}
    step(model, optimizers, 0)
    keys = optimizer.state(optimizers, model)
    assert {"words.weight/exp_avg", "words.weight/exp_avg_sq", "words.weight/step"} <= keys.keys()
    assert {name.rsplit("/", 1)[0] for name in keys} == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_step_that_is_judged_as_not_finite_changes_nothing(bad, one_thread):
    """The way of a GPU, walked on the CPU, whose fused AdamW knows the same protocol: a step, a bad one and a
    step are two steps."""
    (model, (adamw,)), (other, (plain,)) = (model_and_optimizers("adamw") for _ in range(2))
    other.load_state_dict(model.state_dict())

    def step(module, one, seed, *numbers):
        generator = torch.Generator().manual_seed(seed)
        for p in module.parameters():
            p.grad = torch.randn(p.shape, generator=generator) * (1 + 0 * sum(numbers))
        if numbers:
            optimizer.judge([one], (~torch.tensor(numbers).isfinite()).any().float())
        one.step()

    for seed, numbers in ((0, (1.0, 2.0)), (1, (1.0, bad)), (2, (3.0, 4.0))):
        step(model, adamw, seed, *numbers)
    for seed in (0, 2):
        step(other, plain, seed)
    expected, actual = (optimizer.state([one], m) for one, m in ((plain, other), (adamw, model)))
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters()))


def test_on_a_cpu_no_optimizer_judges_by_itself():
    assert not any(optimizer.judges(model_and_optimizers(kind)[1]) for kind in KINDS)
