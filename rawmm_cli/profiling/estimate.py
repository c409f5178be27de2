"""Estimates of a run before it starts: memory by part, time of a step and of the run, size of a checkpoint.

The model is not allocated. Counts follow from the settings (and the prepared set, where there is one),
rates from short measurements on this machine: matmuls of the model's shapes, memory bandwidth.

    step = matmuls / their rate + bytes of elementwise work / bandwidth + optimizer bytes / bandwidth
           + Muon + fixed costs

The constants below, and those of `parts.Footprint`, were fitted once, on two cores, to measurements of
`rawmm bench train`, which prints estimates beside measurements, so that their error on other machines can
be seen."""

from collections import Counter
from pathlib import Path

import torch

from ..config import build
from ..config.codecs import CodecConfig
from ..config.model import Config
from ..core import flops
from ..core.model import RawModel, count_parameters
from ..data import sets
from ..data.loader import WINDOW, steps_of
from ..data.prepared import Prepared
from ..system import machine
from ..system.errors import DataError
from ..training import ema

EAGER = 1.55  # factor of elementwise traffic (`parts.Footprint`) where layers are not compiled
# Bytes kept for the backward pass in every layer, for each number of the residual stream, of outputs of
# matmuls and of scores.
RESIDUAL, OUTPUTS, SCORES = 8, {True: 2, False: 5}, {True: 2, False: 8}  # compiled bf16, other
FIXED = 0.004  # seconds of a step outside of the layers, independent of its size
COMPILER = 90 * 2**20  # bytes of torch.compile itself, with a warm cache
LIBRARIES = 465 * 2**20  # bytes of a process with torch and the data library, without a model
DOCUMENT = 60e-6  # seconds to make a document, on one core


def estimate(config: Config, device: torch.device, data: Prepared | None, ranks: int = 1) -> dict:
    """Sizes and times of a run: {parameters, rows, positions_per_step, flops_per_step, memory {part: bytes,
    total} of a rank, step_seconds, run_seconds, checkpoint_bytes, ...}. Without data, rows are estimated for
    pictures without captions."""
    model = build.model(config, "meta")
    parameters = count_parameters(model)
    rows, pictures, patches, predicted, filled, source = _shape(config, model, data)
    micro = -(-rows // (ranks * config.train.accumulate))
    share = 1 / ranks if config.train.parallel == "fsdp" else 1.0
    memory = _memory(config, device, model, micro, patches / max(rows, 1) * micro, share)
    work = flops.step(model, rows, config.train.length, pictures, patches, predicted)
    step = _step_seconds(config, device, model, rows / ranks, work / ranks)
    steps = -(-config.train.documents // config.train.batch)
    run = config.train.time or steps * step
    averages = ema.count(config.train.ema)
    return {
        "parameters": parameters,
        "patches_per_picture": model.codec.tokens(config.data.size, config.data.size),
        "values_per_patch": model.codec.values,
        "rows": rows,
        "positions_per_step": rows * config.train.length,
        "fill": filled,
        "positions_from": source,
        "flops_per_step": work,
        "memory": memory,
        "step_seconds": step,
        "steps": round(run / step) if config.train.time else steps,
        "run_seconds": run,
        "documents": round(run / step) * config.train.batch if config.train.time else config.train.documents,
        "checkpoint_bytes": 4 * parameters["total"] * (1 + averages) + _optimizer_bytes(config, model),
    }


def _shape(config: Config, model: RawModel, data: Prepared | None) -> tuple[int, int, int, int, float, str]:
    """(rows, pictures, patches, predicted tokens, fill, 'data' or 'estimate') of a step: means over a
    window of the data, or an estimate."""
    train = config.train
    if data is None:
        patches = len(model.blocks(config.data.size, config.data.size).block)
        a_row = max(1, train.length // (patches + 4))  # <bos>, <image>, </image>, <eos>; no caption
        rows = -(-train.batch // a_row)
        filled = (patches + 4) * train.batch / (rows * train.length)
        return rows, train.batch, train.batch * patches, 2 * train.batch, filled, "estimate"
    model.tokenizer = sets.tokenizer(config, data)
    steps = steps_of(config, data, model)
    micro = [batch for seen in range(0, WINDOW * train.batch, train.batch) for batch in steps[seen]]
    mean = lambda of: round(sum(of(batch) for batch in micro) / WINDOW)  # noqa: E731
    filled = sum(batch.filled for batch in micro) / sum(batch.tokens.numel() for batch in micro)
    return (
        mean(lambda b: len(b.tokens)),
        mean(lambda b: len(b.pictures.drawn)),
        mean(lambda b: len(b.patch_at)),
        mean(lambda b: len(b.predict)),
        filled,
        "data",
    )


# ----------------------------------------------------------------------------------------------------- memory


def _memory(
    config: Config, device: torch.device, model: RawModel, rows: int, patches: float, share: float
) -> dict[str, int]:
    """Bytes of a rank that works on `rows` rows at a time and keeps `share` of weights, gradients, optimizer
    and average."""
    total = sum(p.numel() for p in model.parameters())
    positions, width = rows * config.train.length, model.words.embedding_dim
    layers, footprint = len(model.backbone.layers), model.backbone.footprint()
    precision = machine.precision(config.train.precision, device)
    lean = precision == "bf16" and config.train.compile != "no"
    scores = footprint.heads * config.train.length
    layer = positions * (RESIDUAL * width + OUTPUTS[lean] * footprint.outputs + SCORES[lean] * scores)
    activations = layer + layers * positions * 4 * width if config.train.recompute else layers * layer
    activations += positions * footprint.at_work * footprint.outputs
    mask = 4 * positions * config.train.length
    edges = positions * 24 * width + patches * 12 * (width + model.codec.values)
    parts = {
        "weights": 4 * total * share,
        "gradients": 4 * total * share,
        "optimizer": _optimizer_bytes(config, model) * share,
        "averages": 4 * total * ema.count(config.train.ema) * share,
        "low-precision weights": 2 * total if precision == "bf16" else 0,
        "activations": activations + edges + mask,
    }
    if device.type == "cpu":
        parts["process"] = LIBRARIES + (COMPILER if config.train.compile != "no" else 0)
    parts = {name: round(value) for name, value in parts.items()}
    return parts | {"total": sum(parts.values())}


def _optimizer_bytes(config: Config, model: RawModel) -> int:
    """AdamW keeps two fp32 numbers a parameter, Muon one."""
    total = sum(p.numel() for p in model.parameters())
    hidden = sum(m.weight.numel() for m in model.backbone.modules() if isinstance(m, torch.nn.Linear))
    return 8 * total - 4 * hidden if config.train.optimizer == "muon" else 8 * total


# ------------------------------------------------------------------------------------------------------- time


def _step_seconds(config: Config, device: torch.device, model: RawModel, rows: float, work: float) -> float:
    """Seconds of a step on one rank."""
    train, footprint = config.train, model.backbone.footprint()
    precision = machine.precision(train.precision, device)
    positions, width = rows * train.length, model.words.embedding_dim
    linear, attention = _matmul_rates(model, device, precision, train.length)
    scores = 3 * 2 * positions * train.length * model.backbone.work().pair
    again = 4 / 3 if train.recompute else 1.0
    numbers = footprint.outputs + 2 * width + footprint.heads * train.length
    traffic = len(model.backbone.layers) * positions * numbers * footprint.traffic
    traffic *= EAGER if train.compile == "no" else 1.0
    bandwidth = machine.bandwidth(device)
    seconds = again * ((work - scores) / linear + scores / attention + traffic / bandwidth)
    seconds += sum(p.numel() for p in model.parameters()) * 60 / bandwidth + FIXED * train.accumulate
    seconds += DOCUMENT * train.batch if not machine.workers(train.workers, device) else 0.0
    return seconds + (flops.muon(model) / _muon_rate(model, device) if train.optimizer == "muon" else 0.0)


def _matmul_rates(
    model: RawModel, device: torch.device, precision: str, length: int, most: int = 4096
) -> tuple[float, float]:
    """FLOP/s of the first linear layer, and of attention's scores, at the model's own shapes (at most `most`
    positions)."""
    footprint, rows = model.backbone.footprint(), max(1, most // length)
    first = rows * length, model.words.embedding_dim, footprint.wide
    scores = rows * footprint.heads, length, footprint.key, length
    return (
        machine.matmul_rate(device, precision, first),
        machine.batched_matmul_rate(device, precision, scores),
    )


def _muon_rate(model: RawModel, device: torch.device) -> float:
    """FLOP/s of the orthogonalisation of the matrices of one layer of each shape."""
    from ..training.optimizer import orthogonal

    counts = Counter(flops.matrices(model))
    stacks = [torch.randn(min(count, 8), *shape, device=device) for shape, count in counts.items()]
    spent = machine.best(
        lambda: [orthogonal(stack, (3.4445, -4.775, 2.0315), 5, 1e-7) for stack in stacks], device, 0.2
    )
    return sum(flops.newton_schulz(shape) * len(stack) for shape, stack in zip(counts, stacks)) / spent


def show(sizes: dict, config: Config) -> list[tuple[str, str]]:
    """The estimate as pairs of a name and a formatted value."""
    from ..system.figures import duration, size

    memory = ", ".join(
        f"{name} {size(value)}" for name, value in sizes["memory"].items() if name != "total" and value
    )
    pairs = [(f"parameters, {name}", f"{count:,}") for name, count in sizes["parameters"].items()]
    pairs += [
        (
            "patches a picture",
            f"{sizes['patches_per_picture']:,} of {sizes['values_per_patch']:,} values",
        ),
        (
            "positions a step",
            f"{sizes['positions_per_step']:,} in {sizes['rows']:,} rows, {sizes['fill']:.0%} with data "
            f"(from {sizes['positions_from']})",
        ),
        ("FLOPs a step", f"{sizes['flops_per_step'] / 1e9:,.1f} G"),
        ("memory of a rank", f"{size(sizes['memory']['total'])}: {memory}"),
        ("time of a step", duration(sizes["step_seconds"])),
        (
            "the whole run",
            f"{sizes['steps']:,} steps, {sizes['documents']:,} documents, {duration(sizes['run_seconds'])}",
        ),
        ("a checkpoint", f"{size(sizes['checkpoint_bytes'])} on disk, {config.train.keep} are kept"),
    ]
    return pairs


def codec(config: CodecConfig) -> dict:
    """Sizes of a run that trains a codec: parameters, tokens, vocabulary, bits of a picture, steps,
    checkpoint."""
    built, train, side = build.codec(config), config.train, config.data.size
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in built.named_children()}
    parameters, books = sum(parts.values()), sum(buffer.numel() for buffer in built.buffers())
    bits = built.bits(side, side)
    return {
        "parameters": {"total": parameters, **parts},
        "tokens": built.length(side, side),
        "vocabulary": built.vocabulary,
        "bits": bits,
        "bits_per_pixel": None if bits is None else bits / side**2,
        "steps": -(-train.documents // train.batch),
        "documents": train.documents,
        "checkpoint_bytes": 4 * (4 * parameters + 2 * books),
    }


def load_data(config: Config, folder: Path) -> list | None:
    """The data sets of the settings, or None where they are missing or do not fit."""
    try:
        return sets.load(config, folder)[0]
    except DataError:
        return None
