import os

import torch

from rawmm_cli.config import build, presets
from rawmm_cli.training.compile import compile_layers


def test_without_a_compiler_training_stays_eager(monkeypatch):
    model = build.model(presets.load("tiny"), "meta")
    monkeypatch.setitem(os.environ, "CXX", "no-such-compiler")
    messages = []
    assert not compile_layers(model, "auto", torch.device("cpu"), messages.append)
    assert messages == ["no C++ compiler (g++) found: training runs uncompiled, about half as fast"]
    assert not compile_layers(model, "no", torch.device("cpu"), messages.append) and len(messages) == 1
