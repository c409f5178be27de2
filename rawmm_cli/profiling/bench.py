"""Speed of training, drawing and making batches on this machine, measured with the real functions.

Where the data set of the settings is not prepared, random pictures of `data.size` with captions replace it,
as speed does not depend on contents. MFU is the model's FLOPs (`flops.py`) over those of a plain matmul of
the same dtype, timed before and after on the same machine."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
import torch

from ..config import build
from ..config.model import Config
from ..core import flops
from ..core.document import Document
from ..core.drawing import Sampling, draw, precision
from ..core.generate import generate
from ..core.heads.autoregressive import AutoregressiveHead
from ..core.model import RawModel
from ..core.text_tokenizer import IMAGE
from ..data import prepared, sets
from ..data.loader import batches, steps_of
from ..data.rows import PICTURES
from ..data.stream import drawing, reading
from ..system import machine
from ..system.distributed import ALONE
from ..system.errors import ConfigError
from ..system.seeds import key
from ..training.clock import Clock
from ..training.compile import compile_layers
from ..training.facts import attach_kept
from ..training.signals import Signals
from ..training.state import Run, State, fresh
from ..training.train import taken
from . import estimate

WARM_UP = 4  # steps that compile, for a second shape of rows too where there is one
CAPTION = "a picture of nothing in particular"


@dataclass
class Steps:
    """Timed steps: seconds of each, seconds that each waited for its batch, and their records."""

    seconds: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)
    peak_memory: int = 0  # bytes, before anything else is measured

    def mean(self, name: str) -> float:
        """Mean of a value of the records."""
        return statistics.mean(record[name] for record in self.records)


def train(
    config: Config,
    data_folder: Path,
    device: torch.device,
    steps: int,
    notify: Callable[[str], None],
    look: Callable[[Callable[[], object], float], None] | None = None,
) -> dict:
    """Time real steps: batch making, forward, backward, clipping, optimizer, average; the first ones, which
    compile, do not count -> figures over `steps` steps, and the estimates of `rawmm train --dry-run`.

    look(step, seconds): called after them with a function that takes one more step, to profile it, and with
    the seconds of a step."""
    if config.train.mask == "flex" and device.type == "cpu":
        raise ConfigError("train.mask = flex cannot train on the CPU; set train.mask=dense")
    precision = machine.precision(config.train.precision, device)
    config = _long_enough(config, WARM_UP + steps)
    data, source = data_for(config, data_folder)
    for line in attach_kept(config, data if isinstance(data, list) else []):
        notify(line)
    before = machine.matmul_rate(device, precision)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # but for the matmul just timed
    state = fresh(config, device, ALONE)
    state.forward, state.model.tokenizer = state.model, sets.tokenizer(config, data)
    compiled = compile_layers(state.model, config.train.compile, device, notify)
    timed = _timed_steps(Run(config, Path(), device, ALONE, data, data, notify), state, steps, look)
    rate = (before + machine.matmul_rate(device, precision)) / 2
    expected = estimate.estimate(config, device, data)
    return {
        "kind": "train",
        "data": source,
        "compiled": compiled,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "steps": steps,
        **_figures(timed, config.train.batch, rate, expected),
    }


def _figures(timed: Steps, documents: int, rate: float, expected: dict) -> dict:
    """Figures of timed steps of `documents` each, where a plain matmul reaches `rate` FLOP/s; and their
    estimates."""
    step, memory = statistics.median(timed.seconds), expected["memory"]["total"]
    return {
        "step_seconds": step,
        "positions_per_second": timed.mean("positions") / step,
        "documents_per_second": documents / step,
        "pictures_per_second": documents / step,  # a document holds one
        "flops_per_second": timed.mean("flops") / step,
        "flops_counted": "attention as if dense",  # whatever blocks a mask lets flex kernels skip
        "mfu": timed.mean("flops") / step / rate,
        "matmul_flops_per_second": rate,
        "peak_memory": timed.peak_memory,
        "data_wait": sum(timed.waits) / sum(timed.seconds),
        "fill": timed.mean("fill"),
        "estimate": {"step_seconds": expected["step_seconds"], "peak_memory": memory},
        "estimate_over_measured": {
            "step_seconds": expected["step_seconds"] / step,
            "peak_memory": memory / timed.peak_memory,
        },
    }


def _timed_steps(
    run: Run,
    state: State,
    steps: int,
    look: Callable[[Callable[[], object], float], None] | None,
) -> Steps:
    """Take WARM_UP steps, then time `steps` steps."""
    steps_made = steps_of(run.config, run.data, state.model)
    source, timed = batches(run.config, steps_made, 0, run.device), Steps()
    loop = taken(run, state, source, Signals(ALONE), Clock(0.0))
    for number, step in enumerate(islice(loop, WARM_UP + steps)):
        if number >= WARM_UP and step.record:
            timed.seconds.append(step.seconds)
            timed.waits.append(step.waited)
            timed.records.append(step.record)
    timed.peak_memory = machine.peak_memory(run.device)
    if look:
        look(lambda: next(loop), statistics.median(timed.seconds))
    return timed


def sample(config: Config, device: torch.device, count: int) -> dict:
    """Time drawing `count` pictures at once and a single one, and writing captions, with fresh weights."""
    model = build.model(config, device).eval()
    settings = build.sampling(config)
    settings = settings.changed(precision=precision(settings.precision, device))
    blank = torch.zeros(3, config.data.size, config.data.size, dtype=torch.uint8)
    prompt = drawing(CAPTION, blank, 0)
    prompt = prompt[: prompt.index(IMAGE) + 1]

    def seconds(pictures: int) -> float:
        keys = [key(0, "bench", n) for n in range(pictures)]
        return _seconds(lambda: draw(model, [prompt] * pictures, keys, settings), device)

    alone, together = seconds(1), seconds(count)
    tokens_per_second = _writing(config, model, reading(blank, "")[:-1], count, device)
    rate = machine.matmul_rate(device, settings.precision)
    patches = len(model.blocks(*settings.size).block)
    drawn_by = settings.flat()
    steps = drawn_by.get("steps")  # None of a head that draws without steps
    passes = None if steps is None else steps * (2 if settings.guidance != 1 else 1)
    length = len(prompt) + patches
    work = count * sum(flops.forward(model, 1, length, 1, patches, 0).values())
    return {
        "kind": "sample",
        "precision": settings.precision,
        "train_precision": machine.precision(config.train.precision, device),
        "threads": torch.get_num_threads(),
        "count": count,
        "steps": steps,
        "solver": drawn_by.get("solver"),
        "guidance": settings.guidance,
        "pictures_per_second": count / together,
        "seconds_per_picture_alone": alone,
        "seconds_per_step": together / steps if steps else None,
        "mfu": passes * work / together / rate if passes else None,
        "matmul_flops_per_second": rate,
        "tokens_per_second": tokens_per_second,
        **_codes(model, prompt, count, settings, device),
        "peak_memory": machine.peak_memory(device),
    }


def _codes(model: RawModel, prompt: Document, count: int, settings: Sampling, device: torch.device) -> dict:
    """Codes a second where pictures are written code by code, unguided, and how many times that is of text of
    the same length behind the same prompt."""
    if not isinstance(model.head, AutoregressiveHead):
        return {}
    length = len(model.blocks(*settings.size).block)
    plain = settings.changed(guidance=1.0, temperature=1.0, max_text=length, max_pictures=0)
    keys, rates = [key(0, "bench", n) for n in range(count)], []
    seconds = _seconds(lambda: draw(model, [prompt] * count, keys, plain), device)
    text = replace(plain, context=len(prompt) + length)
    for _ in range(2):  # the first one does not count
        started = time.perf_counter()
        written = generate(model, [prompt[:-1]] * count, keys, text)
        tokens = sum(len(document) for document in written) - count * (len(prompt) - 1)
        rates.append(tokens / (time.perf_counter() - started))
    codes = count * length / seconds
    return {"codes_per_second": codes, "codes_over_text": codes / rates[-1]}


def _writing(config: Config, model: RawModel, prompt: Document, count: int, device: torch.device) -> float:
    """Tokens a second of `count` captions in one batch. prompt: <bos> <image> picture </image>."""
    sampling = Sampling(
        max_text=config.sample.max_text,
        max_pictures=0,
        size=(config.data.size,) * 2,
        temperature=1.0,
        context=config.sample.context,
    )
    keys, tokens = [key(1, "bench", n) for n in range(count)], 0

    def write() -> None:
        nonlocal tokens
        documents = generate(model, [prompt] * count, keys, sampling)
        tokens = sum(len(document) - len(prompt) for document in documents)

    seconds = _seconds(write, device)
    return tokens / seconds


def batches_alone(
    config: Config, data_folder: Path, steps: int, device: torch.device = torch.device("cpu")
) -> dict:
    """Time making batches as for training on `device`, without training."""
    config = _long_enough(config, 1 + steps)
    data, source = data_for(config, data_folder)
    attach_kept(config, data if isinstance(data, list) else [])
    model = build.model(config, "meta")
    model.tokenizer = sets.tokenizer(config, data)
    micro_batches = batches(config, steps_of(config, data, model), 0, device)
    next(micro_batches)
    gc.freeze()  # as training does
    started, filled, positions = time.perf_counter(), 0, 0
    for _ in range(steps):
        for batch in next(micro_batches):
            filled, positions = filled + batch.filled, positions + batch.tokens.numel()
    spent = time.perf_counter() - started
    return {
        "kind": "data",
        "data": source,
        "workers": machine.workers(config.train.workers, device),
        "steps": steps,
        "documents_per_second": steps * config.train.batch / spent,
        "positions_per_second": filled / spent,
        "fill": filled / positions,
        "rows": positions / steps / config.train.length,
        "seconds_per_step": spent / steps,
    }


def _long_enough(config: Config, steps: int) -> Config:
    """The settings, with documents for `steps` steps and as many to look at, and no limit of time."""
    documents = max(config.train.documents, 2 * steps * config.train.batch)
    changed = {"documents": documents, "time": None}
    return config.model_copy(update={"train": config.train.model_copy(update=changed)})


def data_for(config: Config, data_folder: Path, count: int = 256) -> tuple[prepared.Prepared, str]:
    """The prepared set and its name; or, where it is missing or does not fit, random pictures and 'random
    pictures'."""
    data = estimate.load_data(config, data_folder)
    if data is not None:
        return data, config.data.set
    size, generator = config.data.size, np.random.default_rng(0)
    room = config.train.length - config.positions(size, size) - 4
    captions = [[CAPTION[: max(0, min(room, n % (len(CAPTION) + 1)))]] for n in range(count)]
    pixels = [generator.integers(0, 256, (size, size, 3), dtype=np.uint8).tobytes() for _ in range(count)]
    rows = [
        {"pixels": values, "height": size, "width": size, "captions": texts, "label": -1, "source": ""}
        for values, texts in zip(pixels, captions)
    ]
    card = {"labels": [], "fingerprint": ""}
    return prepared.Prepared(
        Path("random"), "train", pyarrow.Table.from_pylist(rows, PICTURES), card
    ), "random pictures"


def _seconds(work: Callable[[], object], device: torch.device, least: float = 1.0) -> float:
    """Median seconds of `work`, repeated three times or more, for at least `least` seconds, after one call
    that does not count."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work()
    spent = []
    while sum(spent) < least or len(spent) < 3:
        wait()
        started = time.perf_counter()
        work()
        wait()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)
