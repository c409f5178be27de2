"""Steps by kernel: what keeps the GPU busy, how much of the time it is, and what keeps it waiting."""

import re
from collections import defaultdict
from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from .gaps import MARK, gaps, marked

GROUPS = (  # the first that fits
    ("communication", r"nccl|gloo"),
    ("copies", r"memcpy|memset|copy_kernel|catarray|aten::copy_|aten::cat$|nchwtonhwc"),
    ("attention, softmax", r"flex|flash|fmha|softmax|sdpa|scaled_dot|efficient_attention"),
    ("matmul", r"gemm|cutlass|nvjet|cublas|xmma|wgmma|splitk|triton_tem|_mm_|_mm$|::mm|::bmm|addmm|baddbmm"),
    ("optimizer", r"multi_tensor|foreach|adam|lerp|lpnorm"),
    (
        "elementwise",
        r"triton|elementwise|vectorized|reduce|aten::|embedding|index|distribution|scatter|gather",
    ),
)
# ranges that people and torch mark, not work
RANGES = (
    "Optimizer.",
    "ProfilerStep",
    "Torch-Compiled Region",
    "## Call",
    "CompiledFunction",
    "nccl:",
    "FSDP::",
    MARK,
)
MOST = 25


def kernels(step: Callable[[], object], device: torch.device, step_seconds: float, steps: int = 1) -> dict:
    """Profile `steps` steps -> {kernels: the largest as rows, launched: those most often launched, groups:
    shares, busy: share of a step's time in which the GPU works, and what `gaps` returns}. step_seconds: of a
    step that is not profiled."""
    gpu = device.type == "cuda"
    wait = torch.cuda.synchronize if gpu else lambda: None
    step()
    with (
        marked(),
        profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * gpu]) as profiled,
    ):
        for _ in range(steps):
            step()
        wait()
    work = on_gpu(profiled) if gpu else on_cpu(profiled)
    if not work:
        return {"problem": "the profiler saw no kernels"}
    spent, count = defaultdict(float), defaultdict(int)
    for name, seconds, _ in work:
        spent[name] += seconds / steps
        count[name] += 1
    total = sum(spent.values())
    groups = defaultdict(float)
    for name, seconds in spent.items():
        groups[group(name)] += seconds

    def rows(names: list[str]) -> list[dict]:
        return [
            {
                "kernel": short(name),
                "group": group(name),
                "calls": round(count[name] / steps, 1),
                "ms": spent[name] * 1e3,
                "share": spent[name] / total,
            }
            for name in names[:MOST]
        ]

    return {
        "kernels": rows(sorted(spent, key=spent.get, reverse=True)),
        "launched": rows(sorted(count, key=count.get, reverse=True)),
        "groups": {name: groups[name] / total for name in sorted(groups, key=groups.get, reverse=True)},
        "launches": round(len(work) / steps),
        "busy": union(work) / steps / step_seconds,
        "kernel_seconds": total,
        **gaps(profiled, work, steps),
    }


def on_gpu(profiled) -> list[tuple[str, float, tuple[float, float]]]:
    """(name, seconds, (begin, end)) of every kernel and copy."""
    work = []
    for event in profiled.events():
        marked = getattr(event, "is_user_annotation", False) or event.name.startswith(RANGES)
        if event.device_type == DeviceType.CUDA and not marked:
            begin, end = event.time_range.start * 1e-6, event.time_range.end * 1e-6
            work.append((event.name, end - begin, (begin, end)))
    return work


def on_cpu(profiled) -> list[tuple[str, float, tuple[float, float]]]:
    """The same of operations of a CPU, without the operations inside them."""
    return [
        (
            event.name,
            event.self_cpu_time_total * 1e-6,
            (event.time_range.start * 1e-6, event.time_range.end * 1e-6),
        )
        for event in profiled.events()
        if event.self_cpu_time_total > 0 and not event.name.startswith(RANGES)
    ]


def union(work: list) -> float:
    """Seconds in which at least one of the spans runs."""
    covered, until = 0.0, float("-inf")
    for begin, end in sorted(span for _, _, span in work):
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered


def group(name: str) -> str:
    """What kind of work a kernel does, by its name."""
    return next((kind for kind, words in GROUPS if re.search(words, name.lower())), "other")


def short(name: str) -> str:
    """A kernel's name without return type, namespaces and most of its arguments."""
    name = re.sub(r"^void |at::native::|\(anonymous namespace\)::|c10::|std::|cutlass::", "", name)
    return name if len(name) <= 100 else f"{name[:60]}...{name[-37:]}"
