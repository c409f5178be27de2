"""Interleaved documents: JSON Lines, each line a list of {"text": ...} and {"image": path, "draw": true}, in
reading order.

Paths count from the folder of the file on, and stay inside of it. A picture is only read unless `draw` is
true."""

import json
import posixpath
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ...system.errors import DataError, printable
from ..items import DocumentItem, Piece, Source, state_of

EXAMPLE = '[{"text": "A cat:"}, {"image": "cat.png", "draw": true}, {"text": "It sleeps."}]'
SHOWN = 200  # characters of a name, in a message


def documents(*, path: Path) -> Source:
    """Every line of the file is one document. All lines are checked before any picture is decoded. Raises
    DataError."""
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{printable(str(path))} is not a file; allowed with --path: a .jsonl file with a line like "
            f"{EXAMPLE}"
        )
    used = {piece.content for story in _stories(path) for piece in story.pieces if piece.content is not None}
    count = sum(1 for _ in _stories(path))
    if not count:
        raise DataError(f"{printable(str(path))} has no documents; allowed: lines like {EXAMPLE}")
    return Source(
        items=lambda start: islice(_stories(path), start, None),
        count=count,
        holds_documents=True,
        state=state_of([path, *(Path(file) for file in sorted(used) if Path(file).exists())]),
        card={"source": "documents", "licence": "unknown (your own files)"},
    )


def _stories(path: Path) -> Iterator[DocumentItem]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield DocumentItem(f"{path.name}/{number}", tuple(_pieces(path, number, line)))


def _pieces(path: Path, number: int, line: bytes) -> Iterator[Piece]:
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
    plain, shown = posixpath.normpath(name), name if len(name) <= SHOWN else name[:SHOWN] + "..."
    if plain.startswith(("/", "../")) or plain in ("..", "."):
        raise _wrong(
            path,
            number,
            f"names '{shown}', which leads out of the folder of the file; allowed: files inside of it",
        )
    found = path.parent / plain
    try:
        inside, there = path.parent.resolve() in found.resolve().parents, found.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, not a name at all, or links in a circle
        raise _wrong(path, number, f"names '{shown}', which cannot be opened; mend the line") from None
    if not inside:
        raise _wrong(
            path, number, f"names '{shown}', a link that leads out of the folder; allowed: files inside of it"
        )
    if not there:
        raise _wrong(path, number, f"names '{shown}', which does not exist; add it or mend the line")
    return str(found)


def _wrong(path: Path, line: int, problem: str) -> DataError:
    return DataError(printable(f"{path} line {line}: {problem}"))
