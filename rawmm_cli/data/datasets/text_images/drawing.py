"""Words and lines in small letters on plain or photographic backgrounds: any number of pictures.

Text is what tokenizers lose first. The caption of a picture is the text on it, line by line, joined by
spaces. Letters have any size from LEAST to MOST pixels an em, dark on light or light on dark, and always
fit. Photographic backgrounds are crops of the two photographs inside scikit-learn, paler or darker so that
letters stand out.

Everything about picture n depends on n alone, and on the installed fonts, which the card lists."""

import hashlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, features

from ....system.errors import ConfigError
from ....system.figures import counted
from ...images import Colour
from ...items import Item, Source
from . import fonts
from .writing import GROUNDS, MARGIN, PLACES, WHITE, Writing, pick, written

SIZES, GLYPHS = (32, 512), (6, 64)
LEAST, MOST = 8, 32  # pixels of an em
LONGEST = 99  # letters of a random word, and words of a picture, at most
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
SHADES = (0.35, 0.5)  # weight of the photograph against white or black


def text_images(
    *,
    count: int = 10_000,
    size: int = 64,
    glyph: str = f"{LEAST}-{MOST}",
    font: str | Path | None = None,
    **other: str | int,
) -> Source:
    """Source of `count` pictures of size x size pixels with letters of `glyph` pixels an em ("10" or "8-32").

    font: a file, or "Aileron" for the one inside Pillow; in place of all installed ones. other: `letters`
    ("5" or "4-6") of words of random letters, out of `alphabet`, and `words` of a picture; `ground` (plain,
    photograph or white) behind them and their `place` (anywhere or corner). Raises ConfigError where a number
    is out of range or the font cannot be used."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(
            f"the size of text-images is {size}; allowed: {SIZES[0]} to {SIZES[1]}; choose another --size"
        )
    if count < 2:
        raise ConfigError(f"the count of text-images is {count}; allowed: at least 2; choose another --count")
    least, most = _span("--glyph", glyph, GLYPHS, "pixels")
    if least > (room := (size - 2 * MARGIN) // 2):
        raise ConfigError(
            f"--glyph {glyph}: such letters do not fit into {size} pixels; allowed: at most {room}, or a "
            "larger --size"
        )
    paths = fonts.chosen(None if font is None else str(font))
    writing = Writing(paths, least, most, size, **_other(**other))
    writing.check()
    digests = hashlib.sha256(
        b"".join(Path(path).read_bytes() if path else fonts.BUNDLED.encode() for path in paths)
    ).hexdigest()
    own = "".join(f", {name} {value}" for name, value in sorted(other.items()))
    return Source(
        items=partial(_items, count, writing),
        count=count,
        resizes=False,
        open=partial(draw, writing=writing),
        state=f"{count} pictures of {size} pixels, letters {least}-{most}{own}, fonts {digests}, FreeType "
        f"{features.version('freetype2')}",
        card=_card(writing),
    )


def _card(writing: Writing) -> dict:
    """What the data card says."""
    names = ", ".join(sorted({fonts.family(path) for path in writing.fonts}))
    words = "words" if writing.letters is None else f"words of random letters ({writing.alphabet})"
    photographs = "; photographs: scikit-learn's china.jpg and flower.jpg" * ("photograph" in writing.grounds)
    return {
        "source": f"{words} in {counted(len(writing.fonts), 'font')} ({names}), letters of "
        f"{writing.least} to {writing.most} pixels{photographs}",
        "licence": "words: none needed" + "; photographs: CC BY 2.0" * ("photograph" in writing.grounds),
        "labels": [],
        "captions_are_written": True,
    }


def _other(
    letters: str | None = None,
    alphabet: str | None = None,
    words: int | None = None,
    ground: str | None = None,
    place: str = PLACES[0],
) -> dict:
    """Settings of `Writing`. Raises ConfigError."""
    if ground not in (None, *GROUNDS, WHITE):
        raise ConfigError(
            f"--ground is '{ground}'; allowed: {', '.join(GROUNDS)}, {WHITE}; default: plain or photograph"
        )
    if place not in PLACES:
        raise ConfigError(f"--place is '{place}'; allowed: {', '.join(PLACES)}")
    settings = {"place": place} | ({} if ground is None else {"grounds": (ground,)})
    if letters is None:
        if alphabet is not None or words is not None:
            option = "--alphabet" if alphabet is not None else "--words"
            raise ConfigError(
                f"{option} is about words of random letters; give --letters too, as in --letters 5"
            )
        return settings
    alphabet = ALPHABET if alphabet is None else alphabet
    if len(set(alphabet)) < max(2, len(alphabet)) or not set(alphabet) <= set(fonts.LETTERS):
        raise ConfigError(
            f"--alphabet is '{alphabet}'; allowed: two or more different Latin letters or digits, as in abc"
        )
    if words is not None and not 1 <= words <= LONGEST:
        raise ConfigError(f"--words is {words}; allowed: 1 to {LONGEST}, one a line")
    span = _span("--letters", letters, (1, LONGEST), "letters")
    return settings | {"letters": span, "alphabet": alphabet, "words": words}


def _span(option: str, text: str, allowed: tuple[int, int], what: str) -> tuple[int, int]:
    """Parse "8-32" -> (8, 32), "10" -> (10, 10). Raises ConfigError."""
    parts = text.split("-")
    if (
        not 1 <= len(parts) <= 2
        or not all(part.isascii() and part.isdecimal() and len(part) < 9 for part in parts)
        or not allowed[0] <= int(parts[0]) <= int(parts[-1]) <= allowed[1]
    ):
        raise ConfigError(
            f"{option} is '{text}'; allowed: {what} from {allowed[0]} to {allowed[1]}, as 10 or 8-32"
        )
    return int(parts[0]), int(parts[-1])


def _items(count: int, writing: Writing, start: int) -> Iterator[Item]:
    for n in range(start, count):
        lines, attributes = written(n, writing)
        yield Item(f"text-images/{n}", n, (" ".join(lines),), attributes=attributes)


def draw(n: int, background: Colour, writing: Writing) -> np.ndarray:
    """Picture n -> (size, size, 3) uint8."""
    size = writing.size
    lines, attributes = written(n, writing)
    path, glyph = pick(n, "font", writing.fonts), int(attributes["glyph"])
    font, height = fonts.sized(path, glyph), fonts.height(path, glyph)
    picture, ink = _sheet(n, attributes["ground"], size)
    width = max(font.getlength(line) for line in lines)
    left, top = (
        MARGIN + (writing.place != "corner") * pick(n, what, range(max(1, int(writing.room - used) + 1)))
        for what, used in (("left", width), ("top", height * len(lines)))
    )
    canvas = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        canvas.text((left, top + row * height + height // 2), line, fill=ink, font=font, anchor="lm")
    return np.array(picture)


def _sheet(n: int, ground: str, size: int) -> tuple[Image.Image, Colour]:
    """What stands behind the letters, size x size, and their colour."""
    if ground == WHITE:
        return Image.new("RGB", (size, size), (255, 255, 255)), (0, 0, 0)
    dark = pick(n, "dark letters", (True, False))
    ink = tuple(pick(n, f"ink {c}", range(0, 50) if dark else range(206, 256)) for c in "rgb")
    if ground == "photograph":
        return _photograph(n, size, pale=dark), ink
    plain = tuple(pick(n, f"ground {c}", range(190, 256) if dark else range(0, 66)) for c in "rgb")
    return Image.new("RGB", (size, size), plain), ink


def _photograph(n: int, size: int, pale: bool) -> Image.Image:
    """A crop of a photograph with less contrast, blended with white (`pale`) or black: size x size."""
    pixels = _photographs()[pick(n, "photograph", range(len(PHOTOGRAPHS)))]
    side = pick(n, "crop", range(min(size, 320), 401))
    top, left = (pick(n, f"crop {axis}", range(pixels.shape[axis] - side + 1)) for axis in (0, 1))
    crop = Image.fromarray(pixels[top : top + side, left : left + side]).resize(
        (size, size), Image.Resampling.LANCZOS
    )
    return Image.blend(
        Image.new("RGB", (size, size), (255,) * 3 if pale else (0,) * 3), crop, pick(n, "shade", SHADES)
    )


@cache
def _photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name) for name in PHOTOGRAPHS]
