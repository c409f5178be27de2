"""Whether `rawmm train` keeps its time, knows what is left, and shares its cores.

    python -m benchmarks.timing                                # all parts, T = 1 and 2 minutes; 25 minutes
    python -m benchmarks.timing time --times 60 120 300 600    # seconds; or: eta shared

time    `--time T` against the wall time of the command (aim: within 10 %), the share in steps (aim: 60 %)
eta     the time left as told after a tenth of a run by documents, against what it took (aim: within 20 %)
shared  documents/s beside one busy process, over that of the same command alone (aim: 0.4)

Presets digits, portraits32 (600 portraits) and fsq-256 (a codec, on 600 portraits of 64 px). The machine
should be idle: the load before each command is printed. Steps are counted by what they took on average; the
first one, which compiles, counts as none."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETS = {
    "digits": ("digits",),
    "portraits32": ("portraits", "--count", "600", "--size", "32", "--name", "portraits32"),
    "fsq-256": ("portraits", "--count", "600", "--size", "64", "--name", "photos64"),
}
DOCUMENTS = {
    "digits": 40_000,
    "portraits32": 10_000,
    "fsq-256": 8_000,
}  # of a run whose time left is looked at
BUSY = "while True: pass"


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="[default: all]")
    parser.add_argument("--presets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--times", nargs="+", type=float, default=[60.0, 120.0], help="seconds")
    parser.add_argument("--beside", type=float, default=60.0, help="seconds of each run of `shared`")
    parser.add_argument("--folder", type=Path, help="for sets and runs [default: a temporary one]")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        lines = []
        for preset in options.presets:
            prepare(folder, preset)
            for part in options.parts or PARTS:
                for line in PARTS[part](folder, preset, options):
                    lines.append({"part": part, "preset": preset, **line})
                    print(json.dumps(lines[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(lines, indent=1) + "\n")


def prepare(folder: Path, preset: str) -> None:
    """Prepare the set of a preset, where it is not there."""
    source = SETS[preset]
    name = source[-1]
    if not (folder / "data" / name).is_dir():
        rawmm("prepare", *source, "--data-dir", folder / "data")


def rawmm(*words: object) -> float:
    """Run a command -> seconds from its start to its end."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rawmm_cli", *map(str, words)], check=True, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def train(folder: Path, preset: str, *words: object) -> dict:
    """Train a new run -> seconds, its records, whether it was compiled, the load before."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as runs:
        places = ("--data-dir", folder / "data", "--runs-dir", runs)
        seconds = rawmm("train", "--preset", preset, "--run", "run", *places, *words)
        run = Path(runs) / "run"
        records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
        environment = json.loads((run / "environment.json").read_text())
    return {"seconds": seconds, "records": records, "compiled": environment["compiled"], "load": load}


def stepping(records: list[dict]) -> float:
    """Seconds that the documents of a run took, at the speed of each record."""
    total, before = 0.0, 0
    for record in records:
        total += (record["documents"] - before) / record["documents_per_second"]
        before = record["documents"]
    return total


def eta_error(records: list[dict], documents: int, seconds: float) -> float | None:
    """Of a run of so many documents and seconds: what was told at a tenth, over what it took, minus 1. None
    where nothing was told."""
    for record in records:
        if record["documents"] >= documents / 10 and "eta" in record:
            return record["eta"] / (seconds - record["seconds"]) - 1
    return None


def by_time(folder: Path, preset: str, options: argparse.Namespace):
    """Commands of so many seconds."""
    for limit in options.times:
        run = train(folder, preset, "--time", f"{limit:g}s")
        yield {
            "given": limit,
            "wall": round(run["seconds"], 1),
            "off": round(run["seconds"] / limit - 1, 3),
            "in_steps": round(stepping(run["records"]) / run["seconds"], 3),
            "documents": run["records"][-1]["documents"],
            "compiled": run["compiled"],
            "load_before": run["load"],
        }


def eta(folder: Path, preset: str, options: argparse.Namespace):
    """A run by documents, whose records say what is left."""
    documents = DOCUMENTS[preset]
    words = (f"train.documents={documents}", f"train.log_every={documents // 50}")
    run = train(folder, preset, *words)
    error = eta_error(run["records"], documents, run["seconds"])
    yield {
        "wall": round(run["seconds"], 1),
        "off": None if error is None else round(error, 3),
        "load_before": run["load"],
    }


def shared(folder: Path, preset: str, options: argparse.Namespace):
    """The same command alone and beside a process that is always busy."""
    words = ("--time", f"{options.beside:g}s", "train.compile=no", "train.log_every=1")
    alone = train(folder, preset, *words)
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(1)
        started_beside = train(folder, preset, *words)
    finally:
        neighbour.kill()
        neighbour.wait()
    came_later = meanwhile(folder, preset, words, options.beside)
    speed = [run["records"][-1]["documents_per_second"] for run in (alone, started_beside, came_later)]
    yield {
        "documents_per_second_alone": round(speed[0], 1),
        "ratio_beside": round(speed[1] / speed[0], 3),
        "ratio_neighbour_comes_later": round(speed[2] / speed[0], 3),
        "load_before": alone["load"],
    }


def meanwhile(folder: Path, preset: str, words: tuple, seconds: float) -> dict:
    """Train; the neighbour comes after a third of the time."""
    code = f"import time; time.sleep({seconds / 3})\n{BUSY}"
    neighbour = subprocess.Popen([sys.executable, "-c", code])
    try:
        return train(folder, preset, *words)
    finally:
        neighbour.kill()
        neighbour.wait()


PARTS = {"time": by_time, "eta": eta, "shared": shared}

if __name__ == "__main__":
    main()
