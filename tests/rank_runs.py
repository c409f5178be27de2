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


def same_losses(actual, expected, rel=1e-5):
    """Check losses, norms and rates to `rel`; steps and documents exactly."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected):
        for name in ("loss", "text", "image", "gradient_norm", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=rel), (name, one["step"])
        for name in ("step", "documents"):
            assert one[name] == other[name]


def observed(ranks, chosen, data, run, until=math.inf, fault=(None, -1, "")) -> dict:
    """Train as one rank, and leave as if killed after the step that reaches `until` documents -> its
    `records`, the `documents` that it made {documents seen before: numbers}, and the names of the weights
    that differ from the checkpoint's at its beginning (`differ`)."""
    documents, restore, item, document = {}, module.restore, loader.Steps.__getitem__, loader.Steps._document
    numbers, result = [], {"records": [], "documents": documents, "differ": [], "messages": []}

    def noting_item(steps, seen):
        numbers.clear()
        batch = item(steps, seen)
        documents[seen] = list(numbers)
        return batch

    def noting_document(steps, number):
        numbers.append(number)
        return document(steps, number)

    def noting_restore(place):
        newest, state = checkpoint.latest(run), restore(place)
        result["differ"] = differ(newest, state) if newest else ["no checkpoint"]
        return state

    module.restore, loader.Steps.__getitem__, loader.Steps._document = (
        noting_restore,
        noting_item,
        noting_document,
    )
    if fault[0] == ranks.rank:
        put(fault[2], fault[1])
    loop = module.train(chosen, data, run, torch.device("cpu"), result["messages"].append, ranks)
    for record in loop:
        result["records"].append(record)
        if record["documents"] >= until:
            return result
    return result


def differ(folder, state) -> list[str]:
    """Names of the tensors that are not, bit for bit, those of the checkpoint."""
    from rawmm_cli.training import optimizer
    from rawmm_cli.training.state import _modules

    current = {name: part.state_dict() for name, part in _modules(state).items()}
    current["optimizer"] = optimizer.state(state.optimizers, state.model)
    wrong = []
    for part, values in current.items():
        saved = loading.tensors(folder, part)
        wrong += [f"{part}/{name}" for name in saved.keys() ^ values.keys()]
        wrong += [
            f"{part}/{name}"
            for name in saved
            if not torch.equal(distributed.whole(values[name]), saved[name])
        ]
    return wrong
