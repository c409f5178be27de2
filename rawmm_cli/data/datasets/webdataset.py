"""Archives of samples, as `webdataset` writes them: consecutive members a.jpg, a.txt, a.json are one sample
named a.

`archives.py` reads them, safely and member by member; `layout/fields.py` has the roles of the endings.
Folders in archives are classes as in a folder of pictures, where samples have none of their own."""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ...system.errors import DataError, printable
from ...system.figures import counted
from ..archives import ENDINGS, members, names
from ..items import Item, Source, state_of
from ..layout.archive_splits import KeySplits, OwnSplits, key_splits, own_splits
from ..layout.classes import classes_of, hint
from ..layout.copies import Listed, own_files
from ..layout.fields import FIRST, Fields, Sample
from ..layout.files import advice, files_ending_in
from ..layout.samples import Samples, key_of
from ..layout.splits import splits_of
from ..layout.unused import KEYS, MEMBERS, OTHERS, Unused


def webdataset(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    keep_uncaptioned: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of the samples of one archive, or of every archive under a folder, sorted by name; of
    splits, those for training first.

    columns, caption, keep_uncaptioned: as the options of `rawmm prepare`. Raises ConfigError where they do
    not fit, DataError where there is no archive; reading raises DataError where one is not safe."""
    path, unused = Path(path), Unused()
    files, archives, listed = own_files(archive_files(path, unused), path, unused)
    fields = Fields(columns, caption, keep_uncaptioned=keep_uncaptioned)
    about = _about(files, archives, listed, fields)
    fields = replace(fields, folders=about.folders, split=about.by_key and about.by_key.key)
    notify("chosen: " + fields.describe())
    if line := about.by_key.describe() if about.by_key else about.splits.describe():
        notify(f"splits of the source{listed.where()}, in {line}")
    for note in [*listed.lines, *about.lines, *([] if line else listed.several)]:
        notify(note)

    own = about.by_key.card() if about.by_key else listed.card() | {"splits": line} if line else {}
    return Source(
        items=partial(_items, files, archives, fields, about, unused, notify),
        state=state_of(files) + repr(fields) + listed.where() + line,
        unused=unused,
        card={
            "source": f"webdataset, {counted(len(files), 'archive')}",
            "licence": "unknown (your own files)",
            "labels": fields.classes,
            "chosen": {"samples": fields.describe()} | own,
        },
    )


class About(NamedTuple):
    """What is known of archives before they are read. folders: {folder: name of its class}.
    lines: what is said of them, and of captions."""

    splits: OwnSplits
    by_key: KeySplits | None
    folders: dict[str, str]
    lines: list[str]

    def role(self, fields: Fields, archive: str, name: str, sample: Sample) -> str | None:
        """Role of a sample: "train", "held_out", or None where its name decides."""
        if self.by_key is None:
            return self.splits.role(archive, name)
        return self.by_key.roles[fields.split_text(sample, self.by_key.key)]


def _about(files: list[Path], archives: list[str], listed: Listed, fields: Fields) -> About:
    """Splits and classes of archives: by a README, their names, the folders in them, the first samples."""
    first = list(islice(_samples(files[:1], archives[:1], Samples(fields, Unused())), FIRST))
    looks = fields.looks([sample for _, _, sample in first])
    deep = any("/" in name for _, name, _ in first)
    places = []
    if deep or not any(listed.splits or splits_of(archives, files=True)):
        places = list(_places(files, archives, fields))
    splits = own_splits(archives, places, listed.splits)
    by_key = None
    if not splits.describe():
        by_key = key_splits(looks.split_keys, lambda key: _texts(files, archives, fields, key))
    folders = {} if looks.classes else classes_of(dict.fromkeys(folder for _, folder in places))
    classes = sorted({*folders.values()})
    lines = [hint(classes)] if classes and not looks.captions and fields.template is None else []
    return About(splits, by_key, folders, looks.lines + lines)


def _texts(files: list[Path], archives: list[str], fields: Fields, key: str) -> Iterator[str | None]:
    """What every sample has under a key of its JSON."""
    for _, _, sample in _samples(files, archives, Samples(fields, Unused())):
        yield fields.split_text(sample, key)


def _items(
    files: list[Path],
    archives: list[str],
    fields: Fields,
    about: "About",
    unused: Unused,
    notify: Callable[[str], None],
    start: int,
) -> Iterator[Item]:
    """`Source.items`. Those to hold out stand anywhere inside of an archive: a pass for each role."""
    unused.clear(MEMBERS, KEYS, OTHERS)
    number = 0
    for role in ("train", "held_out") if about.splits.folders or about.by_key else (None,):
        first = role != "held_out"
        samples = Samples(fields, unused if first else Unused(), every=first)
        captioned = _captioned(files, archives, fields)
        for archive, name, sample in _samples(files, archives, samples):
            split = about.role(fields, archive, name, sample)
            if role in (split, None):
                if number >= start:
                    folder = posixpath.dirname(name)
                    yield fields.item(f"{archive}/{name}", sample, split, folder, captioned(archive))
                number += 1
        for line in samples.notes.lines() if samples.unused is unused else ():
            notify(line)


def _samples(files: list[Path], archives: list[str], samples: Samples) -> Iterator[tuple[str, str, "Sample"]]:
    """All samples as (archive, name in it, sample)."""
    for file, archive in zip(files, archives):
        content = members(file, partial(samples.note, archive))
        for name, sample in samples.of(archive, content, _content):
            yield archive, name, sample


def _captioned(files: list[Path], archives: list[str], fields: Fields) -> Callable[[str], bool]:
    """Whether a sample of an archive has a caption: the first that has one ends the reading."""

    @cache
    def captioned(archive: str) -> bool:
        file = files[archives.index(archive)]
        samples = _samples([file], [archive], Samples(fields, Unused()))
        return any(fields.captioned(sample) for _, _, sample in samples)

    return captioned


def _places(files: list[Path], archives: list[str], fields: "Fields") -> Iterator[tuple[str, str]]:
    """Pairs of an archive and a folder of pictures in it: a pass over all members, since the folders of
    splits may come late."""
    for file, archive in zip(files, archives):
        keys = ((name, key_of(name)) for name in names(file))
        pictures = (key for name, key in keys if key and fields.image([name[len(key) + 1 :].lower()]))
        yield from ((archive, folder) for folder in dict.fromkeys(map(posixpath.dirname, pictures)))


def archive_files(path: Path, unused: Unused) -> list[Path]:
    """The archive itself, or those under a folder, sorted. Raises DataError where there is none.

    unused: counts all other files."""
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed with --path: an archive ({', '.join(ENDINGS)}) "
            "or a folder with some"
        )
    files = files_ending_in(ENDINGS, path, unused)
    if not files:
        raise DataError(
            f"no archives in {printable(str(path))}; allowed: files ending in {', '.join(ENDINGS)}"
            + advice(unused, "webdataset")
        )
    return files


def _content(read: Callable[[], bytes]) -> bytes:
    return read()
