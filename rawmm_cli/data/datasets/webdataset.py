"""Archives of samples, as `webdataset` writes them: neighbouring members a.jpg, a.txt, a.json are one sample
named a.

Read by `archives.py`, safely and member by member. Endings name the columns: an image, a caption (.txt, or a
key of .json), a class (.cls, or a key of .json)."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ...system.errors import ConfigError, DataError, printable
from ..archives import ENDINGS, Member, members
from ..columns import CAPTIONS, LABELS, TEMPLATE, check_template, class_of, parse, words
from ..items import Item, Source, state_of

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "image", "img")
TEXTS = ("txt", "text", "caption", "captions", "prompt")
Sample = dict[str, Callable[[], bytes]]  # ending -> what reads the member


def webdataset(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Source:
    """An archive, or every one under a folder, by name. Raises DataError where there is none, or one is not
    safe."""
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed with --path: an archive ({', '.join(ENDINGS)}) "
            f"or a "
            "folder with some"
        )
    files = (
        [path]
        if path.is_file()
        else sorted(
            file for file in path.rglob("*") if file.name.lower().endswith(ENDINGS) and file.is_file()
        )
    )
    if not files:
        raise DataError(
            f"no archives in {printable(str(path))}; allowed: files ending in {', '.join(ENDINGS)}"
        )
    fields, root = Fields(columns, caption), path if path.is_dir() else path.parent
    told("chosen: " + fields.told())

    def items(start: int) -> Iterator[Item]:
        every = (
            (f"{file.relative_to(root).as_posix()}/{key}", found)
            for file in files
            for key, found in samples(members(file))
        )
        return (fields.item(name, found) for name, found in islice(every, start, None))

    return Source(
        items=items,
        state=state_of(files) + repr(fields),
        card={
            "source": f"webdataset, {len(files):,} archives",
            "licence": "unknown (your own files)",
            "chosen": {"samples": fields.told()},
        },
    )


def samples(found: Iterable[Member]) -> Iterator[tuple[str, Sample]]:
    """Neighbouring members with the same name up to the first dot of its last part -> (that name, {ending:
    what reads it})."""
    key, sample = None, {}
    for name, read in found:
        if key_of(name) is None:
            continue
        if key_of(name) != key and sample:
            yield key, sample
            sample = {}
        key = key_of(name)
        sample[name[len(key) + 1 :].lower()] = read
    if sample:
        yield key, sample


def key_of(name: str) -> str | None:
    """The name of the sample that a member belongs to; None for hidden files and those without an ending."""
    folder, slash, base = name.rpartition("/")
    stem = base.partition(".")[0]
    return folder + slash + stem if stem and "." in base else None


@dataclass(frozen=True)
class Fields:
    """Which endings are what. columns: "image=png,text=txt", or "text=json.KEY", where a person has
    chosen."""

    columns: str | None = None
    template: str | None = None

    def __post_init__(self):
        assert self.wishes is not None  # a wrong one is told at once
        if self.template is not None:
            check_template(self.template)

    @cached_property
    def wishes(self) -> dict[str, str]:
        """{"image" | "text" | "label": ending}."""
        return parse(self.columns, None, "a sample")

    def told(self) -> str:
        """The choice in words."""
        wishes = self.wishes
        return (
            f"image: .{wishes.get('image') or ' or .'.join(IMAGES[:4])}; caption: "
            f".{wishes.get('text') or 'txt or .json'}; "
            f"class: .{wishes.get('label') or 'cls or .json'}"
        )

    def item(self, name: str, found: Sample) -> Item:
        """A sample -> Item. What is wrong with it is its content: a DataError."""
        try:
            facts = self._facts(found)
            label, said = self._label(found, facts), self._captions(found, facts)
            if label is not None and (self.template is not None or not said):
                said = [(self.template or TEMPLATE).format(label=words(str(label)))]
            return Item(name, self._image(found), tuple(said), class_of(label))
        except (DataError, ConfigError) as error:
            return Item(name, DataError(str(error)))

    def _image(self, found: Sample) -> bytes:
        wanted = self.wishes.get("image")
        ending = next((ending for ending in ([wanted] if wanted else IMAGES) if ending in found), None)
        if ending is None:
            raise DataError(
                f"it has no picture; it has {', '.join(f'.{ending}' for ending in sorted(found))}"
            )
        return found[ending]()

    def _facts(self, found: Sample) -> dict:
        if "json" not in found:
            return {}
        try:
            facts = json.loads(found["json"]().decode("utf-8"))
        except (ValueError, RecursionError):
            raise DataError("its .json is not JSON in UTF-8") from None
        return facts if isinstance(facts, dict) else {}

    def _captions(self, found: Sample, facts: dict) -> list[str]:
        wanted = self.wishes.get("text", "")
        ending = next(
            (ending for ending in ([wanted] if wanted else TEXTS) if ending in found and ending != "json"),
            None,
        )
        if ending is not None:
            try:
                return _strings(found[ending]().decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise DataError(f"its .{ending} is not UTF-8") from None
        keys = [wanted.removeprefix("json.")] if wanted.startswith("json.") else CAPTIONS
        return _strings(next((facts[key] for key in keys if key in facts), []))

    def _label(self, found: Sample, facts: dict) -> int | str | None:
        """A class: a number from .cls, a number or a word from .json, or None."""
        wanted = self.wishes.get("label", "cls")
        if wanted in found and wanted != "json":
            try:
                return int(found[wanted]())
            except ValueError:
                raise DataError(f"its .{wanted} is not a whole number") from None
        keys = [wanted.removeprefix("json.")] if wanted.startswith("json.") else LABELS
        value = next((facts[key] for key in keys if key in facts), None)
        return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _strings(value: Any) -> list[str]:
    """A string or a list of them -> those that say something."""
    texts = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))
