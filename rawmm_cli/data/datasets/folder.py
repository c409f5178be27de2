"""A folder of image files, with or without captions.

    NAME.png (jpg, ...)              an image, at any depth; hidden files and folders are ignored
    NAME.txt, .caption, .json        its captions, beside it (`layout/beside.py`)
    metadata.jsonl, .csv, .parquet   in any folder, with `file_name` and captions (`layout/metadata.py`)
    train/, validation/, test/       splits, or else a column `split` of metadata (`layout/splits.py`)
    CLASS/NAME.png                   a class, where all images are equally deep and there is no metadata, as
                                     `datasets` makes them; captions of it only by --caption

An image takes the captions of all of them, in this order. Where it has no split of its own, whether it is
held out depends on its relative name alone, so adding files never moves others between the splits."""

import json
import os
import posixpath
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from ...system.errors import ConfigError, DataError, printable
from ..columns import TEMPLATE, check_template, class_of, parse, words
from ..images import ENDINGS
from ..items import Item, Source, state_of
from ..layout import beside, metadata
from ..layout.beside import Texts
from ..layout.captions import PYTHON_LISTS, is_python_list
from ..layout.classes import classes_of, hint
from ..layout.copies import Listed, listed_pictures
from ..layout.files import advice, files
from ..layout.inside import MissingError, inside, relative
from ..layout.splits import (
    described,
    described_column,
    roles,
    roles_in_column,
    split_columns,
    splits_of,
)
from ..layout.unused import COLUMNS, FILES, KEYS, Unused

FIRST = 100  # captions that tell what all are
ALLOWED = " ".join(ENDINGS)


def folder(
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    keep_uncaptioned: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of every image under the folder, sorted by name; where it has splits, those for training first.

    columns: of metadata, as the option of `rawmm prepare`. caption: makes captions of classes, in place of
    all others. keep_uncaptioned: pictures whose caption is null are used. Texts are read before any image is
    decoded. Raises DataError where they cannot be read, ConfigError where an option does not fit."""
    path, unused = Path(path), Unused()
    requested = parse(columns, None, "metadata")
    if caption is not None:
        check_template(caption)
    images, texts, tables = _files(path, unused)
    said = _texts(path, images, texts, tables, requested, unused)
    if caption is None:
        missing = said.hollow if keep_uncaptioned else said.hollow | said.null
        said.bad |= {name: why for name, why in missing.items() if not said.captions.get(name)}
    listed, names, images = listed_pictures(path, list(images.keys() | said.bad.keys()), images, unused)
    splits, used_as, about = _splits(names, images, said, listed, unused, notify)
    order = sorted(range(len(names)), key=lambda n: (used_as[splits[n]] == "held_out", names[n]))
    names, splits = [names[n] for n in order], [splits[n] for n in order]
    labels, classes = _classes(images, said.labels, bool(tables) and caption is None)
    captions = _captions(names, said, labels, classes, caption, notify)
    card = {"source": "folder", "licence": "unknown (your own files)", "labels": classes}
    if about:
        card["chosen"] = about
    used = [used_as[split] for split in splits]
    return Source(
        items=_items(path, names, images, captions, labels, used, said.bad),
        outline=lambda: zip(names, used),
        state=state_of(
            os.path.join(path, file) for file in chain(images.values(), texts.values(), sorted(tables))
        )
        + repr((columns, caption, *["keep_uncaptioned"] * keep_uncaptioned))
        + (about["splits"] if listed.splits else about.get("split column", "")),
        count=len(names),
        unused=unused,
        card=card,
    )


def _items(
    path: Path,
    names: list[str],
    images: dict[str, str],
    captions: Iterable[tuple[str, ...]],
    labels: dict[str, int],
    splits: list[str | None],
    bad: dict[str, str],
) -> Callable[[int], Iterator[Item]]:
    """`Source.items`, which holds names, captions and labels in little memory."""
    packed, paths = _Packed(names), _Packed(images.get(name, "") for name in names)
    texts = _Packed(map(json.dumps, captions))
    numbers = array("q", (labels.get(name, -1) for name in names))

    def items(start: int) -> Iterator[Item]:
        for n in range(start, len(packed)):
            name = packed[n]
            content = DataError(bad[name]) if name in bad else str(path / paths[n])
            yield Item(name, content, tuple(json.loads(texts[n])), numbers[n], split=splits[n])

    return items


class _Packed:
    """Strings in one piece of memory: a quarter of what a list of them takes, for as long as the source
    lives."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.ends, self.data = array("q", [0]), bytearray()
        for text in texts:
            self.data += os.fsencode(text)
            self.ends.append(len(self.data))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> str:
        return os.fsdecode(bytes(self.data[self.ends[number] : self.ends[number + 1]]))


def _files(path: Path, unused: Unused) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Images and files of captions under the folder, each {composed name: name on disk}, and metadata; all
    relative to the folder."""
    if not os.path.isdir(path):
        problem = "is a file" if os.path.exists(path) else "does not exist"
        raise DataError(
            f"{printable(str(path))} {problem}; allowed: a folder with images ({ALLOWED}); "
            "give the path of the folder"
        )
    images, texts, tables = {}, {}, []
    for file, _ in files(path, unused):
        ending = posixpath.splitext(file)[1].lower()
        if ending[1:] in ENDINGS:
            name = _normal(file)
            if name in images:  # two spellings of one accented name
                unused.add(FILES, max(file, images[name]))
            images[name] = min(file, images.get(name, file))
        elif metadata.is_metadata(file):
            tables.append(file)
        elif ending in beside.ENDINGS:
            texts[_normal(file)] = file
        else:
            unused.file(file)
    if not images and not tables:
        raise DataError(
            f"no images in {printable(str(path))}; allowed: files ending in {ALLOWED}, subfolders included; "
            f"add some{advice(unused)}"
        )
    return images, {name: texts[name] for name in sorted(texts)}, tables


def _texts(
    path: Path,
    images: dict[str, str],
    texts: dict[str, str],
    tables: list[str],
    requested: dict[str, str],
    unused: Unused,
) -> Texts:
    """What files beside the images say, and then metadata. Images that metadata name join `images`, whatever
    their ending is."""

    def find(folder: str, name: str) -> str | None:
        if (picture := _normal(posixpath.join(folder, name))) in images:  # as it is: nothing leads elsewhere
            return picture
        for plain in (relative(name), relative(name.replace("\\", "/"))):
            if (picture := _normal(posixpath.join(folder, plain))) in images:
                return picture
        try:
            file = os.path.relpath(inside(path / folder, name), path)
        except MissingError:
            return None
        unused.file(file, -1)
        images[_normal(file)] = file
        return _normal(file)

    if requested and not tables and not any(name.lower().endswith(".json") for name in texts):
        raise ConfigError(
            f"--columns is for metadata, and {printable(str(path))} has none; allowed: "
            f"{', '.join(metadata.NAMES)}; leave out --columns"
        )
    stated = metadata.read(path, tables, find, requested, unused)
    said = beside.read(path, texts.items(), images, requested.get("text"), unused)
    for picture, captions in stated.captions.items():
        said.captions[picture] += captions
    said.labels = stated.labels | said.labels
    for column, splits in stated.splits.items():
        said.splits[column] = splits | said.splits[column]
    said.bad |= stated.bad
    said.hollow |= stated.hollow
    said.null |= stated.null
    return said


def _splits(
    names: list[str],
    images: Collection[str],
    said: Texts,
    listed: Listed,
    unused: Unused,
    notify: Callable[[str], None],
) -> tuple[list[str | None], dict[str | None, str | None], dict[str, str]]:
    """The split of every name, {split: role}, and both in words, for the card: as a README or folders tell
    them, or else a column of metadata or a key of JSON."""
    for line in listed.lines:
        notify(line)
    splits = listed.splits or splits_of(names)
    if not any(splits):
        for column in split_columns(said.splits, ()):
            of_picture = said.splits[column]
            counts = Counter(map(of_picture.get, images))
            if chosen := roles_in_column(column, counts):
                line = described_column(counts, chosen)
                notify(f"splits of the source, in column {printable(column)}: {line}")
                for kind in (COLUMNS, KEYS):
                    unused.counts[kind].pop(column, None)
                splits = [of_picture.get(name) for name in names]
                return splits, {None: "train"} | chosen, {"split column": column, "splits": line}
    if line := described(Counter(split for name, split in zip(names, splits) if name in images)):
        notify(f"splits of the source{listed.where()}: {line}")
    for note in [] if line else listed.several:
        notify(note)
    return splits, roles(splits), listed.card() | {"splits": line} if line else {}


def _classes(
    images: Collection[str], labels: dict[str, int | str], has_metadata: bool
) -> tuple[dict[str, int], list[str]]:
    """Classes as ({name: number}, names of the classes): those that files tell, else those of the folders."""
    if labels:
        if all(isinstance(label, int) or label.isdecimal() for label in labels.values()):
            return {name: class_of(int(label)) for name, label in labels.items()}, []
        classes = sorted({str(label) for label in labels.values()})
        numbers = {label: number for number, label in enumerate(classes)}
        return {name: numbers[str(label)] for name, label in labels.items()}, classes
    folders = {name: posixpath.dirname(name) for name in images}
    of_folder = {} if has_metadata else classes_of(dict.fromkeys(folders.values()))
    classes = sorted({*of_folder.values()})
    numbers = {label: number for number, label in enumerate(classes)}
    return {name: numbers[of_folder[folder]] for name, folder in folders.items() if of_folder}, classes


def _captions(
    names: list[str],
    said: Texts,
    labels: dict[str, int],
    classes: list[str],
    template: str | None,
    notify: Callable[[str], None],
) -> Iterator[tuple[str, ...]]:
    """Captions of every image. Raises ConfigError where there are no classes to make captions of."""
    if template is not None and not labels:
        raise ConfigError(
            "--caption makes captions of classes, and there are none; allowed: images in folders named by "
            "their classes, all equally deep, or a column `label` of metadata"
        )
    if template is None and not any(said.captions.values()):
        if not labels:
            if len({name.count("/") for name in names}) > 1:
                notify("folders are no classes here, since the pictures are not equally deep")
        elif said.labels:
            template = TEMPLATE
            notify(f"captions are made of the classes by '{TEMPLATE}'; --caption gives another")
        else:
            notify(hint(classes))
    first = islice(chain.from_iterable(said.captions.values()), FIRST)
    if template is None and any(map(is_python_list, first)):
        notify(f"captions are {PYTHON_LISTS}")
    for name in names:
        if template is not None:
            label = labels.get(name, -1)
            word = "" if label < 0 else words(classes[label]) if classes else str(label)
            yield (template.format(label=word),) if word else ()
        else:
            yield tuple(dict.fromkeys(said.captions.get(name, ())))


def _normal(name: str) -> str:
    """Composed Unicode (NFC): macOS and Linux write the same accented name differently."""
    return unicodedata.normalize("NFC", name)
