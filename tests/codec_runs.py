"""Short runs of codecs of every kind, on smooth pictures, and everything that they leave."""

import math

from training_runs import CPU

from rawmm_cli.config import presets
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.runs.folder import ordered_records
from rawmm_cli.training.train_codec import train_codec

TIMES = {"seconds", "documents_per_second", "memory", "eta"}


# 10 steps over 1.7 epochs of 24 pictures; a checkpoint between two records
SHORT = [
    "data.set=few",
    "data.size=16",
    "train.documents=40",
    "train.batch=4",
    "train.save_every=20",
    "train.log_every=12",
    "train.sample_every=20",
    "train.threads=1",
    "train.trackers=[]",
    "train.warmup=8",
]


GRID = ["codec.factor=8", "codec.patch=4", "codec.width=16", "codec.blocks=1"]


KINDS = {
    "vq": [
        *GRID,
        "codec.kind=vq",
        "codec.codes=16",
        "codec.dimension=4",
        "codec.decay=0.5",
        "codec.restart=1",
    ],
    "fsq": [*GRID, "codec.kind=fsq", "codec.levels=[5, 4]"],
    "lfq": [*GRID, "codec.kind=lfq", "codec.bits=4"],
    "rvq": [*GRID, "codec.kind=rvq", "codec.codes=8", "codec.dimension=4", "codec.quantizers=2"],
    "kl": [*GRID, "codec.kind=kl"],
    "query": [
        "codec.kind=query",
        "codec.patch=8",
        "codec.width=16",
        "codec.heads=2",
        "codec.depth=1",
        "codec.queries=3",
    ],
    "multiscale": [
        *GRID,
        "codec.kind=multiscale",
        "codec.codes=8",
        "codec.dimension=4",
        "codec.decay=0.5",
        "codec.restart=1",
    ],
    "gan": [*GRID, "codec.kind=fsq", "loss.adversary=0.1", "loss.adversary_start=16"],
}


def settings(*words):
    return presets.resolve({}, [*SHORT, *words])


def go(chosen, data, run, until=math.inf, device=CPU):
    """Train, and leave as if killed after the step that reaches `until` documents -> all records."""
    loop, found = train_codec(chosen, data, run, device, lambda message: None), []
    for record in loop:
        found.append(record)
        if record["documents"] >= until:
            loop.close()
    return found


def everything(run):
    newest = checkpoint.latest(run)
    values = {
        f"{path.stem}/{key}": value
        for path in sorted(newest.glob("*.safetensors"))
        for key, value in loading.tensors(newest, path.stem).items()
    }
    lines = [
        {key: value for key, value in record.items() if key not in TIMES} for record in ordered_records(run)
    ]
    sheets = {path.name: path.read_bytes() for path in sorted((run / "samples").iterdir())}
    return values, (lines, sheets, (run / "evaluation.json").read_text(), checkpoint.state(newest)["window"])
