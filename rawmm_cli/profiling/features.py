"""Facts of `doctor.examine` -> which features work on this machine, and the command that adds each other
one."""

import os
import shutil
import sys
from collections.abc import Iterator

import torch

from .software import NEEDED, installed

TRACKERS = {"TensorBoard": "tensorboard", "Weights & Biases": "wandb", "trackio": "trackio"}
TRITON = (7, 0)  # lowest compute capability that triton supports


def features(facts: dict) -> list[dict]:
    """Features as [{feature, works, detail, add: the command that adds it, or None}]."""
    return [
        {"feature": feature, "works": not lack, "detail": lack or detail, "add": add if lack else None}
        for feature, lack, detail, add in _conclusions(facts)
    ]


def _conclusions(facts: dict) -> Iterator[tuple[str, str | None, str, str | None]]:
    """(feature, what is missing or None, what there is, command that adds it)."""
    gpus = [one for one in facts["devices"] if one["device"] != "cpu"]
    missing = [name for name in NEEDED if not facts["versions"][name]]
    failed = [f"{device}: {error}" for device, error in facts["training"].items() if error]
    yield (
        "training",
        f"not installed: {', '.join(missing)}" if missing else "; ".join(failed) or None,
        "on " + ", ".join(facts["training"]),
        f"pip install {' '.join(missing)}" if missing else None,
    )
    yield ("torch.compile", *_compile(facts, gpus))
    fast = [one["device"] for one in facts["devices"] if one["bf16"] and one["dtypes"]["bf16"]["works"]]
    yield (
        "bf16 matmuls",
        None if fast else "not in this hardware; train.precision = auto takes fp32",
        "on " + ", ".join(fast),
        None,
    )
    yield ("FlexAttention training", *_flex(facts, gpus))
    wanted = "nccl" if gpus else "gloo"
    yield (
        "several ranks (ddp, fsdp)",
        None if wanted in facts["distributed"] else f"this torch has no {wanted}",
        "through " + ", ".join(facts["distributed"]),
        "pip install --force-reinstall torch",
    )
    for name, module in TRACKERS.items():
        yield (
            name,
            None if installed(module) else "not installed",
            "installed",
            f"pip install 'rawmm[{module}]'",
        )
    yield (
        "browser test",
        None if facts["browser"] else "no chromium",
        str(facts["browser"]),
        _system("chromium", "chromium", "brew install --cask chromium"),
    )


def _compile(facts: dict, gpus: list[dict]) -> tuple[str | None, str, str | None]:
    cxx = facts["compiler"]
    if cxx["error"]:
        origin = " (from CXX)" if "CXX" in os.environ else ""
        add = "unset CXX" if origin else _system("g++", "gcc-c++", "xcode-select --install")
        if cxx["error"] == "lacks Python.h":
            number = f"{sys.version_info.major}.{sys.version_info.minor}"
            add = _system(f"python{number}-dev", f"python{number}-devel", f"brew install python@{number}")
        return f"C++ compiler '{cxx['command']}'{origin} {cxx['error']}; training runs uncompiled", "", add
    if gpus and not facts["versions"]["triton"]:
        return "compiling for GPUs needs triton", "", "pip install triton"
    return None, cxx["version"] or cxx["command"], None


def _flex(facts: dict, gpus: list[dict]) -> tuple[str | None, str, str | None]:
    if not gpus:
        blind = torch.version.cuda is None and os.path.exists("/proc/driver/nvidia/version")
        return (
            ("this torch was built without CUDA", "", "pip install --force-reinstall torch")
            if blind
            else ("needs an NVIDIA GPU; train.mask = dense works everywhere", "", None)
        )
    new = [one["device"] for one in gpus if tuple(one["capability"]) >= TRITON]
    if not new:
        return f"needs a GPU of compute capability {TRITON[0]}.{TRITON[1]} or higher", "", None
    return (
        None if facts["versions"]["triton"] else "needs triton",
        "on " + ", ".join(new),
        "pip install triton",
    )


def _system(apt: str, dnf: str, mac: str) -> str:
    """Command of this system's package manager."""
    if sys.platform == "darwin":
        return mac
    return f"dnf install {dnf}" if shutil.which("dnf") and not shutil.which("apt") else f"apt install {apt}"
