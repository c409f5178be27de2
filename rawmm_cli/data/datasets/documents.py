"""Interleaved documents: JSON Lines, each line a list of {"text": ...} and {"image": path, "draw": true}, in
reading order.

Paths are relative to the folder of the file and stay inside it. A picture is read, unless `draw` is true:
then it is drawn."""

import json
import posixpath
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ...system.disk import lines_of, open_file
from ...system.errors import DataError, printable
from ..items import DocumentItem, Piece, Source, state_of

EXAMPLE = '[{"text": "A cat:"}, {"image": "cat.png", "draw": true}, {"text": "It sleeps."}]'
NAME = 200  # characters of a file name in a message
LINE = 100_000_000  # most bytes of a document


def documents(*, path: Path) -> Source:
    """Source of the documents in a .jsonl file, one a line.

    All lines are checked before any picture is decoded. Raises DataError where one of them is wrong."""
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{printable(str(path))} is not a file; allowed with --path: a .jsonl file with a line like "
            f"{EXAMPLE}"
        )
    pictures = {piece.content for item in _items(path) for piece in item.pieces if piece.content is not None}
    count = sum(1 for _ in _items(path))
    if not count:
        raise DataError(f"{printable(str(path))} has no documents; allowed: lines like {EXAMPLE}")
    return Source(
        items=lambda start: islice(_items(path), start, None),
        count=count,
        holds_documents=True,
        state=state_of([path, *(Path(file) for file in sorted(pictures) if Path(file).exists())]),
        card={"source": "documents", "licence": "unknown (your own files)"},
    )


def _items(path: Path) -> Iterator[DocumentItem]:
    try:
        with open_file(path) as file:
            for number, line in enumerate(lines_of(file, LINE), 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield DocumentItem(f"{path.name}/{number}", tuple(_pieces(path, number, line)))
    except OSError as error:
        raise DataError(f"{printable(str(path))} cannot be read: {error.strerror}; mend it") from None


def _pieces(path: Path, number: int, line: bytes) -> Iterator[Piece]:
    """Pieces of one line. Raises DataError, which names the line."""
    try:
        entries = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _wrong(path, number, f"is not JSON in UTF-8 ({error}); allowed: {EXAMPLE}") from None
    if not isinstance(entries, list) or not entries:
        raise _wrong(path, number, f"is not a list; allowed: {EXAMPLE}")
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("text"), str) and set(entry) == {"text"}:
            yield Piece(text=entry["text"])
        elif (
            isinstance(entry, dict)
            and isinstance(entry.get("image"), str)
            and set(entry) <= {"image", "draw"}
            and isinstance(entry.get("draw", False), bool)
        ):
            yield Piece(content=_inside(path, number, entry["image"]), draw=entry.get("draw", False))
        else:
            raise _wrong(
                path,
                number,
                f"has the part {json.dumps(entry)[:80]}; allowed: "
                '{"text": "..."} and {"image": "a.png", "draw": true}',
            )


def _inside(path: Path, number: int, name: str) -> str:
    """Path of a picture that a line names. Raises DataError unless it is a file inside the folder."""
    plain, short = posixpath.normpath(name), name if len(name) <= NAME else name[:NAME] + "..."
    if plain.startswith(("/", "../")) or plain in ("..", "."):
        raise _wrong(
            path,
            number,
            f"names '{short}', which leads out of the folder of the file; allowed: files inside of it",
        )
    file = path.parent / plain
    try:
        inside, exists = path.parent.resolve() in file.resolve().parents, file.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, not a name at all, or links in a circle
        raise _wrong(path, number, f"names '{short}', which cannot be opened; mend the line") from None
    if not inside:
        raise _wrong(
            path, number, f"names '{short}', a link that leads out of the folder; allowed: files inside of it"
        )
    if not exists:
        raise _wrong(path, number, f"names '{short}', which does not exist; add it or mend the line")
    return str(file)


def _wrong(path: Path, line: int, problem: str) -> DataError:
    return DataError(printable(f"{path} line {line}: {problem}"))
