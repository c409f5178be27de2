"""A folder of image files, with or without captions.

    NAME.png (jpg, ...)           an image, at any depth; hidden files and folders are ignored
    NAME.txt beside it            its captions, one a line
    metadata.jsonl, metadata.csv  in the folder itself, with `file_name` (relative to the folder) and `text`:
                                  a caption, or in JSON a list of captions

README.txt, LICENSE.txt and the like in the folder itself are not captions. All text is UTF-8. Whether an
image is held out depends on its relative name alone, so adding files never moves others between the
splits."""

import csv
import json
import os
import posixpath
import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from itertools import chain
from pathlib import Path

from ...system.disk import lines_of, open_file
from ...system.errors import DataError, printable
from ..images import ENDINGS
from ..items import Item, Source, state_of
from ..layout.files import files
from ..layout.unused import Unused

ALLOWED = " ".join(ENDINGS)
METADATA = ("metadata.jsonl", "metadata.csv")
CAPTIONS, LINE = 1_000_000, 10_000_000  # most bytes of a file of captions; of a line of metadata
ABOUT = ("readme", "license", "licence", "credits", "attribution")  # text files about the folder


def folder(path: Path) -> Source:
    """Source of every image under the folder, sorted by name.

    Names and captions are checked before any image is decoded. Raises DataError where one of them is
    wrong."""
    path = Path(path)
    unused = Unused()
    images, texts = _files(path, unused)
    captions = _captions(path, images, texts)
    others = (file for file in (path / "metadata.jsonl", path / "metadata.csv") if file.exists())
    state = state_of(chain((path / file for file in chain(images.values(), texts.values())), others))
    names, paths = _Packed(images.keys()), _Packed(images.values())
    packed_captions = _Packed(json.dumps(captions.get(name, ())) for name in images)

    def items(start: int) -> Iterator[Item]:
        for n in range(start, len(names)):
            yield Item(names[n], str(path / paths[n]), tuple(json.loads(packed_captions[n])))

    return Source(
        items=items,
        state=state,
        count=len(names),
        unused=unused,
        card={"source": "folder", "licence": "unknown (your own files)"},
    )


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


def _files(path: Path, unused: Unused) -> tuple[dict[str, str], dict[str, str]]:
    """Images and text files under the folder, each {composed name: name on disk}, relative to the folder and
    sorted."""
    if not os.path.isdir(path):
        problem = "is a file" if os.path.exists(path) else "does not exist"
        raise DataError(
            f"{printable(str(path))} {problem}; allowed: a folder with images ({ALLOWED}); "
            "give the path of the folder"
        )

    images, texts = {}, {}
    for file, _ in files(path, unused):
        stem, ending = posixpath.splitext(file)
        if ending.lower()[1:] in ENDINGS:
            images[_normal(file)] = file
        elif ending.lower() == ".txt" and stem.lower() not in ABOUT:
            texts[_normal(file)] = file
        elif file not in METADATA:
            unused.file(file)
    if not images:
        raise DataError(
            f"no images in {printable(str(path))}; allowed: files ending in {ALLOWED}, subfolders included; "
            "add some"
        )
    return {name: images[name] for name in sorted(images)}, {name: texts[name] for name in sorted(texts)}


def _captions(path: Path, images: dict[str, str], texts: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """{image: its captions} for images that have some: those of the text file first, without duplicates."""
    captions = defaultdict(list)
    stems = {posixpath.splitext(name)[0] for name in texts}
    beside = defaultdict(list)
    for name in images:
        if (stem := posixpath.splitext(name)[0]) in stems:
            beside[stem].append(name)
    if orphans := [name for name in texts if posixpath.splitext(name)[0] not in beside]:
        more = f" (and {len(orphans) - 1:,} more)" if len(orphans) > 1 else ""
        raise DataError(
            f"caption file '{printable(orphans[0])}'{more} in {printable(str(path))} has no image; "
            f"allowed: an image of the same name beside it ({ALLOWED}); add it or move the text away"
        )
    for name, file in texts.items():
        lines = [line.strip() for line in re.split(r"[\r\n]", "".join(_lines(path / file, CAPTIONS)))]
        for image in beside[posixpath.splitext(name)[0]]:
            captions[image] += filter(None, lines)
    for file, read in ((path / "metadata.jsonl", _json_rows), (path / "metadata.csv", _csv_rows)):
        if file.exists():
            for line, entry in read(file):
                name, lines = _entry(file, line, entry, images)
                captions[name] += filter(None, lines)
    for name, lines in captions.items():
        captions[name] = tuple(dict.fromkeys(lines))
    return captions


def _entry(file: Path, line: int, entry: dict, images: Container[str]) -> tuple[str, list[str]]:
    """One row of metadata -> (image, captions). Raises DataError."""
    name, text = entry.get("file_name"), entry.get("text")
    if not name or not isinstance(name, str):
        raise _wrong(file, line, "lacks `file_name`, the path of an image relative to the folder; add it")
    texts = text if isinstance(text, list) else [text]
    if not all(isinstance(text, str) for text in texts):
        raise _wrong(file, line, "lacks `text`, a string (in JSON also a list of strings); add it")
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise _wrong(
            file, line, "has text with a lone surrogate (\\ud800 to \\udfff), which is not Unicode; mend it"
        )
    normal = _normal(posixpath.normpath(name))
    if normal.startswith(("../", "/")) or normal == "..":
        raise _wrong(file, line, f"names '{name}', which leads out of the folder; allowed: files inside it")
    if normal not in images:
        raise _wrong(
            file, line, f"names '{name}', which is not an image in the folder; add it or remove the line"
        )
    return normal, [text.strip() for text in texts]


def _json_rows(file: Path) -> Iterator[tuple[int, dict]]:
    """Rows of metadata.jsonl as (line number, row). Raises DataError."""
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _wrong(
                file, number, f"is not JSON ({error}); allowed: one object a line; mend it"
            ) from None
        if not isinstance(entry, dict):
            raise _wrong(file, number, 'is not an object; allowed: {"file_name": "a.png", "text": "..."}')
        yield number, entry


def _csv_rows(file: Path) -> Iterator[tuple[int, dict]]:
    """Rows of metadata.csv as (line number, row). Raises DataError."""
    reader = csv.DictReader(_lines(file), strict=True)
    try:
        for entry in reader:
            if None in entry:
                raise _wrong(file, reader.line_num, 'has too many cells; put text with commas in "quotes"')
            yield reader.line_num, entry
    except csv.Error as error:
        raise _wrong(file, reader.line_num + 1, f"is not CSV ({error}); mend it") from None


def _lines(file: Path, most: int | None = None) -> Iterator[str]:
    """Lines of a UTF-8 file of at most `most` bytes with their ends, without a byte order mark. Raises
    DataError."""
    try:
        with open_file(file, most) as binary:
            for number, line in enumerate(lines_of(binary, LINE), 1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise _wrong(
                        file, number, f"is not UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
                    ) from None
    except OSError as error:
        raise DataError(
            f"{printable(str(file))} cannot be read: {error.strerror}; mend it or move it away"
        ) from None


def _wrong(file: Path, line: int, problem: str) -> DataError:
    return DataError(printable(f"{file} line {line}: {problem}"))


def _normal(name: str) -> str:
    """Composed Unicode (NFC): macOS and Linux write the same accented name differently."""
    return unicodedata.normalize("NFC", name)
