"""Layers compiled by torch, and layers that run a second time to save memory."""

import getpass
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..config.codecs import CodecTrain
from ..config.model import Train
from ..core.model import RawModel
from .clock import Clock

SECONDS = {"cpu": 30.0, "cuda": 60.0}  # of a first step that compiles, with an empty cache
PAYS = 4  # times as many seconds must be left; a compiled step takes about 0.6 of the time of an eager one


def compiling(
    settings: Train | CodecTrain, clock: Clock, device: str, busy: float, notify: Callable[[str], None]
) -> tuple[str, float]:
    """-> train.compile, 'no' for 'auto' where a run by time is too short for it, and the seconds that
    compiling will take where others use so much of the cores: `busy`, 0 to 1.

    A run by documents compiles at any length: whether it does must not depend on what else runs."""
    seconds = SECONDS[device] / max(1 - busy, 1 / 3)
    if settings.compile != "auto" or not settings.time:
        return settings.compile, seconds
    if settings.time - clock.seconds() >= PAYS * seconds:
        return "auto", seconds
    notify(f"not compiled: that takes about {seconds:.0f} s and pays where {PAYS * seconds:.0f} s are left")
    return "no", seconds


def compile_layers(model: RawModel, setting: str, on: torch.device, notify: Callable[[str], None]) -> bool:
    """torch.compile each layer of the backbone: all layers share one compiled graph, so it takes seconds, not
    minutes.

    'auto' stays eager where there is no C++ compiler, and goes on in eager mode where compilation fails."""
    if setting == "no":
        return False
    if setting == "auto":
        if on.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
            notify("no C++ compiler (g++) found: training runs uncompiled, about half as fast")
            return False
        torch._dynamo.config.suppress_errors = True
    if on.type == "cpu":  # else the number of threads is a constant of the code, compiled anew for each
        import torch._inductor.config as inductor

        inductor.cpp.dynamic_threads = True
        _keep_apart()
    for layer in model.backbone.layers:
        layer.forward = partial(
            _either, layer.forward, torch.compile(layer.forward)
        )  # not layer.compile(): FSDP's hooks
    return True  # stay outside of the graph


def _keep_apart() -> None:
    """Give a CPU whose vectors are limited its own folder of compiled code: what was kept with wider ones
    would compute a part of the numbers (findings/compiled-code-other-vectors.sh)."""
    name, limit = "TORCHINDUCTOR_CACHE_DIR", os.environ.get("ATEN_CPU_CAPABILITY")
    folder = os.environ.get(name) or os.path.join(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    if limit and not folder.endswith(f"-{limit}"):
        os.environ[name] = f"{folder}-{limit}"


def _either(plain: Callable, compiled: Callable, *inputs: Any, cache: Any = None) -> Tensor:
    """Compiled, but for documents that grow: each new length would be compiled again."""
    return compiled(*inputs) if cache is None else plain(*inputs, cache=cache)


def recompute_layers(model: RawModel, on: bool) -> None:
    """Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a layer keeps its input alone and runs
    again when its gradient is due. Before compile_layers."""
    if on:
        for layer in model.backbone.layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
