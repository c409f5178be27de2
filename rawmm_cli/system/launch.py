"""One command becomes several ranks on this machine, through torch's elastic launcher (what torchrun uses),
in process.

Each rank is the same command in a process of its own with RANK and WORLD_SIZE set. A rank that fails writes
what went wrong into a file that the launcher gave it; the launcher stops the others and raises the error of
the rank that failed first, so that a person reads it once and the exit code is the one of `errors.py`."""

import json
import logging
import os
import sys
import time
import uuid
from typing import TYPE_CHECKING

from .errors import RankError, RawmmError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

OURS = "RAWMM_LAUNCHED"  # set in ranks that this module has started
BEGAN = "RAWMM_BEGAN"  # in them: when the command was started, on the clock of time.perf_counter
SETTLED = "RAWMM_SETTLED"  # in them: settings that were `auto`, as the launcher settled them for all
STOPPED = (129, 130, 143)  # exit codes of a rank that was told to stop and has saved


def joined() -> bool:
    """Whether a launcher (ours, torchrun, a Slurm script) has made this process one of several."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


class LaunchedError(RawmmError):
    """The error of a rank: its line and its exit code."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def began(own: float | None) -> float | None:
    """When the command was started: its launcher, where it is a rank of ours, else `own`."""
    return float(os.environ[BEGAN]) if joined() and BEGAN in os.environ else own


def settled() -> dict[str, list]:
    """{setting: [value, reason]} that the launcher gave its ranks, {} elsewhere."""
    return json.loads(os.environ.get(SETTLED, "{}")) if joined() else {}


def launch(
    words: list[str], processes: int, began: float | None = None, settled: dict[str, list] | None = None
) -> None:
    """Run `rawmm WORDS`, a command that was started at `began`, in so many ranks until all are done. settled:
    as `settled()` gives it in each. Raises LaunchedError or RankError."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [
        name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we say it ourselves, in one line
    os.environ[OURS] = "1"  # inherited by the ranks
    os.environ[BEGAN] = str(began or time.perf_counter())
    os.environ[SETTLED] = json.dumps(settled or {})
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "rawmm_cli", *words)
    except SignalException as stopped:  # the ranks have saved and said so
        raise LaunchedError("", 128 + stopped.sigval) from None
    except ChildFailedError as failed:
        raise _first(failed) from None


def _first(failed: "ChildFailedError") -> RawmmError:
    """The failure behind the others, as one error: a rank that lost its neighbour, or was told to stop, is
    not it."""
    rank, failure = min(
        failed.failures.items(), key=lambda item: (item[1].exitcode in (7, *STOPPED, -15), item[1].timestamp)
    )
    code = failure.exitcode
    report = _read(failure.error_file)
    if report and report["code"] != 1:
        return LaunchedError(report["message"], report["code"])
    if report:
        print(report["traceback"].rstrip(), file=sys.stderr)
        return RankError(f"rank {rank} failed: {report['message']}; the last checkpoint is intact")
    if code in STOPPED:
        return LaunchedError("", code)
    how = f"was killed by signal {-code}" if code < 0 else f"left with exit code {code}"
    return RankError(
        f"rank {rank} {how}; the others were stopped and the last checkpoint is intact; "
        "run the same command again"
    )


def _read(path: str) -> dict | None:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)["message"]["rawmm"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tell(message: str, code: int, traceback: str = "") -> bool:
    """In a rank: leave the error for the launcher -> whether ours reads it (else the rank must print it
    itself)."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path and code == RankError.exit_code:
        time.sleep(1)  # the rank that is the cause shall be the first to be seen
    if path and code not in STOPPED:
        entry = {
            "message": message,
            "extraInfo": {"py_callstack": traceback or message, "timestamp": str(int(time.time()))},
            "rawmm": {"message": message, "code": code, "traceback": traceback},
        }
        try:
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"message": entry}, file)
        except OSError:
            return False
        return OURS in os.environ
    return OURS in os.environ and os.environ.get("RANK", "0") != "0"
