"""Plain text files (UTF-8) as documents of text alone.

A file of more than PIECE characters is cut at line ends into several documents. Those of whitespace alone are
left out."""

import codecs
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TextIO

from ...system.disk import open_file
from ...system.errors import DataError, printable
from ...system.figures import counted
from ..items import DocumentItem, Piece, Source, state_of
from ..layout.files import files_ending_in
from ..layout.splits import described, named, roles, splits_of
from ..layout.unused import Unused

PIECE = 1 << 16  # characters of a document; training takes a window of it
ENDINGS = (".txt", ".md", ".text")


def text(*, path: Path) -> Source:
    """Source of the text of one file, or of every .txt, .md and .text under a folder.

    Raises DataError where there is no such file or the text is not UTF-8."""
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed with --path: a text file or a folder with some"
        )
    unused = Unused()
    files = files_ending_in(ENDINGS, path, unused)
    if not files:
        raise DataError(
            f"no text files in {printable(str(path))}; allowed: files ending in {', '.join(ENDINGS)}"
        )
    files, names = named(files, path if path.is_dir() else path.parent)
    splits = splits_of(names, files=True)
    used_as, line = roles(splits), described(Counter(splits))

    def items() -> Iterator[DocumentItem]:
        for file, name, split in zip(files, names, splits):
            for number, piece in enumerate(_pieces(file)):
                yield DocumentItem(f"{name}/{number}", (Piece(text=piece),), used_as[split])

    return Source(
        items=lambda start: islice(items(), start, None),
        state=state_of(files),
        unused=unused,
        holds_documents=True,
        card={"source": f"text, {counted(len(files), 'file')}", "licence": "unknown (your own files)"}
        | ({"chosen": {"files by split": line}} if line else {}),
    )


def _pieces(file: Path) -> Iterator[str]:
    """Text of a file in pieces of at most PIECE characters, cut at line ends; a longer line is cut inside."""
    lines, size = [], 0
    with _opened(file) as stream:
        for line in _lines(file, stream):
            if size + len(line) > PIECE:
                if "".join(lines).strip():
                    yield "".join(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
    if "".join(lines).strip():
        yield "".join(lines)


def _opened(file: Path) -> TextIO:
    """The file, open for reading. Raises DataError."""
    try:
        return TextIOWrapper(open_file(file), encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(
            f"{printable(str(file))} cannot be read: {error.strerror}; mend it or move it away"
        ) from None


def _lines(file: Path, stream: TextIO) -> Iterator[str]:
    """Lines of an open file; those of more than PIECE characters in parts. Raises DataError."""
    try:
        while line := stream.readline(PIECE):  # a part of a long line ends between two characters
            yield line
    except UnicodeDecodeError:
        raise DataError(
            f"{printable(str(file))} is not UTF-8 ({_first_bad_byte(file)}); save it as UTF-8"
        ) from None


def _first_bad_byte(file: Path) -> str:
    """The first byte that is not UTF-8, and its line, in words.

    `readline` cannot tell: it decodes up to a block ahead of the lines that it returns."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with open_file(file) as binary:
        while True:
            block = binary.read(PIECE)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                return f"byte 0x{error.object[error.start]:02x} in line {line}"
            line += block.count(b"\n")
