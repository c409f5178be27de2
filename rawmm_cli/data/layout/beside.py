"""Captions in a file beside a picture: NAME.txt, NAME.caption and NAME.json beside NAME.png, in this order;
NAME.png.txt and so on too.

In .txt and .caption every line is a caption (kohya's scripts write both). In .json, as img2dataset writes it,
they are under the first of `columns.CAPTIONS` that it has: a string or a list of strings.

meta_cap.json, metadata.json and the like have captions or tags of many pictures, as kohya's scripts write
them: {"NAME": {"caption": "...", "tags": "..."}}. NAME is without its ending and folder, or a whole path."""

import json
import os
import posixpath
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import splitext

from ...system.disk import read_file
from ...system.errors import DataError, printable
from ..columns import CAPTIONS, LABELS
from ..images import ENDINGS as PICTURES
from ..items import NO_CAPTION
from .captions import texts_of, value_of, which
from .splits import split_columns, split_text
from .unused import KEYS, Unused

ENDINGS = (".txt", ".caption", ".json")
MOST = 1_000_000  # bytes of a file of captions
INDEX, LARGEST = re.compile(r"meta(data)?(_\w+)?\.json"), 256 << 20  # name of kohya's files; bytes of one
INDEXED = ("caption", "tags")  # keys in these
ABOUT = ("readme", "license", "licence", "credits", "attribution")  # texts about the folder


@dataclass
class Texts:
    """What files or metadata say of pictures, by the name of the picture."""

    captions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, int | str] = field(default_factory=dict)  # numbers or names of classes
    bad: dict[str, str] = field(default_factory=dict)  # pictures that cannot be used, and the reason
    hollow: dict[str, str] = field(default_factory=dict)  # the same where no other file has a caption
    null: dict[str, str] = field(default_factory=dict)  # where that is null, and others in its file are not
    splits: dict[str, dict[str, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # column -> of pictures


def read(
    root: Path, files: Iterable[tuple[str, str]], pictures: Collection[str], key: str | None, unused: Unused
) -> Texts:
    """Captions of the files that stand beside a picture.

    files: (composed name, name on disk), relative to the root. pictures: composed names. key: of JSON, in
    place of `columns.CAPTIONS`. A file of text without a picture counts as a bad item; JSON without a picture
    or captions is not used. Raises DataError where a file cannot be read."""
    files = sorted(files, key=lambda pair: (ENDINGS.index(splitext(pair[0])[1].lower()), pair))
    stems = {splitext(name)[0] for name, _ in files}
    beside = defaultdict(list)
    for picture in pictures:
        for stem in (splitext(picture)[0], picture):  # a.txt and a.png.txt
            if stem in stems:
                beside[stem].append(picture)
    texts, null = Texts(), {}
    for name, file in files:
        stem, ending = splitext(name)
        if stem not in beside and INDEX.fullmatch(os.path.basename(name).lower()):
            _index(root, file, pictures, key, texts, unused)
        elif stem not in beside:
            _without_picture(name, file, texts, unused)
        elif ending.lower() == ".json":
            null |= _json(root, file, beside[stem], key, texts, unused)
        else:
            _lines(root / file, beside[stem], texts)
    if any(texts.captions.values()):
        texts.null = null
    return texts


def _without_picture(name: str, file: str, texts: Texts, unused: Unused) -> None:
    stem, ending = splitext(name)
    if ending.lower() == ".json" or os.path.basename(stem).lower() in ABOUT:
        unused.file(file)
    else:
        texts.bad[name] = "it is a caption file, and there is no picture of that name beside it"


def _lines(path: Path, pictures: list[str], texts: Texts) -> None:
    """Captions of a file of text, one a line."""
    content = _content(path)
    try:
        lines = re.split(r"[\r\n]", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"line {line} of {path.name} is not UTF-8 (byte 0x{content[error.start]:02x})"
        texts.bad |= dict.fromkeys(pictures, f"{problem}; save the file as UTF-8")
        return
    captions = [text for line in lines if (text := line.strip())]
    for picture in pictures:
        texts.captions[picture] += captions


def _json(
    root: Path, file: str, pictures: list[str], key: str | None, texts: Texts, unused: Unused
) -> dict[str, str]:
    """Add captions and the class in a file of JSON -> its pictures whose caption is null, with the reason."""
    path = root / file
    try:
        facts = json.loads(_content(path).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        texts.bad |= dict.fromkeys(pictures, f"{path.name} is not JSON in UTF-8")
        return {}
    facts = facts if isinstance(facts, dict) else {CAPTIONS[0]: facts} if texts_of(facts) else {}
    names = [name for name in ([key] if key else CAPTIONS) if name.partition(".")[0] in facts]
    caption = next((name for name in names if value_of(facts, name)), next(iter(names), None))
    value = value_of(facts, caption) if caption else None
    label = next((name for name in LABELS if is_class(facts.get(name))), None)
    columns = [name for name in split_columns(facts, (caption, label)) if split_text(facts[name]) is not None]
    if caption is None and label is None and not columns:
        unused.file(file)
        return {}
    unused.add_all(KEYS, facts.keys() - {caption, label, (caption or "").partition(".")[0]})
    captions = texts_of(value or [])
    for column in columns:
        texts.splits[column] |= dict.fromkeys(pictures, sys.intern(split_text(facts[column])))
    for picture in pictures:
        if captions is None:
            texts.hollow[picture] = (
                f"its caption in {path.name} is {json.dumps(value)[:60]}{which(caption, value)}"
            )
        texts.captions[picture] += captions or ()
        if label is not None:
            texts.labels[picture] = facts[label]
    null = caption is not None and value is None
    return dict.fromkeys(pictures, f"{NO_CAPTION}: `{caption}` in {path.name} is null") if null else {}


def _index(
    root: Path, file: str, pictures: Collection[str], key: str | None, texts: Texts, unused: Unused
) -> None:
    """Captions of many pictures in one file, as kohya's scripts write it; no other JSON is used."""
    try:
        facts = json.loads(_content(root / file, LARGEST).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return unused.file(file)
    keys = (key,) if key else INDEXED
    rows = facts if isinstance(facts, dict) and all(isinstance(row, dict) for row in facts.values()) else {}
    if not any(name in row for row in rows.values() for name in keys):
        return unused.file(file)
    by_stem = defaultdict(list)
    for picture in pictures:
        by_stem[posixpath.basename(splitext(picture)[0])].append(picture)
    used = set()
    for name, row in rows.items():
        picture = _named(unicodedata.normalize("NFC", name), posixpath.dirname(file), by_stem)
        if picture is None:
            texts.bad[f"{file}: {name}"] = "no picture, or more than one, has that name"
            continue
        column = next((column for column in keys if texts_of(row.get(column))), None)
        if column is not None:
            texts.captions[picture] += texts_of(row[column])
            used.add(column)
    unused.add_all(KEYS, sorted({column for row in rows.values() for column in row} - used))


def _named(name: str, folder: str, by_stem: Mapping[str, list[str]]) -> str | None:
    """The picture that a key of such a file names: by its name alone, or by a path, which may be that of
    another machine. None where there is none, or more than one. folder: of the file."""
    path = name.replace("\\", "/")
    stem, ending = splitext(path)
    path = stem if ending[1:].lower() in PICTURES else path
    same = by_stem.get(posixpath.basename(path), [])
    if "/" in path:
        same = [one for one in same if f"/{path}".endswith(f"/{splitext(one)[0]}")] or [
            one for one in same if splitext(one)[0] == posixpath.join(folder, path)
        ]
        same = sorted(same, key=len)[-1:]
    near = [one for one in same if posixpath.dirname(one) == folder]
    same = near if len(near) == 1 else same
    return same[0] if len(same) == 1 else None


def is_class(value: object) -> bool:
    """Whether a value can be a class: a whole number or a name."""
    return isinstance(value, (int, str)) and not isinstance(value, bool) and value != ""


def _content(path: Path, most: int = MOST) -> bytes:
    try:
        return read_file(path, most)
    except OSError as error:
        raise DataError(
            f"{printable(str(path))} cannot be read: {error.strerror}; mend it or move it away"
        ) from None
