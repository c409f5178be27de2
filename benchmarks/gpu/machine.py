"""The card, its driver, and versions of what runs on it."""

import os
import subprocess

from .parts import part


def main() -> None:
    """Write the facts of the header."""
    job = part("machine")
    import torch

    values = {"cores": len(os.sched_getaffinity(0)), "torch": torch.__version__, "cuda": torch.version.cuda}
    try:
        words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        values["card"], values["driver"], values["card memory"] = said.splitlines()[0].split(", ")
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        values["card"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    try:
        import triton

        values["triton"] = triton.__version__
    except ImportError:
        values["triton"] = "none"
    if job.device == "cuda":
        from torch.backends import cudnn

        values["cudnn"], values["nccl"] = cudnn.version(), ".".join(map(str, torch.cuda.nccl.version()))
        values["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
    job.save(**values)
    job.say(", ".join(f"{name} {value}" for name, value in values.items()))


if __name__ == "__main__":
    main()
