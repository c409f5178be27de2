"""A part as a process with a time limit. Whatever it started ends with it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

from .parts import ROOT

MARK = "RAWMM_GPU_CHECK"  # in the environment of a part and of all that it starts
# Of parts that are many processes side by side: else each would start a compiler and a thread for every core.
SIDE_BY_SIDE = {"TORCHINDUCTOR_COMPILE_THREADS": "3", "OMP_NUM_THREADS": "2"}
MANY = ("tests", "ranks")


class Process:
    """`python -m benchmarks.gpu.NAME`; its messages go into NAME.log."""

    def __init__(self, name: str, words: list[str], work: Path, seconds: float):
        self.name, self.log, self.seconds = name, work / f"{name}.log", seconds
        self.mark, self.started, self.spent, self.cut = uuid.uuid4().hex, time.monotonic(), 0.0, False
        variables = {
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
            "TRITON_CACHE_DIR": str(work / "triton"),
            "HF_HUB_OFFLINE": "1",
        }
        few = SIDE_BY_SIDE if name in MANY else {}
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks.gpu.{name}", *words, "--seconds", f"{seconds:.0f}"],
                cwd=ROOT,
                env=few | os.environ | variables,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether it has ended; one that is over its time is killed."""
        self.spent = time.monotonic() - self.started
        if self.process.poll() is not None:
            self.kill()  # what it left running
            return True
        if self.spent > self.seconds:
            self.cut = True
            self.kill()
            return True
        return False

    def kill(self) -> None:
        """End the process, its group, and all that bear its mark: a launcher's ranks have groups of their
        own."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for _ in range(3):  # one may start another just now
            marked = list(self._marked())
            for pid in marked:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not marked:
                break
            time.sleep(0.1)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)

    def _marked(self):
        for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):
            with suppress(OSError):
                variables = Path("/proc", name, "environ").read_bytes().split(b"\0")
                if f"{MARK}={self.mark}".encode() in variables and int(name) != os.getpid():
                    yield int(name)

    def tail(self, lines: int = 12) -> list[str]:
        """The last lines of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return [line[:300] for line in text.splitlines() if line.strip()][-lines:]
