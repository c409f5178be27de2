"""The files below a folder, and what of it is left unused: hidden names, and folders that are links."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...system.errors import DataError, printable
from ..images import ENDINGS as PICTURES
from .inside import top_of
from .unused import ENDINGS, FILES, HIDDEN, LINKS, Unused, sentence

READERS = {
    "folder": tuple(f".{ending}" for ending in PICTURES),
    "parquet": (".parquet",),
    "webdataset": (".tar", ".tgz", ".zip", ".tar.gz"),
    "hf:OWNER/NAME": (".arrow",),
}  # sources and what they read


class Seen(NamedTuple):
    """A file below a folder. name: its path relative to the folder, with slashes."""

    name: str
    regular: bool  # or a link to a regular file; not so: named pipes, devices, links to nothing


def files(root: Path | str, unused: Unused) -> Iterator[Seen]:
    """Files at any depth, in no order. Hidden files and folders, links to folders, and files outside of the
    root that links lead to, are counted in `unused`. Raises DataError where a folder cannot be read."""
    folders, top = [""], top_of(root) + os.sep
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(os.path.join(root, inside) if inside else root) as entries:
                for entry in entries:
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.name.startswith("."):
                        unused.add(HIDDEN, entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.is_symlink() and os.path.isdir(entry.path):
                        unused.add(LINKS, name)
                    else:
                        regular = _is_regular(entry)
                        if regular and entry.is_symlink():
                            unused.linked += not os.path.realpath(entry.path).startswith(top)
                        yield Seen(name, regular)
        except OSError as error:
            raise DataError(
                f"folder {printable(str(error.filename))} cannot be read: {error.strerror}; "
                "allow reading it or move it away"
            ) from None


def files_ending_in(endings: tuple[str, ...], path: Path, unused: Unused) -> list[Path]:
    """The file itself, or the files below a folder that end in one of `endings` in any case, sorted.

    All others are counted in `unused`. Raises DataError where a folder cannot be read."""
    if not path.is_dir():
        return [path]
    chosen = []
    for name, regular in files(path, unused):
        if regular and name.lower().endswith(endings):
            chosen.append(path / name)
        else:
            unused.file(name)
    return sorted(chosen)


def advice(unused: Unused, *own: str) -> str:
    """The source that reads most of what another one did not use, or what there is, as the end of a message;
    "" for nothing. own: the sources that speak, which use every file of theirs."""
    names = {**unused.counts[ENDINGS], **unused.counts[FILES]}
    counts = Counter()
    for name, number in names.items():
        for source, endings in READERS.items():
            if ending := next(filter(name.lower().endswith, endings), None):
                counts[source, ending] += number
    if not counts:
        there = sentence(unused.card()).removeprefix("Not used: ")
        return f"; it has {there}" if there else ""
    (source, ending), count = counts.most_common(1)[0]
    if source in own:
        return f"; what it has, {count:,} {ending}, is no file: a link to nothing, a named pipe or a device"
    return f"; it has {count:,} {ending}, which `rawmm prepare {source} --path ...` reads"


def _is_regular(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links in a circle
        return False
