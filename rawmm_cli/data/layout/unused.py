"""What a source saw and left unused.

Every source fills an `Unused` (`items.Source.unused`), a stream too (`streamed.Streamed.unused`). `prepare`
prints `sentence` of it at its end, a stream at its start; the card has `card()` of it in full, as `unused`.
Next: `files.py` fills it for files below a folder."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ...system.errors import printable

ENDINGS = "endings"  # files by ending: {".jfif": 4}
HIDDEN = "hidden"  # files and folders whose name begins with a dot, by that name
LINKS = "linked folders"  # folders that are links, by path: a link may lead out of the set, or in a circle
FILES = "files"  # single files that a person would expect to be read, by path: metadata, archives
COLUMNS = "columns"  # of tables and metadata, by name
KEYS = "keys"  # of JSON that comes with a picture, by name
MEMBERS = "members"  # of archives by ending
OTHERS = "others"  # anything else, by a noun in the plural: {"pictures beside the splits": 3}
KINDS = (ENDINGS, HIDDEN, LINKS, FILES, COLUMNS, KEYS, MEMBERS, OTHERS)
SHOWN = 6  # names of a kind in a sentence
# Endings of files that a person would expect to be read: they are named.
TABLES = ".json .jsonl .csv .tsv .parquet .arrow .tar .tgz .gz .zip".split()
FEW = 3  # files of one ending that a sentence names
NAMES, REST = 10_000, "..."  # different names of a kind in a card; what stands for all others


class Unused:
    """Counts by kind (KINDS) and name. Names are as the data have them, with paths relative to the set.

    linked: files that were seen through links that lead out of the set, which are read."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.linked = 0

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Count something that is not used. A negative count takes it back."""
        counts = self.counts[kind]
        counts[name if name in counts or len(counts) < NAMES else REST] += count

    def add_all(self, kind: str, names: Iterable[str]) -> None:
        """Count each of the names once."""
        for name in names:
            self.add(kind, name)

    def file(self, name: str, count: int = 1) -> None:
        """Count a file: by its ending, or by its name where it may be a table or an archive."""
        ending = posixpath.splitext(name)[1].lower()
        self.add(*((FILES, name) if ending in TABLES else (ENDINGS, ending)), count)

    def links(self) -> list[str]:
        """What is said of links that lead out of the set: a line, or none."""
        one, several = "1 file is a link that leads", f"{self.linked:,} files are links that lead"
        return [f"{one if self.linked == 1 else several} out of the set; read as any other"] * bool(
            self.linked
        )

    def clear(self, *kinds: str) -> None:
        """Forget some kinds, where a source is read again from its beginning."""
        for kind in kinds:
            self.counts[kind].clear()

    def card(self) -> dict[str, dict[str, int]]:
        """{kind: {name: count}} for the card, without empty kinds; {} where all was used."""
        return {
            kind: {printable(name): count for name, count in sorted(counts.items()) if count > 0}
            for kind, counts in self.counts.items()
            if any(count > 0 for count in counts.values())
        }


def sentence(unused: Mapping[str, Mapping[str, int]]) -> str:
    """One line on what was not used; "" where all was used. unused: as `Unused.card` gives it.

    Not used: 4 .jfif, 1 linked folder, train/metadata.jsonl; columns score, captions_fr"""
    files = [
        *_counted(unused.get(ENDINGS, {}), "without an ending"),
        *_total(unused.get(HIDDEN, {}), "hidden file or folder", "hidden files and folders"),
        *_total(unused.get(LINKS, {}), "linked folder", "linked folders"),
        *_few(unused.get(FILES, {})),
        *(f"{count:,} {name}" for name, count in unused.get(OTHERS, {}).items()),
    ]
    parts = [", ".join(files)]
    for kind, title in ((COLUMNS, "columns "), (KEYS, "keys "), (MEMBERS, "members of archives: ")):
        names = unused.get(kind, {})
        parts.append(title * bool(names) + ", ".join((_counted if kind == MEMBERS else _named)(names)))
    parts = [part for part in parts if part]
    return f"Not used: {'; '.join(parts)}" if parts else ""


def lists(unused: Mapping[str, Mapping[str, int]]) -> dict[str, list[str]]:
    """{title: entries} with every name, for a page."""
    titles = {
        ENDINGS: "Files by ending",
        HIDDEN: "Hidden files and folders",
        LINKS: "Linked folders",
        MEMBERS: "Members of archives",
        KEYS: "Keys of JSON",
    }
    return {
        titles.get(kind, kind.capitalize()): _counted(names, "without an ending", len(names))
        if kind in (ENDINGS, MEMBERS, OTHERS)
        else list(names)
        for kind, names in unused.items()
    }


def _counted(names: Mapping[str, int], nameless: str = "without an ending", most: int = SHOWN) -> list[str]:
    """Counts with names, the largest first: ["4 .jfif", "and 3 others"]."""
    ordered = sorted(names.items(), key=lambda entry: (-entry[1], entry[0]))
    rest = sum(count for _, count in ordered[most:])
    lines = [f"{count:,} {name or nameless}" for name, count in ordered[:most]]
    return lines + ([f"{rest:,} others"] if rest else [])


def _named(names: Mapping[str, int]) -> list[str]:
    """The first names: ["a", "b", "7 more"]."""
    return [
        *(name or "(no name)" for name in list(names)[:SHOWN]),
        *([f"{len(names) - SHOWN:,} more"] if len(names) > SHOWN else []),
    ]


def _few(names: Mapping[str, int]) -> list[str]:
    """The names of files, and the number of those of an ending that has many."""
    by_ending = defaultdict(list)
    for name in names:
        by_ending["more" if name == REST else posixpath.splitext(name)[1].lower()].append(name)
    lines = []
    for ending, group in by_ending.items():
        count = sum(names[name] for name in group)
        lines += group if count <= FEW else [f"{count:,} {ending}"]
    return lines


def _total(names: Mapping[str, int], one: str, several: str) -> list[str]:
    """How many there are, without their names."""
    count = sum(names.values())
    return [f"{count:,} {one if count == 1 else several}"] if count else []
