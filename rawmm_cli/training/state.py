"""A run between two steps: its folder and who may write there, what is restored, what is saved.

runs/NAME/{config.yaml, environment.json, records.jsonl, samples/, checkpoints/step_00000500/, averages/}
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import __version__
from ..config import build, presets
from ..config.codecs import CodecConfig
from ..config.model import Config
from ..core.model import RawModel
from ..core.text_tokenizer import BytePairs, Bytes, train_pairs
from ..data import prepared
from ..data.loader import steps_of
from ..runs import checkpoint, loading, records
from ..runs.sharded import write_sharded
from ..system import disk, distributed, machine
from ..system.activity import doing
from ..system.distributed import Ranks, barrier, broadcast, like
from ..system.errors import CheckpointError
from . import ema, optimizer, posthoc
from .clock import crossed
from .compile import recompute_layers

PICTURES_LEFT_OUT = "pictures left out so far, others stood in for them"
MAY_CHANGE = {
    "data.long",  # or a run that cannot go on could not be helped
    "train.documents",
    "train.time",
    "train.log_every",
    "train.sample_every",
    "train.save_every",
    "train.keep",
    "train.threads",
    "train.compile",
    "train.mask",
    "train.accumulate",
    "train.recompute",
    "train.parallel",
    "train.timeout",
    "train.workers",
    "train.skip_nonfinite",
    "train.trackers",
}


@dataclass(frozen=True)
class Run:
    """Everything that stays the same while training."""

    config: Config
    folder: Path
    device: torch.device
    ranks: Ranks
    data: list  # of the sets trained on: data.set, then those of data.mix
    held_out: prepared.Prepared | prepared.PreparedDocuments  # of data.set
    notify: Callable[[str], None]


@dataclass
class State:
    """Everything that changes while training. `forward` is the model as it is called: itself, or wrapped by
    DDP."""

    model: RawModel
    averages: list[RawModel]
    optimizers: list
    forward: torch.nn.Module | None = None
    documents: int = 0
    step: int = 0
    seconds: float = 0.0
    reserved: float = 0.0  # seconds of a run by time that are kept for what follows its last step
    skipped: int = 0  # steps in a row whose loss was not finite
    flops: float | None = 0.0  # of all steps; None where a run was begun before they were counted

    def remaining(self, config: Config) -> float:
        """Share of the steps still to come: of their documents or, with train.time, of their time."""
        train = config.train
        if train.time:
            return 1 - self.seconds / max(train.time - self.reserved, 1e-9)
        return 1 - self.documents / train.documents


def fresh(config: Config, device: torch.device, ranks: Ranks) -> State:
    """A model with its first weights, its averages (the same) and its optimizers, shared out among the
    ranks."""
    parallel, count = config.train.parallel, ema.count(config.train.ema)
    model, *averages = (
        distributed.shard(
            build.model(config, device, config.train.mask if n == 0 else "dense"), parallel, ranks, device
        )
        for n in range(1 + count)
    )
    recompute_layers(model, config.train.recompute)
    return State(
        model,
        [average.requires_grad_(False).eval() for average in averages],
        optimizer.optimizers(model, config.train),
    )


@doing("loading the model")
def restore(run: Run) -> State:
    """A fresh state, or the newest checkpoint's. Raises CheckpointError where settings or data have
    changed."""
    config, folder, ranks = run.config, run.folder, run.ranks
    if ranks.first:
        checkpoint.sweep(folder)
    newest = broadcast(ranks, checkpoint.latest(folder, run.notify) if ranks.first else None)
    if newest is not None:
        compare(loading.run_config(newest), config, folder)
    state = fresh(config, run.device, ranks)
    tokenizer = _tokenizer(run, newest)
    for model in (state.model, *state.averages):
        model.tokenizer = tokenizer
        loading.load_frozen(model, folder, config)
    if newest is not None:
        saved = checkpoint.state(newest)
        if saved["format"] < 3:  # its fingerprint of the data cannot be compared
            line = "begun by an earlier rawmm: it goes on with the same settings, with other documents"
            run.notify(f"{folder.name} was {line}")
        elif saved["data"] != prepared.joint_fingerprint(run.data):
            raise CheckpointError(
                f"{folder} was trained on other data: the set '{config.data.set}' has changed since; "
                "prepare the old data again, or train under another --run name"
            )
        for name, module in _modules(state).items():
            own = module.state_dict()
            values = loading.tensors(newest, name)
            loading.load_weights(
                module, {key: like(value, own.get(key, value)) for key, value in values.items()}, newest
            )
        optimizer.load_state(state.optimizers, state.model, loading.tensors(newest, "optimizer"))
        state.documents, state.step, state.seconds = saved["documents"], saved["step"], saved["seconds"]
        state.flops = saved.get("flops")
        of = "" if config.train.time else f" of {config.train.documents:,}"
        run.notify(f"resuming {folder.name} at {state.documents:,}{of} documents")
    state.forward = distributed.wrap(state.model, config.train.parallel, ranks)
    if ranks.first:
        records.truncate(folder / "records.jsonl", state.documents)
        posthoc.drop_after(folder, state.documents)
        disk.write(folder / "config.yaml", presets.dump(config))
    barrier(ranks)
    return state


def _tokenizer(run: Run, checkpointed: Path | None) -> Bytes | BytePairs:
    """The tokenizer of the run's texts; a new run of learned pieces learns them, on the first rank, and keeps
    them."""
    path, settings = run.folder / checkpoint.TOKENIZER, run.config.text_tokenizer
    if settings.kind == "bpe" and checkpointed is None and run.ranks.first:
        texts = (text for data in run.data for text in data.all_texts())
        run.folder.mkdir(parents=True, exist_ok=True)
        disk.write(path, train_pairs(texts, settings.vocabulary).stored)
    barrier(run.ranks)
    return loading.text_tokenizer(
        run.folder, run.config, checkpoint.state(checkpointed).get("tokenizer") if checkpointed else None
    )


def _modules(state: State) -> dict[str, torch.nn.Module]:
    """Names of the files of a checkpoint -> what they hold."""
    names = ["ema", *(f"ema_{n}" for n in range(2, 1 + len(state.averages)))]
    return {"model": state.model, **dict(zip(names, state.averages))}


def compare(old: Config | CodecConfig, new: Config | CodecConfig, run: Path) -> None:
    """Raises CheckpointError where settings that shape a run have changed."""

    def flat(config: Config | CodecConfig) -> dict:
        parts = config.model_dump().items()
        return {f"{part}.{key}": value for part, values in parts for key, value in (values or {}).items()}

    before, after = flat(old), flat(new)
    changed = [
        k
        for k in {**before, **after}
        if before.get(k) != after.get(k) and k not in MAY_CHANGE and not k.startswith("sample.")
    ]
    if changed:
        listed = ", ".join(f"{k} was {before.get(k)}, now {after.get(k)}" for k in changed[:3])
        raise CheckpointError(
            f"run '{run.name}' was started with other settings ({listed}); "
            "use the old settings, or another --run name"
        )


def saved_bytes(state: State) -> int:
    """Bytes of a checkpoint, about: weights, their averages, and two numbers of the optimizer for each."""
    return 4 * sum(p.numel() for p in state.model.parameters()) * (3 + len(state.averages))


def save(run: Run, state: State) -> None:
    """A checkpoint of everything that changes: whole tensors by the first rank or, under FSDP, shards by
    every rank."""
    tensors = {name: module.state_dict() for name, module in _modules(state).items()}
    tensors["optimizer"] = optimizer.state(state.optimizers, state.model)
    facts = {
        "documents": state.documents,
        "seconds": state.seconds,
        "flops": state.flops,
        "data": prepared.joint_fingerprint(run.data),
        "ranks": run.ranks.size,
        "tokenizer": loading.digest(state.model.tokenizer.stored),
    }
    if run.config.train.parallel == "fsdp" and run.ranks.grouped:
        needed = checkpoint.size(tensors)
        partial = broadcast(
            run.ranks, checkpoint.begin(run.folder, state.step, needed) if run.ranks.first else None
        )
        with checkpoint.all_or_nothing(partial, needed):
            for name, values in tensors.items():
                write_sharded(partial / name, values)
            barrier(run.ranks)
        if run.ranks.first:
            checkpoint.commit(run.folder, partial, state.step, facts, run.config.train.keep, run.notify)
    elif run.ranks.first:
        checkpoint.save(run.folder, state.step, tensors, facts, run.config.train.keep, run.notify)
    barrier(run.ranks)


def snapshot(run: Run, state: State, before: int) -> None:
    """Keep the averages as they are now, `snapshots` times a run, where their width is chosen after
    training."""
    every = ema.snapshot_every(run.config.train)
    if every and crossed(state.documents, before, every):
        whole = [
            {name: distributed.whole(value) for name, value in average.state_dict().items()}
            for average in state.averages
        ]
        if run.ranks.first:
            posthoc.keep(run.folder, state.documents, whole)


# ------------------------------------------------------------------------------------------------------ notes


def describe(run: Run, facts: dict) -> None:
    """environment.json: what the run is trained with."""
    wait = (
        os.environ.get("OMP_WAIT_POLICY")
        or f"after {os.environ.get('GOMP_SPINCOUNT', 'the default number of')} spins"
    )
    base = {
        "rawmm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "cpu",
        "ranks": run.ranks.size,
        "parallel": run.config.train.parallel,
        "threads": torch.get_num_threads(),
        "threads wait": wait,
        "precision": machine.precision(run.config.train.precision, run.device),
    }
    if run.ranks.first:
        disk.write_json(run.folder / "environment.json", base | facts)


def left_out(run: Run) -> None:
    """Report how many pictures of a streamed set could not be used, and what was cut or scaled, where
    anything was."""
    report = run.data[0].report if run.config.data.stream else None
    if not run.ranks.first or report is None or not report.is_file():
        return
    entries = list(records.lines(report))
    done = "cut" if run.config.data.long == "cut" else "left out"
    for chosen, words in (
        ([e for e in entries if not {"caption", "scaled"} & set(e)], PICTURES_LEFT_OUT),
        ([e for e in entries if "caption" in e], f"captions too long so far, {done}"),
        ([e for e in entries if "scaled" in e], "pictures scaled so far by the bits that they use"),
    ):
        if chosen:
            different = {(str(entry.get("file")), str(entry.get("caption"))) for entry in chosen}
            run.notify(f"{len(different):,} {words}: {report}")


def bad_batch(run: Run, state: State, before: int, problem: str) -> None:
    """bad_batch.json: the documents of the step after `before` documents, not finite in loss or gradient."""
    if run.ranks.first:
        steps = steps_of(run.config, run.data, state.model)
        rows = steps.rows(before)
        numbers = sorted(number for row in rows for number in row)
        places = [steps.stream.place(number) for number in numbers]
        entry = {
            "step": state.step,
            "problem": problem,
            "documents": numbers,
            "sets": [which for which, _ in places],
            "pictures": [row for _, row in places],
            "sources": [steps.stream.sets[which].source(row) for which, row in places],
        }
        disk.write_json(run.folder / "bad_batch.json", entry)
