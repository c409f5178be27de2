"""The other training loop: a codec learns to reconstruct pictures. Not merged with `train.py`, which it
resembles.

    loss = l1 |x' - x| + l2 (x' - x)^2 + commitment + entropy + kl + perceptual + adversary, each where there
    is such a thing

Picture n of a run is a function of (seed, n), and so is whatever is drawn by lot in a step (k-means,
restarted codes, a posterior's noise). So resuming is running the same command again, bit for bit. A
discriminator learns from the first step on; its gradient reaches the codec from loss.adversary_start on.
`codec_state.py` keeps the state."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from ..codecs.base import to_unit
from ..config.codecs import CodecConfig, CodecLoss, CodecTrain
from ..metrics import features, mobilenet
from ..runs import records
from ..runs.lock import locked
from ..system import disk, machine
from ..system.activity import doing
from ..system.distributed import ALONE
from ..system.errors import ConfigError, DivergedError, OutOfMemoryError, is_out_of_memory
from ..system.figures import counted
from ..system.seeds import key
from ..system.sharing import Others
from ..system.sharing import threads as own_threads
from ..system.threads import cores
from . import adversary, ema, optimizer
from .clock import Clock, Plan, crossed, too_short
from .codec_preview import costs, look, measure, share_to_measure
from .codec_state import WINDOW, CodecState, batch, pictures, restore, save
from .compile import compiling
from .signals import Signals, signals, stopped
from .state import Run, describe
from .trackers import trackers
from .watch import due

Network = mobilenet.MobileNetV2 | None  # that loss.perceptual asks for


def train_codec(
    config: CodecConfig,
    data_folder: Path,
    folder: Path,
    device: torch.device,
    notify: Callable[[str], None] = print,
    began: float | None = None,
) -> Iterator[dict]:
    """Train the run `folder` to its end, yielding one record a step. Raises as `train.train` does. began: as
    there."""
    clock, others = Clock(0.0, began), Others()
    network = _network(config.loss, device)
    data, held_out = pictures(config, data_folder)
    run = Run(config, folder, device, ALONE, [data], held_out, notify)
    with locked(folder), signals(ALONE) as caught:
        state = restore(run)
        if state.remaining(config) <= 0:
            return run.notify(
                f"{folder} is already trained on {counted(state.documents, 'document')}; nothing to do"
            )
        clock.earlier = state.seconds
        first = _start(run, state, clock, others)
        log = trackers(config.train.trackers, folder, config.model_dump(mode="json"), state.documents, notify)
        try:
            yield from _steps(run, state, (clock, first), (caught, log), network)
        finally:
            for tracker in log:
                tracker.close()


def _start(run: Run, state: CodecState, clock: Clock, others: Others) -> str:
    """Compile where it pays, and report the device and the precision -> what the first step does."""
    settings, device = run.config.train, run.device
    gc.freeze()
    quiet = settings.compile == "auto" and device.type == "cpu"  # convolutions gain nothing there
    busy = others() / cores()
    setting, seconds = ("no", 0.0) if quiet else compiling(settings, clock, device.type, busy, run.notify)
    compiled = setting != "no"
    if compiled:
        for part in (state.model.encoder, state.model.decoder):
            part.compile()
    precision = machine.precision(settings.precision, device)
    describe(run, {"compiled": compiled})
    run.notify(
        f"{'compiled' if compiled else 'eager'} {precision} on {device.type}, "
        f"{counted(torch.get_num_threads(), 'thread')}; saving to {run.folder}"
    )
    if warning := machine.precision_warning(precision, device):
        run.notify(warning)
    return f"compiling, once, about {seconds:.0f} s" if compiled else "the first step"


def _steps(
    run: Run, state: CodecState, start: tuple[Clock, str], out: tuple[Signals, list], network: Network
) -> Iterator[dict]:
    """Take one step after the other, and log, draw and save when documents say so."""
    config, settings, (clock, first), (caught, log) = run.config, run.config.train, start, out
    plan = Plan(
        settings, costs(run, state), {"checkpoint": settings.save_every, "sheet": settings.sample_every}
    )
    threads = own_threads(settings.threads) if run.device.type == "cpu" else None
    state.model.train()
    while state.remaining(config) > 0:
        started, before = time.perf_counter(), state.documents
        with doing(first) if not plan.steps else nullcontext():
            record = take_step(run, state, network)
        seconds = time.perf_counter() - started
        plan.step(seconds)
        state.seconds, state.reserved, caught.agreed = clock.seconds(), plan.reserve(), caught.arrived
        done, stop = state.remaining(config) <= 0, caught.agreed
        if done and settings.time and state.step == 1:
            raise too_short(settings.time, clock.seconds(), seconds)
        if done and settings.time:
            state.seconds = max(state.seconds, settings.time)  # what follows is inside it
        record |= {
            "seconds": state.seconds,
            "documents_per_second": settings.batch * len(plan.steps) / sum(plan.steps),
            "memory": machine.peak_memory(run.device),
            **plan.outlook(state.documents, state.seconds),
            **(state.used.figures() if state.used else {}),
        }
        if done or crossed(state.documents, before, settings.log_every):
            _log(run, state, record, log)
        if threads:
            threads.after(seconds)
        if done or stop or due(run, state, before, "checkpoint", plan):
            with plan.timed("checkpoint", "saving"):
                save(run, state)  # before the sheet: what fails there loses nothing
        if done or due(run, state, before, "sheet", plan):
            with plan.timed("sheet", "reconstructing held-out pictures"):
                record["held_out_psnr"] = look(run, state, log)
            _log(run, state, record, log)  # the later of two for the same documents counts
            if done:
                measure(run, state, share_to_measure(run, state, plan, clock))
        yield record
        if stop and not done:
            raise stopped(stop, state.documents)


def _network(loss: CodecLoss, device: torch.device) -> Network:
    """The network of loss.features, frozen, where loss.perceptual asks for it. Raises ConfigError where the
    file is none."""
    if not loss.perceptual:
        return None
    try:
        return mobilenet.load(Path(loss.features)).to(device).requires_grad_(False)
    except ConfigError as error:
        raise ConfigError(f"loss.features: {error}; or set loss.perceptual=0") from None


def _log(run: Run, state: CodecState, record: dict, log: list) -> None:
    records.append(run.folder / "records.jsonl", record)
    for tracker in log:
        tracker.log(record, state.documents)


# ----------------------------------------------------------------------------------------------------- a step


def take_step(run: Run, state: CodecState, network: Network = None) -> dict:
    """One update of the weights and of their average -> its record. Raises DivergedError before a step that
    is not finite."""
    settings, data = run.config.train, run.data[0]
    share = optimizer.rate(settings, state.documents, state.remaining(run.config))
    optimizer.set_rate(state.optimizers, share)
    rows, images = batch(run.config, data, state.documents)
    real = to_unit(images.to(run.device))
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _memory(settings.batch), machine.reproducible(run.device):
        torch.manual_seed(key(settings.seed, "codec", state.documents))
        parts, reconstructed, codes = _gradients(run, state, real, network)
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
        if state.adversary:
            parts["discriminator"] = _discriminate(run, state, real, reconstructed)
    values = {name: float(value) for name, value in parts.items()} | {"gradient_norm": norm.item()}
    _check(run, state, values, rows)
    for one in [*state.optimizers, *([state.judging] if state.judging else [])]:
        one.step()
    _average(state, settings)
    if state.used:
        state.used.add(codes, min(WINDOW, len(data)))
    state.documents += settings.batch
    state.step += 1
    return {
        **values,
        "psnr": 10 * math.log10(4 / max(values["l2"], 1e-10)),
        "learning_rate": settings.learning_rate * share,
        "step": state.step,
        "documents": state.documents,
    }


def _gradients(
    run: Run, state: CodecState, real: Tensor, network: Network
) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """-> parts of the loss, the reconstruction and its codes; the codec's gradients are filled in."""
    weights = run.config.loss
    for one in state.optimizers:
        one.zero_grad()
    with _autocast(run):
        output = state.model(real)
    error = output.pixels - real
    parts = {"l1": error.abs().mean(), "l2": error.square().mean(), **output.losses}
    if network is not None:
        features_of = [network.see((pixels + 1) / 2)[1] for pixels in (output.pixels, real)]
        parts["perceptual"] = features.layers(*features_of).mean()
    loss = sum(getattr(weights, name) * value for name, value in parts.items())
    if state.adversary and state.documents >= weights.adversary_start:
        state.adversary.requires_grad_(False)
        with _autocast(run):
            parts["adversary"] = adversary.fooled(state.adversary(output.pixels).float())
        scale = (
            adversary.balance(loss, parts["adversary"], state.model.decoder.last.weight)
            if weights.adaptive
            else 1.0
        )
        loss = loss + weights.adversary * scale * parts["adversary"]
        state.adversary.requires_grad_(True)
    loss.backward()
    return (
        {"loss": loss.detach(), **{name: value.detach() for name, value in parts.items()}},
        output.pixels.detach(),
        output.codes,
    )


def _discriminate(run: Run, state: CodecState, real: Tensor, reconstructed: Tensor) -> Tensor:
    """The discriminator's loss, from the first step on; its gradients are filled in."""
    state.judging.zero_grad()
    with _autocast(run):
        scores = state.adversary(torch.cat([real, reconstructed])).float()
    loss = adversary.hinge(*scores.chunk(2))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.adversary.parameters(), run.config.train.clip)
    return loss.detach()


def _autocast(run: Run) -> torch.autocast:
    precision = machine.precision(run.config.train.precision, run.device)
    return torch.autocast(run.device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def _memory(batch: int):
    """Raise OutOfMemoryError, with a remedy, where a step of `batch` pictures does not fit."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"a batch of {counted(batch, 'picture')} does not fit in memory; set "
            f"train.batch={max(1, batch // 2)} and "
            "another --run; the last checkpoint is intact"
        ) from None


def _check(run: Run, state: CodecState, values: dict[str, float], rows: list[int]) -> None:
    """Raises DivergedError where a part of the loss or the gradient is not finite; bad_batch.json names the
    pictures."""
    if not (bad := [name for name, value in values.items() if not math.isfinite(value)]):
        return
    problem = f"{', '.join(bad)} not finite at document {state.documents:,}"
    entry = {
        "step": state.step,
        "problem": problem,
        "pictures": rows,
        "sources": [run.data[0].source(row) for row in rows],
    }
    disk.write_json(run.folder / "bad_batch.json", entry)
    raise DivergedError(
        f"{problem}; the step was not taken and its pictures are in bad_batch.json; set a lower "
        f"train.learning_rate "
        f"(now {run.config.train.learning_rate:g}) or train.precision=fp32, and another --run"
    )


@torch.no_grad()
def _average(state: CodecState, settings: CodecTrain) -> None:
    """Average the weights; copy codebooks, which are averages already."""
    (old_weight,) = ema.decays(settings.ema, state.documents, settings.batch)
    ema.update(state.averages[0], state.model, old_weight)
    for own, trained in zip(state.averages[0].buffers(), state.model.buffers()):
        own.copy_(trained)
