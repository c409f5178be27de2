"""From settings to objects: sizes of the presets, weights as a function of the seed, devices and
precision."""

import os

import pytest
import torch

from rawmm_cli.config import build
from rawmm_cli.config import model as config
from rawmm_cli.system import machine
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.training import optimizer

CPU = torch.device("cpu")


def tiny(*words):
    return config.load("tiny", words)


def weights(*words):
    return build.model(tiny(*words)).state_dict()


def same(some, other):
    return some.keys() == other.keys() and all(torch.equal(some[name], other[name]) for name in some)


MODELS = [name for name in config.preset_names() if isinstance(config.load(name), config.Config)]


@pytest.mark.parametrize("name", [name for name in config.preset_names() if name not in MODELS])
def test_a_preset_of_a_codec_is_built(name):
    settings = config.load(name)
    codec, side = build.codec(settings), settings.data.size
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    assert codec.eval().decode(codec.encode(images), codec.grid(side, side)[0]).shape == images.shape


@pytest.mark.parametrize("name", MODELS)
def test_a_preset_is_built_without_memory_and_its_parts_sum_up(name):
    model = build.model(config.load(name), "meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert not list(model.buffers())  # ema, checkpoints and compilation rely on parameters alone
    count = build.count_parameters(model)
    assert count["total"] == sum(p.numel() for p in model.parameters())
    assert count["total"] == count["text"] + count["image"] + count["backbone"] + count["codec"]
    assert count["codec"] == 0 and min(count["text"], count["image"], count["backbone"]) > 0


@pytest.mark.parametrize("name, values", [("patch64", 48), ("patch128", 192)])
def test_the_presets_of_the_post_have_its_sizes(name, values):
    settings = config.load(name)
    model = build.model(settings, "meta")
    rows, columns = model.codec.grid(settings.data.size, settings.data.size)
    assert (rows * columns, model.codec.values) == (256, values)
    assert 85e6 < build.count_parameters(model)["total"] < 90e6
    assert settings.backbone.kind == "gau" and settings.backbone.depth == 24


def test_parameters_by_hand():
    """Preset tiny: width 32, two layers, keys of 16, values and gate of 64, patches of 48 values, 260
    words."""
    count = build.count_parameters(build.model(tiny(), "meta"))
    assert count["text"] == 2 * 260 * 32
    assert count["image"] == (48 * 32 + 32) + (64 * 32 + 32) + (32 * 32 + 32) + (32 * 48 + 48)
    assert count["backbone"] == 2 * (32 + 32 * (64 + 64 + 16) + 64 * 32 + 2 * 16 + 2 * 16) + 32


@pytest.mark.parametrize("kind", ["gau", "transformer"])
def test_weights_are_a_function_of_the_seed(kind):
    kind = f"backbone.kind={kind}"
    assert same(weights(kind), weights(kind))
    assert not same(weights(kind), weights(kind, "train.seed=1"))


def test_the_global_generator_of_torch_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = weights()
    assert torch.equal(torch.rand(3), expected)
    assert same(first, weights())  # nor does its state matter


@pytest.mark.parametrize(
    "name, message",
    [
        ("gpu", "unknown device 'gpu'; allowed: auto, cpu, cuda, cuda:N"),
        ("", "unknown device ''; allowed: auto, cpu, cuda, cuda:N"),
        ("meta", "device 'meta' is not there; this machine has: cpu, cuda:0, cuda:1"),
        ("cuda:2", "device 'cuda:2' is not there; this machine has: cpu, cuda:0, cuda:1"),
    ],
)
def test_devices_that_are_not_there(name, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError) as caught:
        build.device(name)
    assert str(caught.value) == message


def test_devices_that_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert build.device("auto") == torch.device("cuda" if there else "cpu")
    assert build.device("cpu") == CPU
    assert build.device("cuda:1") == torch.device("cuda", 1)


def test_precision_follows_the_hardware(monkeypatch):
    for has, expected in ((True, "bf16"), (False, "fp32")):
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda has=has: has)
        properties = type("Properties", (), {"major": 8 if has else 7})
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda device, properties=properties: properties
        )
        assert build.precision("auto", CPU) == build.precision("auto", torch.device("cuda")) == expected
        assert build.precision("fp32", CPU) == "fp32" and build.precision("bf16", CPU) == "bf16"
        assert bool(machine.precision_warning("bf16", CPU)) != has and not machine.precision_warning(
            "fp32", CPU
        )
        stack = optimizer.orthogonal(torch.eye(3)[None], (3.4445, -4.775, 2.0315), 5, 1e-7)
        assert stack.dtype == (torch.bfloat16 if has else torch.float32)


def test_without_a_compiler_training_stays_eager(monkeypatch):
    model = build.model(tiny(), "meta")
    monkeypatch.setitem(os.environ, "CXX", "no-such-compiler")
    heard = []
    assert not build.compile_layers(model, "auto", CPU, heard.append)
    assert heard == ["no C++ compiler (g++) found: training runs uncompiled, about half as fast"]
    assert not build.compile_layers(model, "no", CPU, heard.append) and len(heard) == 1


@pytest.mark.parametrize("kind", ["gau", "transformer"])
@pytest.mark.parametrize("bottleneck", ["null", "8"])
def test_every_parameter_learns(kind, bottleneck):
    """After one step nothing is left without a gradient: no part is built and then forgotten."""
    from helpers import random_documents, randomised

    from rawmm_cli.core.batch import pack
    from rawmm_cli.core.loss import joint_loss

    model = randomised(
        build.model(tiny(f"backbone.kind={kind}", f"head.bottleneck={bottleneck}", "codec.patch=2"))
    )
    joint_loss(model, pack(random_documents(8), 64, model.codec.grid)).total.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("kind", ["gau", "transformer"])
def test_ready_for_sampling_it_is_the_same_model(kind):
    from helpers import random_documents, randomised

    from rawmm_cli.core.batch import pack

    model = randomised(build.model(tiny(f"backbone.kind={kind}", "codec.patch=2")))
    batch = pack(random_documents(4), 64, model.codec.grid)
    still, weights = (
        torch.zeros(len(batch.pictures.drawn)),
        {name: p.clone() for name, p in model.named_parameters()},
    )
    before = model(batch, model.clean(batch), still)
    torch.testing.assert_close(
        build.for_sampling(model)(batch, model.clean(batch), still), before, rtol=1e-5, atol=1e-5
    )
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    turned = [p for p in model.parameters() if p.ndim == 2 and not p.is_contiguous()]
    assert turned and all(p.shape[0] > p.shape[1] and p.t().is_contiguous() for p in turned)
