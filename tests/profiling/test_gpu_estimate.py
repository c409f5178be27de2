"""Estimates for GPUs: closed forms, and memory against the graphs that torch.compile makes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._pytree import tree_leaves

from rawmm_cli.config import build, presets
from rawmm_cli.core import layers
from rawmm_cli.core.document import Condition
from rawmm_cli.core.layers import rotation
from rawmm_cli.profiling import bench, cards, estimate, gpu, sizes

pytestmark = pytest.mark.usefixtures("one_thread")
H100 = cards.named("h100")
TRANSFORMER = "backbone={kind: transformer, width: 256, depth: 3, heads: 4, hidden: 688}"


def step(*words, ranks=1, precision="bf16"):
    config = presets.load("patch128", words)
    return sizes.step(config, build.model(config, "meta"), None, ranks, precision)


def on(card, *words, ranks=1):
    return estimate.for_card(presets.load("patch128", words), card, None, ranks)


def test_twice_the_rates_take_half_the_time():
    rates = gpu.published(H100, "bf16")
    fast = gpu.Rates(2 * rates.linear, 2 * rates.bandwidth, 2 * rates.link)
    for words in ((), ("train.mask=flex",), (TRANSFORMER,), ("train.optimizer=muon",)):
        slow, quick = gpu.seconds(step(*words), rates), gpu.seconds(step(*words), fast)
        assert quick["GPU"] == pytest.approx(slow["GPU"] / 2) and quick["host"] == slow["host"]


def test_memory_does_not_depend_on_rates():
    fast = replace(H100, bf16=2 * H100.bf16, bandwidth=2 * H100.bandwidth)
    quick, slow = on(fast, "train.batch=256"), on(H100, "train.batch=256")
    assert quick["memory"] == slow["memory"] and quick["step_seconds"] < slow["step_seconds"]


def test_a_step_begun_ahead_takes_as_long_as_the_slower_of_gpu_and_host():
    large, small = on(H100, "train.batch=256"), on(H100, "train.batch=2")
    assert large["step_seconds"] == large["step_parts"]["GPU"] > large["step_parts"]["host"]
    assert small["step_seconds"] == small["step_parts"]["host"] > small["step_parts"]["GPU"]
    assert large["step_parts"]["host"] == small["step_parts"]["host"]


@pytest.mark.parametrize("words, ranks", [(("train.optimizer=muon",), 1), (("train.parallel=fsdp",), 8)])
def test_a_gpu_that_is_given_no_work_ahead_waits_for_the_first_kernels_of_a_step(words, ranks):
    """Also for the batch, where the process that launches makes it."""
    for batch in (2, 4096):
        first = f"train.batch={batch * ranks}"
        parts, alone = (on(H100, first, f"train.workers={n}", *words, ranks=ranks) for n in (7, 0))
        waits = gpu.FITTED.opening * (24 * gpu.FITTED.compiled_layer + gpu.FITTED.micro_batch)
        expected = max(parts["step_parts"]["GPU"] + waits, parts["step_parts"]["host"])
        assert parts["step_seconds"] == pytest.approx(expected)
        assert alone["step_seconds"] == pytest.approx(expected + alone["step_parts"]["batch"])


@pytest.mark.parametrize(
    "preset, words, ahead, milliseconds, gigabytes",
    [  # measured on an H200 (docs/scale.md), the slower of two machines where there were two
        ("patch128", ("train.batch=64",), True, 89.2, 12.12),
        ("patch128", ("train.batch=256",), True, 146.0, 43.71),
        ("patch128", ("train.batch=512",), True, 284.9, 85.87),
        ("patch64", ("train.batch=256",), True, 145.2, 43.68),
        ("patch128", ("train.batch=64",), False, 90.4, 12.12),
        ("patch128", ("train.batch=256",), False, 167.8, 43.71),
        ("patch128", ("train.batch=512",), False, 306.1, 85.87),
        ("patch128", ("train.batch=64", "train.mask=flex"), False, 122.4, 14.04),
        ("patch128", ("train.batch=64", "train.compile=no"), False, 108.2, 14.12),
    ],
)
def test_the_estimate_is_near_what_was_measured(preset, words, ahead, milliseconds, gigabytes, monkeypatch):
    config = presets.load(preset, words)
    if not ahead:
        monkeypatch.setattr(gpu, "ahead", lambda step: False)
    sizes_ = estimate.for_card(config, cards.named("h200"), bench.data_for(config, Path("/none"))[0])
    assert sizes_["step_seconds"] * 1e3 == pytest.approx(milliseconds, rel=0.25 if len(words) > 1 else 0.15)
    assert sizes_["memory"]["total"] / 2**30 == pytest.approx(gigabytes, rel=0.05)


def test_linear_layers_and_attention_by_hand():
    """Linear layers: 6 FLOPs a weight and position. Scores and mixed values: 6 L (K + E) a position."""
    sizes_, rates = step(), gpu.Rates(1e12, 1e12, 1e12)
    spent = gpu.seconds(sizes_, rates, replace(gpu.FITTED, written=gpu.Attention(1.0, 1.0)))
    positions, weights = 32 * 640, 24 * (768 * 3200 + 1536 * 768)
    assert spent["attention"] == pytest.approx(6 * positions * 640 * 24 * (128 + 1536) / 1e12)
    assert spent["linear layers"] == pytest.approx(6 * positions * weights / 1e12, rel=0.02)  # and the head's


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_communication_by_hand(parallel):
    """A ring sends 2 (n - 1) / n of the fp32 gradients (DDP), and half as much again under FSDP."""
    eight = step(f"train.parallel={parallel}", ranks=8)
    sent = 4 * eight.parameters * 7 / 8 * (2 if parallel == "ddp" else 3)
    assert gpu.sent(eight) == pytest.approx(sent) and gpu.sent(step()) == 0
    slow = gpu.seconds(eight, gpu.Rates(1e15, 3e12, 1e8))
    free = gpu.seconds(eight, gpu.Rates(1e15, 3e12, 1e15))
    hidden = free["GPU"] * (2 / 3 if parallel == "ddp" else 1)
    assert free["communication"] == 0 and slow["communication"] == pytest.approx(sent / 1e8 - hidden)


def test_a_gpu_of_this_machine_is_measured(monkeypatch):
    """With the rates that a card is taken to reach, the estimate is that of the card."""
    there = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=79 * 2**30, major=9)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: there)
    rates = gpu.published(H100, "bf16")
    monkeypatch.setattr(estimate.machine, "matmul_rate", lambda *arguments: rates.linear)
    monkeypatch.setattr(estimate.machine, "bandwidth", lambda *arguments: rates.bandwidth)
    here, card = (
        estimate.estimate(presets.load("patch128"), torch.device("cuda"), None, 8),
        on(H100, ranks=8),
    )
    assert here["card"] == {"name": there.name, "memory": there.total_memory, "measured": True}
    assert {**card, "card": 0, "mfu": 0} == {**here, "card": 0, "mfu": 0}


def test_cards_without_bf16_work_in_fp32():
    for name in ("v100", "t4"):
        sizes_ = on(name)
        assert sizes_["card"]["precision"] == "fp32"
        assert sizes_["memory"]["low-precision weights"] == 0
        assert sizes_["memory"]["activations"] > 1.5 * on(H100)["memory"]["activations"]


def test_weights_gradients_and_optimizer():
    """Gradients take the place of activations; with micro-batches or under DDP both are there at once."""
    total = step().parameters
    one = gpu.memory(step())
    assert one["weights"] == one["averages"] == 4 * total and one["optimizer"] == 8 * total
    assert one["gradients"] == 0 and one["total"] == sum(v for k, v in one.items() if k != "total")
    assert gpu.memory(step("train.accumulate=2"))["gradients"] == 4 * total
    assert gpu.memory(step(ranks=8))["gradients"] == 4 * total
    small = gpu.memory(step("train.batch=1", "train.recompute=true"))
    assert small["gradients"] == 4 * total and small["activations"] == 0
    muon = gpu.memory(step("train.batch=1", "train.recompute=true", "train.optimizer=muon"))
    assert (
        muon["update"] == 12 * 24 * 768 * 3200 and muon["gradients"] == 4 * total and muon["activations"] == 0
    )
    shared = gpu.memory(step("train.parallel=fsdp", ranks=8))
    assert shared["weights"] == round(total / 2) and shared["optimizer"] == total


def test_settings_that_save_memory():
    plain = gpu.memory(step())["activations"]
    assert gpu.memory(step("train.accumulate=4"))["activations"] == pytest.approx(plain / 4)
    assert gpu.memory(step("train.recompute=true"))["activations"] < plain / 4
    assert (
        gpu.memory(step("train.mask=flex", TRANSFORMER))["activations"]
        < gpu.memory(step(TRANSFORMER))["activations"]
    )
    assert gpu.memory(step("train.compile=no"))["activations"] > plain


@pytest.mark.parametrize(
    ("words", "ranks", "memory", "remedy"),
    [
        ((), 1, 80, ""),
        ((), 1, 8, "train.accumulate=4"),
        (("train.batch=1", "train.length=8000"), 1, 6, "train.recompute=true"),
        (("train.batch=8", "backbone.width=4096"), 8, 40, "train.parallel=fsdp"),
        (("train.batch=1", "backbone.width=8192"), 1, 8, None),
    ],
)
def test_what_makes_a_run_fit(words, ranks, memory, remedy):
    """The settings that are named make it fit, and without them it does not."""
    card = replace(H100, memory=memory * 2**30)
    sizes_ = on(card, *words, ranks=ranks)
    assert sizes_["fits"] is (remedy == "") and sizes_["remedy"] == (remedy or None)
    if remedy:
        assert on(card, *words, *remedy.split(), ranks=ranks)["fits"]


# ------------------------------------------------------------------------ against the graphs of torch.compile


def kept(layer, key, precision):
    """Bytes that a compiled layer keeps for its backward pass for a position, without its inputs and the
    copies of its weights, by the graphs that torch.compile hands to its backends."""
    rows, length = 2, 200
    x = torch.randn(rows, length, 256, requires_grad=True)
    cos, sin = rotation(torch.rand(rows, length, 3), key)
    inputs = [x, cos, sin, torch.zeros(rows, 1, length, length)]
    if hasattr(layer, "join"):
        pictures = Condition(torch.randn(4, 256, requires_grad=True), torch.ones(rows, length).long())
        inputs += [pictures if layer.modulation else None, torch.randn_like(x) if layer.join else None]
    flat = [leaf for leaf in tree_leaves(inputs) if leaf is not None]
    own = {t.untyped_storage().data_ptr() for t in (*flat, *layer.parameters())}
    weights = {p.numel() for p in layer.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.numel() not in weights:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    compiled = torch.compile(layer.forward, backend="aot_eager_decomp_partition")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            compiled(*inputs)
    return sum(size for size, _ in saved.values()) / (rows * length)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    "backbone",
    [
        "{kind: gau, width: 256, depth: 3, key: 64, expansion: 2}",
        TRANSFORMER.split("=", 1)[1],
        TRANSFORMER.split("=", 1)[1].replace("}", ", condition: modulation}"),
        TRANSFORMER.split("=", 1)[1].replace("}", ", skips: true}"),
    ],
)
def test_activations_are_what_compiled_layers_keep(backbone, precision, monkeypatch):
    monkeypatch.setattr(layers, "SHORT", 0)  # attention as on a GPU
    time = "modulation" if "modulation" in backbone else "added"
    config = presets.load("patch128", [f"backbone={backbone}", "train.length=264", f"head.time={time}"])
    model = build.model(config)
    different = {str(layer): layer for layer in model.backbone.layers}  # kinds of layers
    kinds = [str(layer) for layer in model.backbone.layers]
    bytes_of = {kind: kept(one, model.backbone.footprint().key, precision) for kind, one in different.items()}
    counted = sum(bytes_of[kind] for kind in kinds) / len(kinds)
    footprint, number = model.backbone.footprint(), 2 if precision == "bf16" else 4
    scores = {("gau", "bf16"): 2, ("gau", "fp32"): 4, ("transformer", "bf16"): 2, ("transformer", "fp32"): 0}
    expected = number * footprint.saved + scores[config.backbone.kind, precision] * 200
    assert expected == pytest.approx(counted, rel=0.05)
