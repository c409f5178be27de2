"""The training loop: one function that reads downwards.

Document n of a run is a function of (seed, n), so the whole position in the data is one number, the documents
seen. Resuming is running the same command again: weights, averages and optimizer come back bit for bit, and
so does the run. Several ranks share each step's documents (`loader.py`), and whatever is decided (how large
the loss is, whether to stop) is decided from numbers that all of them have exchanged. `step.py` is one
step, `state.py` looks after the run folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..config.model import Config
from ..core.document import Batch
from ..data import lengths, sets
from ..data.loader import Steps, batches, check_shares, steps_of, watched
from ..runs import records
from ..runs.lock import locked
from ..system import distributed, machine
from ..system.activity import doing
from ..system.distributed import ALONE, Ranks, broadcast
from ..system.errors import ConfigError
from ..system.figures import counted
from ..system.sharing import Others
from .auto import say, settled
from .clock import Clock, crossed, too_short
from .facts import attach_kept, with_deviation
from .preview import preview
from .signals import Signals, signals, stopped
from .state import Run, State, left_out, restore, save, snapshot
from .step import Step, begin_step, finish_step
from .trackers import trackers
from .watch import Watch, due, followed, lines, measure_seen, start

AHEAD = True  # begin a step before the numbers of the one before it are read, where that is possible


def train(
    config: Config,
    data_folder: Path,
    folder: Path,
    device: torch.device,
    notify: Callable[[str], None] = print,
    ranks: Ranks = ALONE,
    began: float | None = None,
) -> Iterator[dict]:
    """Train the run `folder` to its end, yielding one record a step. notify: receives lines for the user.
    began: when the command was started, of time.perf_counter; None: now.

    Every rank runs this and the first one writes. Raises ConfigError, LockedError, CheckpointError,
    DataError, RankError, DivergedError (the bad step is not taken; on a GPU the one after it may be) and,
    after saving, Stopped when SIGINT, SIGTERM or SIGHUP arrives."""
    clock, others = Clock(0.0, began), Others()
    notify = notify if ranks.first else lambda line: None
    with doing("loading the data"):
        config, reasons = settled(config, data_folder, folder)
        data, held_out = sets.load(config, data_folder, notify)
    _check(config, ranks, device)
    say(config, reasons, notify)
    settings, run = config.train, Run(config, folder, device, ranks, data, held_out, notify)
    if config.data.stream:
        data[0].report = folder / "skipped.jsonl"
    with (
        distributed.started(ranks, device, settings.timeout),
        locked(folder) if ranks.first else nullcontext(),
        signals(ranks) as caught,
    ):
        state = restore(run := _measured(run))
        if state.remaining(config) <= 0:
            return run.notify(
                f"{folder} is already trained on {counted(state.documents, 'document')}; nothing to do"
            )
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


def _measured(run: Run) -> Run:
    """The same run, with the settings that are measured on its data when it begins, and with the tokens that
    are kept of its pictures."""
    for line in attach_kept(run.config, run.data):
        run.notify(line)
    first = run.ranks.first
    config = with_deviation(run.config, run.data, run.folder, run.device) if first else run.config
    config = broadcast(run.ranks, config)
    for data in run.data:
        if getattr(data, "kept", None):
            data.kept.deviation = getattr(config.codec, "deviation", 1.0)
    return replace(run, config=config)


def _check(config: Config, ranks: Ranks, device: torch.device) -> None:
    """Raise ConfigError where these settings cannot be trained by these ranks or on this device."""
    check_shares(config, ranks)
    if config.train.mask == "flex" and device.type == "cpu":
        raise ConfigError(
            "train.mask = flex cannot train on the CPU (torch has no backward for it there); "
            "set train.mask=dense"
        )


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
    for before, record, seconds, waited, latest in taken(run, state, source, caught, clock, first):
        plan.step(seconds)
        clock.reserve = plan.reserve() + (0.0 if latest else plan.step_seconds())
        documents, done = before + settings.batch, latest and state.remaining(config) <= 0
        if done and settings.time and state.step == 1:
            raise too_short(settings.time, clock.seconds(), seconds)
        if done and settings.time:
            state.seconds = max(state.seconds, settings.time)  # what follows is inside it
        if record:
            record |= speed(seconds, waited, record) | {"memory": machine.peak_memory(run.device)}
            record |= {"seconds": state.seconds, **plan.outlook(documents, state.seconds)}
            if run.ranks.first and (done or crossed(documents, before, settings.log_every)):
                records.append(run.folder / "records.jsonl", record)
                for tracker in log:
                    tracker.log(record, documents)
        if threads:
            threads.after(seconds)
        stop = latest and caught.agreed
        if latest:
            snapshot(run, state, before)  # before the state: who dies in between comes here again
        if done or stop or (latest and due(run, state, before, "checkpoint", plan)):
            with plan.timed("checkpoint", "saving"):
                save(run, state)  # before the sheet: what fails there loses nothing
            left_out(run)
        if done:
            with plan.timed("seen", "measuring what it has seen"):
                measure_seen(run, state)
        if done or (latest and due(run, state, before, "sheet", plan)):
            with plan.timed("sheet", "drawing and reading a sheet"):
                _look(run, state, log, lines(watch, done))
        if record:
            yield record
        if stop and not done:
            raise stopped(stop, state.documents)


class Taken(NamedTuple):
    """A step that was taken."""

    before: int  # documents seen before it
    record: dict | None  # None: skipped as not finite
    seconds: float  # since the one before, but for what the caller did in between
    waited: float  # of these, for batches
    latest: bool  # no later step has begun: the state is the one after this step


def taken(
    run: Run,
    state: State,
    source: Iterator[list[Batch]],
    caught: Signals,
    clock: Clock,
    first: str = "the first step",
) -> Iterator[Taken]:
    """Take steps until the run is at its end. first: what the first one is said to do.

    Where the device judges a step, the next one begins before the numbers of this one are read, so that the
    GPU always has work in its queue. Not after the first step, which compiles, nor after a signal, nor where
    a checkpoint, a sheet, a snapshot or the end of the run wants the state as it is after the step."""

    def begin() -> Step:
        nonlocal waited
        asked = time.perf_counter()
        micro = next(source)
        waited += time.perf_counter() - asked
        return begin_step(run, state, micro)

    step, opening = None, True
    while step or state.remaining(run.config) > 0:
        started, waited, following = time.perf_counter(), 0.0, None
        with doing(first) if opening else nullcontext():
            step = step or begin()
            ahead = AHEAD and step.judged and not opening and not caught.agreed
            if ahead and state.remaining(run.config) > 0 and not followed(run, state, step.before):
                following = begin()
            record = finish_step(run, state, step, caught, clock)
        yield Taken(step.before, record, time.perf_counter() - started, waited, following is None)
        step, opening = following, False


def _look(run: Run, state: State, log: list, count: int) -> None:
    """The fixed prompts drawn, the fixed pictures read and losses on held-out documents, with the first
    average. Sharded, it needs every rank."""
    sharded = run.config.train.parallel == "fsdp" and run.ranks.size > 1
    if run.ranks.first or sharded:
        folder = run.folder / "samples" if run.ranks.first else None
        at = state.documents, state.step
        path, losses = preview(run.config, state.averages[0], run.data[0], run.held_out, folder, at, count)
        for tracker in log:
            tracker.picture("samples", path, state.documents, losses)
