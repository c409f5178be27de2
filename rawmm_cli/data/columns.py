"""Roles of the columns of a table of pictures, and a row of it as an item: for parquet files and sets of
the hub.

The image is in the first of IMAGES that the table has, the captions in the first of CAPTIONS (a string, or a
list of strings, of which a document takes one). Class labels become captions by a template. Boolean columns
become attributes; where nothing else gives captions, the names of the true ones are the caption."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..system.errors import ConfigError, DataError, printable
from .items import Item

IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img")
CAPTIONS = ("text", "caption", "captions", "captions_eng", "txt", "prompt")
LABELS = ("label", "labels", "cls", "class")
TEMPLATE = "a photo of a {label}"
KINDS = {
    "image": "images",
    "text": "text",
    "texts": "lists of text",
    "integer": "whole numbers",
    "boolean": "truth values",
    "other": "other things",
}  # kind of a column -> what it holds, in messages
ROLES = {"image": ("image",), "text": ("text", "texts"), "label": ("integer", "text")}  # role -> its kinds


@dataclass(frozen=True)
class Columns:
    """The column of every role, None where there is none."""

    image: str
    text: str | None = None  # captions
    label: str | None = None  # classes
    names: tuple[str, ...] = ()  # of the classes
    flags: tuple[str, ...] = ()  # boolean columns
    template: str = TEMPLATE  # makes a caption of a class

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
        if self.text is None and (self.label or self.flags):
            roles["captions"] = (
                f"made by '{self.template}'" if self.label else "made of the attributes that are true"
            )
        return {role: value for role, value in roles.items() if value}

    def item(self, name: str, row: Mapping, split: str | None = None, root: Path | None = None) -> Item:
        """A row {column: value} as an item.

        root: the folder that image files must be in, where a row has a path in place of bytes."""
        label = class_of(row[self.label]) if self.label else -1
        attributes = {flag: bool(row[flag]) for flag in self.flags}
        captions = tuple(self._captions(row, label, attributes))
        return Item(name, _content(row[self.image], root), captions, label, attributes, split)

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
        true = [words(flag) for flag, value in attributes.items() if value]
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
    """Bytes of an image, or the path of a file under `root`, or the error for a path that leads elsewhere."""
    path = value.get("path") if isinstance(value, Mapping) else None
    value = value.get("bytes") if isinstance(value, Mapping) else value
    if value or not path:
        return value or b""
    if root is None or not {os.path.abspath(root), os.path.realpath(root)} & set(
        map(str, Path(os.path.abspath(path)).parents)
    ):
        return DataError(f"it has no bytes, only the path '{printable(path)}', which is not read")
    return path


def words(name: str) -> str:
    """A name of a class or column as words of a caption: Wavy_Hair -> wavy hair."""
    return re.sub(r"[_\s]+", " ", name).strip().lower()


def choose(
    kinds: Mapping[str, str],
    option: str | None = None,
    names: Mapping[str, list[str]] = {},
    template: str | None = None,
    where: str = "the data",
) -> Columns:
    """Choose the column of every role, by names and kinds.

    kinds: {column: one of KINDS}. option: the user's own choice, "image=a,text=b". names: {column: names of
    its classes}. template: makes captions of classes, in place of the captions. where: the table, in
    messages. Raises ConfigError where the option or template does not fit, DataError where no column holds
    images."""
    requested = parse(option, kinds, where)
    for role, column in requested.items():
        if kinds[column] not in ROLES[role]:
            allowed = " or ".join(KINDS[kind] for kind in ROLES[role])
            raise ConfigError(
                f"--columns has {role}={column}, but that column of {where} holds {KINDS[kinds[column]]}; "
                f"allowed: one with {allowed}"
            )
    image = (
        requested.get("image")
        or _first(IMAGES, kinds, ROLES["image"])
        or next((column for column, kind in kinds.items() if kind == "image"), None)
    )
    if image is None:
        raise DataError(
            f"no column of {where} holds images; there are {', '.join(sorted(kinds))}; name one with "
            f"--columns "
            "image=..."
        )
    text = requested.get("text") or _first(CAPTIONS, kinds, ROLES["text"])
    label = requested.get("label") or _first(LABELS, kinds, ROLES["label"])
    flags = tuple(column for column, kind in kinds.items() if kind == "boolean")
    if template is not None:
        if label is None:
            raise ConfigError(
                f"--caption makes captions of classes and {where} has no column of classes; "
                "name one with --columns label=..."
            )
        text = None
        check_template(template)
    return Columns(image, text, label, tuple(names.get(label, ())), flags, template or TEMPLATE)


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


def parse(option: str | None, columns: Collection[str] | None, where: str) -> dict[str, str]:
    """Parse "image=a,text=b" -> {"image": "a", "text": "b"}.

    columns: those that exist, None where they are not known yet. where: the table, in messages. Raises
    ConfigError."""
    requested = {}
    for part in filter(None, (option or "").split(",")):
        role, equals, column = part.partition("=")
        if not equals or role not in ROLES:
            raise ConfigError(
                f"--columns has '{part}'; allowed: {', '.join(f'{role}=COLUMN' for role in ROLES)}"
            )
        if columns is not None and column not in columns:
            raise ConfigError(f"{where} has no column '{column}'; it has {', '.join(sorted(columns))}")
        requested[role] = column
    return requested


def _first(names: tuple[str, ...], kinds: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    """The first of the names that is a column of an allowed kind."""
    return next((column for column in names if kinds.get(column) in allowed), None)
