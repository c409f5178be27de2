"""Samples of archives: consecutive members a.jpg, a.txt, a.json are one sample a, as in `webdataset`.

What is unusual is said: samples of one name, members that are not neighbours, members that have no role."""

import posixpath
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Protocol, TypeVar

from ...system.errors import DataError, printable
from ..archives import TAIL
from ..images import ENDINGS
from .beside import ABOUT
from .unused import KEYS, MEMBERS, OTHERS, Unused

REPEATED = "samples with the name of another one in the same archive, each of which is read by itself"
SCATTERED = 50  # samples without a picture at the beginning of an archive that end the reading
FORMS = 1000  # different sets of endings in memory
# Endings of members that are never part of a sample without a picture.
ASIDE = {*"md rst html pdf jsonl csv tsv parquet arrow tar tgz gz zip yaml yml py log sha256 md5".split()}
MANY = 12  # members of a sample without a picture that end it: names with dots
T = TypeVar("T")


def key_of(name: str) -> str | None:
    """Name of the sample that a member belongs to: its path up to the first dot of the file name.

    None for hidden files and for files without an ending."""
    folder, slash, base = name.rpartition("/")
    stem = base.partition(".")[0]
    return folder + slash + stem if stem and "." in base else None


class Roles(Protocol):
    """What the endings of a sample are for (`datasets/webdataset.py`)."""

    def image(self, sample: Collection[str]) -> str | None:
        """Ending of the picture of a sample, None where it has none."""

    def unused(self, sample: Collection[str]) -> set[str]:
        """Endings of a sample that have no role."""

    def unused_keys(self, sample: Collection[str], facts: bytes) -> list[str]:
        """Keys of the .json of a sample that have no role."""

    def no_picture(self, sample: Collection[str]) -> str:
        """What a sample without a picture has, and what to do."""


class Notes:
    """What is to be said about archives when they are read: how often, and where first."""

    def __init__(self) -> None:
        self.counts, self.first = Counter(), {}

    def add(self, what: str, where: str) -> None:
        """Count something. what: a noun in the plural, with what was done."""
        self.counts[what] += 1
        self.first.setdefault(what, where)

    def lines(self) -> list[str]:
        """A line for each, for the user."""
        return [f"{what}: {count:,}, the first {self.first[what]}" for what, count in self.counts.items()]


class Samples:
    """Samples of archives, and what was seen beside them.

    unused: counts members that have no role, and keys of the JSON by archives: of the first, or of every
    sample. notes: what is to be said when all archives are read."""

    def __init__(self, fields: Roles, unused: Unused, every: bool = False) -> None:
        self.fields, self.unused, self.every, self.notes = fields, unused, every, Notes()
        self.seen: dict[tuple[str, ...], tuple[bool, list[str]]] = {}  # by endings: as of `_look`

    def of(
        self, archive: str, members: Iterable[tuple[str, T]], read: Callable[[T], bytes]
    ) -> Iterator[tuple[str, dict[str, T]]]:
        """Samples of an archive, in order: (name, {ending: member}). No two have one name.

        archive: its name. read: content of a member. Raises DataError where the members of a sample are not
        neighbours, or many pictures stand in samples without one."""
        known: dict[int, bool] = {}  # hash of a name -> whether its sample has a picture
        again: Counter[int] = Counter()  # hash of a key -> samples that have it too
        previous, without = None, 0
        keys: set[str] | None = None  # of JSON, without a role
        for number, (key, sample) in enumerate(self._grouped(members), 1):
            pictured, unused = self._look(sample)
            if not pictured and _is_aside(key, sample):
                self.unused.add_all(MEMBERS, (f".{ending}" for ending in sample))
                continue
            name, own = key, hash(key)
            while hash(name) in known:
                if known[own] != pictured and key != previous:
                    raise _scattered(archive, f"those of '{key}' stand in two places")
                again[own] += 1
                name = f"{key}#{again[own] + 1}"
            known[hash(name)] = pictured
            if name != key:
                self.notes.add(REPEATED, f"{archive}/{key}")
            if not pictured:
                without += 1
                if len(sample) > MANY or without == number == SCATTERED:
                    raise self._without(archive, key, sample)
            elif unused:
                self.unused.add_all(MEMBERS, unused)
            if "json" in sample and (self.every or keys is None):
                with suppress(DataError):  # the archive was cut there
                    own = set(self.fields.unused_keys(sample, read(sample["json"])))
                    self.unused.add_all(KEYS, own - (keys or set()))
                    keys = own | (keys or set())
            previous = key
            yield name, sample

    def note(self, archive: str, what: str) -> None:
        """Keep what is unusual about an archive (`archives.JOINED`, `archives.TAIL`), for the user."""
        if what == TAIL:
            self.unused.add(OTHERS, what)
        else:
            self.notes.add(what, archive)

    def pictured(self, sample: dict[str, T]) -> bool:
        """Whether a sample has a picture."""
        return self._look(sample)[0]

    def _look(self, sample: dict[str, T]) -> tuple[bool, list[str]]:
        """Whether a sample has a picture, and its endings that have no role."""
        endings = tuple(sample)
        if endings not in self.seen:
            if len(self.seen) > FORMS:
                self.seen.clear()
            unused = [f".{ending}" for ending in self.fields.unused(sample)]
            self.seen[endings] = self.fields.image(sample) is not None, unused
        return self.seen[endings]

    def _without(self, archive: str, key: str, sample: dict[str, T]) -> DataError:
        """Error for an archive whose samples have no picture."""
        if any(ending.rpartition(".")[2] in ENDINGS for ending in sample):
            return DataError(
                f"archive {printable(archive)}, sample '{printable(key)}': {self.fields.no_picture(sample)}"
            )
        return _scattered(archive, f"the first {SCATTERED} have no picture, only .{' .'.join(sample)}")

    def _grouped(self, members: Iterable[tuple[str, T]]) -> Iterator[tuple[str, dict[str, T]]]:
        """Consecutive members with the same key; a second one of an ending begins another sample."""
        key, sample = None, {}
        for name, content in members:
            own = key_of(name)
            if own is None:
                self.unused.add(MEMBERS, "hidden" if posixpath.basename(name).startswith(".") else "")
                continue
            ending = name[len(own) + 1 :].lower()
            if sample and (own != key or ending in sample):
                yield key, sample
                sample = {}
            key = own
            sample[ending] = content
        if sample:
            yield key, sample


def _is_aside(key: str, endings: Collection[str]) -> bool:
    """Whether members are about the archive, or tables and archives of their own: no sample that lost its
    picture."""
    last = (ending.rpartition(".")[2] for ending in endings)
    return ASIDE.issuperset(last) or posixpath.basename(key).lower() in ABOUT


def _scattered(archive: str, problem: str) -> DataError:
    return DataError(
        f"archive {printable(archive)}: members of a sample must be neighbours, and {printable(problem)}; "
        "make the archive again with its names sorted (tar --sort=name)"
    )
