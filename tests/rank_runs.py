"""Settings of runs by several ranks, and what must be the same whatever their number."""

import math

import pytest
import torch
from forking import put

from rawmm_cli.data import loader
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system import distributed
from rawmm_cli.training import train as module

FSDP = ("train.parallel=fsdp",)


EVERY = ("train.save_every=16", "train.log_every=16", "train.keep=99")


# 10 steps whose documents 1, 2 and 3 ranks can share; the checkpoint is that of step 5
SHARED = ("train.batch=12", "train.documents=120", "train.save_every=60", "train.log_every=12")


def same_losses(found, wanted, rel=1e-5):
    """Losses, norms and rates to `rel`; steps and documents exactly."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        for name in ("loss", "text", "image", "gradient_norm", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=rel), (name, one["step"])
        for name in ("step", "documents"):
            assert one[name] == other[name]


def observed(ranks, chosen, data, run, until=math.inf, fault=(None, -1, "")) -> dict:
    """Train as one rank, and leave as if killed after the step that reaches `until` documents -> its
    `records`, the documents `made` {seen before: numbers}, and how the weights with which it began differ
    from the checkpoint's (`differ`)."""
    made, restore, item, document = {}, module.restore, loader.Steps.__getitem__, loader.Steps._document
    now, found = [], {"records": [], "made": made, "differ": [], "said": []}

    def noting_item(steps, seen):
        now.clear()
        batch = item(steps, seen)
        made[seen] = list(now)
        return batch

    def noting_document(steps, number):
        now.append(number)
        return document(steps, number)

    def noting_restore(place):
        newest, state = checkpoint.latest(run), restore(place)
        found["differ"] = differ(newest, state) if newest else ["no checkpoint"]
        return state

    module.restore, loader.Steps.__getitem__, loader.Steps._document = (
        noting_restore,
        noting_item,
        noting_document,
    )
    if fault[0] == ranks.rank:
        put(fault[2], fault[1])
    loop = module.train(chosen, data, run, torch.device("cpu"), found["said"].append, ranks)
    for record in loop:
        found["records"].append(record)
        if record["documents"] >= until:
            return found
    return found


def differ(folder, state) -> list[str]:
    """Names of the tensors that are not, bit for bit, those of the checkpoint."""
    from rawmm_cli.training import optimizer
    from rawmm_cli.training.state import _modules

    here = {name: part.state_dict() for name, part in _modules(state).items()}
    here["optimizer"] = optimizer.state(state.optimizers, state.model)
    wrong = []
    for part, values in here.items():
        saved = loading.tensors(folder, part)
        wrong += [f"{part}/{name}" for name in saved.keys() ^ values.keys()]
        wrong += [
            f"{part}/{name}"
            for name in saved
            if not torch.equal(distributed.whole(values[name]), saved[name])
        ]
    return wrong
