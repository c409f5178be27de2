"""The picture in a value of a table, or what people store in its place: addresses, base64, paths. What it is,
and what to do."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ...system.errors import DataError, printable
from ..decoding.files import FORMATS
from ..decoding.signatures import HEAD, format_of
from ..images import ENDINGS
from .inside import inside

SHOWN, LONG = 60, 200  # most characters of base64, and of a name, in a message
PATH = 1000  # most characters of a path
# The first characters of JPEG, PNG, GIF, WebP, TIFF and BMP files in base64.
BASE64 = ("data:image/", "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkqA", "TU0AK", "Qk0")


def instead_of_picture(value: object) -> tuple[str, str] | None:
    """A value of the data that is no picture -> (what it is, what to do); None where it is something else."""
    if isinstance(value, Mapping) and (
        field := next(filter(lambda name: holds_picture(value[name]), value), None)
    ):
        return f"pictures in the field '{printable(field)}' of a struct", "name that field 'bytes'"
    if _is_numbers(value):
        return "lists of numbers, which are not read", "store the bytes of image files"
    text = _text(value)
    if not text:
        return None
    if re.fullmatch(r"[\w+/=:;,.\s-]*", text) and (text.startswith(BASE64) or _is_base64(text)):
        return f"a picture in base64, '{_short(text, SHOWN)}'", "decode it, and store its bytes"
    name = f"'{_short(text, LONG)}'"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        return f"the address {name}, which is not fetched", "fetch the pictures first (img2dataset does)"
    if isinstance(value, bytes) and not text.lower().endswith(tuple(f".{ending}" for ending in ENDINGS)):
        return None
    what = "text" if text.startswith(("{", "[", "<")) or "\n" in text or len(text) > PATH else "path"
    return f"the {what} {name}, which is not read", "store the bytes of the pictures in the table"


def content_of(value: object, root: Path | None) -> bytes | str | DataError:
    """Bytes of an image, or the path of a file under `root`, or the error for anything else."""
    path = value.get("path") if isinstance(value, Mapping) else None
    value = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(value, bytes) and value:
        return value
    if not value and root is not None and isinstance(path, str):
        file = os.path.abspath(os.path.join(root, path))
        for folder in dict.fromkeys((os.path.abspath(root), os.path.realpath(root))):
            if folder in map(str, Path(file).parents):
                try:
                    return inside(folder, os.path.relpath(file, folder))
                except DataError as error:
                    return error
    if instead := instead_of_picture(value or path):
        return DataError(f"it has no bytes, only {instead[0]}; {instead[1]}")
    return b""


def holds_picture(value: object) -> bool:
    """Whether a value is, or holds under `bytes`, the beginning of an image file."""
    value = value.get("bytes") if isinstance(value, Mapping) else value
    value = next(iter(value), None) if isinstance(value, (list, tuple)) else value
    if isinstance(value, Mapping):
        return holds_picture(value)
    return isinstance(value, bytes) and format_of(value[:HEAD]) in FORMATS


def _is_numbers(value: object) -> bool:
    """Whether a value is a list of numbers, or of lists of them: pixels, or bytes one by one."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
        if isinstance(value, (int, float)):
            return True
    return False


def _is_base64(text: str) -> bool:
    """Whether a long text may be base64 of any kind."""
    return len(text) > PATH and re.fullmatch(r"[\w+/=\s-]*", text) is not None


def _short(text: str, most: int) -> str:
    return printable(text if len(text) <= most else text[:most] + "...")


def _text(value: object) -> str:
    """The text that a value is or holds, "" where it is anything else."""
    if isinstance(value, Mapping):
        return next(filter(None, map(_text, value.values())), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_text, value)), "")
    if isinstance(value, bytes):
        start = value[:200]
        return start.decode("ascii") if start.isascii() and start.decode("ascii").isprintable() else ""
    return value.strip() if isinstance(value, str) else ""
