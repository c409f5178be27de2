"""Estimates before a run against the run: counts and bytes exactly, times by their direction."""

import pytest
import torch

from rawmm_cli.config import build, presets
from rawmm_cli.data import prepared
from rawmm_cli.data.loader import WINDOW, Steps
from rawmm_cli.profiling import estimate
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system.distributed import ALONE
from rawmm_cli.training import optimizer
from rawmm_cli.training.state import fresh

CPU = torch.device("cpu")


def tiny(*words):
    return presets.load("tiny", words)


@pytest.fixture(scope="module")
def digits(prepared_digits):
    return prepared.load(prepared_digits / "digits", "train")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Replace measured rates by round numbers."""
    machine = estimate.machine
    monkeypatch.setattr(machine, "matmul_rate", lambda *arguments: 1e11)
    monkeypatch.setattr(machine, "batched_matmul_rate", lambda *arguments: 5e10)
    monkeypatch.setattr(machine, "bandwidth", lambda *arguments: 1e10)
    monkeypatch.setattr(machine, "best", lambda work, *arguments: 0.01)


def test_positions_are_those_of_the_real_steps(digits):
    config = tiny()
    sizes = estimate.estimate(config, CPU, digits)
    model = build.model(config, "meta")
    steps = Steps(config, digits, model)
    rows = [len(steps[seen][0].tokens) for seen in range(0, WINDOW * 16, 16)]
    assert sizes["rows"] == round(sum(rows) / WINDOW) and sizes["positions_per_step"] == 40 * sizes["rows"]
    assert sizes["positions_from"] == "data" and 0.8 < sizes["fill"] <= 1
    assert sizes["steps"] == 40 and sizes["documents"] == 640
    assert sizes["run_seconds"] == pytest.approx(40 * sizes["step_seconds"])


def test_without_data_positions_are_an_estimate():
    sizes = estimate.estimate(presets.load("patch128"), CPU, None)
    assert (
        sizes["positions_from"] == "estimate"
        and sizes["rows"] == 32
        and sizes["positions_per_step"] == 32 * 640
    )
    assert sizes["parameters"]["total"] == sum(v for k, v in sizes["parameters"].items() if k != "total")


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("backbone", ["gau", "transformer"])
def test_bytes_of_weights_optimizer_and_averages(kind, backbone, digits):
    config = tiny(f"train.optimizer={kind}", f"backbone.kind={backbone}", "train.compile=no")
    sizes = estimate.estimate(config, CPU, digits)
    state = fresh(config, CPU, ALONE)
    for p in state.model.parameters():
        p.grad = torch.zeros_like(p)
    for one in state.optimizers:
        one.step()
    size_of = lambda tensors: sum(t.nbytes for t in tensors if t.ndim)  # noqa: E731
    memory = sizes["memory"]
    assert memory["weights"] == memory["gradients"] == memory["averages"] == size_of(state.model.parameters())
    assert memory["optimizer"] == size_of(optimizer.state(state.optimizers, state.model).values())
    assert memory["total"] == sum(value for name, value in memory.items() if name != "total")


def test_a_checkpoint_has_the_estimated_size(tiny_run, digits):
    sizes = estimate.estimate(loading.run_config(tiny_run), CPU, digits)
    files = list(checkpoint.latest(tiny_run).glob("*.safetensors"))
    on_disk = sum(path.stat().st_size for path in files)
    assert on_disk == pytest.approx(sizes["checkpoint_bytes"], rel=0.1)  # more by the headers
    assert (
        sum(t.nbytes for path in files for t in loading.tensors(path.parent, path.stem).values() if t.ndim)
        == sizes["checkpoint_bytes"]
    )


def test_options_that_save_memory(digits):
    def memory(*words, ranks=1):
        return estimate.estimate(tiny("train.batch=64", *words), CPU, digits, ranks)["memory"]

    plain = memory()
    assert memory("train.accumulate=4")["activations"] == pytest.approx(plain["activations"] / 4, rel=0.2)
    assert memory("train.recompute=true")["activations"] < plain["activations"]
    assert memory(ranks=4)["activations"] == pytest.approx(plain["activations"] / 4, rel=0.2)
    assert memory(ranks=4)["weights"] == plain["weights"]
    shared = memory("train.parallel=fsdp", ranks=4)
    assert all(
        shared[name] == round(plain[name] / 4) for name in ("weights", "gradients", "optimizer", "averages")
    )
    assert memory("train.ema.kind=power")["averages"] == 2 * plain["averages"]


def test_more_work_takes_longer(digits):
    def seconds(*words, ranks=1):
        return estimate.estimate(tiny(*words), CPU, digits, ranks)["step_seconds"]

    plain = seconds()
    assert seconds("train.batch=64") > 2 * plain
    assert seconds("train.recompute=true") > plain and seconds("train.optimizer=muon") > plain
    assert seconds("train.batch=64", ranks=4) < seconds("train.batch=64")


def test_documents_of_a_run_by_time(digits):
    sizes = estimate.estimate(tiny("train.time=100"), CPU, digits)
    assert sizes["run_seconds"] == 100
    assert sizes["documents"] == 16 * sizes["steps"] == 16 * round(100 / sizes["step_seconds"])


def test_a_dry_run_allocates_no_model(prepared_digits, rawmm):
    """The estimate of a model of 88 million parameters takes far less memory than its weights."""
    import json
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, err = rawmm(
        "train", "--preset", "patch64", "--dry-run", "--json", "--data-dir", prepared_digits
    )
    assert code == 0, err
    sizes = json.loads(out)
    assert sizes["parameters"]["total"] > 80e6
    assert sizes["memory"]["weights"] == 4 * sizes["parameters"]["total"]
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < sizes["memory"]["weights"]
