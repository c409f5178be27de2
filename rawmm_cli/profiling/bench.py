"""How fast this machine trains, draws and makes batches with given settings, measured with the real
functions.

Where the set of the settings is not prepared, random pictures of `data.size` with captions stand in for it:
speed does not depend on what they show. MFU is the model's FLOPs (`flops.py`) over those of a plain matmul of
the same dtype, timed before and after on the same machine."""

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import torch

from ..config import build
from ..config.model import Config
from ..core import flops
from ..core.generate import Sampling, draw, generate
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
from ..training.signals import Signals
from ..training.state import Run, fresh
from ..training.train import take_step
from . import estimate

WARM_UP = 4  # steps that compile, and meet a second shape of rows where there is one
CAPTION = "a picture of nothing in particular"


def train(
    config: Config, data_folder: Path, device: torch.device, steps: int, notify: Callable[[str], None]
) -> dict:
    """Real steps: batch making, forward, backward, clipping, optimizer, average. The first ones, which
    compile, are left out. -> figures as medians over `steps` steps, and the estimate of `rawmm train
    --dry-run` beside them."""
    if config.train.mask == "flex" and device.type == "cpu":
        raise ConfigError("train.mask = flex cannot train on the CPU; set train.mask=dense")
    precision = machine.precision(config.train.precision, device)
    config = _long_enough(config, WARM_UP + steps)
    data, source = data_for(config, data_folder)
    before = machine.matmul_rate(device, precision)
    state = fresh(config, device, ALONE)
    state.forward, state.model.tokenizer = state.model, sets.tokenizer(config, data)
    compiled = compile_layers(state.model, config.train.compile, device, notify)
    run = Run(config, Path(), device, ALONE, data, data, notify)
    made = batches(config, steps_of(config, data, state.model), 0)
    seconds, waits, records = [], [], []
    for number in range(WARM_UP + steps):
        started = time.perf_counter()
        micro = next(made)
        waited = time.perf_counter() - started
        record = take_step(run, state, micro, Signals(ALONE), Clock(0.0))
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM_UP and record:
            seconds.append(time.perf_counter() - started)
            waits.append(waited)
            records.append(record)
    peak = machine.peak_memory(device)  # before the estimate measures bandwidth on large arrays
    rate = (before + machine.matmul_rate(device, precision)) / 2
    expected = estimate.estimate(config, device, data)
    total, step = sum(seconds), statistics.median(seconds)
    mean = lambda name: statistics.mean(record[name] for record in records)  # noqa: E731
    pictures = config.train.batch  # a document holds one
    measured = {
        "step_seconds": step,
        "positions_per_second": mean("positions") / step,
        "documents_per_second": config.train.batch / step,
        "pictures_per_second": pictures / step,
        "flops_per_second": mean("flops") / step,
        "mfu": mean("flops") / step / rate,
        "matmul_flops_per_second": rate,
        "peak_memory": peak,
        "data_wait": sum(waits) / total,
        "fill": mean("fill"),
    }
    return {
        "kind": "train",
        "data": source,
        "compiled": compiled,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "steps": steps,
        **measured,
        "estimate": {"step_seconds": expected["step_seconds"], "peak_memory": expected["memory"]["total"]},
        "estimate_over_measured": {
            "step_seconds": expected["step_seconds"] / step,
            "peak_memory": expected["memory"]["total"] / measured["peak_memory"],
        },
    }


def sample(config: Config, device: torch.device, count: int) -> dict:
    """Draw `count` pictures together and one alone, and write captions, with fresh weights."""
    precision = machine.precision(config.train.precision, device)
    model = build.model(config, device).eval()
    settings = build.sampling(config)
    blank = torch.zeros(3, config.data.size, config.data.size, dtype=torch.uint8)
    prompt = drawing(CAPTION, blank, 0)
    prompt = prompt[: prompt.index(IMAGE) + 1]
    spent = {}
    for many in (1, count):
        keys = [key(0, "bench", n) for n in range(many)]
        spent[many] = _seconds(
            lambda keys=keys, many=many: draw(model, [prompt] * many, keys, settings), device
        )
    read = Sampling(
        max_text=config.sample.max_text,
        max_pictures=0,
        size=(config.data.size,) * 2,
        temperature=1.0,
        context=config.sample.context,
    )
    looked = reading(blank, "")[:-1]  # <bos> <image> picture </image>
    written = [0]

    def write():
        documents = generate(model, [looked] * count, [key(1, "bench", n) for n in range(count)], read)
        written[0] = sum(len(document) - len(looked) for document in documents)

    writing = _seconds(write, device)
    rate = machine.matmul_rate(device, config.sample.precision)
    length, patches = (
        len(prompt) - 1 + 1 + (config.data.size // config.codec.patch) ** 2,
        (config.data.size // config.codec.patch) ** 2,
    )
    passes = settings.drawing.steps * (2 if settings.guidance != 1 else 1)
    work = passes * count * sum(flops.forward(config, 1, length, 1, patches, 0).values())
    return {
        "kind": "sample",
        "precision": config.sample.precision,
        "train_precision": precision,
        "threads": torch.get_num_threads(),
        "count": count,
        "steps": settings.drawing.steps,
        "solver": settings.drawing.solver,
        "guidance": settings.guidance,
        "pictures_per_second": count / spent[count],
        "seconds_per_picture_alone": spent[1],
        "seconds_per_step": spent[count] / settings.drawing.steps,
        "mfu": work / spent[count] / rate,
        "matmul_flops_per_second": rate,
        "tokens_per_second": written[0] / writing,
        "peak_memory": machine.peak_memory(device),
    }


def batches_alone(config: Config, data_folder: Path, steps: int) -> dict:
    """Making batches and nothing else."""
    config = _long_enough(config, 1 + steps)
    data, source = data_for(config, data_folder)
    model = build.model(config, "meta")
    model.tokenizer = sets.tokenizer(config, data)
    made = batches(config, steps_of(config, data, model), 0)
    next(made)
    gc.freeze()  # as training does
    started, filled, positions = time.perf_counter(), 0, 0
    for _ in range(steps):
        for batch in next(made):
            filled, positions = filled + batch.filled, positions + batch.tokens.numel()
    spent = time.perf_counter() - started
    return {
        "kind": "data",
        "data": source,
        "workers": config.train.workers,
        "steps": steps,
        "documents_per_second": steps * config.train.batch / spent,
        "positions_per_second": filled / spent,
        "fill": filled / positions,
        "rows": positions / steps / config.train.length,
        "seconds_per_step": spent / steps,
    }


def _long_enough(config: Config, steps: int) -> Config:
    """The same settings for a run of at least so many steps."""
    documents = max(config.train.documents, steps * config.train.batch)
    return config.model_copy(update={"train": config.train.model_copy(update={"documents": documents})})


def data_for(config: Config, data_folder: Path, count: int = 256) -> tuple[prepared.Prepared, str]:
    """The prepared set and its name or, where it is missing or does not fit, random pictures and 'random
    pictures'."""
    found = estimate.load_data(config, data_folder)
    if found is not None:
        return found, config.data.set
    size, dice = config.data.size, np.random.default_rng(0)
    room = config.train.length - (size // config.codec.patch) ** 2 - 4
    captions = [[CAPTION[: max(0, min(room, n % (len(CAPTION) + 1)))]] for n in range(count)]
    pixels = [dice.integers(0, 256, (size, size, 3), dtype=np.uint8).tobytes() for _ in range(count)]
    rows = [
        {"pixels": data, "height": size, "width": size, "captions": texts, "label": -1, "source": ""}
        for data, texts in zip(pixels, captions)
    ]
    card = {"labels": [], "fingerprint": ""}
    return prepared.Prepared(
        Path("random"), "train", pyarrow.Table.from_pylist(rows, PICTURES), card
    ), "random pictures"


def _seconds(work: Callable[[], object], device: torch.device, least: float = 1.0) -> float:
    """Median seconds of `work`, repeated for at least `least` seconds and three times, after one try."""
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
