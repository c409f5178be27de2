"""Memory and time of a step on a GPU: one of this machine, from measured rates, or any, from published ones.

    step = max(GPU, host), where a step begins before the numbers of the one before are read
           max(GPU + a share of the host, host) elsewhere: the GPU waits for the first kernels of a step
    GPU  = linear layers / rate + attention / its rate + bytes of elementwise work / bandwidth
           + optimizer bytes / bandwidth + communication that the backward pass does not hide
    host = launching the kernels of a step + making its batch, where no worker does

What does not follow from the settings is a constant of `GpuModel`, all of them in one place, to be fitted
again (`python -m benchmarks.gpu` measures). Memory is what `torch.cuda.max_memory_allocated` shows."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..core import flops
from ..system import machine
from ..training import ema
from .cards import Card
from .sizes import Step

FLEX_BLOCK = 128  # positions of a block of FlexAttention


class Attention(NamedTuple):
    """One way to compute attention. rate: FLOP/s as a share of those of linear layers. work: FLOPs as a
    multiple of those that are counted."""

    rate: float
    work: float


WRITTEN, FUSED, FLEX = Attention(0.85, 1.0), Attention(0.35, 7 / 6), Attention(0.21, 7 / 6)


@dataclass(frozen=True)
class GpuModel:
    """Constants of GPUs, fitted to `patch128` and `patch64` on an H200 in a virtual machine whose CPU takes
    26 us to launch a kernel from Python (docs/scale.md, docs/log.md, 2026-11-27); a faster host makes small
    batches faster.
    `fused`, `muon`, `link` and the bytes of Transformers are not fitted yet."""

    matmuls: float = 0.70  # of the published rate, reached by linear layers of some thousand positions
    bandwidth: float = 0.85  # of the published bandwidth, reached by fused elementwise kernels
    link: float = 0.35  # of the published rate of links (both directions): one direction, 70 % of it
    # Two batched matmuls and a softmax, where values are wider than keys; torch's kernel with a mask; and
    # FlexAttention. The backward pass of the last two computes the scores again.
    written: Attention = WRITTEN
    fused: Attention = FUSED
    flex: Attention = FLEX
    muon: float = 0.5  # FLOP/s of Newton-Schulz iterations, as a share of those of linear layers
    # Bytes that elementwise kernels move, forward and backward, in bf16 (in fp32 twice as many): a factor of
    # `parts.Footprint.moved`, bytes for each score where attention is written out, and for each number of the
    # residual stream outside of the layers.
    moved: float = 1.15
    moved_flex: float = (
        2.2  # the same under FlexAttention, which wants a copy of keys for each piece of values
    )
    scores: float = 14.0
    edges: float = 60.0
    eager: float = 2.2  # factor of the bytes where layers are not compiled
    parameter: float = 66.0  # bytes of an update: casts, gradients, norm, AdamW, average
    # Seconds in which the host launches kernels.
    compiled_layer: float = 2.95e-3  # of a layer, forward and backward
    eager_layer: float = 3.9e-3
    micro_batch: float = 8e-3  # of a micro-batch outside of the layers
    update: float = 2.5e-3  # of clipping, the optimizer and the average
    opening: float = 0.27  # of those of a micro-batch, the share that a GPU waits for without work ahead
    document: float = 60e-6  # to make a document on one core, and of each byte of its picture
    pixel: float = 3.3e-9
    workers: int = 7  # processes of a rank that make batches, where train.workers is auto
    # Memory
    kept: float = 1.0  # factor of `parts.Footprint.saved`
    kept_eager: float = 1.22  # the same where layers are not compiled
    workspace: int = 72 * 2**20  # bytes of cuBLAS, forward and backward
    context: int = 640 * 2**20  # bytes of CUDA itself and its kernels, which torch does not count
    fragmentation: float = 1.05  # memory that torch reserves, over what it has allocated


FITTED = GpuModel()


@dataclass(frozen=True)
class Rates:
    """What a GPU reaches: FLOP/s of linear layers, bytes/s of elementwise kernels and to another GPU."""

    linear: float
    bandwidth: float
    link: float


def published(card: Card, precision: str, gpu: GpuModel = FITTED) -> Rates:
    """Rates of a card: the shares of what its maker publishes."""
    return Rates(card.rate(precision) * gpu.matmuls, card.bandwidth * gpu.bandwidth, card.link * gpu.link)


def measured(step: Step, device: torch.device, link: float, most: int = 32768) -> Rates:
    """Rates of a GPU of this machine, its first linear layer at its own shape, at most `most` positions."""
    rows = min(max(1, most // step.config.train.length), step.micro_rows)
    shape = rows * step.config.train.length, step.width, step.model.backbone.footprint().wide
    return Rates(machine.matmul_rate(device, step.precision, shape), machine.bandwidth(device), link)


# ----------------------------------------------------------------------------------------------------- memory


def memory(step: Step, gpu: GpuModel = FITTED) -> dict[str, int]:
    """Bytes of a rank at the peak of a step, by part, and their total.

    The peak is at the start of the backward pass, when all activations are there and gradients only with
    micro-batches, or under DDP, which keeps them; or at the update, when all gradients are."""
    train, held = step.config.train, 4 * step.parameters * step.share
    low = 2 * step.parameters if step.precision == "bf16" else 0
    if train.recompute:
        low /= step.layers
    activations = _activations(step, gpu)
    keeps = train.accumulate > 1 or (step.ranks > 1 and train.parallel == "ddp")
    scratch = _muon_bytes(step)
    at_update = activations + low + held * keeps < held + scratch
    parts = {
        "weights": held,
        "gradients": held if keeps or at_update else 0,
        "optimizer": step.optimizer_bytes * step.share,
        "averages": held * ema.count(train.ema),
        "low-precision weights": 0 if at_update else low,
        "activations": 0 if at_update else activations,
        "update": scratch if at_update else 0,
        "gathered layers": 12 * step.parameters / step.layers if step.share < 1 else 0,
        "workspace": gpu.workspace,
    }
    parts = {name: round(value) for name, value in parts.items()}
    return parts | {"total": sum(parts.values())}


def _muon_bytes(step: Step) -> int:
    """Bytes that Muon needs while it orthogonalises all matrices of a shape together."""
    if step.config.train.optimizer != "muon":
        return 0
    return max(12 * rows * columns * n for (rows, columns), n in Counter(flops.matrices(step.model)).items())


def _activations(step: Step, gpu: GpuModel) -> float:
    """Bytes at the start of the backward pass: what layers keep, and what lies before and after them."""
    train, footprint = step.config.train, step.model.backbone.footprint()
    positions, number = step.micro_rows * train.length, 2 if step.precision == "bf16" else 4
    form, pieces = attention_form(step)
    pairs = {
        "written": number * footprint.heads * train.length,  # softmax weights
        "fused": 2 * train.length if number == 2 else 0,  # the mask, cast
        "flex": 2 * number * footprint.heads * pieces * footprint.key if pieces > 1 else 0,  # q, k a piece
    }[form]
    kept = number * footprint.saved * (gpu.kept if step.compiled else gpu.kept_eager)
    layer, residual = positions * (kept + pairs), positions * 4 * step.width
    layers = layer + step.layers * residual if train.recompute else step.layers * (layer + residual)
    mask = 0 if form == "flex" else 4 * positions * train.length
    patches, predicted = step.patches * step.micro_share, step.predicted * step.micro_share
    # Copies of the sequence and of the pictures before and after the layers, in fp32 and bf16; logits.
    edges = 16 * positions * step.width + patches * (8 * step.width + 16 * step.outputs)
    return layers + mask + edges + step.beside + 12 * predicted * step.config.text_tokenizer.size


def needed(total: int, ranks: int, gpu: GpuModel = FITTED) -> int:
    """Bytes that a card must have: torch's, CUDA's own, and NCCL's buffers."""
    return round(total * gpu.fragmentation + gpu.context + (400 * 2**20 if ranks > 1 else 0))


# ------------------------------------------------------------------------------------------------------- time


def attention_form(step: Step) -> tuple[str, int]:
    """How attention runs on a GPU, 'written', 'fused' or 'flex' (`layers.attention`), and the width of values
    in widths of keys."""
    footprint = step.model.backbone.footprint()
    pair = step.model.backbone.work().pair // step.layers // footprint.heads  # key + value
    pieces = (pair - footprint.key) // footprint.key
    if step.config.train.mask == "flex":
        return "flex", pieces
    return ("fused" if pieces == 1 else "written"), pieces


def seconds(step: Step, rates: Rates, gpu: GpuModel = FITTED) -> dict[str, float]:
    """Seconds of a step on one rank, by part; step: of all of it."""
    train = step.config.train
    again = 4 / 3 if train.recompute else 1.0
    parts = {
        "linear layers": again * (step.work / step.ranks - step.scores) / rates.linear,
        "attention": again * _attention_seconds(step, rates, gpu),
        "elementwise": again * _traffic(step, gpu) / rates.bandwidth,
        "optimizer": _update_seconds(step, rates, gpu),
    }
    busy = sum(parts.values())
    parts["communication"] = exposed = max(0.0, sent(step) / rates.link - _hidden(step, busy))
    layer = gpu.compiled_layer if step.compiled else gpu.eager_layer
    launched = again * step.layers * layer + gpu.micro_batch
    making = train.batch / step.ranks * (gpu.document + gpu.pixel * 3 * step.config.data.size**2)
    workers = gpu.workers if train.workers == "auto" else int(train.workers)
    own = 0.0 if workers else making  # by the process that launches
    host = train.accumulate * launched + gpu.update + own
    opening = 0.0 if ahead(step) else gpu.opening * launched + own
    whole = max(busy + exposed + opening, host, making / max(workers, 1))
    return parts | {"GPU": busy + exposed, "host": host, "batch": making, "step": whole}


def ahead(step: Step) -> bool:
    """Whether a step begins before the numbers of the one before are read: fused AdamW judges them on the
    GPU, where it holds whole parameters (`optimizer.judges`)."""
    return step.config.train.optimizer == "adamw" and step.share == 1


def _attention_seconds(step: Step, rates: Rates, gpu: GpuModel) -> float:
    form, pieces = attention_form(step)
    way: Attention = getattr(gpu, form)
    work = step.scores * way.work
    if form == "flex":  # scores once for every piece of wide values; empty blocks are skipped
        documents = max(1.0, step.pictures / max(step.rows, 1))
        work *= 2 * pieces / (1 + pieces)
        work *= min(1.0, (1 + FLEX_BLOCK * documents / step.config.train.length) / documents)
    return work / (rates.linear * way.rate)


def _traffic(step: Step, gpu: GpuModel) -> float:
    """Bytes of elementwise work, forward and backward."""
    footprint, (form, _) = step.model.backbone.footprint(), attention_form(step)
    scores = footprint.heads * step.config.train.length if form == "written" else 0
    moved = gpu.moved_flex if form == "flex" else gpu.moved
    layer = moved * footprint.moved * footprint.outputs + gpu.scores * scores
    wide = 1 if step.precision == "bf16" else 2
    layer *= wide * (1.0 if step.compiled else gpu.eager)
    return step.positions * (step.layers * layer + gpu.edges * step.width)


def _update_seconds(step: Step, rates: Rates, gpu: GpuModel) -> float:
    update = gpu.parameter * step.parameters * step.share / rates.bandwidth
    if step.config.train.optimizer == "muon":
        update += flops.muon(step.model) / (rates.linear * gpu.muon)
    return update


def sent(step: Step) -> float:
    """Bytes that a rank sends in a step: a ring all-reduce of fp32 gradients (DDP), or all-gathers of the
    weights for each pass and a reduce-scatter of the gradients (FSDP)."""
    passes = 2 if step.share == 1 else 2 * step.config.train.accumulate + 1
    return passes * 4 * step.parameters * (step.ranks - 1) / step.ranks


def _hidden(step: Step, busy: float) -> float:
    """Seconds of collectives that run beside computation: the backward pass of the last micro-batch, two
    thirds of it (DDP), or both passes of all (FSDP)."""
    return busy if step.share < 1 else busy * 2 / 3 / step.config.train.accumulate
