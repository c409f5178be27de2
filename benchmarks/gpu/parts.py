"""What the parts share: their options, results that outlive the process, and `rawmm` in a process."""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


class CommandError(Exception):
    """A command that failed, in one line."""


@dataclass
class Part:
    """A part that is running. What it has found lies in `file` after every `save`, so that a part which is
    killed loses nothing."""

    name: str
    device: str
    tiny: bool
    work: Path
    seconds: float
    learn_seconds: float
    only: str  # the parts that were asked for, with commas between them
    values: dict = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def file(self) -> Path:
        return self.work / f"{self.name}.json"

    @property
    def data(self) -> Path:
        """The folder of prepared sets."""
        return self.work / "data"

    @property
    def runs(self) -> Path:
        """The folder of this part's runs."""
        return self.work / "runs" / self.name

    @property
    def remaining(self) -> float:
        """Seconds until the part is stopped."""
        return self.seconds - (time.monotonic() - self.started)

    def save(self, **values) -> None:
        """Add results, and write all of them."""
        with self.lock:
            self.values |= values
            write_json(self.file, self.values)

    def say(self, text: str) -> None:
        """Print a line, with the part's name before it."""
        print(f"{self.name:<9}{text}", flush=True)

    def rawmm(self, *words, variables: dict | None = None, seconds: float | None = None) -> dict:
        """Run `rawmm WORDS --json` -> its object. Raises CommandError."""
        return finish(self, start(self, *words, "--json", variables=variables), seconds)


def part(name: str) -> Part:
    """The part of this process, from its command line."""
    parser = argparse.ArgumentParser(description=f"The part `{name}` of benchmarks.gpu, which starts it.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--learn-seconds", type=float, default=75.0)
    parser.add_argument("--only", default="learn")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    return Part(name, **vars(options))


def write_json(file: Path, values: dict) -> None:
    """Write in one move, so that a reader never sees half a file."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, file)


def start(job: Part, *words, variables: dict | None = None, before: str = "") -> subprocess.Popen:
    """Start `rawmm WORDS`; what it says goes into a file beside the results. before: a line of Python that
    it runs first."""
    job.work.mkdir(parents=True, exist_ok=True)
    out, err = (open(job.work / f"{job.name}.{time.monotonic_ns()}.{end}", "w+") for end in ("out", "err"))
    how = ["-c", f"{before}\nfrom rawmm_cli.cli import main\nmain()"] if before else ["-m", "rawmm_cli"]
    process = subprocess.Popen(
        [sys.executable, *how, *map(str, words)],
        cwd=ROOT,
        env=os.environ | (variables or {}),
        stdout=out,
        stderr=err,
        text=True,
    )
    process.out, process.err, process.words = out, err, words
    return process


def finish(job: Part, process: subprocess.Popen, seconds: float | None = None) -> dict:
    """Wait for a command of `start` -> the object that it printed. Raises CommandError."""
    try:
        process.wait(min(seconds or 1e9, max(1.0, job.remaining - 3)))
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
        raise CommandError(f"{_short(process.words)} took too long: {_last(process.err)}") from None
    if process.returncode:
        raise CommandError(
            f"{_short(process.words)} left with exit code {process.returncode}: {_last(process.err)}"
        )
    process.out.seek(0)
    return json.loads(process.out.read() or "{}")


def _short(words: tuple) -> str:
    return " ".join(map(str, words))[:160]


def _last(file) -> str:
    """The last lines of a file, the error first where there is one."""
    file.seek(0)
    lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    errors = [
        line for line in lines if line.startswith(("error:", "RuntimeError", "torch.", "AssertionError"))
    ]
    return " | ".join(errors[-1:] or lines[-6:])[:900] or "it said nothing"


def one_line(error: BaseException) -> str:
    """An error, with the place in rawmm where it arose."""
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if "rawmm_cli" in f.filename]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{where}: {text[:600]}"
