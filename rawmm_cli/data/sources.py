"""Where data comes from: name and options -> Source. The one file that knows all of `datasets/`."""

from collections.abc import Callable
from typing import Any

from ..system.errors import ConfigError
from .items import GENERAL, NAMES, Source

OPTIONS = {
    "digits": (),
    "portraits": ("count", "size"),
    "emoji": ("font", "size"),
    "photos": ("count", "size"),
    "text-images": ("count", "size", "glyph", "font", "letters", "alphabet", "words", "ground", "place"),
    "pairs": ("count", "size", "variant"),
    "sums": ("count",),
    "folder": ("path", "size", "columns", "caption", "keep_uncaptioned"),
    "documents": ("path", "size"),
    "text": ("path",),
    "parquet": ("path", "size", "columns", "caption", "keep_uncaptioned"),
    "webdataset": ("path", "size", "columns", "caption", "keep_uncaptioned"),
}
HUB = (
    "path",
    "size",
    "columns",
    "caption",
    "keep_uncaptioned",
    "split",
    "variant",
)  # options of sets of the hub
PAIRS = ("digits", "portraits")  # variants of pairs
COUNT = 40_000  # documents of pairs and sums, where no --count is given
SIZE = 64  # side of generated pictures in pixels, where no --size is given


def source(name: str, options: dict[str, Any], notify: Callable[[str], None] = lambda line: None) -> Source:
    """The source of that name, with its options {name: value}.

    notify: receives lines for the user. Raises ConfigError where name or options do not fit, DataError
    where the data cannot be used."""
    check(name, options)
    if name in GENERAL:
        opened = _from_files(name, options, notify)
        for line in opened.unused.links():
            notify(line)
        return opened
    if name in OPTIONS:
        return _generated(name, options)
    from .datasets.hub import hub

    return hub(name, notify=notify, **_without_size(options))


def _generated(name: str, options: dict[str, Any]) -> Source:
    """A source that needs no files of the user's and no download."""
    asked, size = options.get("size"), options.get("size", SIZE)
    options = _without_size(options)
    match name:
        case "digits":
            from .datasets.digits import digits

            return digits()
        case "portraits":
            from .datasets.portraits.drawing import portraits

            return portraits(size=size, **options)
        case "emoji":
            from .datasets.emoji import emoji

            return emoji(size=size, **options)
        case "photos":
            from .datasets.photos import photos

            return photos(size=size, **options)
        case "text-images":
            from .datasets.text_images.drawing import text_images

            return text_images(size=size, **options)
        case "pairs":
            return _pairs(options.get("count", COUNT), options.get("variant", PAIRS[0]), asked)
        case "sums":
            from .datasets.digits import digits
            from .datasets.sums import sums

            return sums(digits(), count=options.get("count", COUNT))
        case _:
            raise ConfigError(f"unknown source '{name}'")


def _pairs(count: int, variant: str, size: int | None) -> Source:
    """Pairs of digits, or of portraits of size x size pixels. Raises ConfigError."""
    from .datasets.pairs import pairs

    if variant == "digits":
        from .datasets.digits import digits

        if size:
            raise ConfigError("pairs of digits have 8 pixels and take no --size; give --variant portraits")
        return pairs(digits(), count=count)
    if variant == "portraits":
        from .datasets.portraits.drawing import portraits

        return pairs(portraits(count=count, size=size or SIZE), count=count)
    raise ConfigError(f"the variant of pairs is '{variant}'; allowed: {', '.join(PAIRS)}")


def _from_files(name: str, options: dict[str, Any], notify: Callable[[str], None]) -> Source:
    """A source of files of the user's."""
    options = _without_size(options)
    match name:
        case "folder":
            from .datasets.folder import folder

            return folder(notify=notify, **options)
        case "documents":
            from .datasets.documents import documents

            return documents(**options)
        case "text":
            from .datasets.text import text

            return text(**options)
        case "parquet":
            from .datasets.parquet import parquet

            return parquet(notify=notify, **options)
        case "webdataset":
            from .datasets.webdataset import webdataset

            return webdataset(notify=notify, **options)
        case _:
            raise ConfigError(f"unknown source '{name}'")


def _without_size(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a source; the size of its pictures is applied later, by `rows.py`, or passed by itself."""
    return {option: value for option, value in options.items() if option != "size"}


def check(name: str, options: dict[str, Any]) -> None:
    """Raise ConfigError where there is no such source, or it has no such option."""
    from ..config.explain import nearest

    if not name.startswith("hf:") and name not in (*NAMES, *GENERAL):
        raise ConfigError(
            f"unknown source '{name}'{nearest(name, [*NAMES, *GENERAL])}; allowed: {', '.join(NAMES)}, "
            f"{', '.join(GENERAL)}, hf:OWNER/NAME"
        )
    allowed = OPTIONS.get(name, HUB)
    if extra := [option for option in options if option not in allowed]:
        takes = ", ".join(f"--{option}" for option in allowed).replace("_", "-") or "none"
        raise ConfigError(
            f"{name} takes no --{extra[0].replace('_', '-')}; of the options for a source it takes: {takes}"
        )
    if name in GENERAL and "path" not in options:
        raise ConfigError(f"{name} needs --path, where your data is")
