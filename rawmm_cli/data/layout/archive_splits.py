"""The splits that a set of archives brings along: told by names of archives, by folders in them, or by a key
of the .json of samples."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ...system.errors import printable
from .splits import described, described_column, roles, roles_in_column, splits_of


class OwnSplits(NamedTuple):
    """Splits that names of archives, or of folders in them, tell.

    splits: {(archive, folder in it): split}; the folder is "" where archives tell."""

    splits: dict[tuple[str, str], str | None]
    roles: dict[str | None, str | None]
    folders: bool  # whether folders in the archives tell

    def role(self, archive: str, sample: str) -> str | None:
        """Role of a sample: "train", "held_out", or None where its name decides."""
        place = archive, posixpath.dirname(sample) if self.folders else ""
        return self.roles[self.splits[place]] if place in self.splits else "train"

    def describe(self) -> str:
        """The splits in words, "" where there are none."""
        line = described(Counter(self.splits.values()))
        return f"{'folders' if self.folders else 'archives'}: {line}" if line else ""


def own_splits(
    archives: Sequence[str], places: Iterable[tuple[str, str]], splits: Sequence[str | None] | None = None
) -> OwnSplits:
    """Splits that a set of archives brings along: those that its archives tell, else those of the folders in
    them.

    places: pairs of an archive and a folder of pictures in it; not looked at where the archives tell.
    splits: of the archives, where their names do not tell them."""
    if not splits or not any(roles(splits).values()):
        splits = splits_of(archives, files=True)
    if not any(splits):
        pairs = list(dict.fromkeys(places))
        by_folder = splits_of([posixpath.join(folder, "x") for _, folder in pairs])
        if any(by_folder):
            return OwnSplits(dict(zip(pairs, by_folder)), roles(by_folder), True)
    return OwnSplits({(archive, ""): split for archive, split in zip(archives, splits)}, roles(splits), False)


class KeySplits(NamedTuple):
    """Splits that a key of JSON tells. roles: "train" or "held_out" by text. line: in words."""

    key: str
    roles: dict[str | None, str]
    line: str

    def card(self) -> dict[str, str]:
        """The splits as {what: value}, for the card."""
        return {"split key": self.key, "splits": self.line}

    def describe(self) -> str:
        """The splits in words, with where they are."""
        return f"key {printable(self.key)} of JSON: {self.line}"


def key_splits(keys: Sequence[str], texts: Callable[[str], Iterable[str | None]]) -> KeySplits | None:
    """The first of the keys that tells splits, None where none does. texts: of a key, of all samples."""
    for key in keys:
        counts = Counter(texts(key))
        if chosen := roles_in_column(key, counts):
            return KeySplits(key, chosen, described_column(counts, chosen))
    return None
