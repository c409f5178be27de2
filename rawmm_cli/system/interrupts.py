"""Ctrl-C at any time: also while libraries load.

Python turns SIGINT into a KeyboardInterrupt at the next line that it runs. Where that line belongs to a
library that compiled code imports, or to a callback of one, the exception is lost on its way, and the command
would go on to its end. So a command that is still importing leaves at once, as nothing is under way; and
elsewhere the interrupt comes again, until it is `taken`."""

import os
import signal
import threading
from types import FrameType

AGAIN = 2.0  # seconds until an interrupt that nobody took comes again
_state: dict[str, threading.Timer | None] = {"waiting": None}


def install() -> bool:
    """Begin to look after SIGINT, where Python's own handler does so far -> whether that was so."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupted)
    return ours


def remove() -> None:
    """Let Python's own handler look after SIGINT again."""
    taken()
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def over() -> None:
    """The command is over: Ctrl-C while Python shuts down changes nothing any more."""
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def taken() -> bool:
    """Whether there was an interrupt that nobody has taken yet; from now on it is taken."""
    timer, _state["waiting"] = _state["waiting"], None
    if timer:
        timer.cancel()
    return timer is not None


def _interrupted(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        if "RAWMM_LAUNCHED" not in os.environ:  # else the launcher says it
            os.write(
                2, b"\x1b[?25herror: stopped\n" if os.isatty(2) else b"error: stopped\n"
            )  # shows the cursor
        os._exit(128 + number)
    taken()
    timer = threading.Timer(AGAIN, signal.raise_signal, (number,))
    timer.daemon = True
    _state["waiting"] = timer
    timer.start()
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is under way in the main thread."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
