"""`rawmm` started as a person starts it, with a fault in one of its ranks (forking.put). Each of its
processes carries a mark by which it is found."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

HOOK = """
import os, sys
if "RANK" in os.environ:
    from rawmm_cli.system import machine
    machine.matmul_rate = lambda *arguments: 1e11
if os.environ["FAULT"] and str(os.environ.get("RANK")) == os.environ["FAULT_RANK"]:
    sys.path.insert(0, os.environ["FAULT_FOLDER"])
    from forking import put
    put(os.environ["FAULT"], int(os.environ["FAULT_STEP"]))
"""


class Done(NamedTuple):
    """The end of a command. `remaining`: its processes that were still there two seconds later."""

    code: int
    out: str
    err: str
    remaining: list[int]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Launched:
    """`python -m rawmm_cli WORDS` in a session of its own, so that a signal to its group does not reach the
    tests."""

    def __init__(self, folder: Path, words, fault="", step=-1, rank=None, module="rawmm_cli", cwd=None):
        hook = folder / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK)
        self.mark = uuid.uuid4().hex
        variables = {
            "PYTHONPATH": str(hook),
            "FAULT_FOLDER": str(Path(__file__).parent),
            "FAULT": fault,
            "FAULT_STEP": str(step),
            "FAULT_RANK": str(rank),
            "RAWMM_TEST_MARK": self.mark,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module.split(), *map(str, words)],
            cwd=cwd,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ranks(self) -> dict[int, str | None]:
        """{process: its RANK} of all processes that run now."""
        ranks = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                values = Path("/proc", pid, "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if f"RAWMM_TEST_MARK={self.mark}" in values:
                ranks[int(pid)] = next((value[5:] for value in values if value.startswith("RANK=")), None)
        return ranks

    def signal(self, number, rank=None):
        """Send a signal to the process that was started, or to one rank."""
        pid = (
            next(pid for pid, own in self.ranks().items() if own == str(rank))
            if rank is not None
            else self.process.pid
        )
        os.kill(pid, number)

    def end(self, seconds=120) -> Done:
        """Wait for the end of the command and of all its processes; those that stay are noted, and killed."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        finally:
            end = time.monotonic() + 2
            while (remaining := list(self.ranks())) and time.monotonic() < end:
                time.sleep(0.05)
            for pid in remaining:
                os.kill(pid, signal.SIGKILL)
        return Done(self.process.returncode, out, err, remaining)
