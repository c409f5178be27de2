"""SIGINT, SIGTERM and SIGHUP: the first one ends the run after its step and a checkpoint, a second acts at
once."""

import os
import signal
import threading
from contextlib import contextmanager
from types import FrameType

from ..system import interrupts
from ..system.distributed import Ranks
from ..system.errors import RankError, RawmmError, Stopped
from ..system.figures import counted


class Signals:
    """Signals that have come.

    `arrived`: the first signal here, or 0. `agreed`: the one that all ranks know of, or 0; only that one
    counts."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    GRACE = 10  # seconds that a rank waits for the others to agree

    def __init__(self, ranks: Ranks):  # under nohup SIGHUP is ignored, and stays so
        self.arrived, self.agreed, self.ranks, self.previous = 0, 0, ranks, {}

    def note(self, number: int, frame: FrameType | None):
        """The handler. One rank that hangs must not keep the others' launcher waiting: it leaves by
        itself."""
        self.arrived = number
        signal.signal(number, self.previous[number])
        if self.ranks.size > 1:
            watch = threading.Timer(self.GRACE, lambda: self.agreed or os._exit(RankError.exit_code))
            watch.daemon = True
            watch.start()


@contextmanager
def signals(ranks: Ranks):
    """Signals while the block runs; outside of the main thread they stay as they are."""
    caught = Signals(ranks)
    if interrupts.taken():  # lost while libraries were loaded
        caught.arrived = signal.SIGINT
    try:
        for number in Signals.NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                caught.previous[number] = signal.signal(number, caught.note)
    except ValueError:  # not in the main thread
        yield caught
        return
    try:
        yield caught
    except RawmmError:
        raise
    except Exception as error:
        if not caught.arrived:
            raise
        # Ctrl-C reaches the compilers that this process has started, too.
        raise Stopped(
            f"stopped by {signal.Signals(caught.arrived).name}, by which what was under way failed "
            f"({type(error).__name__}); run the same command again to go on",
            caught.arrived,
        ) from error
    finally:
        for number, handler in caught.previous.items():
            signal.signal(number, handler)


def stopped(number: int, documents: int) -> Stopped:
    """The exception to raise once the state is saved."""
    return Stopped(f"stopped at {counted(documents, 'document')}, saved; the same command goes on", number)
