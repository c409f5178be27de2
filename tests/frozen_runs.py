"""Models over codecs that were trained: a folder of runs with a codec, and a short run of a model on it."""

import math

import codec_runs
from training_runs import CPU, single_thread

from rawmm_cli.config import presets
from rawmm_cli.training.train import train

# a small model of 16 px pictures, 4 steps
MODEL = [
    "data.set=few",
    "data.size=16",
    "data.read=0",
    "train.length=32",
    "backbone.width=32",
    "backbone.depth=1",
    "backbone.key=16",
    "train.documents=32",
    "train.batch=8",
    "train.warmup=8",
    "train.save_every=16",
    "train.log_every=8",
    "train.sample_every=1000",
    "train.threads=1",
    "train.workers=0",
    "train.compile=no",
    "train.precision=fp32",
    "train.trackers=[]",
    "sample.steps=2",
]


def train_codec(data, runs, kind="kl", *words, name="tokens"):
    """A short run of a codec -> its folder."""
    settings = codec_runs.settings(*codec_runs.KINDS[kind], *words)
    with single_thread():
        codec_runs.go(settings, data, runs / name)
    return runs / name


def settings(*words, kind="kl", run="tokens"):
    """Settings of a model on the codec of a run."""
    return presets.resolve({}, [*MODEL, f"codec.kind={kind}", f"codec.run={run}", *words])


def go(chosen, data, run, until=math.inf, notify=lambda line: None):
    """Train, and leave as if killed after the step that reaches `until` documents -> all records."""
    loop, records = train(chosen, data, run, CPU, notify), []
    with single_thread():
        for record in loop:
            records.append(record)
            if record["documents"] >= until:
                loop.close()
    return records
