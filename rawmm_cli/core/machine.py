"""What the machine can do, measured: matmul rate, memory bandwidth, memory in use."""

import resource
import sys
import time

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matmul_rate(device: torch.device, precision: str, size: int = 2048, seconds: float = 0.3) -> float:
    """FLOP/s of a square matmul of `size`: the best of as many as fit into `seconds`, the first one left out."""
    a, b = (torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))
    out = a @ b
    return 2 * size ** 3 / _best(lambda: torch.mm(a, b, out=out), device, seconds)


def bandwidth(device: torch.device, megabytes: int = 256, seconds: float = 0.3) -> float:
    """Bytes a second that an elementwise sum of two arrays, too large for any cache, reads and writes."""
    count = megabytes * 2 ** 20 // 4
    a, b, out = (torch.ones(count, device=device) for _ in range(3))
    return 12 * count / _best(lambda: torch.add(a, b, out=out), device, seconds)


def _best(work, device: torch.device, seconds: float) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        wait()
        started = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - started)
    return best


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that this process has held, on the GPU or, on the CPU, as resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
