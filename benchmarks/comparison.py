"""What `rawmm compare` costs beside its runs, and what is left of it after kill -9.

    python -m benchmarks.comparison kill [FILE] [--points 20]     the command is killed so often, then goes on
    to
                                                                  its end: no cell is lost, and results.json
                                                                  is that of a command that nobody killed, but
                                                                  for times
    python -m benchmarks.comparison jobs [FILE]                   --jobs 2 against one after the other
    python -m benchmarks.comparison overhead DIR                  of a comparison that is done, and how long
    the same
                                                                  command takes once more

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

TIMES = (
    "created",
    "machine",
    "answer",
    "differences",
)  # of results.json: they hold times, or follow from them
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


def kill(file: str, points: int, seed: int = 0) -> None:
    """Kill a comparison with SIGKILL `points` times: now the command alone, now its cells with it."""
    folder = Path(tempfile.mkdtemp(prefix="rawmm-kill-"))
    seconds = run(file, folder / "whole")
    print(f"{seconds:.1f} s without a kill", flush=True)
    lots, last = random.Random(seed), 0
    for point in range(points):
        process = subprocess.Popen(
            command(file, folder / "killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait = 2 + lots.random() * 2 * seconds / points
        time.sleep(wait)
        if process.poll() is not None:
            print(f"done after {point} kills", flush=True)
            break
        whole = point % 2 == 1
        (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        finished = len(list((folder / "killed").glob("*/cells/*/result.json")))
        stage = [
            json.loads(path.read_text())["stage"]
            for path in sorted(
                (folder / "killed").glob("*/cells/*/state.json"), key=lambda p: p.stat().st_mtime
            )
        ][-1:]
        print(
            f"kill {point + 1} after {wait:.1f} s, {'cells too' if whole else 'the command alone'}, in "
            f"{''.join(stage) or 'the start'}: {finished} cells finished",
            flush=True,
        )
        assert finished >= last, "a finished cell was lost"
        last = finished
    run(file, folder / "killed")
    same = without_times(results(folder / "whole")) == without_times(results(folder / "killed"))
    print("results.json is the same but for times" if same else "results.json DIFFERS")
    if not same:
        print(f"see {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


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
    parser.add_argument("--points", type=int, default=20)
    arguments = parser.parse_args()
    match arguments.what:
        case "kill":
            kill(arguments.file, arguments.points)
        case "jobs":
            jobs(arguments.file)
        case "overhead":
            overhead(Path(arguments.file))
