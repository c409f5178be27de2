"""Before a comparison starts: about how long it takes, how many FLOPs, and how much disk."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..config import build, presets
from ..config.automatic import automatic, settle
from ..config.codecs import CodecConfig
from ..config.comparison import System
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..profiling import estimate
from ..runs.folder import read_config
from ..system.errors import ConfigError
from ..training.facts import facts_of
from . import learn, orders
from .cells import MEANT, PART, Table, rounded

START = 6.0  # seconds in which a cell's process starts and loads what it needs
ONE_BY_ONE = 3.0  # passes over a picture whose codes are written one after the other, guided
CHECKPOINTS = 2  # of a run that stay


class Cost(NamedTuple):
    """Of a document of a model: seconds and FLOPs of training; seconds of drawing a picture. codec: seconds
    and FLOPs of its codec's training. disk: bytes of its run, and of its codec's."""

    seconds: float
    flops: float
    draw: float
    codec_seconds: float
    codec_flops: float
    disk: int
    codec_disk: int
    parameters: int
    batch: int


class Estimate(NamedTuple):
    """A system over all its cells."""

    system: str
    parameters: int
    cells: int
    documents: dict[str, int]
    seconds: float
    flops: float
    disk: int


def estimates(table: Table, device: torch.device) -> list[Estimate]:
    """An estimate of each system. Raises ConfigError where no system fits into the budget."""
    costs = {system.name: cost(table, system, device) for system in table.comparison.systems}
    given, other = table.kinds
    amount = getattr(table.comparison.budget, given)
    documents = {name: _documents(one, given, amount) for name, one in costs.items()}
    if all(count < costs[name].batch for name, count in documents.items()):
        name, least = min(
            ((name, _least(one, given)) for name, one in costs.items()), key=lambda pair: pair[1]
        )
        raise ConfigError(
            f"a budget of {amount:g} {MEANT[given]} fits no system: the first step of {name} is done "
            f"after about {least:.3g}; give more"
        )
    first = table.comparison.reference.name
    seconds = documents[first] * costs[first].seconds + costs[first].codec_seconds
    equal = {"time": seconds, "documents": rounded(max(1, documents[first]))}
    result = []
    for name, one in costs.items():
        counts = {given: documents[name]}
        if name != first:
            counts[other] = _documents(one, other, equal[other])
        result.append(_whole(table, name, one, counts))
    return result


def _documents(one: Cost, kind: str, amount: float) -> int:
    if kind == "documents":
        return int(amount)
    used, each = (one.codec_seconds, one.seconds) if kind == "time" else (one.codec_flops, one.flops)
    return max(0, int((amount - used) / each))


def _least(one: Cost, kind: str) -> float:
    """Of a budget, for the codec and a step."""
    if kind == "documents":
        return one.batch
    used, each = (one.codec_seconds, one.seconds) if kind == "time" else (one.codec_flops, one.flops)
    return used + each * one.batch


def _whole(table: Table, name: str, one: Cost, counts: dict[str, int]) -> Estimate:
    seeds, comparison = len(table.comparison.seeds), table.comparison
    drawn = comparison.trials * comparison.trial_pictures + 2 * comparison.pictures  # and read
    each = [count * one.seconds + drawn * one.draw + START for count in counts.values()]
    work = [count * one.flops for count in counts.values()]
    swept = comparison.sweep * PART * counts[table.kinds[0]] / seeds  # documents of the sweep, once a system
    each, work = [*each, swept * one.seconds], [*work, swept * one.flops]
    return Estimate(
        name,
        one.parameters,
        seeds * len(counts),
        counts,
        seeds * (sum(each) + one.codec_seconds),
        seeds * (sum(work) + one.codec_flops),
        seeds * (len(counts) * one.disk + one.codec_disk),
    )


def cost(table: Table, system: System, device: torch.device) -> Cost:
    """What a system costs, measured by a few products of this machine, and its codec by two steps."""
    seed = table.comparison.seeds[0]
    codec, config, _ = orders.settled(table, system, seed, getattr(table.comparison.budget, "time", None))
    codec_seconds = codec_flops = 0.0
    codec_disk = 0
    if codec:
        trained = (
            presets.load(codec["preset"], codec["settings"])
            if codec["preset"]
            else read_config(Path(codec["run"]))
        )
        config = _with_codec(config, trained)
        if codec["preset"]:
            codec_seconds, codec_flops = codec_cost(trained)
            codec_disk = CHECKPOINTS * estimate.codec(trained)["checkpoint_bytes"]
    config = settle(config, facts_of(config, table.data))[0] if automatic(config) else config
    sizes = estimate.estimate(config, device, (estimate.load_data(config, table.data) or [None])[0])
    batch = config.train.batch
    seconds = sizes["step_seconds"] / batch
    return Cost(
        seconds,
        sizes["flops_per_step"] / batch,
        seconds / 3 * _passes(config),
        codec_seconds,
        codec_flops,
        CHECKPOINTS * sizes["checkpoint_bytes"],
        codec_disk,
        sizes["parameters"]["total"],
        batch,
    )


def _passes(config: Config) -> float:
    """Passes of the network over a picture that is drawn, about."""
    if config.head.kind in ("diffusion", "masked") and getattr(config.baseline, "kind", "") != "flow":
        return 2.0 * config.sample.steps
    return ONE_BY_ONE


def _with_codec(config: Config, trained: CodecConfig) -> Config:
    """Settings of a model as if its codec was there already."""
    known: dict[str, Any] = {"learned": trained.codec, "size": trained.data.size, "hash": "0" * 64}
    if not isinstance(config.codec, FrozenCodec):
        return config
    if hasattr(config.codec, "deviation"):
        known["deviation"] = 1.0
    return config.model_copy(update={"codec": config.codec.model_copy(update=known)})


def codec_cost(config: CodecConfig) -> tuple[float, float]:
    """Seconds, on this CPU, and FLOPs of the training of a codec: a step, times their number; its seconds
    where it is trained by time."""
    flops = learn.codec_flops(config)
    model, side, train = build.codec(config).train(), config.data.size, config.train
    pixels = torch.rand(train.batch, 3, side, side) * 2 - 1
    for _ in range(2):  # the first one warms up
        began = time.perf_counter()
        output = model(pixels)
        (output.pixels.square().mean() + sum(output.losses.values())).backward()
    step = time.perf_counter() - began
    if train.time:
        return train.time, flops * train.batch * train.time / step
    return step * train.documents / train.batch, flops * train.documents
