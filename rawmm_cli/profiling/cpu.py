"""Memory and time of a step on a CPU.

    step = matmuls / their rate + bytes of elementwise work / bandwidth + optimizer bytes / bandwidth
           + Muon + fixed costs

The constants, and those of `parts.Footprint`, were fitted once, on two cores, to measurements of `rawmm bench
train`, which prints estimates beside measurements, so that their error on other machines can be seen."""

from collections import Counter

import torch

from ..core import flops
from ..core.model import RawModel
from ..system import machine
from ..training import ema
from .sizes import Step

EAGER = 1.55  # factor of elementwise traffic (`parts.Footprint`) where layers are not compiled
# Bytes kept for the backward pass in every layer, for each number of the residual stream, of outputs of
# matmuls and of scores.
RESIDUAL, OUTPUTS, SCORES = 8, {True: 2, False: 5}, {True: 2, False: 8}  # compiled bf16, other
FIXED = 0.004  # seconds of a step outside of the layers, independent of its size
COMPILER = 90 * 2**20  # bytes of torch.compile itself, with a warm cache
LIBRARIES = 465 * 2**20  # bytes of a process with torch and the data library, without a model
DOCUMENT = 60e-6  # seconds to make a document, on one core
CPU = torch.device("cpu")


def memory(step: Step) -> dict[str, int]:
    """Bytes of a rank's process, by part, and their total."""
    train, footprint = step.config.train, step.model.backbone.footprint()
    positions, width = step.micro_rows * train.length, step.width
    patches = step.patches * step.micro_share
    lean = step.precision == "bf16" and step.compiled
    scores = footprint.heads * train.length
    layer = positions * (RESIDUAL * width + OUTPUTS[lean] * footprint.outputs + SCORES[lean] * scores)
    activations = layer + step.layers * positions * 4 * width if train.recompute else step.layers * layer
    activations += positions * footprint.at_work * footprint.outputs
    mask = 4 * positions * train.length
    edges = positions * 24 * width + patches * 12 * (width + step.outputs)
    parts = {
        "weights": 4 * step.parameters * step.share,
        "gradients": 4 * step.parameters * step.share,
        "optimizer": step.optimizer_bytes * step.share,
        "averages": 4 * step.parameters * ema.count(train.ema) * step.share,
        "low-precision weights": 2 * step.parameters if step.precision == "bf16" else 0,
        "activations": activations + edges + mask + step.beside,
        "process": LIBRARIES + (COMPILER if step.compiled else 0),
    }
    parts = {name: round(value) for name, value in parts.items()}
    return parts | {"total": sum(parts.values())}


def seconds(step: Step) -> float:
    """Seconds of a step on one rank, from rates measured on this machine."""
    train, model, footprint = step.config.train, step.model, step.model.backbone.footprint()
    linear, attention = _matmul_rates(model, step.precision, train.length)
    again = 4 / 3 if train.recompute else 1.0
    numbers = footprint.outputs + 2 * step.width + footprint.heads * train.length
    traffic = step.layers * step.positions * numbers * footprint.traffic
    traffic *= 1.0 if step.compiled else EAGER
    bandwidth = machine.bandwidth(CPU)
    rest = step.work / step.ranks - step.scores
    spent = again * (rest / linear + step.scores / attention + traffic / bandwidth)
    spent += step.parameters * 60 / bandwidth + FIXED * train.accumulate
    spent += DOCUMENT * train.batch if not machine.workers(train.workers, CPU) else 0.0
    return spent + (flops.muon(model) / _muon_rate(model) if train.optimizer == "muon" else 0.0)


def _matmul_rates(model: RawModel, precision: str, length: int, most: int = 4096) -> tuple[float, float]:
    """FLOP/s of the first linear layer, and of attention's scores, at the model's own shapes (at most `most`
    positions)."""
    footprint, rows = model.backbone.footprint(), max(1, most // length)
    first = rows * length, model.words.embedding_dim, footprint.wide
    scores = rows * footprint.heads, length, footprint.key, length
    return (
        machine.matmul_rate(CPU, precision, first),
        machine.batched_matmul_rate(CPU, precision, scores),
    )


def _muon_rate(model: RawModel) -> float:
    """FLOP/s of the orthogonalisation of the matrices of one layer of each shape."""
    from ..training.optimizer import orthogonal

    counts = Counter(flops.matrices(model))
    stacks = [torch.randn(min(count, 8), *shape) for shape, count in counts.items()]
    spent = machine.best(
        lambda: [orthogonal(stack, (3.4445, -4.775, 2.0315), 5, 1e-7) for stack in stacks], CPU, 0.2
    )
    return sum(flops.newton_schulz(shape) * len(stack) for shape, stack in zip(counts, stacks)) / spent
