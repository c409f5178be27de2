"""What works on this machine and in this installation, looked up or tried, never assumed.

`examine` gathers the facts, with `software.py` for what is installed; `features.py` draws conclusions."""

import os
import platform
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from ..config import build
from ..config.model import GAU, Config
from ..core import batch
from ..core.document import Picture
from ..core.loss import joint_loss
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
from ..system import machine
from ..system.threads import cores
from .features import features
from .software import compiler, first_line, versions

FLAGS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_fp16",
    "asimd",
    "sve",
    "i8mm",
    "bf16",
)
CHECKS = ("avx2", "avx512", "avx512_bf16", "amx_tile", "amx_fp16")  # torch.cpu._is_NAME_supported
WAIT = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 2e-3}  # relative error of a small matmul: a few last places
SIZES = {"cpu": 1024, "cuda": 4096}  # of the matmuls that are timed


def examine(data_dir: Path, runs_dir: Path, environment: tuple[str, ...] = ()) -> dict:
    """All facts, as JSON values. Sizes are in bytes, rates in FLOP/s; None where the system does not say.

    environment: variables for threads that the user has set; rawmm chose the others."""
    facts = {
        "versions": versions(),
        "system": {"os": platform.platform(), "machine": platform.machine(), "python": sys.executable},
        "cpu": cpu(),
        "threads": {
            "count": torch.get_num_threads(),
            "wait": {name: os.environ[name] for name in WAIT if name in os.environ},
            "from_environment": list(environment),
        },
        "memory": memory(),
        "disk": {"data": room(data_dir), "runs": room(runs_dir), "shm": shm()},
        "devices": devices(),
        "distributed": backends(),
        "compiler": compiler(),
        "browser": next(filter(None, map(shutil.which, BROWSERS)), None),
    }
    facts["training"] = {one["device"]: trains(torch.device(one["device"])) for one in facts["devices"]}
    return facts | {"features": features(facts)}


# ----------------------------------------------------------------------------------------------------- system


def cpu() -> dict:
    """Name, cores of this process, instruction sets for matmuls that the system lists, and which of them
    torch supports."""
    fields: dict[str, str] = {}
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    listed = set((fields.get("flags") or fields.get("Features") or "").split())
    checks = {name: getattr(torch.cpu, f"_is_{name}_supported", None) for name in CHECKS}
    return {
        "name": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "features": [flag for flag in FLAGS if flag in listed],
        "torch": {
            "kernels": torch.backends.cpu.get_cpu_capability(),
            **{name: check() if check else None for name, check in checks.items()},
        },
        "bf16": machine.precision("auto", torch.device("cpu")) == "bf16",
    }


def memory() -> dict[str, int | None]:
    """{total, available} bytes of RAM."""
    table = {
        name: rest.split() for name, _, rest in (line.partition(":") for line in _lines("/proc/meminfo"))
    }
    return {
        key: int(table[name][0]) * 1024 if table.get(name) else None
        for key, name in (("total", "MemTotal"), ("available", "MemAvailable"))
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def room(folder: Path) -> dict:
    """{folder, exists, writable, free bytes} of a folder, or of its nearest existing parent."""
    here = Path(os.path.abspath(folder))
    nearest = next(path for path in (here, *here.parents) if os.path.lexists(path))
    try:
        free = shutil.disk_usage(nearest).free
    except OSError:
        free = None
    return {
        "folder": str(folder),
        "exists": nearest == here,
        "free": free,
        "writable": os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK),
    }


def shm() -> dict[str, int] | None:
    """{total, free} bytes of /dev/shm, through which data workers pass batches."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError:
        return None
    return {"total": usage.total, "free": usage.free}


# ---------------------------------------------------------------------------------------------------- devices


def devices() -> list[dict]:
    """The CPU and every CUDA GPU: {device, dtypes {precision: {works, flops_per_second, error}}, ...}."""
    known: list[dict] = [
        {"device": "cpu", "name": "CPU", "bf16": machine.precision("auto", torch.device("cpu")) == "bf16"}
    ]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        known.append(
            {
                "device": f"cuda:{index}",
                "name": about.name,
                "memory": about.total_memory,
                "capability": [about.major, about.minor],
                "bf16": about.major >= 8,
            }
        )
    return [
        one
        | {
            "dtypes": {
                precision: matmul(torch.device(one["device"]), precision) for precision in machine.DTYPES
            }
        }
        for one in known
    ]


def matmul(device: torch.device, precision: str, seconds: float = 0.1) -> dict:
    """Compare a small matmul with fp64, and measure the rate of a large one, or of a small one where the
    large one would be slow."""
    try:
        a, b = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        kind = machine.DTYPES[precision]
        product = (a.to(device, kind) @ b.to(device, kind)).cpu().double()
        error = ((product - a @ b).norm() / (a @ b).norm()).item()
        if not error < TOLERANCE[precision]:
            return {"works": False, "flops_per_second": None, "error": f"wrong by {error:.2g} of its size"}
        small, large = 256, SIZES[device.type]
        rate = machine.matmul_rate(device, precision, (small,) * 3, seconds / 4)
        if 2 * large**3 / rate < 0.5:
            rate = machine.matmul_rate(device, precision, (large,) * 3, seconds)
        return {"works": True, "flops_per_second": rate, "error": None}
    except Exception as error:  # no kernel, no memory, a device that does not match its driver
        return {"works": False, "flops_per_second": None, "error": first_line(error)}


def trains(device: torch.device) -> str | None:
    """Run a tiny model forward and backward on one document -> None, or the error."""
    try:
        config = Config(backbone=GAU(width=32, depth=1, key=16))
        model = build.model(config, device)
        drawn = Picture(torch.zeros(3, config.data.size, config.data.size, dtype=torch.uint8), True)
        packed = batch.pack([[BOS, IMAGE, drawn, END_IMAGE, EOS]], config.train.length, model.blocks)
        loss = joint_loss(model, packed.to(device)).total
        loss.backward()
        sums = [loss.detach(), *(p.grad.norm() for p in model.parameters() if p.grad is not None)]
        return (
            None
            if torch.stack(sums).isfinite().all()
            else "the loss or a gradient of a tiny model is not finite"
        )
    except Exception as error:
        return first_line(error)


def backends() -> list[str]:
    """Communication backends of torch.distributed that this build has."""
    if not dist.is_available():
        return []
    return [name for name in ("gloo", "nccl") if getattr(dist, f"is_{name}_available")()]
