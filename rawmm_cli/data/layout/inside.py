"""Paths that the data name: a set never names a file outside of itself.

Every value of a source that becomes a path goes through `inside`: columns of tables, metadata, documents."""

import os
import posixpath
import re
import stat
from pathlib import Path

from ...system.errors import DataError, printable

SHOWN = 100  # characters of a name in a message


class OutsideError(DataError):
    """A value of the data is no path of a file inside of the set. `reason` is a clause about the name."""

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"it names {quoted(name)}, which {reason}")


class MissingError(OutsideError):
    """A value of the data leads nowhere else, but there is no such file in the set."""


def quoted(name: str) -> str:
    """A name of the data in quotes, shortened, for a message."""
    return f"'{printable(name if len(name) <= SHOWN else name[:SHOWN] + '...')}'"


def relative(name: str) -> str:
    """A path that the data name, relative to its folder: normal, with slashes. Touches no disk.

    Raises OutsideError for absolute paths, drives, addresses, and paths that lead upwards, in the notation
    of any system."""
    slashed = name.replace("\\", "/")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", slashed):
        raise OutsideError(name, "is an address and is not fetched; allowed: files inside of the set")
    normal = posixpath.normpath(name)
    for plain in (normal, posixpath.normpath(slashed)):
        if plain.startswith(("/", "../")) or plain == ".." or re.match("[A-Za-z]:", plain):
            raise OutsideError(name, "leads out of the folder; allowed: files inside of it")
    if not name or normal == "." or "\0" in name:
        raise MissingError(name, "is not the name of a file")
    return normal


def top_of(root: Path | str) -> str:
    """The folder that files of a set may be in, without links: `root`, or for a snapshot in the cache of the
    hub, whose files are links to blobs beside it, that repository."""
    real = os.path.realpath(root)
    snapshot = re.match(r"(.*/(?:datasets|models)--[^/]+)/snapshots/[^/]+(?:/|$)", real)
    return snapshot[1] if snapshot else real


def inside(root: Path | str, name: str) -> str:
    """Path of the regular file inside of `root` that the data name, relative to `root`.

    Backslashes separate folders where there is no file with backslashes in its name. Raises OutsideError
    where the name leads out of `root`, by links too, MissingError where there is no such file."""
    normal = relative(name)
    try:
        top = top_of(root)
        for plain in dict.fromkeys((normal, posixpath.normpath(name.replace("\\", "/")))):
            path = os.path.join(root, plain)
            if not os.path.lexists(path):
                continue
            if os.path.commonpath((top, os.path.realpath(path, strict=True))) != top:
                raise OutsideError(
                    name, "is a link that leads out of the folder; allowed: files inside of it"
                )
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise MissingError(name, "is not a file")
            return path
    except FileNotFoundError:  # a link to nothing
        pass
    except (OSError, ValueError):  # too long, not a name at all, or links in a circle
        raise MissingError(name, "cannot be opened") from None
    raise MissingError(name, "does not exist")
