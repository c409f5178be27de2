"""One step: gradients, the judgement whether they are finite, the update of the weights and their averages.

A GPU works behind the host, so a step has two halves. `begin_step` launches all of it and waits for nothing;
`finish_step` waits for its numbers and makes the record. Where the device itself judges whether a step is
finite (`optimizer.judges`), the next one may begin between the two: what the weights become never depends on
what the host has read."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..core import flops
from ..core.document import Batch
from ..core.loss import Losses, Shares, joint_loss
from ..system import distributed, machine
from ..system.errors import DivergedError, OutOfMemoryError, is_out_of_memory
from ..system.figures import counted
from . import ema, optimizer
from .clock import Clock
from .signals import Signals
from .state import Run, State, bad_batch


class Totals(NamedTuple):
    """Sums over the micro-batches of all ranks in a step."""

    tokens: int  # that the text loss counts
    patches: int  # that the image loss counts
    positions: int
    filled: int  # positions with data
    flops: float


class Step(NamedTuple):
    """A step that has begun."""

    before: int  # documents seen before it
    share: float  # of the full learning rate
    totals: Totals
    numbers: Callable[[], list[float]]  # waits -> gradient norm, this rank's shares of both losses
    judged: bool  # the device judges and updates the weights; else `finish_step` does


def begin_step(run: Run, state: State, micro: list[Batch]) -> Step:
    """Launch a step on its micro-batches. Where the device judges, weights and averages are then those after
    it; state.step, state.seconds and state.skipped are not."""
    settings = run.config.train
    share = optimizer.rate(settings, state.documents, state.remaining(run.config))
    optimizer.set_rate(state.optimizers, share)
    totals, text, image = _accumulate(run, state, micro)
    norm = distributed.whole(torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip))
    numbers, judged = torch.stack([norm, text, image]), optimizer.judges(state.optimizers)
    step = Step(state.documents, share, totals, machine.fetch(numbers), judged)
    if judged:
        bad = (~numbers.isfinite()).any().float()
        optimizer.judge(state.optimizers, distributed.largest(run.ranks, bad))
        _update(state)
        _average(run, state, step.before)
    state.documents += settings.batch
    return step


def finish_step(run: Run, state: State, step: Step, caught: Signals, clock: Clock) -> dict | None:
    """Wait for the numbers of a step, exchange them with the other ranks, and update weights and averages
    unless the device did -> its record, or None where it was skipped as not finite."""
    norm, text, image = step.numbers()
    own = [text, image, clock.seconds(), caught.arrived, clock.reserve]
    reports = distributed.all_gather(run.ranks, own)
    text, image = sum(one[0] for one in reports), sum(one[1] for one in reports)
    state.seconds, caught.agreed = max(one[2] for one in reports), int(max(one[3] for one in reports))
    state.reserved = max(one[4] for one in reports)
    weights = run.config.loss
    loss = weights.text * text + weights.image * image
    values = {"loss": loss, "text": text, "image": image, "gradient_norm": norm}
    finite = _finite(run, state, values, step.before)
    if not step.judged:
        if finite:
            _update(state)
        _average(run, state, step.before)
    if state.flops is not None:
        state.flops += step.totals.flops
    if not finite:
        return None
    state.step += 1
    return {
        **values,
        "learning_rate": run.config.train.learning_rate * step.share,
        "step": state.step,
        "documents": step.before + run.config.train.batch,
        "seconds": state.seconds,
        "step_documents": run.config.train.batch,
        "positions": step.totals.filled,
        "flops": step.totals.flops,
        "fill": step.totals.filled / step.totals.positions,
        **({} if state.flops is None else {"total_flops": state.flops}),
    }


def _update(state: State) -> None:
    """Change the weights by their gradients."""
    for one in state.optimizers:
        one.step()


def _average(run: Run, state: State, before: int) -> None:
    """Change the averages by the weights, also by those that a step left as they were. before: documents seen
    before it."""
    settings = run.config.train
    for average, old_weight in zip(state.averages, ema.decays(settings.ema, before, settings.batch)):
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
                f"a micro-batch of {counted(len(batch.last), 'document')} ({batch.tokens.numel():,} "
                "positions) does "
                f"not fit in memory; "
                f"set train.accumulate={2 * config.train.accumulate} or train.recompute=true, or a smaller "
                f"train.batch (now "
                f"{config.train.batch}); `rawmm train --dry-run` shows what is needed; the last checkpoint "
                f"is intact"
            ) from None
        raise


def _finite(run: Run, state: State, values: dict[str, float], before: int) -> bool:
    """Whether the step after `before` documents may be taken. Raises DivergedError after more than
    train.skip_nonfinite bad steps in a row."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad:
        state.skipped = 0
        return True
    settings = run.config.train
    problem = f"{', '.join(bad)} not finite at document {before:,}"
    bad_batch(run, state, before, problem)
    if state.skipped < settings.skip_nonfinite:
        state.skipped += 1
        run.notify(f"{problem}: step skipped, {state.skipped} in a row; its documents are in bad_batch.json")
        return False
    raise DivergedError(
        f"{problem}; the step was not taken and its documents are in bad_batch.json; set a lower "
        f"train.learning_rate (now {settings.learning_rate:g}) or train.precision=fp32, and another --run"
    )
