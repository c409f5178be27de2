"""Estimates of a run before it starts: memory by part, time of a step and of the run, size of a checkpoint.

The model is not allocated. Counts follow from the settings (and the prepared set, where there is one). Rates
are measured on this machine (`estimate`), or those of a card that need not be here (`for_card`)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..config import build
from ..config.codecs import CodecConfig
from ..config.model import Config
from ..core.model import count_parameters
from ..data import sets
from ..data.prepared import Prepared
from ..system import machine
from ..system.errors import DataError
from ..training import ema
from . import cards, cpu, gpu, sizes
from .cards import Card
from .sizes import Step

PCIE = 64e9  # bytes/s of PCIe 4.0 x16, both directions: between GPUs that `cards` does not know


def estimate(config: Config, device: torch.device, data: Prepared | None, ranks: int = 1) -> dict:
    """Sizes and times of a run on this machine: {parameters, rows, positions_per_step, flops_per_step, memory
    {part: bytes, total} of a rank, step_seconds, run_seconds, checkpoint_bytes, ...}; on a GPU also what
    `for_card` adds. Without data, rows are estimated for pictures without captions."""
    step = _step(config, data, ranks, machine.precision(config.train.precision, device))
    if device.type != "cuda":
        return _sizes(step, cpu.memory(step), cpu.seconds(step))
    properties = torch.cuda.get_device_properties(device)
    card = cards.of_device(properties.name)
    rates = gpu.measured(step, device, (card.link if card else PCIE) * gpu.FITTED.link)
    facts = {"name": properties.name, "memory": properties.total_memory, "measured": True}
    return _on_gpu(step, rates, facts)


def for_card(config: Config, card: Card | str, data: Prepared | None, ranks: int = 1) -> dict:
    """Sizes and times of a run on `ranks` cards, from their published rates; none of them need be here.

    The keys of `estimate`, and: card {name, rates, memory, source}, step_parts {part: seconds}, sent_bytes
    (of a rank in a step), mfu (of the published rate), memory_needed (bytes that a card must have), fits, and
    remedy: settings that make it fit (None: it does, or none does). Raises ConfigError for an unknown
    card."""
    card = cards.named(card) if isinstance(card, str) else card
    return _published(_step(config, data, ranks, "auto"), card)


def for_all_cards(config: Config, data: Prepared | None, ranks: int = 1) -> list[dict]:
    """`for_card` of every card, the fastest first."""
    step = _step(config, data, ranks, "auto")
    return sorted((_published(step, card) for card in cards.table()), key=lambda sizes: sizes["step_seconds"])


def _published(step: Step, card: Card) -> dict:
    step = replace(step, precision=card.precision(step.config.train.precision))
    facts = {
        "name": card.name,
        "precision": step.precision,
        "flops_per_second": card.rate(step.precision),
        "bandwidth": card.bandwidth,
        "link": card.link,
        "memory": card.memory,
        "matmul_share": gpu.FITTED.matmuls,
        "bandwidth_share": gpu.FITTED.bandwidth,
        "source": f"{card.source}, {card.year}",
        "measured": False,
    }
    result = _on_gpu(step, gpu.published(card, step.precision), facts)
    return result | {"mfu": step.work / step.ranks / result["step_seconds"] / card.rate(step.precision)}


def _step(config: Config, data: Prepared | None, ranks: int, precision: str) -> Step:
    return sizes.step(config, build.model(config, "meta"), data, ranks, precision)


def _on_gpu(step: Step, rates: gpu.Rates, facts: dict) -> dict:
    memory, parts = gpu.memory(step), gpu.seconds(step, rates)
    needed = gpu.needed(memory["total"], step.ranks)
    fits = needed <= facts["memory"]
    return _sizes(step, memory, parts.pop("step")) | {
        "card": facts,
        "step_parts": parts,
        "sent_bytes": round(gpu.sent(step)),
        "memory_needed": needed,
        "fits": fits,
        "remedy": None if fits else remedy(step, facts["memory"]),
    }


def remedy(step: Step, available: int) -> str | None:
    """Settings with which the run fits into `available` bytes, those first that cost least; None: none do."""
    train = step.config.train
    ways = [{}] if train.recompute else [{}, {"recompute": True}]
    if step.ranks > 1 and train.parallel == "ddp":
        ways += [way | {"parallel": "fsdp"} for way in ways]
    for way in ways:
        parts = train.accumulate
        while train.batch % (step.ranks * parts) == 0 and parts <= train.batch:
            changes = way | ({"accumulate": parts} if parts > train.accumulate else {})
            config = step.config.model_copy(update={"train": train.model_copy(update=changes)})
            total = gpu.memory(replace(step, config=config))["total"]
            if gpu.needed(total, step.ranks) <= available:
                return " ".join(f"train.{name}={str(value).lower()}" for name, value in changes.items())
            parts *= 2
    return None


def _sizes(step: Step, memory: dict[str, int], step_seconds: float) -> dict:
    """What is the same on every device, from a rank's memory and the seconds of a step."""
    config, model, train = step.config, step.model, step.config.train
    parameters = count_parameters(model)
    steps = -(-train.documents // train.batch)
    run = train.time or steps * step_seconds
    return {
        "parameters": parameters,
        "patches_per_picture": model.codec.tokens(config.data.size, config.data.size),
        **_of_token(model.codec),
        "rows": step.rows,
        "positions_per_step": step.rows * train.length,
        "fill": step.fill,
        "positions_from": step.source,
        "flops_per_step": step.work,
        "memory": memory,
        "step_seconds": step_seconds,
        "steps": round(run / step_seconds) if train.time else steps,
        "run_seconds": run,
        "documents": round(run / step_seconds) * train.batch if train.time else train.documents,
        "checkpoint_bytes": 4 * parameters["total"] * (1 + ema.count(train.ema)) + step.optimizer_bytes,
    }


def _of_token(codec: Any) -> dict:
    """What a token of a picture is: numbers, or integers of a vocabulary."""
    if not codec.discrete:
        return {"values_per_patch": codec.values}
    return {"values_per_patch": None, "codes_per_patch": codec.codes, "vocabulary": codec.vocabulary}


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
