"""The training loop: one function that reads downwards.

Document n of a run is a function of (seed, n), so the whole position in the data is one number, the documents seen.
Resuming is running the same command again: weights, average and optimizer come back bit for bit, and so does the run.
"""

import json
import math
import os
import platform
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from . import build, checkpoint, ema, images, optimizer, prepared, records
from . import config as configuration
from .batch import pack
from .config import Config
from .document import Batch
from .errors import CheckpointError, ConfigError, DataError, DivergedError, LockedError, OutOfMemoryError, Stopped
from .generate import Sampling, draw
from .loss import joint_loss
from .model import RawModel
from .noise import key
from .stream import document, drawing
from .text_tokenizer import IMAGE

MAY_CHANGE = {"train.documents", "train.log_every", "train.sample_every", "train.save_every", "train.keep",
              "train.threads", "train.compile", "train.mask"}


@dataclass
class State:
    """Everything that changes while training."""

    model: RawModel
    average: RawModel
    optimizers: list
    documents: int = 0
    step: int = 0
    seconds: float = 0.0


class Speed:
    """Documents and positions a second over the last steps; the first step, which compiles, is left out."""

    def __init__(self, steps: int = 50):
        self.steps, self.seen = deque(maxlen=steps), 0

    def __call__(self, seconds: float, documents: int, positions: int) -> dict[str, float]:
        self.seen += 1
        if self.seen == 2:
            self.steps.clear()
        self.steps.append((seconds, documents, positions))
        total, documents, positions = map(sum, zip(*self.steps))
        return {"documents_per_second": documents / total, "positions_per_second": positions / total}


def train(config: Config, data_folder: Path, run: Path, device: torch.device, notify=print) -> Iterator[dict]:
    """Train `run` to its end, yielding one record a step. `notify` hears what a person should know.

    Raises LockedError, CheckpointError, DataError, DivergedError (before the bad step is taken) and, after saving,
    Stopped when SIGINT or SIGTERM arrives."""
    settings = config.train
    data, held_out = (prepared.load(data_folder / config.data.set, split) for split in prepared.SPLITS)
    check_data(config, data)
    check_data(config, held_out)                        # so that what is trained can be evaluated
    if settings.mask == "flex" and device.type == "cpu":
        raise ConfigError("train.mask = flex cannot train on the CPU (torch has no backward for it there); "
                          "set train.mask=dense")
    run.mkdir(parents=True, exist_ok=True)
    with _locked(run), _signals() as signals:
        state = _restore(config, run, data, device, notify)
        if state.documents >= settings.documents:
            notify(f"{run} is already trained on {state.documents:,} documents; nothing to do")
            return
        _describe_machine(run, config, device)
        compiled = build.compile_layers(state.model, settings.compile, device, notify)
        notify(f"{'compiled' if compiled else 'eager'} {build.precision(settings.precision, device)} on {device.type}, "
               f"{torch.get_num_threads()} threads; saving to {run}")
        speed = Speed()
        while state.documents < settings.documents:
            started, before = time.perf_counter(), state.documents
            batch = next_batch(config, data, state.model.codec.grid, state.model.head.causal, state.documents)
            record = _step(config, state, batch.to(device))
            seconds = time.perf_counter() - started
            state.seconds += seconds
            done = state.documents >= settings.documents
            record |= {"step": state.step, "documents": state.documents, "seconds": state.seconds,
                       **speed(seconds, state.documents - before, record.pop("positions"))}
            if done or _crossed(state.documents, settings.batch, settings.log_every):
                records.append(run / "records.jsonl", record)
            stop = bool(signals)
            if done or stop or _crossed(state.documents, settings.batch, settings.save_every):
                _save(run, state, data, settings.keep)
            if done or _crossed(state.documents, settings.batch, settings.sample_every):
                sample_sheet(config, state.average, data, run / "samples" / f"step_{state.step:08d}.png")
            yield record
            if stop and not done:
                raise Stopped(f"stopped by {signal.Signals(signals[0]).name} and saved at {state.documents:,} documents; "
                              "run the same command again to go on", signals[0])


def next_batch(config: Config, data: prepared.Prepared, grid, causal: bool, seen: int) -> Batch:
    """The documents of the stream that follow the first `seen`, packed.

    Rows are rounded up, and a last, smaller batch is filled up with empty ones: few shapes occur, nothing compiles again."""
    settings = config.train
    count = min(settings.batch, settings.documents - seen)
    documents = [document(data, seen + n, settings.seed, read=config.data.read, drop=config.data.drop,
                          shift=config.data.shift, shift_share=config.data.shift_share,
                          finished=config.data.finished) for n in range(count)]
    batch = pack(documents, settings.length, grid, causal)
    quantum = max(1, settings.batch // 16)
    rows = -(-len(batch.tokens) * settings.batch // (count * quantum)) * quantum
    return batch if rows == len(batch.tokens) else pack(documents, settings.length, grid, causal, rows)


def _step(config: Config, state: State, batch: Batch) -> dict:
    """One update of the weights and of their average."""
    settings, device = config.train, batch.tokens.device
    count = len(batch.last)
    share = optimizer.rate(settings, state.documents)
    optimizer.set_rate(state.optimizers, share)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=build.precision(settings.precision, device) == "bf16"):
            losses = joint_loss(state.model, batch, config.loss.text, config.loss.image)
        for made in state.optimizers:
            made.zero_grad()
        losses.total.backward()
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise OutOfMemoryError(f"a step of {count} documents does not fit in memory; set a smaller train.batch "
                                   f"(now {settings.batch}) or backbone.width; the last checkpoint is intact") from None
        raise
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    values = {"loss": losses.total.item(), "text": losses.text.item(), "image": losses.image.item(),
              "gradient_norm": norm.item()}
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        raise DivergedError(f"{', '.join(bad)} not finite at document {state.documents:,}; the step was not taken; "
                            f"set a lower train.learning_rate (now {settings.learning_rate:g}) or train.precision=fp32, "
                            "and another --run")
    for made in state.optimizers:
        made.step()
    ema.update(state.average, state.model, ema.decay(settings.ema, state.documents, count))
    state.documents += count
    state.step += 1
    return {**values, "learning_rate": settings.learning_rate * share, "positions": batch.tokens.numel()}


def _crossed(documents: int, batch: int, every: int) -> bool:
    """Whether the last `batch` documents passed a multiple of `every`."""
    return documents // every > (documents - batch) // every


def check_data(config: Config, data: prepared.Prepared) -> None:
    """Raises DataError where the pictures or captions of a set do not fit the settings, before any step is taken."""
    patch, name = config.codec.patch, config.data.set
    sizes = set(zip(data.heights.tolist(), data.widths.tolist()))
    if len(sizes) == 1 and sizes != {(config.data.size,) * 2}:
        (height, width), size = next(iter(sizes)), config.data.size
        if height == width:
            raise DataError(f"set '{name}' holds pictures of {width}x{height} pixels and data.size is {size}; "
                            f"set data.size={width}, or prepare the set again with --size {size}")
    for index, (height, width) in enumerate(zip(data.heights.tolist(), data.widths.tolist())):
        source = data.table["source"][index]
        if height % patch or width % patch:
            raise DataError(f"picture {source} has {width}x{height} pixels; codec.patch = {patch} must divide both; "
                            f"prepare the set again with --size {config.data.size}, or set codec.patch")
        caption = max((len(text.encode()) for text in data.captions[index]), default=0)
        needed = (height // patch) * (width // patch) + caption + 4     # <bos>, <image>, </image>, <eos>
        if needed > config.train.length:
            raise DataError(f"picture {source} and its caption of {caption} bytes need {needed} positions; train.length is "
                            f"{config.train.length}; set train.length={needed} or more, or shorten the caption")
    if config.data.read == 1 and not any(any(captions) for captions in data.captions):
        raise DataError(f"no picture of '{name}' has a caption and data.read = 1: nothing can be read; set data.read=0")


# -------------------------------------------------------------------------------------------------- start, stop, save


def _restore(config: Config, run: Path, data: prepared.Prepared, device, notify) -> State:
    """A fresh state, or the newest checkpoint's. Raises CheckpointError where settings or data have changed."""
    checkpoint.sweep(run)
    found = checkpoint.latest(run, notify)
    if found is not None:
        _compare(checkpoint.run_config(found), config, run)
    model, average = build.model(config, device, config.train.mask), build.model(config, device)
    state = State(model, average.requires_grad_(False).eval(), optimizer.optimizers(model, config.train))
    if found is not None:
        saved = checkpoint.state(found)
        if saved["data"] != data.card.get("fingerprint"):
            raise CheckpointError(f"{run} was trained on other data: the set '{config.data.set}' has changed since; "
                                  "prepare the old data again, or train under another --run name")
        checkpoint.load_weights(model, checkpoint.tensors(found, "model"), found)
        checkpoint.load_weights(average, checkpoint.tensors(found, "ema"), found)
        optimizer.load_state(state.optimizers, model, checkpoint.tensors(found, "optimizer"))
        state.documents, state.step, state.seconds = saved["documents"], saved["step"], saved["seconds"]
        notify(f"resuming {run.name} at {state.documents:,} of {config.train.documents:,} documents")
    records.truncate(run / "records.jsonl", state.documents)
    records.replace(run / "config.yaml", configuration.dump(config))
    return state


def _compare(old: Config, new: Config, run: Path) -> None:
    flat = lambda c: {f"{part}.{k}": v for part, values in c.model_dump().items() for k, v in values.items()}  # noqa: E731
    before, after = flat(old), flat(new)
    changed = [k for k in {**before, **after} if before.get(k) != after.get(k)
               and k not in MAY_CHANGE and not k.startswith("sample.")]
    if changed:
        listed = ", ".join(f"{k} was {before.get(k)}, now {after.get(k)}" for k in changed[:3])
        raise CheckpointError(f"run '{run.name}' was started with other settings ({listed}); "
                              "use the old settings, or another --run name")


def _save(run: Path, state: State, data: prepared.Prepared, keep: int) -> None:
    checkpoint.save(run, state.step, {
        "model": state.model.state_dict(), "ema": state.average.state_dict(),
        "optimizer": optimizer.state(state.optimizers, state.model),
    }, {"documents": state.documents, "seconds": state.seconds, "data": data.card.get("fingerprint")}, keep)


@contextmanager
def _locked(run: Path):
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(f"another process is training in {run}; wait for it, or use another --run name") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _signals():
    """A list that holds the number of a signal once SIGINT or SIGTERM has arrived; a second one acts at once."""
    arrived: list[int] = []

    def note(number, frame):
        arrived.append(number)
        signal.signal(number, previous[number])

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        previous = {number: signal.signal(number, note) for number in numbers}
    except ValueError:                                  # not in the main thread: signals stay as they are
        yield arrived
        return
    try:
        yield arrived
    finally:
        for number in numbers:
            signal.signal(number, previous[number])


def _describe_machine(run: Path, config: Config, device: torch.device) -> None:
    facts = {"rawmm": version("rawmm"), "python": platform.python_version(), "torch": torch.__version__,
             "system": platform.platform(), "device": torch.cuda.get_device_name(device) if device.type == "cuda" else
             "cpu", "threads": str(torch.get_num_threads()), "threads wait": os.environ.get("OMP_WAIT_POLICY") or
             f"after {os.environ.get('GOMP_SPINCOUNT', 'the default number of')} spins",
             "precision": build.precision(config.train.precision, device)}
    records.replace(run / "environment.json", json.dumps(facts, indent=1) + "\n")


# --------------------------------------------------------------------------------------------------- what it looks like


def sheet_captions(data: prepared.Prepared, most: int = 10) -> list[str]:
    """Fixed prompts: the names of the classes, or else the first different captions."""
    labels = data.card.get("labels") or list(dict.fromkeys(c for captions in data.captions for c in captions if c))
    return labels[:most] or [""]


def sampling(config: Config) -> Sampling:
    """The sampling settings of a preset, for pictures of its own size."""
    s = config.sample
    return Sampling(s.steps, s.solver, s.guidance, s.interval, 0.0, s.max_text, 1, (config.data.size,) * 2, s.context)


def sample_sheet(config: Config, model: RawModel, data: prepared.Prepared, path: Path, rows: int = 4) -> None:
    """Draw the fixed prompts `rows` times with fixed noise into one contact sheet, a column a prompt."""
    captions = sheet_captions(data)
    blank = torch.zeros(3, config.data.size, config.data.size, dtype=torch.uint8)
    prompts = [drawing(caption, blank, 0) for _ in range(rows) for caption in captions]
    prompts = [prompt[:prompt.index(IMAGE) + 1] for prompt in prompts]
    pictures = draw(model, prompts, [key(0, "sheet", n) for n in range(len(prompts))], sampling(config))
    path.parent.mkdir(parents=True, exist_ok=True)
    zoom = max(1, 48 // config.data.size)
    images.save_png(images.grid([picture.pixels for picture in pictures], len(captions), zoom=zoom), path)
