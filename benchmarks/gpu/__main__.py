"""Check rawmm on an NVIDIA GPU: does all of it work, and how fast?

    python -m benchmarks.gpu --out results                         # on the GPU, about six minutes
    python -m benchmarks.gpu --device cpu --tiny --out results     # the same, small, to test the script

Parts, most important first: tests, ranks, train, sampling, estimate, learn. Each runs in a process of its own
with a time limit, and is noted and left behind where it fails. What times nothing runs side by side. Writes
gpu.json, gpu.md, log.txt and sheets of pictures of `learn`, after every part."""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from . import report
from .processes import Process


class Limits(NamedTuple):
    """Seconds that a part may take, and without which it is not begun."""

    most: float
    least: float


PARTS = {  # what is reported
    "tests": Limits(110, 40),
    "ranks": Limits(100, 40),
    "train": Limits(150, 60),
    "sampling": Limits(80, 30),
    "estimate": Limits(40, 14),
    "learn": Limits(150, 60),
}
HELPERS = {"machine": Limits(60, 10), "sets": Limits(90, 20), "warm": Limits(105, 20)}
NEEDS = {"train": ("sets", "warm"), "learn": ("sets",)}
STAGES = (("machine", "sets", "warm", "tests", "ranks"), ("train",), ("sampling",), ("estimate",), ("learn",))


def main() -> None:
    """Run the parts; exit code 1 where one of them is not ok."""
    options = arguments()
    started = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    results = report.Results(options, work)
    try:
        for stage in STAGES:
            names = [name for name in stage if name in wanted(options.only)]
            if names:
                run(names, options, work, options.seconds - (time.monotonic() - started), results)
    finally:
        results.write(time.monotonic() - started)
        shutil.rmtree(work, ignore_errors=True)
    print(results.last_words(time.monotonic() - started), flush=True)
    raise SystemExit(0 if results.all_ok(PARTS) else 1)


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models, few steps")
    parser.add_argument("--only", default=",".join(PARTS), help="PART[,PART]")
    parser.add_argument("--seconds", type=float, default=340.0, help="for everything [default: 340]")
    parser.add_argument("--learn-seconds", type=float, default=75.0, help="of each training of `learn`")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"))
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    return options


def wanted(only: list[str]) -> set[str]:
    """The parts that were asked for, and the helpers that they need."""
    return {"machine", *only, *(helper for name in only for helper in NEEDS.get(name, ()))}


def run(names: list[str], options: argparse.Namespace, work: Path, remaining: float, results) -> None:
    """Run parts side by side, each within its limit and within what remains beside the later parts' least."""
    limits = PARTS | HELPERS
    later = [
        name for name in options.only if all(name not in stage for stage in STAGES[: stage_of(names) + 1])
    ]
    free = remaining - sum(limits[name].least for name in later)
    running = []
    for name in names:
        least, most = limits[name].least, limits[name].most
        seconds = min(most, max(least, free))
        if remaining < least / 2:
            results.leave_out(name, f"{max(0, remaining):.0f} s remained, it needs {least:.0f} s")
            continue
        words = ["--device", options.device, "--work", str(work)]
        words += ["--learn-seconds", str(options.learn_seconds), *["--tiny"] * options.tiny]
        words += ["--only", ",".join(options.only)]
        running.append(Process(name, words, work, min(seconds, max(remaining, least / 2))))
    while running:
        time.sleep(0.05)
        for process in [one for one in running if one.ended()]:
            running.remove(process)
            results.add(process)
            results.write()


def stage_of(names: list[str]) -> int:
    """The number of the stage that holds these parts."""
    return next(number for number, stage in enumerate(STAGES) if names[0] in stage)


if __name__ == "__main__":
    main()
