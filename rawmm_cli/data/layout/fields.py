"""Roles of the members of a sample in an archive, by their endings, as columns have roles in a table: an
image, a caption (.txt, or a key of .json), a class (.cls, or a key of .json)."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ...system.errors import ConfigError, DataError
from ..columns import CAPTIONS, LABELS, TEMPLATE, check_template, class_of, parse, words
from ..images import ENDINGS as PICTURES
from ..items import NO_CAPTION, Item
from .captions import choice, value_of
from .splits import split_columns, split_text

IMAGES = tuple(dict.fromkeys(("jpg", "jpeg", "png", "webp", *PICTURES, "image", "img")))
TEXTS = ("txt", "text", "caption", "captions", "prompt")
Sample = dict[str, Callable[[], bytes]]  # ending -> reader of the member
FIRST = 100  # samples that tell what all have
SHOWN = 6  # endings in a message


class Looks(NamedTuple):
    """What samples have of their own. split_keys: keys of .json that may tell splits. lines: what is said of
    captions that have fields."""

    classes: bool
    captions: bool
    split_keys: list[str]
    lines: list[str]


@dataclass(frozen=True)
class Fields:
    """Roles of the endings in a sample.

    columns: the user's own choice, "image=png,text=txt" or "text=json.KEY". template: makes captions of
    classes. folders: {folder: name of its class}, where folders are classes. split: key of .json that tells
    splits.
    keep_uncaptioned: whether samples whose caption is null are used."""

    columns: str | None = None
    template: str | None = None
    folders: Mapping[str, str] = field(default_factory=dict, repr=False)
    split: str | None = field(default=None, repr=False)
    keep_uncaptioned: bool = False

    def __post_init__(self) -> None:
        assert self.requested is not None  # raises ConfigError here, and not at the first sample
        if self.template is not None:
            check_template(self.template)

    @cached_property
    def requested(self) -> dict[str, str]:
        """The user's own choice as {"image" | "text" | "label": ending}."""
        return parse(self.columns, None, "a sample")

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes that are folders, sorted."""
        return sorted({*self.folders.values()})

    def describe(self) -> str:
        """The choice in words, for the card."""
        requested = self.requested
        return (
            f"image: .{requested.get('image') or ' or .'.join(IMAGES[:4])}; caption: "
            f".{requested.get('text') or 'txt or .json'}; "
            f"class: .{requested.get('label') or 'cls or .json'}"
        )

    def item(
        self, name: str, sample: Sample, split: str | None = None, folder: str = "", captioned: bool = False
    ) -> Item:
        """A sample as an item. folder: the one that it is in. captioned: whether others have a
        caption, so that one that is null is missing. Where it cannot be used, the content of the item is a
        DataError."""
        try:
            facts = self._json(sample)
            label, captions = self._label(sample, facts), self._captions(sample, facts)
            label = None if isinstance(label, int) and label < 0 else label  # as `datasets` writes no class
            if label is not None and (self.template is not None or not captions):
                captions = [(self.template or TEMPLATE).format(label=words(str(label)))]
            elif label is None and folder in self.folders:
                name_of_class = self.folders[folder]
                label = self.classes.index(name_of_class)
                if self.template is not None:
                    captions = [self.template.format(label=words(name_of_class))]
            if captioned and not (captions or self.keep_uncaptioned) and self._is_null(sample, facts):
                raise DataError(f"{NO_CAPTION}, and others in its archive have one")
            return Item(name, self._image(sample), tuple(captions), class_of(label), split=split)
        except (DataError, ConfigError) as error:
            return Item(name, DataError(str(error)))

    def captioned(self, sample: Sample) -> bool:
        """Whether a sample has a picture, and a caption that can be read."""
        try:
            return self.image(sample) is not None and bool(self._captions(sample, self._json(sample)))
        except DataError:
            return False

    def _is_null(self, sample: Sample, facts: dict) -> bool:
        """Whether a sample lacks a caption, or it is null."""
        return self._text(sample) is None and all(facts.get(key) is None for key in self._keys())

    def image(self, sample: Collection[str]) -> str | None:
        """Ending of the picture of a sample, None where it has none."""
        requested = self.requested.get("image")
        return next((ending for ending in ((requested,) if requested else IMAGES) if ending in sample), None)

    def _text(self, sample: Collection[str]) -> str | None:
        """Ending of the member whose whole text is the caption, None where there is none."""
        requested = self.requested.get("text")
        endings = (requested,) if requested else TEXTS
        return next((ending for ending in endings if ending in sample and ending != "json"), None)

    def _number(self, sample: Collection[str]) -> str | None:
        """Ending of the member whose whole text is the number of a class, None where there is none."""
        requested = self.requested.get("label", "cls")
        return requested if requested in sample and requested != "json" else None

    def unused(self, sample: Collection[str]) -> set[str]:
        """Endings of a sample that have no role."""
        text, number = self._text(sample), self._number(sample)
        facts = "json" if text is None or number is None else None
        return set(sample) - {self.image(sample), text, number, facts}

    def looks(self, samples: Iterable[Sample]) -> "Looks":
        """What the first samples of a set have of their own."""
        classes = captions = False
        keys: dict[str, None] = {}
        fields: list[str] = []
        for sample in samples:
            try:
                facts = self._json(sample)
            except DataError:
                continue
            caption, label = self._caption(facts), self._class(facts)
            captions |= self._text(sample) is not None or bool(caption)
            classes |= self._number(sample) is not None or bool(label)
            columns = split_columns(facts, (*caption[:1], *label[:1]))
            if not captions and not fields:
                structs = (key for key in self._keys() if isinstance(facts.get(key), dict) and facts[key])
                fields = [f"captions: {choice(f'json.{key}', list(facts[key]))}" for key in structs][:1]
            keys |= dict.fromkeys(key for key in columns if split_text(facts[key]) is not None)
        return Looks(classes, captions, list(keys), [] if captions else fields)

    def split_text(self, sample: Sample, key: str) -> str | None:
        """What .json has under a key that tells splits."""
        try:
            return split_text(self._json(sample).get(key))
        except DataError:
            return None

    def unused_keys(self, sample: Collection[str], facts: bytes) -> list[str]:
        """Keys of the .json of a sample that have no role."""
        try:
            known = self._json({"json": lambda: facts})
        except DataError:
            return []
        used = [] if self._text(sample) else self._caption(known)[:1]
        used += [] if self._number(sample) else self._class(known)[:1]
        return [
            key for key in known if key not in (*used, self.split, *(key.partition(".")[0] for key in used))
        ]

    def no_picture(self, sample: Collection[str]) -> str:
        """What a sample without a picture has, and what to do."""
        return f"it has no picture; it has {_endings(sample)}{_hint(sample)}"

    def _image(self, sample: Sample) -> bytes:
        ending = self.image(sample)
        if ending is None:
            raise DataError(self.no_picture(sample))
        return sample[ending]()

    def _json(self, sample: Sample) -> dict:
        """The object in .json, {} where there is none; texts alone are captions."""
        if "json" not in sample:
            return {}
        try:
            facts = json.loads(sample["json"]().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise DataError("its .json is not JSON in UTF-8") from None
        return facts if isinstance(facts, dict) else {CAPTIONS[0]: facts}

    def _caption(self, facts: dict) -> list[str]:
        """Keys of .json that hold a caption, the one that is used first."""
        return [key for key in self._keys() if _strings(value_of(facts, key))]

    def _keys(self) -> Collection[str]:
        """Keys of .json that may hold a caption."""
        requested = self.requested.get("text", "")
        return [requested.removeprefix("json.")] if requested.startswith("json.") else CAPTIONS

    def _class(self, facts: dict) -> list[str]:
        """Keys of .json that hold a class, the one that is used first."""
        requested = self.requested.get("label", "")
        keys = [requested.removeprefix("json.")] if requested.startswith("json.") else LABELS
        return [
            key for key in keys if isinstance(facts.get(key), (int, str)) and not isinstance(facts[key], bool)
        ]

    def _captions(self, sample: Sample, facts: dict) -> list[str]:
        ending = self._text(sample)
        if ending is not None:
            try:
                return _strings(sample[ending]().decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise DataError(f"its .{ending} is not UTF-8") from None
        return next((_strings(value_of(facts, key)) for key in self._caption(facts)), [])

    def _label(self, sample: Sample, facts: dict) -> int | str | None:
        """Class of a sample: a number or a name from .cls or .json, or None."""
        ending = self._number(sample)
        if ending is not None:
            content = sample[ending]().strip()
            try:
                return int(content)
            except ValueError:
                pass
            try:
                if name := content.decode("utf-8-sig"):
                    return name
            except UnicodeDecodeError:
                pass
            raise DataError(f"its .{ending} is neither a whole number nor the name of a class")
        return next((facts[key] for key in self._class(facts)), None)


def _endings(sample: Collection[str]) -> str:
    """The first endings of a sample, for a message."""
    endings = [f".{ending}" for ending in sorted(sample)]
    return ", ".join(endings[:SHOWN] + ([f"{len(endings) - SHOWN:,} more"] if len(endings) > SHOWN else []))


def _hint(sample: Collection[str]) -> str:
    """What to do where a sample has pictures under other endings: "" where it has none."""
    other = next((ending for ending in sorted(sample) if ending.rpartition(".")[2] in IMAGES), None)
    if other is None:
        return ""
    if "." not in other:
        return f"; choose with --columns image={other}"
    return (
        "; the name of a sample ends at its first dot: take the other dots out of the names, or choose "
        f"with --columns image={other}"
    )


def _strings(value: object) -> list[str]:
    """The non-blank strings in a string or a list, stripped, without duplicates."""
    texts = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))
