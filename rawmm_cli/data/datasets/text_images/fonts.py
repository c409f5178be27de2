"""The installed fonts that can write Latin letters, and their measures."""

import os
from functools import cache

from PIL import ImageFont, features

from ....system.errors import ConfigError

FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "/System/Library/Fonts/Supplemental",
    "C:/Windows/Fonts",
)
BUNDLED = "Aileron"  # inside Pillow, where it has FreeType
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
NONE = "text-images need Pillow with FreeType, and this Pillow has none; pip install --force-reinstall pillow"


def chosen(word: str | None) -> tuple[str, ...]:
    """Paths of the fonts to use: of the file `word`, the one inside Pillow where it is its name, all where it
    is None. "" stands for the font inside Pillow. Raises ConfigError."""
    if word is None:
        return installed()
    if word == BUNDLED:
        if not features.check("freetype2"):
            raise ConfigError(NONE)
        return ("",)
    if not (os.path.isfile(word) and usable(word)):  # a pipe would block
        raise ConfigError(
            f"{word} is not a font with Latin letters; allowed: a .ttf, .otf or .ttc file, or {BUNDLED}, the "
            "font inside Pillow; choose another --font"
        )
    return (word,)


@cache
def installed() -> tuple[str, ...]:
    """Paths of all installed fonts with Latin letters, sorted by file name. "" stands for the font inside
    Pillow and comes first, where Pillow has FreeType to draw it. Raises ConfigError where there is none."""
    paths = {}
    for folder in FOLDERS:
        for parent, _, names in os.walk(os.path.expanduser(folder)):
            paths |= {
                name: os.path.join(parent, name) for name in names if name.lower().endswith((".ttf", ".otf"))
            }
    fonts = [paths[name] for name in sorted(paths) if usable(paths[name])]
    bundled = [""] if features.check("freetype2") else []
    if not fonts and not bundled:
        raise ConfigError(NONE)
    return (*bundled, *fonts)


def usable(path: str) -> bool:
    """Whether the font has letters and digits: none looks like the box for a missing character, and nearly
    all look different from each other."""
    try:
        font = ImageFont.truetype(path, 24)
        masks = [bytes(font.getmask(letter)) for letter in LETTERS]
        return (
            bytes(font.getmask("\U0010ffff")) not in masks
            and len(set(masks)) > len(LETTERS) - 8
            and all(map(any, masks))
        )
    except (OSError, ValueError, SystemError):
        return False


@cache
def sized(path: str, glyph: int) -> ImageFont.FreeTypeFont:
    """The font at `glyph` pixels an em, with the basic layout of Pillow: other libraries may change
    spacing."""
    return (
        ImageFont.truetype(path, glyph, layout_engine=ImageFont.Layout.BASIC)
        if path
        else ImageFont.load_default(glyph)
    )


def family(path: str) -> str:
    """Name of the font's family."""
    return ImageFont.truetype(path, 12).getname()[0] if path else BUNDLED


def height(path: str, glyph: int) -> int:
    """Height of a line in pixels."""
    return sum(sized(path, glyph).getmetrics())
