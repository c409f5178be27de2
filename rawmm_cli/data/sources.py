"""Where data comes from: name and options -> Source. The one file that knows all of `datasets/`."""

from collections.abc import Callable

from ..system.errors import ConfigError
from .items import GENERAL, NAMES, Source

OPTIONS = {
    "digits": (),
    "portraits": ("count", "size"),
    "emoji": ("font", "size"),
    "photos": ("count", "size"),
    "text-images": ("count", "size", "glyph", "font"),
    "folder": ("path", "size"),
    "documents": ("path", "size"),
    "text": ("path",),
    "parquet": ("path", "size", "columns", "caption"),
    "webdataset": ("path", "size", "columns", "caption"),
}
HUB = ("path", "size", "columns", "caption", "split", "variant")  # of sets on the hub


def source(name: str, wanted: dict, told: Callable[[str], None] = lambda line: None) -> Source:
    """The source of that name. wanted: options that were given, {name: value}. Raises ConfigError,
    DataError."""
    check(name, wanted)
    given = {option: value for option, value in wanted.items() if option != "size"}
    match name:
        case "digits":
            from .datasets.digits import digits

            return digits()
        case "folder":
            from .datasets.folder import folder

            return folder(**given)
        case "portraits":
            from .datasets.portraits.drawing import portraits

            return portraits(size=wanted.get("size", 64), **given)
        case "emoji":
            from .datasets.emoji import emoji

            return emoji(size=wanted.get("size", 64), **given)
        case "photos":
            from .datasets.photos import photos

            return photos(size=wanted.get("size", 64), **given)
        case "text-images":
            from .datasets.text_images import text_images

            return text_images(size=wanted.get("size", 64), **given)
        case "parquet":
            from .datasets.parquet import parquet

            return parquet(told=told, **given)
        case "webdataset":
            from .datasets.webdataset import webdataset

            return webdataset(told=told, **given)
        case "documents":
            from .datasets.documents import documents

            return documents(**given)
        case "text":
            from .datasets.text import text

            return text(**given)
        case _:
            from .datasets.hub import hub

            return hub(name, told=told, **given)


def check(name: str, wanted: dict) -> None:
    """Raises ConfigError where there is no such source, or it has no such option."""
    from ..config.explain import nearest

    if not name.startswith("hf:") and name not in (*NAMES, *GENERAL):
        raise ConfigError(
            f"unknown source '{name}'{nearest(name, [*NAMES, *GENERAL])}; allowed: {', '.join(NAMES)}, "
            f"{', '.join(GENERAL)}, hf:OWNER/NAME"
        )
    allowed = OPTIONS.get(name, HUB)
    if extra := [option for option in wanted if option not in allowed]:
        takes = ", ".join(f"--{option}" for option in allowed) or "none"
        raise ConfigError(f"{name} takes no --{extra[0]}; of the options for a source it takes: {takes}")
    if name in GENERAL and "path" not in wanted:
        raise ConfigError(f"{name} needs --path, where your data is")
