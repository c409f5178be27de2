"""FLOPs by formula against torch's own counter, which watches the real model, and against numbers worked out
by hand."""

from dataclasses import replace

import pytest
import torch
from helpers import blocks, random_documents
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from rawmm_cli.config import build, presets
from rawmm_cli.core import flops, layers
from rawmm_cli.core.batch import pack
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.text_tokenizer import VOCABULARY
from rawmm_cli.training import optimizer

pytestmark = pytest.mark.usefixtures("one_thread")
aten = torch.ops.aten

SHAPES = {
    "gau": (
        "backbone.width=32",
        "backbone.depth=2",
        "backbone.key=16",
        "backbone.expansion=2",
        "train.length=40",
    ),
    "gau, narrow": (
        "backbone.width=24",
        "backbone.depth=1",
        "backbone.key=40",
        "backbone.expansion=1",
        "train.length=33",
    ),
    "gau, long rows": (
        "backbone.width=16",
        "backbone.depth=3",
        "backbone.key=16",
        "backbone.expansion=1",
        "train.length=200",
    ),
    "transformer": (
        "backbone.kind=transformer",
        "backbone.width=32",
        "backbone.depth=2",
        "backbone.heads=2",
        "backbone.hidden=80",
        "train.length=40",
    ),
    "transformer, one head": (
        "backbone.kind=transformer",
        "backbone.width=24",
        "backbone.depth=1",
        "backbone.heads=1",
        "backbone.hidden=8",
        "train.length=33",
    ),
    "transformer, long rows": (
        "backbone.kind=transformer",
        "backbone.width=32",
        "backbone.depth=1",
        "backbone.heads=4",
        "backbone.hidden=24",
        "train.length=200",
    ),
}


def settings(*words):
    return presets.load("tiny", ["codec.patch=2", "backbone.depth=1", *words])


def batch_of(chosen, model, count=9, seed=0):
    return pack(random_documents(count, seed), chosen.train.length, model.blocks)


def sizes(batch):
    return *batch.tokens.shape, len(batch.pictures.drawn), len(batch.patch_at), len(batch.predict)


def counted(work, **mapping) -> FlopCounterMode:
    with FlopCounterMode(display=False, **mapping) as counter:
        work()
    return counter


@pytest.fixture
def written_out(monkeypatch):
    """Attention as matmuls in rows of any length: torch's counter does not know the fused kernel of the
    CPU."""
    monkeypatch.setattr(layers, "SHORT", 1 << 30)


# ------------------------------------------------------------------------------------ against torch's counter


@pytest.mark.parametrize("bottleneck", ["null", "5"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_part_of_a_forward_pass(name, bottleneck, written_out):
    chosen = settings(*SHAPES[name], f"head.bottleneck={bottleneck}")
    model = build.model(chosen)
    batch = batch_of(chosen, model)
    counter = counted(lambda: joint_loss(model, batch))

    def of(*modules):
        return sum(sum(counter.flop_counts[f"RawModel.{module}"].values()) for module in modules)

    attention = counter.flop_counts["RawModel.backbone"][aten.bmm]
    assert flops.forward(model, *sizes(batch)) == {
        "backbone": of("backbone") - attention,
        "attention": attention,
        "image": of("head.into", "head.clock", "head.out"),
        "text": of("text_out"),
    }
    assert sum(flops.forward(model, *sizes(batch)).values()) == counter.get_total_flops()
    assert min(flops.forward(model, *sizes(batch)).values()) > 0


@pytest.mark.parametrize("bottleneck", ["null", "5"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_training_step(name, bottleneck, written_out):
    chosen = settings(*SHAPES[name], f"head.bottleneck={bottleneck}")
    model = build.model(chosen)
    for count, seed in ((1, 1), (9, 2)):
        batch = batch_of(chosen, model, count, seed)
        counter = counted(lambda batch=batch: joint_loss(model, batch).total.backward())
        assert flops.training(model, batch) == flops.step(model, *sizes(batch)) == counter.get_total_flops()


@pytest.mark.parametrize("documents", [[[1, 2, 3, 4], [5, 6]], [[1]]], ids=["text", "one token"])
def test_a_batch_without_pictures(documents):
    chosen = settings()
    model = build.model(chosen)
    batch = pack(documents, 8, model.blocks)
    assert sizes(batch)[2] == sizes(batch)[3] == 0 and flops.forward(model, *sizes(batch))["image"] == 0
    assert (
        flops.training(model, batch)
        == counted(lambda: joint_loss(model, batch).total.backward()).get_total_flops()
    )


@pytest.mark.parametrize("name", ["gau, long rows", "transformer, long rows"])
def test_the_fused_kernel(name, monkeypatch):
    """Its formula is torch's own, but for the scores that its backward pass computes a second time: not
    counted, as is the custom, since they are not the model's."""
    monkeypatch.setattr(layers, "SHORT", 0)
    chosen = settings(*SHAPES[name])
    model = build.model(chosen)
    batch = batch_of(chosen, model)

    def forward_count(q, k, v, *rest, out_shape=None, **more):
        return sdpa_flop_count(q, k, v)

    def backward_count(grad, q, k, v, *rest, out_shape=None, **more):
        return sdpa_backward_flop_count(grad, q, k, v)

    known = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward_count,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward_count,
    }
    counter = counted(lambda: joint_loss(model, batch), custom_mapping=known)
    forward = flops.forward(model, *sizes(batch))
    assert aten.bmm not in counter.flop_counts["RawModel.backbone"]
    assert sum(forward.values()) == counter.get_total_flops()
    counter = counted(lambda: joint_loss(model, batch).total.backward(), custom_mapping=known)
    assert flops.training(model, batch) + forward["attention"] // 2 == counter.get_total_flops()


@pytest.mark.parametrize("preset", ["digits", "patch64", "patch128"])
@pytest.mark.parametrize("kind", ["gau", "transformer"])
def test_whole_presets_on_the_meta_device(preset, kind, written_out):
    """Nothing is allocated. joint_loss reads sizes from tensors, which these do not have: its matmuls are
    called in turn."""
    chosen = presets.load(preset, [f"backbone.kind={kind}"] * (kind == "transformer"))
    model = build.model(chosen, "meta")
    batch = pack(random_documents(6, 4), chosen.train.length, blocks).to("meta")
    patches = len(batch.patch_at)
    inputs = torch.randn(patches, model.codec.values, device="meta")
    time = torch.rand(len(batch.pictures.drawn), device="meta")

    def work():
        hidden = model(batch, inputs, time)
        (model.text(hidden, batch.predict_at).sum() + model.predictions(hidden, batch).sum()).backward()

    assert flops.training(model, batch) == counted(work).get_total_flops()


# ------------------------------------------------------------------------------------------------------- Muon


@pytest.mark.parametrize("name", SHAPES)
def test_an_update_by_muon(name):
    chosen = settings(*SHAPES[name], "train.optimizer=muon")
    model = build.model(chosen)
    adamw, muon = optimizer.optimizers(model, chosen.train)
    owned = [p for group in muon.param_groups for p in group["params"]]
    assert sorted(flops.matrices(model)) == sorted(tuple(p.shape) for p in owned)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    assert counted(muon.step).get_total_flops() == flops.muon(model)
    assert counted(adamw.step).get_total_flops() == 0


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16), (1, 7)])
@pytest.mark.parametrize("steps", [1, 5])
def test_newton_schulz_of_a_stack_and_of_plain_matmuls(shape, steps):
    """torch's counter knows baddbmm; the formula it stands for, with mm alone, counts the same."""
    stack = torch.randn(3, *shape)
    counter = counted(lambda: optimizer.orthogonal(stack, (3.4445, -4.775, 2.0315), steps, 1e-7))
    assert counter.get_total_flops() == 3 * flops.newton_schulz(shape, steps)

    def plain():
        x = stack[0] if shape[0] <= shape[1] else stack[0].T
        for _ in range(steps):
            gram = x @ x.T
            x = x + (gram + gram @ gram) @ x

    assert counted(plain).get_total_flops() == flops.newton_schulz(shape, steps)


# ---------------------------------------------------------------------------------------------------- by hand


def test_one_layer_by_hand():
    """Width 8, E = 8, K = 8, patches of one pixel (3 values), one row of 4 positions, 1 patch, 2 predicted
    tokens."""
    words = "codec.patch=1", "backbone.width=8", "backbone.key=8", "backbone.expansion=1", "train.length=68"
    model = build.model(settings(*words), "meta")
    assert flops.forward(model, 1, 4, 1, 1, 2) == {
        "backbone": 2048,  # into 8 -> 24 and out 8 -> 8: 256 weights, 4 positions
        "attention": 512,  # 16 scores of 8 products, 16 weights for 8 values
        "image": 1248,  # 24 in, 64 x 8 and 8 x 8 of the clock, 24 out
        "text": 32 * VOCABULARY,
    }
    assert (
        flops.step(model, 1, 4, 1, 1, 2) == 3 * (2048 + 512 + 1248 + 32 * VOCABULARY) - 1072
    )  # 2 (24 + 512)
    assert flops.muon(model) == 5 * (2 * 2 * 64 * 24 + 2 * 512) + 5 * 3 * 2 * 512


@pytest.mark.parametrize("name", SHAPES)
def test_linear_in_rows_and_quadratic_in_length(name):
    model = build.model(settings(*SHAPES[name]), "meta")
    once, thrice = flops.forward(model, 2, 40, 3, 30, 20), flops.forward(model, 6, 40, 9, 90, 60)
    assert thrice == {part: 3 * count for part, count in once.items()}
    assert flops.step(model, 6, 40, 9, 90, 60) == 3 * flops.step(model, 2, 40, 3, 30, 20)
    longer = flops.forward(model, 2, 80, 3, 30, 20)
    assert longer == once | {"backbone": 2 * once["backbone"], "attention": 4 * once["attention"]}


def test_the_count_is_of_positions_whether_they_are_filled_or_not():
    chosen = settings()
    model = build.model(chosen)
    batch = pack([[1, 2, 3]], 40, model.blocks)
    emptier = replace(
        batch, labels=batch.labels._replace(document=torch.full_like(batch.labels.document, -1))
    )
    assert flops.training(model, batch) == flops.training(model, emptier)
    assert (
        flops.forward(model, *sizes(batch))["backbone"]
        == 40 * flops.forward(model, 1, 1, 0, 0, 0)["backbone"]
    )
