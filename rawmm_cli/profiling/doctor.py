"""What this machine and this installation can do: every fact is looked up or tried here and now, nothing is
assumed.

`examine` gathers the facts, `features` draws the conclusions from them alone: what works, and what adds what
does not."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from .. import __version__
from ..config import build
from ..config.model import GAU, Config
from ..core import batch
from ..core.document import Picture
from ..core.loss import joint_loss
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
from ..system import machine
from ..system.threads import cores

NEEDED = (
    "torch",
    "typer",
    "rich",
    "einops",
    "pyyaml",
    "pydantic",
    "datasets",
    "pillow",
    "safetensors",
    "numpy",
    "pyarrow",
    "tokenizers",
    "scikit-learn",
    "jinja2",
    "filelock",
    "python-avatars",
    "resvg-py",
    "vector-quantize-pytorch",
    "emoji",
)
OPTIONAL = (
    "triton",
    "tensorboard",
    "wandb",
    "trackio",
    "diffusers",
    "transformers",
    "scikit-image",
    "imagecodecs",
    "rapidocr-onnxruntime",
)
TRACKERS = {"TensorBoard": "tensorboard", "Weights & Biases": "wandb", "trackio": "trackio"}
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
TOLERANCE = {
    "fp32": 1e-3,
    "bf16": 2e-2,
    "fp16": 2e-3,
}  # relative error of a small matmul: a few units of the last place
SIZES = {"cpu": 1024, "cuda": 4096}  # of the matmuls that are timed
TRITON = (7, 0)  # the oldest compute capability that its compiler knows


def examine(data_dir: Path, runs_dir: Path, environment: tuple[str, ...] = ()) -> dict:
    """All facts as JSON can hold them. Sizes in bytes, rates in FLOP/s; None where the system does not tell.

    environment: which of the variables that steer threads the person has set; the others were rawmm's
    choice."""
    found = {
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
    found["training"] = {one["device"]: trains(torch.device(one["device"])) for one in found["devices"]}
    return found | {"features": features(found)}


# ------------------------------------------------------------------------------------------- software, system


def versions() -> dict[str, str | None]:
    """Of rawmm, Python and every library that is needed or can be used; None where it is not installed."""
    found: dict[str, str | None] = {"rawmm": __version__, "python": platform.python_version()}
    for name in NEEDED + OPTIONAL:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def installed(module: str) -> bool:
    """Whether it could be imported. A mere folder of that name, such as the `wandb` that its runs write, does
    not count."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def cpu() -> dict:
    """Name, cores for this process, the instruction sets for matmuls that the system lists, and what torch
    says of them."""
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
    """{folder, exists, writable, free bytes} of a folder, or of the nearest one above it that is there."""
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
    """{total, free} bytes of /dev/shm, through which data workers hand over batches."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError:
        return None
    return {"total": usage.total, "free": usage.free}


# ------------------------------------------------------------------------------------------ devices, compiler


def devices() -> list[dict]:
    """The CPU and every CUDA GPU: {device, dtypes {precision: {works, flops_per_second, error}}, ...}."""
    found: list[dict] = [
        {"device": "cpu", "name": "CPU", "bf16": machine.precision("auto", torch.device("cpu")) == "bf16"}
    ]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found.append(
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
        for one in found
    ]


def matmul(device: torch.device, precision: str, seconds: float = 0.1) -> dict:
    """A small matmul against fp64, then the rate of a large one, or of the small one where the large one
    would take long."""
    try:
        a, b = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        kind = machine.DTYPES[precision]
        found = (a.to(device, kind) @ b.to(device, kind)).cpu().double()
        error = ((found - a @ b).norm() / (a @ b).norm()).item()
        if not error < TOLERANCE[precision]:
            return {"works": False, "flops_per_second": None, "error": f"wrong by {error:.2g} of its size"}
        small, large = 256, SIZES[device.type]
        rate = machine.matmul_rate(device, precision, (small,) * 3, seconds / 4)
        if 2 * large**3 / rate < 0.5:
            rate = machine.matmul_rate(device, precision, (large,) * 3, seconds)
        return {"works": True, "flops_per_second": rate, "error": None}
    except Exception as error:  # no kernel, no memory, a device at odds with its driver
        return {"works": False, "flops_per_second": None, "error": _first_line(error)}


def trains(device: torch.device) -> str | None:
    """Forward and backward of a tiny model over one drawing document -> None, or what went wrong."""
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
        return _first_line(error)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def backends() -> list[str]:
    """Of torch.distributed."""
    if not dist.is_available():
        return []
    return [name for name in ("gloo", "nccl") if getattr(dist, f"is_{name}_available")()]


def compiler() -> dict:
    """The C++ compiler of torch.compile, tried: {command, version, error}. As for torch, CXX is the name of
    one program."""
    command = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    found = {"command": command, "version": None, "error": "is not there"}
    if not (path := shutil.which(command)):
        return found
    try:
        told = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=2, check=True
        )
        found["version"] = (told.stdout.decode(errors="replace").splitlines() or [""])[0].strip()[:200]
        return found | {"error": _compiles(path)}
    except subprocess.TimeoutExpired:
        return found | {"error": "does not answer"}
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        return found | {"error": f"cannot be run ({_first_line(error)})"}


def _compiles(path: str) -> str | None:
    """A shared library with what torch's kernels include: Python's headers and, on Linux, OpenMP."""
    parallel = ["-fopenmp"] if sys.platform == "linux" else []
    code = (
        "#include <vector>\n#include <Python.h>\n"
        + "#include <omp.h>\n" * bool(parallel)
        + "int answer() { return 42; }\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [
            path,
            "-shared",
            "-fPIC",
            *parallel,
            f"-I{sysconfig.get_path('include')}",
            "-x",
            "c++",
            "-",
            "-o",
            f"{folder}/try.so",
            *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []),
        ]
        done = subprocess.run(command, input=code.encode(), capture_output=True, timeout=5)
        if done.returncode == 0 and Path(folder, "try.so").is_file():
            return None
    told = [line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line] or [
        "no reason given"
    ]
    return "lacks Python.h" if "Python.h" in told[0] else f"cannot compile ({told[0].strip()[:200]})"


# --------------------------------------------------------------------------------------------------- features


def features(found: dict) -> list[dict]:
    """Facts -> [{feature, works, detail, add: the one command that adds it, or None}]."""
    return [
        {"feature": feature, "works": not lack, "detail": lack or detail, "add": add if lack else None}
        for feature, lack, detail, add in _conclusions(found)
    ]


def _conclusions(found: dict) -> Iterator[tuple[str, str | None, str, str | None]]:
    """(feature, what is missing or None, what there is, what adds it)."""
    gpus = [one for one in found["devices"] if one["device"] != "cpu"]
    missing = [name for name in NEEDED if not found["versions"][name]]
    failed = [f"{device}: {error}" for device, error in found["training"].items() if error]
    yield (
        "training",
        f"not installed: {', '.join(missing)}" if missing else "; ".join(failed) or None,
        "on " + ", ".join(found["training"]),
        f"pip install {' '.join(missing)}" if missing else None,
    )
    yield ("torch.compile", *_compile(found, gpus))
    fast = [one["device"] for one in found["devices"] if one["bf16"] and one["dtypes"]["bf16"]["works"]]
    yield (
        "bf16 matmuls",
        None if fast else "not in this hardware; train.precision = auto takes fp32",
        "on " + ", ".join(fast),
        None,
    )
    yield ("FlexAttention training", *_flex(found, gpus))
    wanted = "nccl" if gpus else "gloo"
    yield (
        "several ranks (ddp, fsdp)",
        None if wanted in found["distributed"] else f"this torch has no {wanted}",
        "through " + ", ".join(found["distributed"]),
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
        None if found["browser"] else "no chromium",
        str(found["browser"]),
        _system("chromium", "chromium", "brew install --cask chromium"),
    )


def _compile(found: dict, gpus: list[dict]) -> tuple[str | None, str, str | None]:
    cxx = found["compiler"]
    if cxx["error"]:
        given = " (from CXX)" if "CXX" in os.environ else ""
        add = "unset CXX" if given else _system("g++", "gcc-c++", "xcode-select --install")
        if cxx["error"] == "lacks Python.h":
            number = f"{sys.version_info.major}.{sys.version_info.minor}"
            add = _system(f"python{number}-dev", f"python{number}-devel", f"brew install python@{number}")
        return f"C++ compiler '{cxx['command']}'{given} {cxx['error']}; training runs uncompiled", "", add
    if gpus and not found["versions"]["triton"]:
        return "compiling for GPUs needs triton", "", "pip install triton"
    return None, cxx["version"] or cxx["command"], None


def _flex(found: dict, gpus: list[dict]) -> tuple[str | None, str, str | None]:
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
        None if found["versions"]["triton"] else "needs triton",
        "on " + ", ".join(new),
        "pip install triton",
    )


def _system(apt: str, dnf: str, mac: str) -> str:
    """The command of this system's package manager."""
    if sys.platform == "darwin":
        return mac
    return f"dnf install {dnf}" if shutil.which("dnf") and not shutil.which("apt") else f"apt install {apt}"
