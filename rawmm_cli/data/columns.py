"""Roles of the columns of a table of pictures, and a row of it as an item: for parquet files and sets of
the hub.

The image is in the first of IMAGES that the table has, the captions in the first of CAPTIONS (a string, or a
list of strings, of which a document takes one). Class labels become captions by a template. Boolean columns
become attributes; where the option names them and nothing else gives captions, the names of the true ones are
the caption. A row with a list of several pictures is a document."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..system.errors import ConfigError, DataError
from .items import DocumentItem, Item, Piece
from .layout.inside import inside
from .layout.instead import holds_picture, instead_of_picture

IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img", "images")
ADDRESSES = ("url", "image_url", "image_path", "file_name", "path")  # what tables without pictures may have
CAPTIONS = ("text", "caption", "captions", "captions_eng", "txt", "prompt")
LABELS = ("label", "labels", "cls", "class")
TEMPLATE = "a photo of a {label}"
KINDS = {
    "image": "images",
    "images": "lists of images",
    "text": "text",
    "texts": "lists of text",
    "integer": "whole numbers",
    "boolean": "truth values",
    "empty": "no values",
    "other": "other things",
}  # kind of a column -> what it holds, in messages
ROLES = {
    "image": ("image", "images"),
    "text": ("text", "texts"),
    "label": ("integer", "text"),
    "attributes": ("boolean",),
}  # role -> its kinds


@dataclass(frozen=True)
class Columns:
    """The column of every role, None where there is none."""

    image: str
    text: str | None = None  # captions
    label: str | None = None  # classes
    names: tuple[str, ...] = ()  # of the classes
    flags: tuple[str, ...] = ()  # boolean columns, which are attributes
    speak: bool = False  # where nothing else gives captions, the names of the true attributes do
    template: str = TEMPLATE  # makes a caption of a class
    documents: bool = False  # rows have several pictures

    @property
    def used(self) -> list[str]:
        """Names of all columns that have a role."""
        return [column for column in (self.image, self.text, self.label, *self.flags) if column]

    def describe(self) -> dict[str, str]:
        """The choice as {role: column}, for the card."""
        roles = {
            "image column": self.image,
            "caption column": self.text,
            "label column": self.label,
            "attributes": ", ".join(self.flags),
        }
        if self.text is None and (self.label or self.speak):
            roles["captions"] = (
                f"made by '{self.template}'" if self.label else "made of the attributes that are true"
            )
        if self.documents:
            roles["rows"] = "documents of several pictures, each drawn after its caption"
        return {role: value for role, value in roles.items() if value}

    def item(
        self, name: str, row: Mapping, split: str | None = None, root: Path | None = None
    ) -> Item | DocumentItem:
        """A row {column: value} as an item.

        root: the folder that image files must be in, where a row has a path in place of bytes."""
        label = class_of(row[self.label]) if self.label else -1
        attributes = {flag: bool(row[flag]) for flag in self.flags}
        captions, picture = tuple(self._captions(row, label, attributes)), row[self.image]
        if not self.documents:
            picture = (picture or [None])[0] if isinstance(picture, (list, tuple)) else picture
            return Item(name, _content(picture, root), captions, label, attributes, split)
        return DocumentItem(name, tuple(self._pieces(row, captions, root)), split)

    def _pieces(self, row: Mapping, captions: tuple[str, ...], root: Path | None) -> Iterator[Piece]:
        """Captions and pictures of a row: each picture after its own, where there are lists as long as one
        another, else all captions first. Null fills lists up and is nothing."""
        pictures = row[self.image] or [None]
        texts = row[self.text] if self.text else None
        if not isinstance(texts, (list, tuple)) or len(texts) != len(pictures):
            yield from (Piece(text=caption) for caption in captions)
            texts = [None] * len(pictures)
        empty = all(picture is None for picture in pictures)
        for text, picture in zip(texts, pictures):
            if isinstance(text, str) and text.strip():
                yield Piece(text=text.strip())
            if picture is not None or empty:
                yield Piece(content=_content(picture, root), draw=True)

    def _captions(self, row: Mapping, label: int, attributes: dict[str, bool]) -> list[str]:
        if self.text is not None:
            texts = row[self.text]
            texts = [texts] if isinstance(texts, str) else list(texts or [])
            return list(
                dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip())
            )
        if self.label is not None:
            name = words(self._class_name(row[self.label], label))
            return [self.template.format(label=name)] if name else []
        true = [words(flag) for flag, value in attributes.items() if value and self.speak]
        return [", ".join(true)] if true else []

    def _class_name(self, value: object, label: int) -> str:
        """Name of the class; "" where it is unknown: no class, or a number without a name where others have
        one."""
        if isinstance(value, str):
            return value
        if self.names:
            return self.names[label] if 0 <= label < len(self.names) else ""
        return str(value) if label >= 0 else ""


def class_of(value: object) -> int:
    """Number of a class; -1 for every value that is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else -1


def _content(value: object, root: Path | None) -> bytes | str | DataError:
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


def words(name: str) -> str:
    """A name of a class or column as words of a caption: Wavy_Hair -> wavy hair."""
    return re.sub(r"[_\s]+", " ", name).strip().lower()


def choose(
    kinds: Mapping[str, str],
    option: str | None = None,
    names: Mapping[str, list[str]] = {},
    template: str | None = None,
    where: str = "the data",
    first: Callable[[str], object] = lambda column: None,
) -> Columns:
    """Choose the column of every role, by names and kinds.

    kinds: {column: one of KINDS}. option: the user's own choice, "image=a,text=b". names: {column: names of
    its classes}. template: makes captions of classes, in place of the captions. where: the table, in
    messages. first: first value of a column, for a message. Raises ConfigError where the option or template
    does not fit, DataError where no column holds images."""
    requested = parse(option, kinds, where, tuple(ROLES))
    for role, columns in requested.items():
        _check_role(role, columns, kinds, where, first)
    image = requested.get("image") or _image(kinds, first)
    if image is None:
        raise _no_image(kinds, where, first)
    text = requested.get("text") or _first(CAPTIONS, kinds, ROLES["text"])
    label = requested.get("label") or _first(LABELS, kinds, ROLES["label"])
    if template is not None:
        if label is None:
            raise ConfigError(
                f"--caption makes captions of classes and {where} has no column of classes; "
                "name one with --columns label=..."
            )
        text = None
        check_template(template)
    flags = requested.get("attributes", "*").split(",")
    if "*" in flags:
        flags = [column for column, kind in kinds.items() if kind == "boolean"]
    return Columns(
        image,
        text,
        label,
        tuple(names.get(label, ())),
        tuple(flags),
        "attributes" in requested,
        template or TEMPLATE,
    )


def _image(kinds: Mapping[str, str], first: Callable[[str], object]) -> str | None:
    """The usual column of images, or else the first whose first value is a picture, or that holds bytes."""
    if usual := _first(IMAGES, kinds, ROLES["image"]):
        return usual
    others = [column for kind in ROLES["image"] for column in kinds if kinds[column] == kind]
    pictures = (column for column in others if len(others) > 1 and holds_picture(first(column)))
    return next(chain(pictures, others), None)


def _check_role(
    role: str, columns: str, kinds: Mapping[str, str], where: str, first: Callable[[str], object]
) -> None:
    """Raise ConfigError where a column that the user chose does not hold what its role needs."""
    for column in columns.split(",") if role == "attributes" else [columns]:
        if column != "*" and kinds[column] not in ROLES[role]:
            allowed = " or ".join(KINDS[kind] for kind in ROLES[role])
            instead = instead_of_picture(first(column)) if role == "image" else None
            holds, remedy = instead or (KINDS[kinds[column]], "")
            raise ConfigError(
                f"--columns has {role}={column}, but that column of {where} holds {holds}; allowed: one with "
                f"{allowed}{'; ' * bool(remedy)}{remedy}"
            )


def _no_image(kinds: Mapping[str, str], where: str, first: Callable[[str], object]) -> DataError:
    """Error for a table without a column of images: what stands in place of them, and what to do."""
    for column in (*IMAGES, *ADDRESSES):
        if column in kinds and (instead := instead_of_picture(first(column))):
            return DataError(f"no column of {where} holds images; '{column}' has {instead[0]}; {instead[1]}")
    return DataError(
        f"no column of {where} holds images; there are {', '.join(sorted(kinds))}; name one with --columns "
        "image=..."
    )


def check_template(template: str) -> None:
    """Raise ConfigError unless the template has {label} and nothing else to fill in."""
    try:
        filled = template.format(label="cat")
    except (KeyError, IndexError, ValueError, AttributeError):
        filled = template
    if "{label}" not in template or filled != template.replace("{label}", "cat"):
        raise ConfigError(
            f"caption is '{template}'; allowed: text with {{label}} in it, for example '{TEMPLATE}'"
        )


def parse(
    option: str | None,
    columns: Mapping[str, str] | None,
    where: str,
    roles: Collection[str] = ("image", "text", "label"),
) -> dict[str, str]:
    """Parse "image=a,text=b" -> {"image": "a", "text": "b"}; several attributes are joined by commas.

    columns: those that exist with their kinds, None where they are not known yet. where: the table, in
    messages. Raises ConfigError."""
    requested: dict[str, str] = {}
    for part in filter(None, (option or "").split(",")):
        role, equals, column = part.partition("=")
        if not equals or role not in roles:
            raise ConfigError(
                f"--columns has '{part}'; allowed: {', '.join(f'{role}=COLUMN' for role in roles)}"
            )
        everything = role == "attributes" and column == "*"
        if columns is not None and column not in columns and not everything:
            raise ConfigError(f"{where} has no column '{column}'; it has {', '.join(sorted(columns))}")
        before = requested.get(role) if role == "attributes" else None
        requested[role] = f"{before},{column}" if before else column
    return requested


def _first(names: tuple[str, ...], kinds: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    """The first of the names that is a column of an allowed kind."""
    return next((column for column in names if kinds.get(column) in allowed), None)
