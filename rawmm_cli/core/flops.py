"""Floating-point operations of a model, by formula: a multiplication and an addition are two.

Counted are the matmuls (linear layers and the two products of attention, dense L x L as the dense mask
computes them); what is elementwise is not, as is the custom (Chowdhery et al. 2022, arXiv 2204.02311,
appendix B). A linear layer from a to b costs 2 a b a position; its backward pass costs twice as much, once
for the input and once for the weight. Heads and backbones say what they multiply (`parts.Work`); torch's
`flop_counter` counts the same (tested)."""

from typing import cast

from torch import nn

from .document import Batch
from .model import RawModel
from .parts import Backbone


def forward(
    model: RawModel, rows: int, length: int, pictures: int, patches: int, predicted: int
) -> dict[str, int]:
    """FLOPs of one pass over `rows` x `length` positions, by part. patches: positions of pictures; predicted:
    tokens."""
    backbone, head, text = cast(Backbone, model.backbone).work(), model.head.work(), model.text_out
    return {
        "backbone": 2 * (rows * length * backbone.position + pictures * backbone.picture),
        "attention": 2 * rows * length**2 * backbone.pair,
        "image": 2 * (patches * head.position + pictures * head.picture),
        "text": 2 * predicted * text.in_features * text.out_features,
    }


def training(model: RawModel, batch: Batch) -> int:
    """FLOPs of forward and backward of one batch: three times the forward pass, but for gradients that are
    not needed."""
    rows, length = batch.tokens.shape
    return step(model, rows, length, len(batch.pictures.drawn), len(batch.patch_at), len(batch.predict))


def step(model: RawModel, rows: int, length: int, pictures: int, patches: int, predicted: int) -> int:
    """The same from sizes."""
    backbone, head = cast(Backbone, model.backbone).work(), model.head.work()
    first = patches * head.first_position + pictures * (head.first_picture + backbone.first_picture)
    return 3 * sum(forward(model, rows, length, pictures, patches, predicted).values()) - 2 * first


def muon(model: RawModel) -> int:
    """FLOPs of one update by Muon: five Newton-Schulz iterations of every hidden matrix. Not part of the
    model's."""
    return sum(newton_schulz(shape) for shape in matrices(model))


def newton_schulz(shape: tuple[int, int], steps: int = 5) -> int:
    """FLOPs of one matrix."""
    small, large = min(shape), max(shape)
    return steps * (2 * 2 * small * small * large + 2 * small**3)


def matrices(model: RawModel) -> list[tuple[int, int]]:
    """Shapes of all hidden matrices."""
    return [(m.out_features, m.in_features) for m in hidden(model)]


def hidden(model: RawModel) -> list[nn.Linear]:
    """Linear layers of the backbone whose matrices Muon changes: all but those that say `hidden = False`,
    which stand in the residual stream itself, or are far from square and see a vector a picture."""
    linears = (m for m in model.backbone.modules() if isinstance(m, nn.Linear))
    return [m for m in linears if getattr(m, "hidden", True)]
