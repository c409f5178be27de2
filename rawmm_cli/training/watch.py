"""The start of a run, what looks at its time between two steps, and what its model has seen at the end."""

import gc
from typing import NamedTuple

import torch

from ..data.loader import shared_memory_warning
from ..runs import seen
from ..system import machine
from ..system.distributed import broadcast
from ..system.errors import DataError
from ..system.figures import counted
from ..system.sharing import Others, Threads
from ..system.sharing import threads as own_threads
from ..system.threads import cores
from . import ema, held_out
from .clock import Clock, Plan, Speed, crossed
from .compile import compile_layers, compiling
from .preview import ROWS, cost
from .state import Run, State, describe, saved_bytes


class Watch(NamedTuple):
    """What looks at the time of a run."""

    clock: Clock
    plan: Plan
    speed: Speed
    threads: Threads | None
    first: str  # what the first step is said to do


def start(run: Run, state: State, clock: Clock, others: Others) -> Watch:
    """Compile where it pays, measure the matmul rate, and report both."""
    settings, device, ranks = run.config.train, run.device, run.ranks
    gc.freeze()  # what is there now stays; looking at it again takes 0.1 s each time
    setting, seconds = broadcast(
        ranks, compiling(settings, clock, device.type, others() / cores(), run.notify)
    )
    compiled = compile_layers(state.model, setting, device, run.notify)
    precision = machine.precision(settings.precision, device)
    rate = machine.matmul_rate(device, precision)
    describe(run, {"compiled": compiled, "matmul FLOP/s": rate})
    run.notify(
        f"{'compiled' if compiled else 'eager'} {precision} on {ranks.size} x {device.type}, "
        f"{counted(torch.get_num_threads(), 'thread')} each; saving to {run.folder}"
    )
    workers = machine.workers(settings.workers, device, ranks.here)
    for warning in (shared_memory_warning(workers), machine.precision_warning(precision, device)):
        if warning:
            run.notify(warning)
    expected = {
        "checkpoint": (0.0, 0.5 + saved_bytes(state) / 2e8),
        "leaving": (0.0, 0.5 if ranks.size == 1 else 2.0),
    }
    expected["seen"] = seen.cost(run.config) if ranks.first else (0.0, 0.0)
    expected["sheet"] = cost(run.config, run.data[0], held_out.COUNT) if ranks.first else (0.0, 0.0)
    every = {"checkpoint": settings.save_every, "sheet": settings.sample_every}
    alone = device.type == "cpu" and ranks.here == 1
    return Watch(
        clock,
        Plan(settings, expected, every),
        Speed(rate * ranks.size),
        own_threads(settings.threads) if alone else None,
        f"compiling, once, about {seconds:.0f} s" if compiled else "the first step",
    )


def due(run: Run, state: State, before: int, what: str, plan: Plan) -> bool:
    """Whether the documents since `before` ask for `what`, and a run by time has the time for it."""
    return crossed(state.documents, before, plan.every[what]) and broadcast(
        run.ranks, plan.affords(what, state.seconds)
    )


def followed(run: Run, state: State, before: int) -> bool:
    """Whether a checkpoint, a sheet or a snapshot may follow the step that began after `before` documents."""
    train = run.config.train
    every = (train.save_every, train.sample_every, ema.snapshot_every(train))
    return any(crossed(state.documents, before, n) for n in every if n)


def lines(watch: Watch, done: bool) -> int:
    """Drawings of each prompt on a sheet: fewer on the last one of a run whose time is nearly over."""
    limit, plan = watch.plan.train.time, watch.plan
    if not (limit and done):
        return ROWS
    share = (limit - watch.clock.seconds()) / max(plan.seconds("sheet"), 1e-9)
    return max(1, min(ROWS, round(ROWS * share)))


def measure_seen(run: Run, state: State) -> None:
    """Measure what the first average has seen, and keep it in the run. Sharded, it needs every rank."""
    if not (run.ranks.first or (run.config.train.parallel == "fsdp" and run.ranks.size > 1)):
        return
    try:
        known = seen.measure(state.averages[0], run.config, state.documents, run.data, run.held_out)
    except DataError as error:  # of a stream; the run itself is whole
        return run.notify(f"what the model has seen was not measured: {error}")
    if run.ranks.first:
        seen.add(run.folder, known)
