"""Speed of training: patch128 and patch64, eager and compiled, dense and flex, and at larger batches.

Configurations run by importance until the time is up. After a fault of the GPU nothing more runs in its
process: the part starts itself again for the rest."""

import gc
import os
import sys
import time
from typing import NamedTuple

from .parts import Part, one_line, part

FAULTS = (
    "illegal memory",
    "device-side assert",
    "unspecified launch failure",
    "misaligned address",
    "CUDA error",
)


class Setup(NamedTuple):
    """What is measured: a preset, its mask, how layers run, documents a step.

    ahead: a step begins before the numbers of the one before are read. wrapper: C++, not Python, launches the
    compiler's kernels."""

    preset: str
    mask: str
    compiled: bool
    batch: int = 64
    ahead: bool = True
    wrapper: bool = False

    @property
    def name(self) -> str:
        form = "compiled" if self.compiled else "eager"
        others = " C++ launches" * self.wrapper + " one by one" * (not self.ahead)
        return f"{self.preset} {self.mask} {form} {self.batch}{others}"

    def words(self, tiny: bool) -> list[str]:
        """Settings over the preset's."""
        side = 128 if self.preset == "patch128" else 64
        words = [f"data.set=photos{side}", f"train.mask={self.mask}", f"train.batch={self.batch}"]
        words.append(f"train.compile={'yes' if self.compiled else 'no'}")
        if tiny:
            words += [f"data.size={side // 4}", f"codec.patch={side // 16}", "train.length=96"]
            words += ["backbone.width=64", "backbone.depth=2", "backbone.key=16", "train.batch=8"]
        return words


SETUPS = (
    Setup("patch128", "dense", True, 256),
    Setup("patch128", "dense", True, 256, ahead=False),
    Setup("patch128", "dense", True, 512),
    Setup("patch128", "dense", True, 64),
    Setup("patch64", "dense", True, 256),
    Setup("patch128", "dense", True, 512, ahead=False),
    Setup("patch128", "dense", True, 64, ahead=False),
    Setup("patch128", "dense", True, 64, wrapper=True),
    Setup("patch64", "dense", True, 512),
    Setup("patch64", "dense", True, 64),
    Setup("patch128", "dense", True, 256, wrapper=True),
    Setup("patch128", "dense", False),
    Setup("patch128", "flex", True),
    Setup("patch64", "dense", False),
    Setup("patch64", "flex", True),
)
TINY = (Setup("patch128", "dense", False), Setup("patch128", "dense", False, ahead=False))
SHOWN = (
    "step_seconds",
    "positions_per_second",
    "mfu",
    "peak_memory",
    "data_wait",
    "fill",
)


def main() -> None:
    """Measure one configuration after the other."""
    job = part("train")
    if job.file.is_file():  # started again
        import json

        job.values = json.loads(job.file.read_text(encoding="utf-8"))
    done, longest = job.values.setdefault("setups", {}), 20.0
    while (setup := following(job, done)) is not None:
        if job.remaining < min(longest, 45) + 5:
            job.say(f"no time left for {setup.name} and what follows")
            job.save(note=f"left out for lack of time: {setup.name} and what follows")
            break
        began = time.monotonic()
        try:
            result = measure(job, setup)
        except Exception as error:
            result = {"error": one_line(error)}
        clear(job)
        result["took"] = time.monotonic() - began
        longest = max(longest, result["took"]) if setup.compiled else longest
        done[setup.name] = result
        save(job, done)
        say(job, setup, result)
        if any(word in result.get("error", "") for word in FAULTS):
            sys.stdout.flush()
            seconds = str(int(job.remaining))
            words = [*sys.argv[1:], "--seconds", seconds]
            os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu.train", *words])


def following(job: Part, done: dict) -> Setup | None:
    """What is measured next."""
    for setup in TINY if job.tiny else SETUPS:
        if setup.name not in done and not (setup.mask == "flex" and job.device == "cpu"):
            return setup
    return None


def measure(job: Part, setup: Setup) -> dict:
    """`rawmm bench train` of a configuration and, compiled, a few steps by kernel."""
    from unittest import mock

    import torch
    import torch._inductor.config as inductor

    from rawmm_cli.config import presets
    from rawmm_cli.profiling import bench
    from rawmm_cli.system import machine
    from rawmm_cli.system.threads import use_cpu
    from rawmm_cli.training import train

    from .kernels import kernels

    use_cpu()
    torch._dynamo.reset()
    device, profile = machine.device(job.device), {}
    config = presets.load(setup.preset, setup.words(job.tiny))

    def look(step, seconds):
        if setup.ahead if job.tiny else setup.compiled and (setup.ahead or setup.batch == 256):
            profile.update(profile=kernels(step, device, seconds, 3))

    steps = 3 if job.tiny else 20 if setup.compiled else 10
    notify = lambda line: print(line, file=sys.stderr)  # noqa: E731
    with mock.patch.object(train, "AHEAD", setup.ahead), inductor.patch(cpp_wrapper=setup.wrapper):
        result = bench.train(config, job.data, device, steps, notify, look)
    return result | profile | {"settings": setup.words(job.tiny), "preset": setup.preset}


def clear(job: Part) -> None:
    """Give back what the last configuration held."""
    import torch

    gc.unfreeze()
    gc.collect()
    if job.device == "cuda":
        torch.cuda.empty_cache()


def save(job: Part, done: dict) -> None:
    """Write the results, with their tables."""
    rows = [{"setup": name, **row(result)} for name, result in done.items()]
    tables = {"training": rows}
    for name, result in done.items():
        if "kernels" in result.get("profile", {}):
            profile = result["profile"]
            busy = f"{profile['busy']:.0%} of the step busy, {profile['launches']:,} kernels"
            tables[f"{name}: {busy}"] = [
                {"group": g, "share": share} for g, share in profile["groups"].items()
            ]
            tables[f"{name}: idle time of the GPU"] = profile["idle"]
            tables[f"{name}: its largest gaps"] = profile["gaps"]
            tables[f"{name}: the largest kernels"] = profile["kernels"]
            tables[f"{name}: the kernels launched most often"] = profile["launched"]
    problems = [
        f"{name}: {result['error']}"
        for name, result in done.items()
        if "error" in result and not result["error"].startswith("OutOfMemory")  # a batch may be too large
    ]
    problems += [
        f"{name}: {result['profile']['problem']}"
        for name, result in done.items()
        if "problem" in result.get("profile", {})
    ]
    job.save(setups=done, tables=tables, problems=problems)


def row(result: dict) -> dict:
    """A line of the table."""
    if "error" in result:
        return {"error": result["error"][:200]}
    ratios = result["estimate_over_measured"]
    return {
        **{name: result[name] for name in SHOWN},
        "matmul TFLOP/s": result["matmul_flops_per_second"] / 1e12,
        "data": result["data"],
        "estimate/measured, time": ratios["step_seconds"],
        "estimate/measured ratio, memory": ratios["peak_memory"],
        "busy": result.get("profile", {}).get("busy"),
        "took": result["took"],
    }


def say(job: Part, setup: Setup, result: dict) -> None:
    """Print the figures of a configuration in a line."""
    if "error" in result:
        return job.say(f"{setup.name}: {result['error'][:300]}")
    busy = f", busy {result['profile']['busy']:.0%}" if "busy" in result.get("profile", {}) else ""
    job.say(
        f"{setup.name}: {result['step_seconds'] * 1e3:.1f} ms, {result['positions_per_second']:,.0f} pos/s, "
        f"MFU {result['mfu']:.1%}, {result['peak_memory'] / 2**30:.1f} GiB, wait {result['data_wait']:.1%}"
        f"{busy} ({result['took']:.0f} s)"
    )


if __name__ == "__main__":
    main()
