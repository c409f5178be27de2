"""A folder of image files, with or without captions, as a data set.

    NAME.png (jpg, ...)          an image, anywhere under the folder; hidden files and folders are ignored
    NAME.txt beside it           its captions, one a line (README.txt, LICENSE.txt and the like on top are none)
    metadata.jsonl, metadata.csv in the folder itself, with `file_name` (from the folder on) and `text`: a caption,
                                 or in JSON a list of them

All text is UTF-8. Whether an image is held out depends on nothing but its relative name, so that adding files never
moves others. Next: `prepared.py` writes the rows.
"""

import csv
import hashlib
import io
import json
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, DataError, printable
from ..images import ImageError, fit, read_image
from ..prepared import row

EXTENSIONS = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm")
ALLOWED = " ".join(EXTENSIONS)
ABOUT = ("readme", "license", "licence", "credits", "attribution")         # text files about the folder, not captions


def folder(path: Path, *, size: int | None, held_out: float = 0.1,
           skip_bad: bool = False) -> tuple[dict[str, list[dict]], dict]:
    """-> (rows by split, card). size: side of the square, in pixels (None: every image keeps its own size); held_out:
    share of the images; skip_bad: leave out images that cannot be used and list them in the card.

    Raises DataError, one line, on whatever is wrong in the folder; captions are checked before images are decoded."""
    if size is not None and size < 1:
        raise ConfigError(f"size is {size}; allowed: a whole number of pixels from 1 on")
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}; allowed: above 0 and below 1, for example 0.1")
    path = Path(path)
    images, texts = _files(path)
    captions = _captions(path, images, texts)
    rows, skipped = {}, []
    for name, file in images.items():
        try:
            pixels = read_image(file)
            rows[name] = row(pixels if size is None else fit(pixels, size), captions[name], source=printable(name))
        except ImageError as error:
            skipped.append({"file": printable(name), "reason": error.reason})
    _check_count(path, rows, skipped, skip_bad)
    kept_back = _held_out(list(rows), held_out)
    sizes = {(entry["height"], entry["width"]) for entry in rows.values()}
    card = {"name": printable(os.path.basename(os.path.abspath(path))), "source": "folder", "licence": "unknown",
            "size": list(sizes.pop()) if len(sizes) == 1 else None, "labels": [], "skipped": skipped,
            "without_caption": sum(not entry["captions"] for entry in rows.values())}
    return {"train": [entry for name, entry in rows.items() if name not in kept_back],
            "held_out": [entry for name, entry in rows.items() if name in kept_back]}, card


def _files(path: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """-> images and text files under the folder, {relative name: file}, sorted by name."""
    shown = printable(str(path))
    if not os.path.isdir(path):
        problem = "is a file" if os.path.exists(path) else "does not exist"
        raise DataError(f"{shown} {problem}; allowed: a folder with images ({ALLOWED}); give the path of the folder")

    def unreadable(error: OSError):
        raise DataError(f"folder {printable(str(error.filename))} cannot be read: {error.strerror}; "
                        "allow reading it or move it away")

    found = []
    for base, folders, files in os.walk(path, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(base, name) for name in files if not name.startswith(".")]
    named = sorted((_normal(file.relative_to(path).as_posix()), file) for file in found)
    images = {name: file for name, file in named if file.suffix[1:].lower() in EXTENSIONS}
    if not images:
        raise DataError(f"no images in {shown}; allowed: files ending in {ALLOWED}, subfolders included; add some")
    return images, {name: file for name, file in named if file.suffix.lower() == ".txt"
                    and not (file.stem.lower() in ABOUT and name.count("/") == 0)}


def _captions(path: Path, images: dict[str, Path], texts: dict[str, Path]) -> dict[str, list[str]]:
    """{image: its captions}, those of the text file first, none twice."""
    captions = {name: [] for name in images}
    beside = {}
    for name in images:
        beside.setdefault(posixpath.splitext(name)[0], []).append(name)
    if orphans := [name for name in texts if posixpath.splitext(name)[0] not in beside]:
        more = f" (and {len(orphans) - 1:,} more)" if len(orphans) > 1 else ""
        raise DataError(f"caption file '{printable(orphans[0])}'{more} in {printable(str(path))} has no image; "
                        f"allowed: an image of the same name beside it ({ALLOWED}); add it or move the text away")
    for name, file in texts.items():
        lines = [line.strip() for line in re.split(r"[\r\n]", _read(file))]
        for image in beside[posixpath.splitext(name)[0]]:
            captions[image] += filter(None, lines)
    for file, read in ((path / "metadata.jsonl", _json_rows), (path / "metadata.csv", _csv_rows)):
        if file.exists():
            for line, entry in read(file):
                name, found = _entry(file, line, entry, captions)
                captions[name] += filter(None, found)
    return {name: list(dict.fromkeys(found)) for name, found in captions.items()}


def _entry(file: Path, line: int, entry: dict, images) -> tuple[str, list[str]]:
    """One row of metadata -> (image, captions)."""
    name, text = entry.get("file_name"), entry.get("text")
    if not name or not isinstance(name, str):
        raise _wrong(file, line, "lacks `file_name`, the path of an image from the folder on; add it")
    texts = text if isinstance(text, list) else [text]
    if not all(isinstance(text, str) for text in texts):
        raise _wrong(file, line, "lacks `text`, a string (in JSON also a list of strings); add it")
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise _wrong(file, line, "has text with a lone surrogate (\\ud800 to \\udfff), which is not Unicode; mend it")
    normal = _normal(posixpath.normpath(name))
    if normal.startswith(("../", "/")) or normal == "..":
        raise _wrong(file, line, f"names '{name}', which leads out of the folder; allowed: files inside it")
    if normal not in images:
        raise _wrong(file, line, f"names '{name}', which is not an image in the folder; add it or remove the line")
    return normal, [text.strip() for text in texts]


def _json_rows(file: Path) -> Iterator[tuple[int, dict]]:
    """metadata.jsonl -> (line, row)."""
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _wrong(file, number, f"is not JSON ({error}); allowed: one object a line; mend it") from None
        if not isinstance(entry, dict):
            raise _wrong(file, number, 'is not an object; allowed: {"file_name": "a.png", "text": "..."}')
        yield number, entry


def _csv_rows(file: Path) -> Iterator[tuple[int, dict]]:
    """metadata.csv -> (line, row)."""
    reader = csv.DictReader(io.StringIO(_read(file), newline=""), strict=True)
    try:
        for entry in reader:
            if None in entry:
                raise _wrong(file, reader.line_num, 'has too many cells; put text with commas in "quotes"')
            yield reader.line_num, entry
    except csv.Error as error:
        raise _wrong(file, reader.line_num + 1, f"is not CSV ({error}); mend it") from None


def _read(file: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = error.object[:error.start].count(b"\n") + 1, error.object[error.start]
        raise _wrong(file, line, f"is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{printable(str(file))} cannot be read: {error.strerror}; mend it or move it away") from None


def _check_count(path: Path, rows: dict, skipped: list[dict], skip_bad: bool) -> None:
    """Raise DataError unless there are images enough, and no bad ones where these are not to be skipped."""
    shown, total = printable(str(path)), len(rows) + len(skipped)
    if skipped and not (skip_bad and rows):
        first, advice = skipped[0], "mend them" if skip_bad else "mend them, or leave them out with --skip-bad"
        more = f" (and {len(skipped) - 1:,} more)" if len(skipped) > 1 else ""
        raise DataError(f"image '{first['file']}'{more} of {total:,} in {shown} cannot be used: {first['reason']}; "
                        + advice)
    if len(rows) < 2:
        raise DataError(f"only 1 usable image in {shown}; allowed: at least 2, one to train and one held out; add some")


def _held_out(names: list[str], share: float) -> set[str]:
    """The names whose hash, a number in 0..1, is below `share`; at least one name, and never all."""
    place = {name: int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2 ** 64
             for name in names}
    count = sum(number < share for number in place.values())
    return set(sorted(names, key=place.get)[:min(max(count, 1), len(names) - 1)])


def _wrong(file: Path, line: int, problem: str) -> DataError:
    return DataError(printable(f"{file} line {line}: {problem}"))


def _normal(name: str) -> str:
    """Composed Unicode (NFC): macOS and Linux write the same accented name differently."""
    return unicodedata.normalize("NFC", name)
