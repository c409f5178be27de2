"""Errors, and the exit code of each.

Every error that a person can cause or mend is a `RawmmError`: one line that names what was given, what is
allowed and what to do. The command line prints that line and exits with `exit_code`; anything else is a bug
and exits with 1."""

import errno
import re

NO_MEMORY = (
    "out of memory",
    "allocate memory",
    "failed to map segment",
    "can't start new thread",
    "bad_alloc",
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class RawmmError(Exception):
    """Base class. `exit_code` is what the process returns."""

    exit_code = 1


class ConfigError(RawmmError):
    """A preset, key, value or option is not usable."""

    exit_code = 2


class DataError(RawmmError):
    """A data set or a file in it is missing or not usable."""

    exit_code = 3


class CheckpointError(RawmmError):
    """A run or a checkpoint is missing, damaged or does not fit."""

    exit_code = 4


class OutOfMemoryError(RawmmError):
    """The step does not fit in memory."""

    exit_code = 5


class DivergedError(RawmmError):
    """The loss or a gradient is not finite."""

    exit_code = 6


class RankError(RawmmError):
    """A worker or another rank died or does not answer."""

    exit_code = 7


class LockedError(RawmmError):
    """Another process trains in this run folder."""

    exit_code = 8


class DiskFullError(RawmmError):
    """No room to write."""

    exit_code = 28


class Stopped(RawmmError):
    """SIGINT or SIGTERM arrived and the state was saved. Exit code 128 + signal number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch's allocator, a GPU or the loader of libraries found no memory. torch and the
    system say so in errors of several kinds and texts."""
    text = str(error).lower()
    full = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or full or any(words in text for words in NO_MEMORY)


def address_space() -> int | None:
    """Bytes of addresses that this process may use (`ulimit -v`); None where there is no limit."""
    try:
        import resource
    except ImportError:  # elsewhere than on POSIX
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def starved(error: BaseException) -> bool:
    """Whether a limit of this process's memory is the cause, and not the damage of a file that asks for
    more than there is."""
    return is_out_of_memory(error) and address_space() is not None


def printable(text: str, keep: str = "") -> str:
    """Control characters (line ends and those that turn the direction of writing among them) and lone
    surrogates become U+FFFD, but for those in `keep`."""
    return CONTROL.sub(lambda match: match[0] if match[0] in keep else "\ufffd", text)
