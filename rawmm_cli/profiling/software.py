"""What is installed: libraries with their versions, and a C++ compiler that is tried."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from .. import __version__

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
    "scipy",
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
    "submitit",
    "rapidocr-onnxruntime",
)


def versions() -> dict[str, str | None]:
    """Versions of rawmm, Python and all required and optional libraries; None where one is not installed."""
    known: dict[str, str | None] = {"rawmm": __version__, "python": platform.python_version()}
    for name in NEEDED + OPTIONAL:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            known[name] = None
    return known


def installed(module: str) -> bool:
    """Whether a module can be imported. A folder without a package, such as the `wandb` that its runs write,
    does not count."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def compiler() -> dict:
    """Try the C++ compiler of torch.compile -> {command, version, error}. As for torch, CXX is the name of a
    program, without options."""
    command = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    facts = {"command": command, "version": None, "error": "is not there"}
    if not (path := shutil.which(command)):
        return facts
    try:
        answer = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=2, check=True
        )
        facts["version"] = (answer.stdout.decode(errors="replace").splitlines() or [""])[0].strip()[:200]
        return facts | {"error": _compiles(path)}
    except subprocess.TimeoutExpired:
        return facts | {"error": "does not answer"}
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        return facts | {"error": f"cannot be run ({first_line(error)})"}


def _compiles(path: str) -> str | None:
    """Compile a shared library with what torch's kernels include, Python's headers and, on Linux, OpenMP ->
    None, or the error."""
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
    reasons = [line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line] or [
        "no reason given"
    ]
    return "lacks Python.h" if "Python.h" in reasons[0] else f"cannot compile ({reasons[0].strip()[:200]})"


def first_line(error: Exception) -> str:
    """Kind and first line of an error, at most 200 characters."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
