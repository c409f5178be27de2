"""The driver: train rawmm and transfusion-pytorch in turn on the same documents, and compare what they did a
second.

    make bench-peers        or        python -m benchmarks.peers.run --peer-python PATH [--json FILE]

Every timing is a process of its own, and sides take turns: a round is ours, theirs, ours, theirs. A ratio is
taken inside one round, so that a machine that slows down for a minute slows down both."""

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

from . import documents, rawmm_side
from .settings import MODES, OURS, PATCHES, PEER, QUIET, SETTINGS, check_parameters
from .table import summary, table

ROOT = Path(__file__).resolve().parents[2]
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def main() -> None:
    """Options -> a table on stdout, notes on stderr, JSON where wanted."""
    given = _options()
    started = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    if not set(WAITING) & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "10000"  # what rawmm chooses on idle cores; the same for both sides
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        work = Path(folder)
        prints = write_documents(work)
        results = {name: compare(name, given, work, prints) for name in given.settings}
    result = {
        "machine": machine(given.threads),
        "method": {"rounds": given.rounds, "seconds": given.seconds},
        "settings": results,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    print(table(result))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


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
        help=f"times that a timing is repeated in which others took more than "
        f"{QUIET:.0%} of the cores; the least disturbed counts",
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    return parser.parse_args()


def write_documents(work: Path) -> str:
    """The documents for both sides -> their fingerprint. Raises ValueError where what rawmm reads back
    differs."""
    pictures, labels = documents.make()
    documents.save(work / "documents.npz", pictures, labels)
    made, ours = (
        documents.fingerprint(zip(pictures, labels)),
        rawmm_side.write_set(work / "data", pictures, labels),
    )
    if ours != made:
        raise ValueError(f"rawmm reads other documents ({ours}) than were made ({made})")
    return made


def compare(setting: str, given: argparse.Namespace, work: Path, fingerprint: str) -> dict:
    """One setting: sizes checked, every way to train the peer tried, then the rounds."""
    parameters = {f"rawmm {name}": rawmm_side.prepare(setting, name, work, given.threads) for name in OURS}
    tries = {
        mode: undisturbed(
            lambda mode=mode: peer(setting, mode, given, work, given.try_seconds),
            given.again,
            f"{setting}, trial: {PEER} {mode}",
        )
        for mode in given.modes
    }
    worked = {mode: found for mode, found in tries.items() if "failed" not in found}
    if given.modes[0] not in worked:
        raise RuntimeError(f"{PEER} does not train: {tries[given.modes[0]]['failed']}")
    fastest = max(worked, key=lambda mode: speed(worked[mode]))
    for mode, found in worked.items():
        parameters[f"{PEER} {mode}"] = found["parameters"]
        check_same(fingerprint, found)
    for name in OURS:
        check_parameters(parameters[f"rawmm {name}"], worked[given.modes[0]]["parameters"])
    modes = list(dict.fromkeys((given.modes[0], fastest)))
    rounds = [play(setting, modes, given, work, number) for number in range(1, given.rounds + 1)]
    return {"parameters": parameters, "tries": tries, "rounds": rounds, **summary(rounds, modes)}


def play(setting: str, modes: list[str], given: argparse.Namespace, work: Path, number: int) -> dict:
    """One round: ours and theirs in turn -> measurements by side. Raises RuntimeError where one fails."""
    ours = [
        (f"rawmm {name}", lambda name=name: rawmm_side.timed(setting, name, work, given.seconds))
        for name in OURS
    ]
    theirs = [
        (f"{PEER} {mode}", lambda mode=mode: peer(setting, mode, given, work, given.seconds))
        for mode in modes
    ]
    turns = [side for pair in zip(ours, theirs * 2) for side in pair][: len(ours) + len(theirs)]
    done = {
        name: undisturbed(measure, given.again, f"{setting}, round {number}: {name}")
        for name, measure in turns
    }
    for name, measured in done.items():
        if "failed" in measured:
            raise RuntimeError(f"{name}: {measured['failed']}")
    return done


def undisturbed(measure, again: int, name: str) -> dict:
    """A measurement; where others disturbed it, repeated up to `again` times -> the least disturbed one."""
    taken = []
    for _ in range(1 + again):
        taken.append(measure())
        if "failed" in taken[-1]:
            note(f"{name} failed: {taken[-1]['failed']}")
            break
        others = taken[-1]["others"] or 0
        note(
            f"{name} {speed(taken[-1]):.1f} documents/s"
            + (f" (others took {others:.0%} of the cores)" if others else "")
        )
        if others <= QUIET:
            break
    return min(taken, key=lambda one: one.get("others") or 0)


def peer(setting: str, mode: str, given: argparse.Namespace, work: Path, seconds: float) -> dict:
    """Train the peer in a process of its own -> what it measured, or {"failed": why}."""
    size = SETTINGS[setting]["peer"]
    words = [
        str(given.peer_python.absolute()),
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
        str(given.threads),
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


def check_same(fingerprint: str, found: dict) -> None:
    """Raises ValueError where the peer was fed other documents, or other patches."""
    if found["fingerprint"] != fingerprint or found["patches"] != PATCHES:
        raise ValueError(
            f"the peer trains on other documents ({found['fingerprint']}) than ours ({fingerprint})"
        )


def machine(threads: int) -> dict:
    """What the figures were measured on."""
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
        "rawmm": version("rawmm"),
        "system": platform.platform(),
        "waiting": {name: os.environ[name] for name in WAITING if name in os.environ},
    }


def note(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
