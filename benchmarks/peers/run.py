"""The driver: train rawmm and transfusion-pytorch in turn on the same documents, and compare their speeds.

    make bench-peers        or        python -m benchmarks.peers.run --peer-python PATH [--json FILE]

Every timing is a process of its own, and sides take turns: a round is rawmm, peer, rawmm, peer. Ratios are
taken inside a round, so that a slow minute of the machine slows both."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rawmm_cli import __version__

from . import documents, rawmm_side
from .settings import MODES, OURS, PATCHES, PEER, QUIET, SETTINGS, check_parameters
from .table import summary, table

ROOT = Path(__file__).resolve().parents[2]
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def main() -> None:
    """Print a table; with --json, write all measurements."""
    options = _options()
    started = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if not set(WAITING) & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "10000"  # rawmm's choice on idle cores, for both sides
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        work = Path(folder)
        prints = write_documents(work)
        results = {name: compare(name, options, work, prints) for name in options.settings}
    result = {
        "machine": machine(options.threads),
        "method": {"rounds": options.rounds, "seconds": options.seconds},
        "settings": results,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    print(table(result))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.run", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--peer-python", type=Path, required=True, help=f"a Python that has {PEER}")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=MODES,
        default=list(MODES),
        help="ways to train the peer; the first is timed in every round, and so is the fastest",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a timing")
    parser.add_argument(
        "--try-seconds", type=float, default=8.0, help="length of the trial of each way to train the peer"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--again",
        type=int,
        default=1,
        help=f"repetitions of a timing during which other processes took more than {QUIET:.0%}% of the "
        f"cores; the least disturbed one counts",
    )
    parser.add_argument("--json", type=Path, help="file for all measurements")
    return parser.parse_args()


def write_documents(work: Path) -> str:
    """Write the documents for both sides -> their fingerprint. Raises ValueError where rawmm reads others."""
    pictures, labels = documents.make()
    documents.save(work / "documents.npz", pictures, labels)
    expected = documents.fingerprint(zip(pictures, labels))
    actual = rawmm_side.write_set(work / "data", pictures, labels)
    if actual != expected:
        raise ValueError(f"rawmm reads other documents ({actual}) than those of the benchmark ({expected})")
    return expected


def compare(setting: str, options: argparse.Namespace, work: Path, fingerprint: str) -> dict:
    """Compare in one setting: check sizes, try all modes of the peer, then time the rounds."""
    parameters = {f"rawmm {name}": rawmm_side.prepare(setting, name, work, options.threads) for name in OURS}
    tries = {
        mode: undisturbed(
            lambda mode=mode: peer(setting, mode, options, work, options.try_seconds),
            options.again,
            f"{setting}, trial: {PEER} {mode}",
        )
        for mode in options.modes
    }
    worked = {mode: measured for mode, measured in tries.items() if "failed" not in measured}
    if options.modes[0] not in worked:
        raise RuntimeError(f"{PEER} does not train: {tries[options.modes[0]]['failed']}")
    fastest = max(worked, key=lambda mode: speed(worked[mode]))
    for mode, measured in worked.items():
        parameters[f"{PEER} {mode}"] = measured["parameters"]
        check_same(fingerprint, measured)
    for name in OURS:
        check_parameters(parameters[f"rawmm {name}"], worked[options.modes[0]]["parameters"])
    modes = list(dict.fromkeys((options.modes[0], fastest)))
    rounds = [play(setting, modes, options, work, number) for number in range(1, options.rounds + 1)]
    return {"parameters": parameters, "tries": tries, "rounds": rounds, **summary(rounds, modes)}


def play(setting: str, modes: list[str], options: argparse.Namespace, work: Path, number: int) -> dict:
    """Time one round, rawmm and the peer in turn -> measurements by side. Raises RuntimeError where one
    fails."""
    ours = [
        (f"rawmm {name}", lambda name=name: rawmm_side.timed(setting, name, work, options.seconds))
        for name in OURS
    ]
    theirs = [
        (f"{PEER} {mode}", lambda mode=mode: peer(setting, mode, options, work, options.seconds))
        for mode in modes
    ]
    turns = [side for pair in zip(ours, theirs * 2) for side in pair][: len(ours) + len(theirs)]
    done = {
        name: undisturbed(measure, options.again, f"{setting}, round {number}: {name}")
        for name, measure in turns
    }
    for name, measured in done.items():
        if "failed" in measured:
            raise RuntimeError(f"{name}: {measured['failed']}")
    return done


def undisturbed(measure, again: int, name: str) -> dict:
    """Measure, and repeat up to `again` times while other processes disturb -> the least disturbed result."""
    timings = []
    for _ in range(1 + again):
        timings.append(measure())
        if "failed" in timings[-1]:
            note(f"{name} failed: {timings[-1]['failed']}")
            break
        others = timings[-1]["others"] or 0
        note(
            f"{name} {speed(timings[-1]):.1f} documents/s"
            + (f" (other processes took {others:.0%} of the cores)" if others else "")
        )
        if others <= QUIET:
            break
    return min(timings, key=lambda one: one.get("others") or 0)


def peer(setting: str, mode: str, options: argparse.Namespace, work: Path, seconds: float) -> dict:
    """Train the peer in a process of its own -> its measurements, or {"failed": reason}."""
    size = SETTINGS[setting]["peer"]
    words = [
        str(options.peer_python.absolute()),
        "-m",
        "benchmarks.peers.peer_side",
        "--documents",
        str(work / "documents.npz"),
        "--mode",
        mode,
        "--width",
        str(size["width"]),
        "--depth",
        str(size["depth"]),
        "--threads",
        str(options.threads),
        "--seconds",
        str(seconds),
    ]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return {"failed": "not done after 600 s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def speed(measured: dict) -> float:
    """Documents a second."""
    return measured["documents"] / measured["seconds"]


def check_same(fingerprint: str, measured: dict) -> None:
    """Raise ValueError where the peer trained on other documents or other patches."""
    if measured["fingerprint"] != fingerprint or measured["patches"] != PATCHES:
        raise ValueError(
            f"the peer trains on other documents ({measured['fingerprint']}) than rawmm ({fingerprint})"
        )


def machine(threads: int) -> dict:
    """The machine and the versions that were measured."""
    try:
        model = next(
            line.partition(":")[2].strip()
            for line in open("/proc/cpuinfo", encoding="utf-8")
            if "model name" in line
        )
    except (OSError, StopIteration):
        model = platform.processor()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": version("torch"),
        "rawmm": __version__,
        "system": platform.platform(),
        "waiting": {name: os.environ[name] for name in WAITING if name in os.environ},
    }


def note(message: str) -> None:
    """Print progress on stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
