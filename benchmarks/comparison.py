"""What `rawmm compare` costs beside its runs, and what is left of it after kill -9.

    python -m benchmarks.comparison kill [FILE] [--points 20]   # killed so often, then on to its end
    python -m benchmarks.comparison jobs [FILE]                 # --jobs 2 against one cell after the other
    python -m benchmarks.comparison overhead DIR                # of a comparison that is done; and once more

After the kills no cell may be lost, and results.json must be that of a command that nobody killed, but for
times. `overhead` says what share of the time is no run, and how long the finished command takes again.
FILE: a comparison, `tiny` where none is given. Sets are those in ./data."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = ("created", "machine", "answer", "differences")  # of results.json: times, or what follows from them
OF_A_CELL = ("seconds", "memory", "curve", "machine")


def command(file: str, folder: Path, *options: str) -> list[str]:
    """The command of a comparison below `folder`."""
    return [sys.executable, "-m", "rawmm_cli", "compare", file, "--comparisons-dir", str(folder), *options]


def run(file: str, folder: Path, *options: str) -> float:
    """Run a comparison to its end -> seconds."""
    began = time.perf_counter()
    subprocess.run(command(file, folder, *options), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def results(folder: Path) -> dict:
    """results.json of the one comparison below `folder`."""
    return json.loads(next(folder.glob("*/results.json")).read_text(encoding="utf-8"))


def without_times(whole: dict) -> dict:
    """What does not depend on how fast the machine was. Cells of equal time are there, and done; what they
    reached in their time is a matter of speed."""
    kept = {key: value for key, value in whole.items() if key not in TIMES}
    kept["budget"] = {key: value for key, value in whole["budget"].items() if key != "time"}
    for system in kept["systems"]:
        system.pop("codec", None) if system["codec"] is None else None
    kept["cells"] = [
        {key: value for key, value in cell.items() if key not in OF_A_CELL}
        if cell["budget"] != "time" or cell["system"] == whole["budget"]["reference"]
        else {key: cell[key] for key in ("system", "seed", "budget", "run", "state")}
        for cell in whole["cells"]
    ]
    kept.pop("metrics")  # of those cells too
    return kept


def kill(file: str, points: int, longest: float, seed: int = 0) -> None:
    """Kill a comparison with SIGKILL `points` times in all, at any time of it, until it is done; then another
    one. Now the command alone is killed, now its cells with it."""
    folder = Path(tempfile.mkdtemp(prefix="rawmm-kill-"))
    seconds = run(file, folder / "whole")
    print(f"{seconds:.1f} s without a kill", flush=True)
    whole, lots, kills, rounds = without_times(results(folder / "whole")), random.Random(seed), 0, 0
    while kills < points:
        here, rounds, last = folder / str(rounds), rounds + 1, 0
        while _killed(command(file, here), lots.random() * min(longest, 0.7 * seconds), both=kills % 2 == 1):
            kills += 1
            finished = len(list(here.glob("*/cells/*/result.json")))
            print(
                f"kill {kills}, {'with' if kills % 2 == 0 else 'without'} its cells, in {_stage(here)}: "
                f"{finished} cells finished",
                flush=True,
            )
            assert finished >= last, "a finished cell was lost"
            last = finished
        if without_times(results(here)) != whole:
            print(f"results.json DIFFERS: {folder}")
            sys.exit(1)
        print(f"round {rounds}: results.json is the same but for times", flush=True)
    shutil.rmtree(folder)


def _killed(words: list[str], seconds: float, both: bool) -> bool:
    """Start a command and kill it after so many seconds -> whether it was still at work."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, start_new_session=True, **quiet)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        (os.killpg if both else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        return True


def _stage(folder: Path) -> str:
    """Where the cell stood that was worked on last."""
    states = sorted(folder.glob("*/cells/*/state.json"), key=lambda path: path.stat().st_mtime)
    if not states:
        return "the start"
    return f"{json.loads(states[-1].read_text())['stage']} of {states[-1].parent.name}"


def jobs(file: str) -> None:
    """One cell after the other with all threads, against two side by side with a thread each."""
    folder = Path(tempfile.mkdtemp(prefix="rawmm-jobs-"))
    alone = run(file, folder / "one")
    beside = run(file, folder / "two", "--jobs", "2")
    print(f"one after the other {alone:.1f} s, --jobs 2 {beside:.1f} s: {alone / beside:.2f} x as fast")
    shutil.rmtree(folder)


def overhead(folder: Path) -> None:
    """Seconds of a comparison that is done beside its cells' codecs, trainings, searches and measurements."""
    parts = dict.fromkeys(("codec", "train", "search", "measure", "other"), 0.0)
    codecs: set[str] = set()
    for path in folder.glob("cells/*/result.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        run_of_codec = (result.get("codec") or {}).get("run")
        for name, seconds in result["seconds"].items():
            if name in parts and not (name == "codec" and run_of_codec in codecs):
                parts[name] += seconds or 0.0
        codecs |= {run_of_codec} if run_of_codec else set()
    work = sum(parts.values()) - parts["other"]
    listed = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    print(f"{listed}: beside the runs {parts['other'] / work:.1%} of their time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("kill", "jobs", "overhead"))
    parser.add_argument("file", nargs="?", default="tiny")
    parser.add_argument("--points", type=int, default=20, help="how often the command is killed")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds until then, at most")
    arguments = parser.parse_args()
    match arguments.what:
        case "kill":
            kill(arguments.file, arguments.points, arguments.longest)
        case "jobs":
            jobs(arguments.file)
        case "overhead":
            overhead(Path(arguments.file))
