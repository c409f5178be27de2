"""What is compiled for a card: FlexAttention forward and backward, a run resumed to the bit, a codec. The
first file, as these take longest: 10 to 30 seconds each where nothing was compiled before.

With the CPU in the card's place what is traced runs, without kernels."""

import codec_runs
import pytest
import torch
from card import backward, far, go, joined, on, weights
from combinations import corrupted
from helpers import random_documents
from training_runs import assert_equal_runs

from rawmm_cli.core import mask
from rawmm_cli.runs import checkpoint
from rawmm_cli.training.compile import compile_layers
from rawmm_cli.training.train_codec import train_codec

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.process,  # kernels are compiled in processes
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("one_thread", "quick"),
]
# The kernels of FlexAttention take fp32 with TF32 products where torch allows it, and it does not by default.
FP32, FP32_GRADIENTS = 2e-4, 1e-3
CODEC = (
    "data.set=digits",
    "data.size=8",
    "codec.kind=fsq",
    "codec.levels=[5, 4]",
    "codec.factor=4",
    "codec.patch=2",
)


@pytest.mark.parametrize("backbone", ["gau", "transformer"])
def test_dense_is_flex_compiled(backbone, card, compiler):
    """Forward and backward, on rows of several documents, longer than a block of the mask; in fp32, and in
    bf16 as training calls it."""
    documents, results = random_documents(16, 0), {}
    combination = ("clean", backbone, "raw")
    model, batch = on(card, combination, documents, 160)
    assert len(batch.tokens) < 4, "several documents a row"
    seen = corrupted(model, batch)
    for form in (mask.dense, mask.flex):
        model, batch = on(card, combination, documents, 160, seen)
        model.make_mask = form
        if form is mask.flex:
            assert compile_layers(model, "yes", card, print)
        results[form] = [backward(model, batch, precision) for precision in ("fp32", "bf16")]
    (losses, gradients), (half, halves) = results[mask.dense]
    (flex_losses, flex_gradients), (flex_half, flex_halves) = results[mask.flex]
    assert flex_losses == pytest.approx(losses, rel=FP32)
    distances = {name: far(flex_gradients[name], value) for name, value in gradients.items()}
    assert max(distances.values()) < FP32_GRADIENTS, distances
    # bf16 rounds to 0.4 % of a value at every step; both ways must stay near fp32
    for name, figures, vector in (("dense", half, halves), ("flex", flex_half, flex_halves)):
        assert figures == pytest.approx(losses, rel=0.02), name
        assert torch.nn.functional.cosine_similarity(joined(vector), joined(gradients), 0) > 0.99, name


@pytest.mark.parametrize("form", ["dense", "flex"])
def test_resumed_compiled_it_is_the_same_to_the_bit(form, few_digits, card, compiler, tmp_path):
    words = ("backbone.kind=transformer", "backbone.heads=2", "train.length=160", "train.compile=yes")
    if card.type == "cuda":  # a CPU has no backward of flex, and emulates bf16
        words = (*words, "train.precision=bf16", f"train.mask={form}")
    go(few_digits, tmp_path / "whole", card, *words)
    go(few_digits, tmp_path / "halves", card, *words, until=80)
    lines = go(few_digits, tmp_path / "halves", card, *words)
    assert lines[-1]["documents"] == 160 and len(lines) == 5
    assert_equal_runs(tmp_path / "halves", tmp_path / "whole")


def test_a_codec_compiled_learns_as_it_does_uncompiled(few_digits, card, compiler, tmp_path):
    """Random numbers of a step follow from its documents, so both see the same; fp32, other sums."""
    losses = []
    for setting in (
        "no",
        "yes" if card.type == "cuda" else "no",
    ):  # Module.compile takes kernels on a CPU too
        chosen = codec_runs.settings(
            *CODEC, "codec.width=16", "codec.blocks=1", "train.precision=fp32", f"train.compile={setting}"
        )
        loop = train_codec(chosen, few_digits, tmp_path / f"{len(losses)}", card, lambda message: None)
        losses.append([record["loss"] for record in loop])
    assert len(losses[0]) == 10 and losses[1] == pytest.approx(losses[0], rel=0.02)  # TF32 in convolutions
    assert losses[0][-1] < losses[0][0]
    one, other = (weights(checkpoint.latest(tmp_path / name)) for name in "01")
    assert far(other, one) < 0.05
