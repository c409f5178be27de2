"""What is said before a run against what a run then has: counts, bytes and shapes exactly, and how estimates
move."""

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
    """Measured rates are replaced by round ones: these tests are about what is made of them."""
    machine = estimate.machine
    monkeypatch.setattr(machine, "matmul_rate", lambda *given: 1e11)
    monkeypatch.setattr(machine, "batched_matmul_rate", lambda *given: 5e10)
    monkeypatch.setattr(machine, "bandwidth", lambda *given: 1e10)
    monkeypatch.setattr(machine, "best", lambda work, *given: 0.01)


def test_positions_are_those_of_the_real_steps(digits):
    chosen = tiny()
    found = estimate.estimate(chosen, CPU, digits)
    model = build.model(chosen, "meta")
    steps = Steps(chosen, digits, model)
    rows = [len(steps[seen][0].tokens) for seen in range(0, WINDOW * 16, 16)]
    assert found["rows"] == round(sum(rows) / WINDOW) and found["positions_per_step"] == 40 * found["rows"]
    assert found["positions_from"] == "data" and 0.8 < found["fill"] <= 1
    assert found["steps"] == 40 and found["documents"] == 640
    assert found["run_seconds"] == pytest.approx(40 * found["step_seconds"])


def test_without_data_it_is_called_an_estimate():
    found = estimate.estimate(presets.load("patch128"), CPU, None)
    assert (
        found["positions_from"] == "estimate"
        and found["rows"] == 32
        and found["positions_per_step"] == 32 * 640
    )
    assert found["parameters"]["total"] == sum(v for k, v in found["parameters"].items() if k != "total")


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("backbone", ["gau", "transformer"])
def test_bytes_of_state_are_those_that_are_held(kind, backbone, digits):
    chosen = tiny(f"train.optimizer={kind}", f"backbone.kind={backbone}", "train.compile=no")
    found = estimate.estimate(chosen, CPU, digits)
    state = fresh(chosen, CPU, ALONE)
    for p in state.model.parameters():
        p.grad = torch.zeros_like(p)
    for one in state.optimizers:
        one.step()
    held = lambda tensors: sum(t.nbytes for t in tensors if t.ndim)  # noqa: E731
    memory = found["memory"]
    assert memory["weights"] == memory["gradients"] == memory["averages"] == held(state.model.parameters())
    assert memory["optimizer"] == held(optimizer.state(state.optimizers, state.model).values())
    assert memory["total"] == sum(value for name, value in memory.items() if name != "total")


def test_a_checkpoint_has_the_size_that_was_said(tiny_run, digits):
    found = estimate.estimate(loading.run_config(tiny_run), CPU, digits)
    files = list(checkpoint.latest(tiny_run).glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) == pytest.approx(
        found["checkpoint_bytes"], rel=0.1
    )  # headers
    assert (
        sum(t.nbytes for path in files for t in loading.tensors(path.parent, path.stem).values() if t.ndim)
        == found["checkpoint_bytes"]
    )


def test_what_saves_memory_is_seen_to_save_it(digits):
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


def test_a_run_by_time_says_how_many_documents(digits):
    found = estimate.estimate(tiny("train.time=100"), CPU, digits)
    assert found["run_seconds"] == 100
    assert found["documents"] == 16 * found["steps"] == 16 * round(100 / found["step_seconds"])


def test_a_dry_run_allocates_no_model(prepared_digits, rawmm):
    """A model of 88 million parameters: its estimate needs far less than its weights."""
    import json
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, err = rawmm(
        "train", "--preset", "patch64", "--dry-run", "--json", "--data-dir", prepared_digits
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["parameters"]["total"] > 80e6
    assert found["memory"]["weights"] == 4 * found["parameters"]["total"]
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < found["memory"]["weights"]
