"""The device and its precision, and what the machine can do, measured: matmul rate, memory bandwidth, memory
in use."""

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch.utils import deterministic

from .errors import ConfigError, address_space
from .threads import cores

# torch wants the workspace of cuBLAS named where products are to be the same each time, and looks only once,
# at the first product of a process. This is the size that it takes by itself on an H100.
REPRODUCIBLE = os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8") in (":4096:8", ":16:8")
if REPRODUCIBLE:
    torch.backends.cuda.enable_cudnn_sdp(False)  # no promise of the order in which its backward pass adds
GROUP = 10  # calls that are timed together on a GPU
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device(name: str, local: int | None = None) -> torch.device:
    """'auto', 'cpu', 'cuda' or 'cuda:N' -> device; of several ranks on a machine, rank `local` gets
    cuda:local.

    Raises ConfigError where it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local is not None:
        name = f"cuda:{local}"
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}'; allowed: auto, cpu, cuda, cuda:N") from None
    if chosen.type not in ("cpu", "cuda") or (
        chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    ):
        raise ConfigError(
            f"device '{name}' is not there; this machine has: "
            f"{', '.join(['cpu'] + [f'cuda:{i}' for i in range(torch.cuda.device_count())])}"
        )
    return chosen


def has_bf16(device: torch.device) -> bool:
    """Whether matmuls in bf16 run in hardware; elsewhere they are emulated, on a CPU at a fiftieth of the
    speed of fp32.

    CPUs: AMX or AVX512-BF16, unless torch is told to do without (ATEN_CPU_CAPABILITY=avx2). torch names these
    checks with an underscore, so their absence means no."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).major >= 8  # Ampere
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        return False
    checks = (
        getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return any(check() for check in checks if check)


def precision(setting: str, on: torch.device) -> str:
    """'auto' -> 'bf16' where matmuls in bf16 run in hardware, else 'fp32'."""
    if setting != "auto":
        return setting
    return "bf16" if has_bf16(on) else "fp32"


def workers(setting: int | str, on: torch.device, here: int = 1) -> int:
    """Processes that make batches for one of `here` ranks on this machine. 'auto': none beside a CPU that
    trains, up to 8 beside a GPU, one core being left to each rank."""
    if setting != "auto":
        return int(setting)
    return max(1, min(8, cores() // here - 1)) if on.type == "cuda" else 0


@contextmanager
def reproducible(on: torch.device) -> Iterator[None]:
    """While the block runs, a GPU adds in the same order each time; backward passes of attention and of
    indexing do not by themselves. Compiled layers want the same mode in both passes. Raises RuntimeError
    where an operation has no such way.

    In this mode torch fills all memory that it hands out, also to its own operations, which write over it: a
    launch for each copy, cast and index. Nothing here reads what it has not written, so that is off."""
    if on.type == "cpu" or not REPRODUCIBLE:  # the user has chosen speed
        yield
        return
    before, filled = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would change the compiler too
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        deterministic.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(before)


@contextmanager
def unordered() -> Iterator[None]:
    """While the block runs, a GPU may write in any order, inside `reproducible` too. For rows that are
    written once each: torch would sort them first, in some thirty launches."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def precision_warning(precision: str, device: torch.device) -> str:
    """One line where a wanted precision is slower than fp32, else nothing."""
    slow = precision == "bf16" and not has_bf16(device)
    return "this hardware has no bf16 matmuls: they are emulated and much slower than fp32" if slow else ""


def matmul_rate(
    device: torch.device,
    precision: str,
    shape: tuple[int, int, int] | None = None,
    seconds: float = 0.3,
) -> float:
    """FLOP/s of a matmul (m, k) x (k, n): the best of as many as fit into `seconds`, the first one left
    out. Without a shape, one that is large for the device."""
    m, k, n = shape or (8192 if device.type == "cuda" else 2048,) * 3
    a, b = (torch.randn(size, device=device, dtype=DTYPES[precision]) for size in ((m, k), (k, n)))
    return 2 * m * k * n / best(lambda: a @ b, device, seconds)


def batched_matmul_rate(
    device: torch.device, precision: str, shape: tuple[int, int, int, int], seconds: float = 0.2
) -> float:
    """The same of `count` matmuls at once, shape (count, m, k, n)."""
    count, m, k, n = shape
    a, b = (torch.randn(count, *size, device=device, dtype=DTYPES[precision]) for size in ((m, k), (k, n)))
    return 2 * count * m * k * n / best(lambda: a @ b, device, seconds)


def bandwidth(device: torch.device, megabytes: int | None = None, seconds: float = 0.3) -> float:
    """Bytes a second that an elementwise sum of two arrays, too large for any cache, reads and writes."""
    count = (megabytes or (512 if device.type == "cuda" else 128)) * 2**20 // 4
    a, b, out = (torch.ones(count, device=device) for _ in range(3))
    return 12 * count / best(lambda: torch.add(a, b, out=out), device, seconds)


def best(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The shortest time of `work` among as many as fit into `seconds`; a first one is left out.

    On a GPU a mean over GROUP calls that stand in its queue together, or it would wait for the host."""
    timed = _seconds_on_gpu if device.type == "cuda" else _seconds
    work()
    shortest, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or shortest == float("inf"):
        shortest = min(shortest, timed(work))
    return shortest


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _seconds_on_gpu(work: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(GROUP):
        work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / GROUP


def fetch(values: torch.Tensor) -> Callable[[], list[float]]:
    """Begin to copy numbers (n,) to the host -> a function that waits for them and returns them. What a GPU
    is told to do in between is not waited for."""
    if not values.is_cuda:
        return values.tolist
    host = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> list[float]:
        copied.synchronize()
        return host.tolist()

    return wait


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Numbers of the host on a device; a GPU gets them from page-locked memory, so that nobody waits."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def memory(device: torch.device) -> int:
    """Bytes that a device has in all; on the CPU no more than the limits of this process."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = min(most, address_space() or most)
    with suppress(OSError, ValueError):  # of a container; "max" is none
        most = min(most, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return most


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that this process has held, on the GPU or, on the CPU, as resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # ru_maxrss of Linux begins with the peak of the parent process
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def added_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `work` adds at its highest: on a GPU to what is allocated, on a CPU to what is resident.

    None where the system does not say. Pages that Python or torch kept from earlier work do not count."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    except OSError:
        work()
        return None
    before = peak_memory(device)
    work()
    return peak_memory(device) - before
