"""Settings -> objects: sizes of the presets, weights as a function of the seed, unknown kinds."""

from types import SimpleNamespace

import pytest
import torch

from rawmm_cli.config import build, presets
from rawmm_cli.config.automatic import automatic
from rawmm_cli.config.model import Config
from rawmm_cli.config.tokens import FrozenCodec
from rawmm_cli.core.denoising import Drawing
from rawmm_cli.core.heads import autoregressive, masked
from rawmm_cli.core.model import count_parameters
from rawmm_cli.system.errors import ConfigError

CPU = torch.device("cpu")


def tiny(*words):
    return presets.load("tiny", words)


def weights(*words):
    return build.model(tiny(*words)).state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


MODELS = [name for name in presets.names() if isinstance(presets.load(name), Config)]
FOR_ANY_SET = [name for name in MODELS if automatic(presets.load(name))]


@pytest.mark.parametrize("name", [name for name in presets.names() if name not in MODELS])
def test_a_preset_of_a_codec_is_built(name):
    settings = presets.load(name)
    codec, side = build.codec(settings), settings.data.size
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    assert codec.eval().decode(codec.encode(images), codec.grid(side, side)[0]).shape == images.shape


@pytest.mark.parametrize("name", [name for name in MODELS if name not in FOR_ANY_SET])
def test_a_preset_is_built_without_memory_and_its_parts_sum_up(name):
    model = build.model(looked_up(presets.load(name)), "meta")
    parameters = dict(model.named_parameters())
    assert {p.device.type for p in parameters.values()} == {"meta"}
    assert model.state_dict().keys() == parameters.keys()  # averages and checkpoints handle parameters only
    count = count_parameters(model)
    assert count["total"] == sum(p.numel() for p in parameters.values())
    assert count["total"] == count["text"] + count["image"] + count["backbone"], "a codec is frozen"
    assert min(count["text"], count["image"]) > 0


def looked_up(settings):
    """Settings whose codec, if it is that of a run, is as its preset of the same name says."""
    if not isinstance(settings.codec, FrozenCodec):
        return settings
    trained = presets.load(settings.codec.run)
    known = {"learned": trained.codec, "size": trained.data.size}
    return settings.model_copy(update={"codec": settings.codec.model_copy(update=known)})


def test_settings_that_wait_for_a_set_are_not_built():
    assert {"small", "medium", "large"} == set(FOR_ANY_SET)
    with pytest.raises(ConfigError) as caught:
        build.model(presets.load("small"))
    assert str(caught.value) == (
        "data.size = auto follows from a set; name one with --data NAME, or give a value"
    )


@pytest.mark.parametrize("name, values", [("patch64", 48), ("patch128", 192)])
def test_the_presets_of_the_post_have_its_sizes(name, values):
    settings = presets.load(name)
    model = build.model(settings, "meta")
    rows, columns = model.codec.grid(settings.data.size, settings.data.size)
    assert (rows * columns, model.codec.values) == (256, values)
    assert 85e6 < count_parameters(model)["total"] < 90e6
    assert settings.backbone.kind == "gau" and settings.backbone.depth == 24


def test_counts_of_parameters_by_hand():
    """Preset tiny: width 32, two layers, keys of 16, values and gate of 64, patches of 48 values, a
    vocabulary of 260."""
    count = count_parameters(build.model(tiny(), "meta"))
    assert count["text"] == 2 * 260 * 32
    assert count["image"] == (48 * 32 + 32) + (64 * 32 + 32) + (32 * 32 + 32) + (32 * 48 + 48)
    assert count["backbone"] == 2 * (32 + 32 * (64 + 64 + 16) + 64 * 32 + 2 * 16 + 2 * 16) + 32


def test_a_model_of_sub_pixels_by_hand():
    """Three times 256 rows in, 256 logits out, and which of the three codes is predicted."""
    settings = tiny(
        "head.kind=autoregressive",
        "codec.kind=subpixels",
        "head.z_loss=0.1",
        "train.length=3100",
        "data.size=4",
    )
    model = build.model(settings)
    assert count_parameters(model)["image"] == 3 * 256 * 32 + 3 * 32 + (32 * 256 + 256)
    assert (
        model.codec.grid(4, 6) == (4, 6) and len(model.blocks(4, 6).block) == 72 and model.head.z_loss == 0.1
    )
    assert settings.positions(4, 6) == 72


def test_a_model_of_masked_codes_by_hand():
    """257 rows in and 256 logits out for each of three codes, and a clock where time enters."""
    settings = tiny("head.kind=masked", "codec.kind=subpixels", "data.size=4", "head.time=added")
    model, clock = build.model(settings), (64 * 32 + 32) + (32 * 32 + 32)
    assert count_parameters(model)["image"] == 3 * 257 * 32 + (32 * 768 + 768) + clock
    assert len(model.blocks(4, 6).block) == 24 == settings.positions(4, 6)
    assert model.head.schedule == "cosine" and model.head.form == "maskgit"


def test_a_smoothed_bound_is_none():
    with pytest.raises(ConfigError, match=r"head.smoothing = 0.1 makes the loss no bound; set head.smooth"):
        tiny("head.kind=masked", "codec.kind=subpixels", "head.loss=bound", "head.smoothing=0.1")


@pytest.mark.parametrize("kind", ["gau", "transformer"])
def test_weights_are_a_function_of_the_seed(kind):
    kind = f"backbone.kind={kind}"
    assert same(weights(kind), weights(kind))
    assert not same(weights(kind), weights(kind, "train.seed=1"))


def test_the_global_generator_of_torch_is_neither_used_nor_changed():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = weights()
    assert torch.equal(torch.rand(3), expected)
    assert same(first, weights())


@pytest.mark.parametrize("kind", ["gau", "transformer"])
@pytest.mark.parametrize("bottleneck", ["null", "8"])
def test_every_parameter_has_a_gradient(kind, bottleneck):
    """No part is built and then not used."""
    from helpers import random_documents, randomised

    from rawmm_cli.core.batch import pack
    from rawmm_cli.core.loss import joint_loss

    model = randomised(
        build.model(tiny(f"backbone.kind={kind}", f"head.bottleneck={bottleneck}", "codec.patch=2"))
    )
    joint_loss(model, pack(random_documents(8), 64, model.blocks)).total.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def unknown(part, at="kind"):
    """Settings of preset tiny whose `part` is of a kind without a `case`."""
    settings = tiny()
    changed = getattr(settings, part).model_copy(update={at: "clay"})
    return settings.model_copy(update={part: changed})


@pytest.mark.parametrize("part", ["codec", "head", "backbone"])
def test_a_part_of_an_unknown_kind_is_an_error_that_names_it(part):
    with pytest.raises(ConfigError, match=rf"^{part}\.kind = clay is known"):
        build.model(unknown(part))


def test_an_unknown_kind_of_a_codec_that_learns_is_an_error_too():
    settings = presets.resolve({}, ["codec.kind=query"])
    clay = settings.codec.model_copy(update={"kind": "clay"})
    with pytest.raises(ConfigError, match=r"^codec\.kind = clay"):
        build.codec(settings.model_copy(update={"codec": clay}))
    clay = settings.codec.model_copy(
        update={"quantizer": settings.codec.quantizer.model_copy(update={"kind": "clay"})}
    )
    with pytest.raises(ConfigError, match=r"^quantizer\.kind = clay"):
        build.codec(settings.model_copy(update={"codec": clay}))


def test_settings_of_drawing_depend_on_the_head():
    settings = tiny("sample.steps=4", "sample.solver=heun", "sample.interval=[0.1, 0.9]")
    assert build.sampling(settings).drawing == Drawing(4, "heun", "uniform", (0.1, 0.9), 0.0)
    codes = tiny(
        "head.kind=autoregressive", "codec.kind=subpixels", "train.length=3100", "sample.code_top_k=5"
    )
    assert build.sampling(codes, code_top_p=0.5).drawing == autoregressive.Drawing(1.0, 5, 0.5)
    hidden = tiny("head.kind=masked", "codec.kind=subpixels", "data.size=4", "sample.order_temperature=2")
    assert build.sampling(hidden, order="halton", steps=3).drawing == masked.Drawing(3, "halton", 2.0)
    with pytest.raises(ConfigError, match=r"^head\.kind = clay"):
        build.sampling(unknown("head"))


def test_changed_settings_of_sampling():
    default = build.sampling(tiny())
    changed = default.changed(steps=7, guidance=3.0)
    assert (changed.drawing.steps, changed.guidance, changed.max_text) == (7, 3.0, default.max_text)
    assert changed.flat() | {"steps": default.drawing.steps, "guidance": default.guidance} == default.flat()
    with pytest.raises(TypeError, match="strides"):
        default.changed(strides=3)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("function", ["_head", "_drawing"])
def test_a_head_needs_both_of_its_cases_before_it_is_built(function, device, monkeypatch):
    config = tiny()
    blank = config.model_copy(update={"head": SimpleNamespace(kind="blank")})
    there = {"_head": "_drawing", "_drawing": "_head"}[function]
    monkeypatch.setattr(build, there, lambda *arguments: torch.nn.Identity())
    with pytest.raises(
        ConfigError, match=f"^head.kind = blank is known .* not to config/build.py: {function}; add its case$"
    ):
        build.model(blank, device)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["backbone.kind=gau", "backbone.width=64", "backbone.key=512", "backbone.expansion=8"],
        ["backbone.kind=transformer", "backbone.width=64", "backbone.hidden=4096", "backbone.heads=8"],
        ["head.bottleneck=4096"],
        ["codec.patch=8", "data.size=8"],
        ["text_tokenizer=bpe", "text_tokenizer.vocabulary=100000"],
    ],
)
@pytest.mark.parametrize("preset", ["tiny", "digits"])
def test_the_bound_on_parameters_is_one(preset, words):
    """Sizes alone: torch takes a second to import what builds a model without memory."""
    config = presets.load(preset, words)
    exact = sum(p.numel() for p in build.model(config, "meta").parameters())
    assert exact <= build._at_most(config) <= max(8 * exact, 10**8)
