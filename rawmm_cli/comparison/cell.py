"""A cell worked through, in a process of its own: its codec and its model are trained, its sampler is
searched on the validation part of the held-out split and frozen, and all is measured once on the rest.

    python -m rawmm_cli.comparison.cell CELL_FOLDER DATA_FOLDER DEVICE

Every stage leaves a file, so that a process that was ended at any time goes on where it was. Where stdin is a
pipe, its end is the end of who started this: then the process stops as by SIGTERM."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from filelock import FileLock

from ..runs.folder import read_json
from ..system import disk
from ..system.errors import DivergedError, RawmmError, Stopped
from ..system.threads import use_cpu


def main(arguments: list[str]) -> int:
    """Work through a cell -> exit code."""
    place, data, device = arguments
    if not sys.stdin.isatty():
        threading.Thread(target=_until_closed, daemon=True).start()
    try:
        state = work(Path(place), Path(data), device)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        return 130
    return 0 if state != "failed" else 1


def _until_closed() -> None:
    """Wait for the end of who started this process; a plain read, which the shutdown does not wait for."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def work(place: Path, data: Path, device: str) -> str:
    """Work through the cell of a folder that holds cell.json -> its state. What fails is a result: it stands
    in result.json. Raises Stopped where a signal ends a training."""
    with FileLock(place / ".lock"):  # whoever worked here before may still be saving
        before = read_json(place / "result.json", dict).get("state")
        if before in ("done", "diverged"):
            return before
        use_cpu()
        import torch._dynamo  # noqa: F401  two seconds that the first training would take of its time

        from .stages import Stages

        stages = Stages(place, data, device)
        try:
            result = stages.sweep() if stages.task["sweep"] else stages.all()
        except Stopped:
            raise
        except DivergedError as error:
            result = stages.unfinished("diverged", str(error))
        except Exception as error:
            if not isinstance(error, RawmmError):
                traceback.print_exc()
            kind = "" if isinstance(error, RawmmError) else f"{type(error).__name__}: "
            result = stages.unfinished("failed", f"{kind}{error}")
        result["seconds"]["other"] = stages.other()
        disk.write_json(place / "result.json", result)
        return result["state"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
