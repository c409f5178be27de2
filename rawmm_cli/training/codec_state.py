"""Runs that train a codec: restored and saved, bit for bit.

checkpoints/step_00000500/   model, ema, optimizer, and codes (how often each was used) as .safetensors;
                             adversary and adversary_optimizer where there is one. Everything else as in
                             `state.py`, which serves both loops
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..codecs.base import Section, counted, usage
from ..config import build, presets
from ..config.codecs import CodecConfig
from ..data import prepared
from ..data.stream import picture_of, shifted
from ..runs import checkpoint, loading, records
from ..runs.folder import read_config
from ..system import disk
from ..system.activity import doing
from ..system.errors import CheckpointError, DataError
from ..system.seeds import uniforms
from . import optimizer
from .adversary import PatchDiscriminator
from .state import Run, State, compare

WINDOW = 4096  # pictures over which codes are counted; a smaller set: all of it


def pictures(config: CodecConfig, folder: Path) -> tuple[prepared.Prepared, prepared.Prepared]:
    """-> (training pictures, held-out ones) of the set that the settings name. Raises DataError where they do
    not fit."""
    splits = [prepared.load(folder / config.data.set, split) for split in prepared.SPLITS]
    size = config.data.size
    for data in splits:
        if data.holds_documents:
            raise DataError(
                f"set '{config.data.set}' holds documents; a codec learns from a set of pictures: set "
                f"data.set"
            )
        for index in ((data.heights != size) | (data.widths != size)).nonzero()[0][:1]:
            raise DataError(
                f"picture {data.source(index)} of set '{config.data.set}' has {data.widths[index]}x"
                f"{data.heights[index]} pixels and data.size is {size}; {_remedy(data, size)}"
            )
    return splits[0], splits[1]


def _remedy(data: prepared.Prepared, size: int) -> str:
    """What makes all pictures of a set squares of one size."""
    if (data.heights == data.heights[0]).all() and (data.widths == data.heights[0]).all():
        return f"set data.size={data.heights[0]}, or prepare the set again with --size {size}"
    return (
        f"a codec learns from squares of one size: prepare the set again with --size {size} --crop center, "
        "which cuts them out of the middle"
    )


def batch(config: CodecConfig, data: prepared.Prepared, number: int) -> tuple[list[int], torch.Tensor]:
    """Rows and pictures (train.batch, 3, S, S) uint8 of the step that begins with picture `number` of the
    run."""
    seed, most = config.train.seed, config.data.shift
    numbers = range(number, number + config.train.batch)
    rows = [picture_of(one, len(data), seed) for one in numbers]
    images = [data.image(row) for row in rows]
    if most:
        moves = [uniforms(seed, "shift", one)[:2] for one in numbers]
        images = [
            shifted(image, *(int(move * (2 * most + 1)) - most for move in both))
            for image, both in zip(images, moves)
        ]
    return rows, torch.stack(images)


# ------------------------------------------------------------------------------------------------------ state


@dataclass
class CodecState(State):
    """Everything that changes while training. optimizers: the codec's; judging: the discriminator's."""

    adversary: PatchDiscriminator | None = None
    judging: torch.optim.Optimizer | None = None
    used: "Used | None" = None  # codecs of integers alone


@dataclass
class Used:
    """How often each code was used, in the window of pictures now and in the one before it."""

    now: torch.Tensor  # (R, V) long, a row for each section
    sections: tuple[Section, ...]
    before: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    pictures: int = 0

    def add(self, codes: torch.Tensor, window: int) -> None:
        """Codes (M, N, G) of a step. A full window begins anew."""
        if self.pictures >= window:
            self.now, self.before, self.pictures = torch.zeros_like(self.now), self.now, 0
        self.now += counted(codes, self.sections, self.now.shape[1]).to(self.now.device)
        self.pictures += len(codes)

    @property
    def counted(self) -> torch.Tensor:
        """Counts (R, V) of the last full window, or of what there is of the first one."""
        return self.before if self.before.numel() else self.now

    def figures(self) -> dict[str, float]:
        """usage, perplexity and used_bits, and the perplexity of each section where there are several."""
        each = {}
        if len(self.sections) > 1:
            rows = zip(self.sections, self.counted)
            each = {f"perplexity_{one.name}": usage(row[None])["perplexity"] for one, row in rows}
        return usage(self.counted) | each


def fresh(config: CodecConfig, device: torch.device) -> CodecState:
    """First weights, a function of train.seed."""
    train = config.train
    codec, average = build.codec(config, device), build.codec(config, device)
    state = CodecState(
        codec,
        [average.requires_grad_(False).eval()],
        optimizer.owned(codec, [*codec.encoder.hidden(), *codec.decoder.hidden()], train),
    )
    if config.loss.adversary:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(train.seed)
            state.adversary = PatchDiscriminator().to(device)
        rate = train.adversary_learning_rate
        state.judging = torch.optim.AdamW(
            state.adversary.parameters(), lr=rate, betas=train.betas, weight_decay=0, fused=True
        )
    if codec.discrete:
        sections = codec.sections(config.data.size, config.data.size)
        state.used = Used(torch.zeros(len(sections), codec.vocabulary, dtype=torch.long), sections)
    return state


@doing("loading the codec")
def restore(run: Run) -> CodecState:
    """A fresh state, or the newest checkpoint's. Raises CheckpointError where settings or data have
    changed."""
    config, folder = run.config, run.folder
    checkpoint.sweep(folder)
    newest = checkpoint.latest(folder, run.notify)
    if newest is not None:
        compare(read_config(newest), config, folder)
    state = fresh(config, run.device)
    if newest is not None:
        saved = checkpoint.state(newest)
        if saved["data"] != run.data[0].card["fingerprint"]:
            raise CheckpointError(
                f"{folder} was trained on other data: the set '{config.data.set}' has changed since; "
                "prepare the old data again, or train under another --run name"
            )
        loading.load_weights(state.model, loading.tensors(newest, "model"), newest)
        loading.load_weights(state.averages[0], loading.tensors(newest, "ema"), newest)
        optimizer.load_state(state.optimizers, state.model, loading.tensors(newest, "optimizer"))
        if state.adversary:
            loading.load_weights(state.adversary, loading.tensors(newest, "adversary"), newest)
            optimizer.load_state(
                [state.judging], state.adversary, loading.tensors(newest, "adversary_optimizer")
            )
        if state.used:
            tensors = loading.tensors(newest, "codes")
            state.used = Used(tensors["now"], state.used.sections, tensors["before"], saved["window"])
        state.documents, state.step, state.seconds = saved["documents"], saved["step"], saved["seconds"]
        of = "" if config.train.time else f" of {config.train.documents:,}"
        run.notify(f"resuming {folder.name} at {state.documents:,}{of} documents")
    records.truncate(folder / "records.jsonl", state.documents)
    disk.write(folder / "config.yaml", presets.dump(config))
    return state


def save(run: Run, state: CodecState) -> None:
    """A checkpoint of everything that changes."""
    tensors = {
        "model": state.model.state_dict(),
        "ema": state.averages[0].state_dict(),
        "optimizer": optimizer.state(state.optimizers, state.model),
    }
    if state.adversary:
        tensors |= {
            "adversary": state.adversary.state_dict(),
            "adversary_optimizer": optimizer.state([state.judging], state.adversary),
        }
    if state.used:
        tensors["codes"] = {"now": state.used.now, "before": state.used.before}
    facts = {
        "documents": state.documents,
        "seconds": state.seconds,
        "data": run.data[0].card["fingerprint"],
        "ranks": 1,
        "window": state.used.pictures if state.used else 0,
    }
    checkpoint.save(run.folder, state.step, tensors, facts, run.config.train.keep, run.notify)
