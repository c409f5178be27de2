"""The training loop: one function that reads downwards.

Document n of a run is a function of (seed, n), so the whole position in the data is one number, the documents
seen. Resuming is running the same command again: weights, averages and optimizer come back bit for bit, and
so does the run. Several ranks share each step's documents (`loader.py`), and whatever is decided (how large
the loss is, whether to stop) is decided from numbers that all of them have exchanged. `state.py` looks after
the run folder."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..config.model import Config
from ..core import flops
from ..core.document import Batch
from ..core.loss import Losses, Shares, joint_loss
from ..data import lengths, sets
from ..data.loader import Steps, batches, check_shares, steps_of, watched
from ..runs import records
from ..runs.lock import locked
from ..system import distributed, machine
from ..system.activity import doing
from ..system.distributed import ALONE, Ranks
from ..system.errors import ConfigError, DivergedError, OutOfMemoryError, is_out_of_memory
from ..system.sharing import Others
from . import ema, optimizer
from .auto import settled
from .clock import Clock, crossed, too_short
from .preview import preview
from .signals import Signals, signals, stopped
from .state import Run, State, bad_batch, left_out, restore, save, snapshot
from .trackers import trackers
from .watch import Watch, due, lines, start


def train(
    config: Config,
    data_folder: Path,
    folder: Path,
    device: torch.device,
    notify: Callable[[str], None] = print,
    ranks: Ranks = ALONE,
    began: float | None = None,
) -> Iterator[dict]:
    """Train the run `folder` to its end, yielding one record a step. `notify` is called with messages
    for people. began: when the command was started, of time.perf_counter; None: now.

    Every rank runs this and the first one writes. Raises ConfigError, LockedError, CheckpointError,
    DataError, RankError, DivergedError (before the bad step is taken) and, after saving, Stopped when SIGINT,
    SIGTERM or SIGHUP arrives."""
    settings, clock, others = config.train, Clock(0.0, began), Others()
    with doing("loading the data"):
        data, held_out = sets.load(config, data_folder, notify if ranks.first else lambda line: None)
    check_shares(config, ranks)
    if settings.mask == "flex" and device.type == "cpu":
        raise ConfigError(
            "train.mask = flex cannot train on the CPU (torch has no backward for it there); "
            "set train.mask=dense"
        )
    run = Run(config, folder, device, ranks, data, held_out, notify if ranks.first else lambda message: None)
    if config.data.stream:
        data[0].report = folder / "skipped.jsonl"
    with (
        distributed.started(ranks, device, settings.timeout),
        locked(folder) if ranks.first else nullcontext(),
        signals(ranks) as caught,
    ):
        state = restore(run := settled(run))
        if state.remaining(run.config) <= 0:
            return run.notify(f"{folder} is already trained on {state.documents:,} documents; nothing to do")
        clock.earlier, steps = state.seconds, _checked_steps(run, state)
        watch = start(run, state, clock, others)
        names, facts = settings.trackers if ranks.first else (), run.config.model_dump(mode="json")
        log = trackers(names, folder, facts, state.documents, run.notify)
        try:
            with watched(lambda: state.documents):
                yield from _steps(run, state, steps, caught, watch, log)
        finally:
            for tracker in log:
                tracker.close()


@doing("reading captions")
def _checked_steps(run: Run, state: State) -> Steps:
    """Steps of a run. Raises DataError where documents do not fit; says what is cut or left out."""
    config, model = run.config, state.model
    steps = steps_of(config, run.data, model, run.ranks)
    if not config.data.stream:
        lengths.check_held_out(config, run.held_out, model.tokenizer.encode, model.blocks)
    for line in steps.stream.notes:
        run.notify(line)
    return steps


def _steps(run: Run, state: State, steps: Steps, caught: Signals, watch: Watch, log: list) -> Iterator[dict]:
    """Take one step after the other, and log, draw and save when documents say so."""
    config, settings = run.config, run.config.train
    source, (clock, plan, speed, threads, first) = batches(config, steps, state.documents, run.device), watch
    while state.remaining(config) > 0:
        started, before = time.perf_counter(), state.documents
        micro = next(source)
        waited = time.perf_counter() - started
        with doing(first) if not plan.steps else nullcontext():
            record = take_step(run, state, micro, caught, clock)
        seconds = time.perf_counter() - started
        plan.step(seconds)
        clock.reserve = plan.reserve()
        done = state.remaining(config) <= 0
        if done and settings.time and state.step == 1:
            raise too_short(settings.time, clock.seconds(), seconds)
        if done and settings.time:
            state.seconds = max(state.seconds, settings.time)  # what follows is inside it
        if record:
            record |= speed(seconds, waited, record) | {"memory": machine.peak_memory(run.device)}
            record |= {"seconds": state.seconds, **plan.outlook(state.documents, state.seconds)}
            if run.ranks.first and (done or crossed(state.documents, before, settings.log_every)):
                records.append(run.folder / "records.jsonl", record)
                for tracker in log:
                    tracker.log(record, state.documents)
        if threads:
            threads.after(seconds)
        stop = caught.agreed
        snapshot(run, state, before)  # before the state: who dies in between comes here again
        if done or stop or due(run, state, before, "checkpoint", plan):
            with plan.timed("checkpoint", "saving"):
                save(run, state)  # before the sheet: what fails there loses nothing
            left_out(run)
        if done or due(run, state, before, "sheet", plan):
            with plan.timed("sheet", "drawing and reading a sheet"):
                _look(run, state, log, lines(watch, done))
        if record:
            yield record
        if stop and not done:
            raise stopped(stop, state.documents)


class Totals(NamedTuple):
    """Sums over the micro-batches of all ranks in a step."""

    tokens: int  # that the text loss counts
    patches: int  # that the image loss counts
    positions: int
    filled: int  # positions with data
    flops: float


def take_step(run: Run, state: State, micro: list[Batch], caught: Signals, clock: Clock) -> dict | None:
    """One update of the weights and of their averages -> its record, or None where it was skipped as not
    finite."""
    settings, count = run.config.train, run.config.train.batch
    share = optimizer.rate(settings, state.documents, state.remaining(run.config))
    optimizer.set_rate(state.optimizers, share)
    totals, text, image = _accumulate(run, state, micro)
    norm = distributed.whole(torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip))
    numbers = torch.stack([norm, text, image])
    wait = machine.fetch(numbers)
    if early := optimizer.judges(state.optimizers):  # the GPU goes on while its numbers are read
        optimizer.judge(state.optimizers, distributed.largest(run.ranks, (~numbers.isfinite()).any().float()))
        _step(state)
        _average(run, state)
    norm, text, image = wait()
    own = [text, image, clock.seconds(), caught.arrived, clock.reserve]
    reports = distributed.all_gather(run.ranks, own)
    text, image = sum(one[0] for one in reports), sum(one[1] for one in reports)
    state.seconds, caught.agreed = max(one[2] for one in reports), int(max(one[3] for one in reports))
    state.reserved = max(one[4] for one in reports)
    weights = run.config.loss
    loss = weights.text * text + weights.image * image
    values = {"loss": loss, "text": text, "image": image, "gradient_norm": norm}
    finite = _finite(run, state, values)
    if not early:
        if finite:
            _step(state)
        _average(run, state)
    state.documents += count
    if not finite:
        return None
    state.step += 1
    return {
        **values,
        "learning_rate": settings.learning_rate * share,
        "step": state.step,
        "documents": state.documents,
        "seconds": state.seconds,
        "step_documents": count,
        "positions": totals.filled,
        "flops": totals.flops,
        "fill": totals.filled / totals.positions,
    }


def _step(state: State) -> None:
    """Change the weights by their gradients."""
    for one in state.optimizers:
        one.step()


def _average(run: Run, state: State) -> None:
    """Change the averages by the weights, also by those that a step left as they were."""
    settings = run.config.train
    for average, old_weight in zip(state.averages, ema.decays(settings.ema, state.documents, settings.batch)):
        ema.update(average, state.model, old_weight)


def _accumulate(run: Run, state: State, micro: list[Batch]) -> tuple[Totals, Tensor, Tensor]:
    """Fill in the gradients of a step -> its totals over all ranks, and this rank's share of both losses."""
    for one in state.optimizers:
        one.zero_grad()
    sizes = [
        Totals(*batch.learned, batch.tokens.numel(), batch.filled, flops.training(state.model, batch))
        for batch in micro
    ]
    own = [sum(column) for column in zip(*sizes)]
    totals = Totals(*(sum(column) for column in zip(*distributed.all_gather(run.ranks, own))))
    text = image = 0.0
    for number, (batch, size) in enumerate(zip(micro, sizes), 1):
        shares = Shares(size.tokens / max(totals.tokens, 1), size.patches / max(totals.patches, 1))
        losses = _gradients(run, state, batch, shares, last=number == len(micro))
        text, image = text + losses.text.detach(), image + losses.image.detach()
    return totals, text, image


def _gradients(run: Run, state: State, batch: Batch, shares: Shares, last: bool) -> Losses:
    """Losses of one micro-batch, whose gradients are added up; after the last they are averaged over the
    ranks."""
    config, device, size = run.config, run.device, run.ranks.size
    precision = machine.precision(config.train.precision, device)
    try:
        with distributed.synchronised(state.forward, last), machine.reproducible(device):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                losses = joint_loss(
                    state.model, batch.to(device), config.loss.text, config.loss.image, shares, state.forward
                )
            (losses.total * size).backward()  # ranks average, and the shares already add up to one
        return losses
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"a micro-batch of {len(batch.last)} documents ({batch.tokens.numel():,} positions) does "
                f"not fit in memory; "
                f"set train.accumulate={2 * config.train.accumulate} or train.recompute=true, or a smaller "
                f"train.batch (now "
                f"{config.train.batch}); `rawmm train --dry-run` shows what is needed; the last checkpoint "
                f"is intact"
            ) from None
        raise


def _finite(run: Run, state: State, values: dict[str, float]) -> bool:
    """Whether the step may be taken. Raises DivergedError after more than train.skip_nonfinite bad steps in a
    row."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad:
        state.skipped = 0
        return True
    settings = run.config.train
    problem = f"{', '.join(bad)} not finite at document {state.documents:,}"
    bad_batch(run, state, problem)
    if state.skipped < settings.skip_nonfinite:
        state.skipped += 1
        run.notify(f"{problem}: step skipped, {state.skipped} in a row; its documents are in bad_batch.json")
        return False
    raise DivergedError(
        f"{problem}; the step was not taken and its documents are in bad_batch.json; set a lower "
        f"train.learning_rate (now {settings.learning_rate:g}) or train.precision=fp32, and another --run"
    )


def _look(run: Run, state: State, log: list, count: int) -> None:
    """The fixed prompts drawn and the fixed pictures read, with the first average. Sharded, it needs every
    rank."""
    sharded = run.config.train.parallel == "fsdp" and run.ranks.size > 1
    if run.ranks.first or sharded:
        folder = run.folder / "samples" if run.ranks.first else None
        at = state.documents, state.step
        path = preview(run.config, state.averages[0], run.data[0], run.held_out, folder, at, count)
        for tracker in log:
            tracker.picture("samples", path, state.documents)
