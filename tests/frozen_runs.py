"""Models over codecs that were trained, in a folder of runs: a short run of a codec, and one of a model on it."""

from codec_runs import KINDS, SHORT, go
from codec_runs import settings as codec_settings

from rawmm_cli.config import presets

# a small model on 16 px pictures
MODEL = [
    "data.set=few",
    "data.size=16",
    "train.length=64",
    "backbone.kind=transformer",
    "backbone.width=32",
    "backbone.depth=1",
    "backbone.heads=2",
    "backbone.hidden=32",
    "train.documents=32",
    "train.batch=8",
    "train.save_every=16",
    "train.log_every=8",
    "train.sample_every=1000",
    "train.threads=1",
    "train.workers=0",
    "train.compile=no",
    "train.precision=fp32",
    "train.trackers=[]",
]
