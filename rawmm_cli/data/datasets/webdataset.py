"""Archives of samples, as `webdataset` writes them: consecutive members a.jpg, a.txt, a.json are one sample
named a.

`archives.py` reads them, safely and member by member. File endings play the role of columns: an image, a
caption (.txt, or a key of .json), a class (.cls, or a key of .json)."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from ...system.errors import ConfigError, DataError, printable
from ..archives import ENDINGS, Member, members
from ..columns import CAPTIONS, LABELS, TEMPLATE, check_template, class_of, parse, words
from ..items import Item, Source, state_of
from ..layout.files import files_ending_in
from ..layout.unused import Unused

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "avif", "image", "img")
TEXTS = ("txt", "text", "caption", "captions", "prompt")
Sample = dict[str, Callable[[], bytes]]  # ending -> reader of the member


def webdataset(
    *,
    path: Path,
    columns: str | None = None,
    caption: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of the samples of one archive, or of every archive under a folder, sorted by name.

    columns, caption: as the options of `rawmm prepare`. Raises ConfigError where they do not fit, DataError
    where there is no archive; reading raises DataError where one is not safe."""
    path = Path(path)
    unused = Unused()
    files = archive_files(path, unused)
    fields, root = Fields(columns, caption), path if path.is_dir() else path.parent
    notify("chosen: " + fields.describe())

    def items(start: int) -> Iterator[Item]:
        named_samples = (
            (f"{file.relative_to(root).as_posix()}/{key}", sample)
            for file in files
            for key, sample in samples(members(file))
        )
        return (fields.item(name, sample) for name, sample in islice(named_samples, start, None))

    return Source(
        items=items,
        state=state_of(files) + repr(fields),
        unused=unused,
        card={
            "source": f"webdataset, {len(files):,} archives",
            "licence": "unknown (your own files)",
            "chosen": {"samples": fields.describe()},
        },
    )


def archive_files(path: Path, unused: Unused) -> list[Path]:
    """The archive itself, or those under a folder, sorted. Raises DataError where there is none.

    unused: counts all other files."""
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed with --path: an archive ({', '.join(ENDINGS)}) "
            "or a folder with some"
        )
    files = files_ending_in(ENDINGS, path, unused)
    if not files:
        raise DataError(
            f"no archives in {printable(str(path))}; allowed: files ending in {', '.join(ENDINGS)}"
        )
    return files


def samples(archive: Iterable[Member]) -> Iterator[tuple[str, Sample]]:
    """Samples of the members of an archive, in order: (key, {ending: reader}).

    Consecutive members with the same key (`key_of`) form a sample."""
    key, sample = None, {}
    for name, read in archive:
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
    """Name of the sample that a member belongs to: its path up to the first dot of the file name.

    None for hidden files and for files without an ending."""
    folder, slash, base = name.rpartition("/")
    stem = base.partition(".")[0]
    return folder + slash + stem if stem and "." in base else None


@dataclass(frozen=True)
class Fields:
    """Roles of the endings in a sample.

    columns: the user's own choice, "image=png,text=txt" or "text=json.KEY". template: makes captions of
    classes."""

    columns: str | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        assert self.requested is not None  # raises ConfigError here, and not at the first sample
        if self.template is not None:
            check_template(self.template)

    @cached_property
    def requested(self) -> dict[str, str]:
        """The user's own choice as {"image" | "text" | "label": ending}."""
        return parse(self.columns, None, "a sample")

    def describe(self) -> str:
        """The choice in words, for the card."""
        requested = self.requested
        return (
            f"image: .{requested.get('image') or ' or .'.join(IMAGES[:4])}; caption: "
            f".{requested.get('text') or 'txt or .json'}; "
            f"class: .{requested.get('label') or 'cls or .json'}"
        )

    def item(self, name: str, sample: Sample) -> Item:
        """A sample as an item. Where it cannot be used, the content of the item is a DataError."""
        try:
            facts = self._json(sample)
            label, captions = self._label(sample, facts), self._captions(sample, facts)
            if label is not None and (self.template is not None or not captions):
                captions = [(self.template or TEMPLATE).format(label=words(str(label)))]
            return Item(name, self._image(sample), tuple(captions), class_of(label))
        except (DataError, ConfigError) as error:
            return Item(name, DataError(str(error)))

    def _image(self, sample: Sample) -> bytes:
        requested = self.requested.get("image")
        ending = next((ending for ending in ([requested] if requested else IMAGES) if ending in sample), None)
        if ending is None:
            raise DataError(
                f"it has no picture; it has {', '.join(f'.{ending}' for ending in sorted(sample))}"
            )
        return sample[ending]()

    def _json(self, sample: Sample) -> dict:
        """The object in .json; {} where there is none."""
        if "json" not in sample:
            return {}
        try:
            facts = json.loads(sample["json"]().decode("utf-8"))
        except (ValueError, RecursionError):
            raise DataError("its .json is not JSON in UTF-8") from None
        return facts if isinstance(facts, dict) else {}

    def _captions(self, sample: Sample, facts: dict) -> list[str]:
        requested = self.requested.get("text", "")
        endings = [requested] if requested else TEXTS
        ending = next((ending for ending in endings if ending in sample and ending != "json"), None)
        if ending is not None:
            try:
                return _strings(sample[ending]().decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise DataError(f"its .{ending} is not UTF-8") from None
        keys = [requested.removeprefix("json.")] if requested.startswith("json.") else CAPTIONS
        return _strings(next((facts[key] for key in keys if key in facts), []))

    def _label(self, sample: Sample, facts: dict) -> int | str | None:
        """Class of a sample: a number from .cls, a number or a word from .json, or None."""
        requested = self.requested.get("label", "cls")
        if requested in sample and requested != "json":
            try:
                return int(sample[requested]())
            except ValueError:
                raise DataError(f"its .{requested} is not a whole number") from None
        keys = [requested.removeprefix("json.")] if requested.startswith("json.") else LABELS
        value = next((facts[key] for key in keys if key in facts), None)
        return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _strings(value: object) -> list[str]:
    """The non-blank strings in a string or a list, stripped, without duplicates."""
    texts = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))
