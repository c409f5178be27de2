"""Roles of the columns of a table of pictures, and a row of it as an item: for parquet files and sets of
the hub.

The image is in the first of IMAGES that the table has, the captions in the first of CAPTIONS (a string, or a
list of strings, of which a document takes one). Class labels become captions by a template. Boolean columns
become attributes; where the option names them and nothing else gives captions, the names of the true ones are
the caption. A row with a list of several pictures is a document."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..system.errors import ConfigError, DataError
from .items import NO_CAPTION, DocumentItem, Item, Piece
from .layout.captions import decoded, field_of, listed
from .layout.instead import content_of

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
    "fields": "fields of text",
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
    field: str | None = None  # of them, where they are structs or maps
    label: str | None = None  # classes
    names: tuple[str, ...] = ()  # of the classes
    flags: tuple[str, ...] = ()  # boolean columns, which are attributes
    speak: bool = False  # where nothing else gives captions, the names of the true attributes do
    template: str = TEMPLATE  # makes a caption of a class
    documents: bool = False  # rows have several pictures
    note: str = ""  # on captions that were not chosen, or are not what they look like
    required: bool = False  # a row whose caption is null cannot be used

    @property
    def used(self) -> list[str]:
        """Names of all columns that have a role."""
        return [column for column in (self.image, self.text, self.label, *self.flags) if column]

    @property
    def claimed(self) -> list[str]:
        """Those that cannot tell splits: attributes can where nobody asked for them."""
        return [column for column in self.used if self.speak or column not in self.flags]

    def describe(self) -> dict[str, str]:
        """The choice as {role: column}, for the card."""
        roles = {
            "image column": self.image,
            "caption column": f"{self.text}.{self.field}" if self.field else self.text,
            "label column": self.label,
            "attributes": ", ".join(self.flags),
        }
        if self.text is None and (self.label or self.speak):
            roles["captions"] = (
                f"made by '{self.template}'" if self.label else "made of the attributes that are true"
            )
        if self.note:
            roles["captions"] = self.note
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
        picture = row[self.image]
        try:
            captions = tuple(self._captions(row, label, attributes))
        except DataError as error:
            if self.documents:
                return DocumentItem(name, (Piece(content=error, draw=True),), split)
            return Item(name, error, (), label, attributes, split)
        if not self.documents:
            picture = (picture or [None])[0] if isinstance(picture, (list, tuple)) else picture
            return Item(name, content_of(picture, root), captions, label, attributes, split)
        return DocumentItem(name, tuple(self._pieces(row, captions, root)), split)

    def _pieces(self, row: Mapping, captions: tuple[str, ...], root: Path | None) -> Iterator[Piece]:
        """Captions and pictures of a row: each picture after its own, where there are lists as long as one
        another, else all captions first. Null fills lists up and is nothing."""
        pictures = row[self.image] or [None]
        texts = self._texts(row) if self.text else None
        if not isinstance(texts, (list, tuple)) or len(texts) != len(pictures):
            yield from (Piece(text=caption) for caption in captions)
            texts = [None] * len(pictures)
        empty = all(picture is None for picture in pictures)
        for text, picture in zip(texts, pictures):
            if isinstance(text, str) and text.strip():
                yield Piece(text=text.strip())
            if picture is not None or empty:
                yield Piece(content=content_of(picture, root), draw=True)

    def _texts(self, row: Mapping) -> object:
        """The captions of a row: a text or a list. Raises DataError where they are bytes and not UTF-8."""
        texts = row[self.text] if self.field is None else field_of(row[self.text], self.field)
        return listed(texts) if isinstance(texts, str) else decoded(texts)

    def _captions(self, row: Mapping, label: int, attributes: dict[str, bool]) -> list[str]:
        if self.text is not None:
            texts = self._texts(row)
            if self.required and _is_null(texts):
                raise DataError(f"{NO_CAPTION}: column '{self.text}' is null")
            if isinstance(texts, str):
                return [text] if (text := texts.strip()) else []
            texts = (text.strip() for text in texts or () if isinstance(text, str))
            return list(dict.fromkeys(filter(None, texts)))
        if self.label is not None:
            name = words(self._class_name(row[self.label], label))
            return [self.template.format(label=name)] if name else []
        true = [words(flag) for flag, value in attributes.items() if value and self.speak]
        return [", ".join(true)] if true else []

    def _class_name(self, value: object, label: int) -> str:
        """Name of the class; "" where it is unknown: no class, or a number without a name where others have
        one."""
        if isinstance(value, (str, bytes)):
            return str(decoded(value))
        if self.names:
            return self.names[label] if 0 <= label < len(self.names) else ""
        return str(value) if label >= 0 else ""


def _is_null(value: object) -> bool:
    """Whether a caption, or each in a list of captions, is null: missing, not empty on purpose."""
    return value is None or (isinstance(value, (list, tuple)) and {*map(type, value)} == {type(None)})


def class_of(value: object) -> int:
    """Number of a class; -1 for every value that is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else -1


def words(name: str) -> str:
    """A name of a class or column as words of a caption: Wavy_Hair -> wavy hair."""
    return re.sub(r"[_\s]+", " ", name).strip().lower()


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
        inner = role == "text" and any(
            kind == "fields" and column.startswith(f"{name}.") for name, kind in (columns or {}).items()
        )
        if columns is not None and column not in columns and not everything and not inner:
            raise ConfigError(f"{where} has no column '{column}'; it has {', '.join(sorted(columns))}")
        before = requested.get(role) if role == "attributes" else None
        requested[role] = f"{before},{column}" if before else column
    return requested
