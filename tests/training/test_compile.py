import os

import torch

from rawmm_cli.config import build, presets
from rawmm_cli.training.clock import Clock
from rawmm_cli.training.compile import compile_layers, compiling


def test_without_a_compiler_training_stays_eager(monkeypatch):
    model = build.model(presets.load("tiny"), "meta")
    monkeypatch.setitem(os.environ, "CXX", "no-such-compiler")
    messages = []
    assert not compile_layers(model, "auto", torch.device("cpu"), messages.append)
    assert messages == ["no C++ compiler (g++) found: training runs uncompiled, about half as fast"]
    assert not compile_layers(model, "no", torch.device("cpu"), messages.append) and len(messages) == 1


def test_compiling_pays_where_there_is_time(monkeypatch):
    """Four times what it takes, about 30 s on a CPU and 60 on a GPU, must be left of a run by time."""

    def choice(seconds_left, device="cpu", busy=0.0, *words):
        train = presets.load("tiny", ["train.compile=auto", f"train.time={seconds_left}", *words]).train
        clock = Clock(0.0)
        monkeypatch.setattr(clock, "seconds", lambda: 0.0)
        return compiling(train, clock, device, busy, messages.append)

    messages = []
    assert choice(121) == ("auto", 30) and messages == []
    assert choice(119) == ("no", 30)
    assert messages == ["not compiled: that takes about 30 s and pays where 120 s are left"]
    assert choice(200, busy=0.5) == ("no", 60) and choice(241, busy=0.5) == ("auto", 60)
    assert choice(239, "cuda") == ("no", 60) and choice(241, "cuda") == ("auto", 60)
    assert choice(10, "cpu", 0.0, "train.compile=yes") == ("yes", 30)
    forever = presets.load("tiny", ["train.compile=auto"]).train
    assert compiling(forever, Clock(0.0), "cpu", 0.9, messages.append) == ("auto", 90)
