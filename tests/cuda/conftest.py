"""Fixtures of the tests on a card. `RAWMM_CARD=cpu` runs them with the CPU in its place: what is compared is
then equal, but every line runs."""

import os
import shutil
import sys
from functools import partial

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from rawmm_cli.core import denoising, noise
from rawmm_cli.core.heads import diffusion
from rawmm_cli.system import machine


@pytest.fixture(scope="session")
def card():
    if os.environ.get("RAWMM_CARD") == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here; RAWMM_CARD=cpu puts the CPU in its place")
    return torch.device("cuda")


@pytest.fixture
def quick(monkeypatch):
    """Skip measuring the matmul rate: it would take longer than the run."""
    monkeypatch.setattr(machine, "matmul_rate", lambda *arguments: 1e11)


@pytest.fixture
def exact(monkeypatch):
    """Convolutions in fp32. cuDNN takes TF32 for them unless told otherwise: 10 bits of mantissa."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def flex(card, monkeypatch):
    """FlexAttention with a backward pass. On a CPU torch refuses it, though its plain form has one."""
    if card.type == "cpu":
        module = sys.modules[create_block_mask.__module__]
        monkeypatch.setattr(module, "_validate_device", lambda *tensors: None)


@pytest.fixture
def compiler(card, monkeypatch, flex):
    """torch.compile as it is; on a CPU with graphs as they were traced, as kernels would take a minute."""
    if card.type == "cpu":
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.fixture
def noise_of_cpu(monkeypatch):
    """Diffusion heads take the noise of the CPU; a card makes another one from the same key."""

    def on_cpu(keys, counts, width, word="noise", device="cpu"):
        return noise.normal(keys, counts, width, word).to(device)

    for module in (denoising, diffusion):
        monkeypatch.setattr(module, "normal", on_cpu)


@pytest.fixture
def home(tmp_path, few_digits, tiny_run, monkeypatch):
    """A folder to stand in, with the set `digits` and the run `tiny`, trained on a CPU."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(few_digits / "digits", "data/digits")
    shutil.copytree(tiny_run, "runs/tiny")
    return tmp_path
