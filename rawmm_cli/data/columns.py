"""Which columns of a table of pictures are what, and what a row of it says: for parquet files and sets on the
hub.

The image is in the first of IMAGES that is there, the captions in the first of CAPTIONS (a string, or a list
of strings, of which a document takes one). Class labels become captions by a template; columns of truth
values become attributes, and where there are no captions, a caption of the true ones."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.errors import ConfigError, DataError, printable
from .items import Item

IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img")
CAPTIONS = ("text", "caption", "captions", "captions_eng", "txt", "prompt")
LABELS = ("label", "labels", "cls", "class")
TEMPLATE = "a photo of a {label}"
HOLDING = {
    "image": "images",
    "text": "text",
    "texts": "lists of text",
    "whole": "whole numbers",
    "truth": "truth values",
    "other": "other things",
}
ROLES = {
    "image": ("image",),
    "text": ("text", "texts"),
    "label": ("whole", "text"),
}  # and the kinds that each may have


@dataclass(frozen=True)
class Columns:
    """image: its column; text, label: theirs or None; names: of the classes; truths: columns of truth
    values."""

    image: str
    text: str | None = None
    label: str | None = None
    names: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    template: str = TEMPLATE

    def chosen(self) -> dict[str, str]:
        """What was chosen, for the card."""
        found = {
            "image column": self.image,
            "caption column": self.text,
            "label column": self.label,
            "attributes": ", ".join(self.truths),
        }
        if self.text is None and (self.label or self.truths):
            found["captions"] = (
                f"made by '{self.template}'" if self.label else "made of the attributes that are true"
            )
        return {name: value for name, value in found.items() if value}

    def item(self, name: str, row: Mapping, split: str | None = None, root: Path | None = None) -> Item:
        """A row -> Item. root: the folder that files may be in, where `datasets` has a path instead of
        bytes."""
        label = class_of(row[self.label]) if self.label else -1
        truths = {truth: bool(row[truth]) for truth in self.truths}
        return Item(
            name,
            _content(row[self.image], root),
            tuple(self._captions(row, label, truths)),
            label,
            truths,
            split,
        )

    def _captions(self, row: Mapping, label: int, truths: dict[str, bool]) -> list[str]:
        if self.text is not None:
            texts = row[self.text]
            texts = [texts] if isinstance(texts, str) else list(texts or [])
            return list(
                dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip())
            )
        if self.label is not None:
            what = words(self._named(row[self.label], label))
            return [self.template.format(label=what)] if what else []
        true = [words(truth) for truth, holds in truths.items() if holds]
        return [", ".join(true)] if true else []

    def _named(self, value: Any, label: int) -> str:
        """The class in words; "" where it is not known: none, -1, or a number without a name where others
        have one."""
        if isinstance(value, str):
            return value
        if self.names:
            return self.names[label] if 0 <= label < len(self.names) else ""
        return str(value) if label >= 0 else ""


def class_of(value: Any) -> int:
    """The number of a class; -1 for anything that is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else -1


def _content(value: Any, root: Path | None) -> bytes | str | DataError:
    """Bytes, or the path of a file under `root`; what is wrong with a path that leads elsewhere."""
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
    """Wavy_Hair, n02123 'tabby, cat' -> words of a caption."""
    return re.sub(r"[_\s]+", " ", name).strip().lower()


def choose(
    kinds: Mapping[str, str],
    asked: str | None = None,
    names: Mapping[str, list[str]] = {},
    template: str | None = None,
    where: str = "the data",
) -> Columns:
    """Columns by their names and kinds ("image", "text", "texts", "whole", "truth" or "other"). asked:
    "image=a,text=b".

    Raises ConfigError on a wish that cannot be met, DataError where no column holds images."""
    wishes = parse(asked, kinds, where)
    for role, column in wishes.items():
        if kinds[column] not in ROLES[role]:
            allowed = " or ".join(HOLDING[kind] for kind in ROLES[role])
            raise ConfigError(
                f"--columns has {role}={column}, but that column of {where} holds {HOLDING[kinds[column]]}; "
                f"allowed: one with {allowed}"
            )
    image = (
        wishes.get("image")
        or _first(IMAGES, kinds, ROLES["image"])
        or next((column for column, kind in kinds.items() if kind == "image"), None)
    )
    if image is None:
        raise DataError(
            f"no column of {where} holds images; there are {', '.join(sorted(kinds))}; name one with "
            f"--columns "
            "image=..."
        )
    text = wishes.get("text") or _first(CAPTIONS, kinds, ROLES["text"])
    label = wishes.get("label") or _first(LABELS, kinds, ROLES["label"])
    truths = tuple(column for column, kind in kinds.items() if kind == "truth")
    if template is not None:
        if label is None:
            raise ConfigError(
                f"--caption makes captions of classes and {where} has no column of classes; "
                "name one with --columns label=..."
            )
        text = None
        check_template(template)
    return Columns(image, text, label, tuple(names.get(label, ())), truths, template or TEMPLATE)


def check_template(template: str) -> None:
    """Raises ConfigError unless it has {label} and nothing else to fill in."""
    try:
        filled = template.format(label="cat")
    except (KeyError, IndexError, ValueError, AttributeError):
        filled = template
    if "{label}" not in template or filled != template.replace("{label}", "cat"):
        raise ConfigError(
            f"caption is '{template}'; allowed: text with {{label}} in it, for example '{TEMPLATE}'"
        )


def parse(asked: str | None, there: Collection[str] | None, where: str) -> dict[str, str]:
    """ "image=a,text=b" -> {"image": "a", "text": "b"}. there: the columns that there are, None where that is
    not known yet."""
    wishes = {}
    for part in filter(None, (asked or "").split(",")):
        role, equals, column = part.partition("=")
        if not equals or role not in ROLES:
            raise ConfigError(
                f"--columns has '{part}'; allowed: {', '.join(f'{role}=COLUMN' for role in ROLES)}"
            )
        if there is not None and column not in there:
            raise ConfigError(f"{where} has no column '{column}'; it has {', '.join(sorted(there))}")
        wishes[role] = column
    return wishes


def _first(wanted: tuple[str, ...], kinds: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    return next((column for column in wanted if kinds.get(column) in allowed), None)
