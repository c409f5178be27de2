"""Words and lines in the installed fonts, drawn in small letters on plain or photographic backgrounds: any
number of pictures.

Text is what tokenizers lose first. The caption of a picture is the text on it, line by line, joined by
spaces. Letters have any size from LEAST to MOST pixels an em, dark on light or light on dark, and always
fit. Photographic backgrounds are crops of the two photographs inside scikit-learn, paler or darker so that
letters stand out.

Everything about picture n depends on n alone, and on the installed fonts, which the card lists."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from ...system.errors import ConfigError
from ...system.figures import counted
from ..images import Colour
from ..items import Item, Source

Option = TypeVar("Option")
SIZES, GLYPHS = (32, 512), (6, 64)
LEAST, MOST = 8, 32  # pixels of an em
LINES, MARGIN = 4, 3  # lines at most; pixels left free at the edges
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
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
SHADES = (0.35, 0.5)  # weight of the photograph against white or black
WORDS = tuple(
    """
a able about above across act add after again age ago air all alone along also always am among an and animal
answer any apple are area arm art as ask at away baby back bad bag ball bank base be bear beautiful become
bed before begin behind bell below best better between big bird birth black blue board boat body bone book
both bottom box boy bread break bridge bright bring brother brown build burn busy but buy by cake call came
camera can car card care carry case cat cause center century chair chance change chief child choose circle
city class clean clear climb clock close cloth cloud coat coffee cold color come common cook cool copper
corn corner cost cotton could count country course cover cross crowd cup current cut dance dark day dead
deal decide deep degree describe design dinner direct do doctor dog dollar door double down draw dream dress
drink drive dry during each early earth east easy eat edge egg eight electric empty end engine enough
evening every example eye face fact fall family far farm fast father favor feel feet fell few field fight
figure fill final find fine finger fire first fish five flat floor flower fly follow food foot for force
forest form forward four free fresh friend from front fruit full game garden gave general gentle get girl
give glass go goat gold good grand grass gray great green ground group grow guess guide had hair half hand
happy hard hat have he head hear heart heat heavy help her here high hill his history hold home honey hope
horse hot hour house how hundred hunt hurry ice idea if in inch iron is island it job join joy jump just
keep key kind king kitchen know lady lake lamp land language large last late laugh law lay lead learn least
leave left leg less letter level lie life lift light like line lion list listen little live long look lost
loud love low lucky machine made main make man many map mark market matter may me mean measure meat meet
method middle mile milk million mind minute mirror modern moment money month moon more morning most mother
motion mountain mouth move much music must my name nation nature near neck need never new next night nine no
noise north nose note nothing notice now number ocean of off office often oil old on once one only open or
orange order other our out over own page paint pair paper parent part party pass past path pay peace pencil
people perhaps person phrase picture piece place plain plan plane planet plant play please plural poem point
pole poor port position possible pound power press pretty print problem product proper pull pure push put
quality quart queen question quick quiet quite race radio rain raise ran reach read ready real reason record
red region repeat rest result rice rich ride right ring rise river road rock roll room root rope rose round
row rule run safe sail salt same sand save say scale school science sea season seat second see seed seem
self sell send sentence serve set settle seven several shape share sharp she ship shoe shop short should
shoulder show side sign silent silver simple since sing sister sit six size skill skin sky sleep slow small
smell smile snow so soft soil soldier solve some son song soon sound south space speak special speed spell
spend spoke spot spring square stand star start state station stay steam steel step stick still stone stop
store story strange stream street strong student study subject such sudden sugar suit summer sun supply sure
surface sweet swim table tail take talk tall taste teach team tell ten test than that the their them then
there these they thick thin thing think third this those though thought thousand three through throw tie
time tiny to together told tomorrow tone too tool tooth top total touch toward town track trade train travel
tree triangle trip truck true try tube turn twelve twenty two type under unit until up us use usual valley
value very view village visit voice wait walk wall want war warm was wash watch water wave way we wear
weather week weight well went were west what wheel when where which while white who whole why wide wife wild
will win wind window wing winter wire wish with woman wonder wood word work world would write wrong yard
year yellow yes yet you young your zebra zero zone
""".split()
)


def text_images(
    *, count: int = 10_000, size: int = 64, glyph: str = f"{LEAST}-{MOST}", font: Path | None = None
) -> Source:
    """Source of `count` pictures of size x size pixels with letters of `glyph` pixels an em ("10" or "8-32").

    font: the only font to use, in place of all installed ones. Raises ConfigError where a number is out of
    range or the font cannot be used."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(
            f"the size of text-images is {size}; allowed: {SIZES[0]} to {SIZES[1]}; choose another --size"
        )
    if count < 2:
        raise ConfigError(f"the count of text-images is {count}; allowed: at least 2; choose another --count")
    least, most = _glyphs(glyph, size)
    if font is not None and not (os.path.isfile(font) and _usable(str(font))):  # a pipe would block
        raise ConfigError(
            f"{font} is not a font with Latin letters; allowed: a .ttf, .otf or .ttc file; "
            "choose another --font"
        )
    fonts = (str(font),) if font is not None else installed()
    names = sorted({ImageFont.truetype(path, 12).getname()[0] if path else BUNDLED for path in fonts})
    digests = hashlib.sha256(
        b"".join(Path(path).read_bytes() if path else BUNDLED.encode() for path in fonts)
    ).hexdigest()
    return Source(
        items=partial(_items, count, fonts, least, most, size),
        count=count,
        resizes=False,
        open=partial(draw, fonts=fonts, least=least, most=most, size=size),
        state=f"{count} pictures of {size} pixels, letters {least}-{most}, fonts {digests}, FreeType "
        f"{features.version('freetype2')}",
        card={
            "source": f"words in {counted(len(fonts), 'font')} ({', '.join(names)}), letters of {least} "
            f"to {most} "
            f"pixels; photographs: "
            "scikit-learn's china.jpg and flower.jpg",
            "licence": "words: none needed; photographs: CC BY 2.0",
            "labels": [],
            "captions_are_written": True,
        },
    )


def _glyphs(text: str, size: int) -> tuple[int, int]:
    """Parse "8-32" -> (8, 32), "10" -> (10, 10). Raises ConfigError."""
    parts = text.split("-")
    if (
        not 1 <= len(parts) <= 2
        or not all(part.isascii() and part.isdecimal() and len(part) < 9 for part in parts)
        or not GLYPHS[0] <= int(parts[0]) <= int(parts[-1]) <= GLYPHS[1]
    ):
        raise ConfigError(
            f"--glyph is '{text}'; allowed: pixels from {GLYPHS[0]} to {GLYPHS[1]}, as 10 or 8-32"
        )
    if int(parts[0]) > (room := (size - 2 * MARGIN) // 2):
        raise ConfigError(
            f"--glyph {text}: such letters do not fit into {size} pixels; allowed: at most {room}, or a "
            "larger --size"
        )
    return int(parts[0]), int(parts[-1])


def _items(count: int, fonts: Sequence[str], least: int, most: int, size: int, start: int) -> Iterator[Item]:
    for n in range(start, count):
        lines, attributes = written(n, fonts, least, most, size)
        yield Item(f"text-images/{n}", n, (" ".join(lines),), attributes=attributes)


def written(
    n: int, fonts: Sequence[str], least: int, most: int, size: int
) -> tuple[list[str], dict[str, str]]:
    """Text on picture n, line by line, and its attributes: font, glyph (pixels an em), ground (plain or
    photograph).

    The size of letters is chosen by n, then reduced until a word fits."""
    path = _pick(n, "font", fonts)
    glyph = _pick(n, "glyph", range(least, most + 1))
    while not (first := _line(n, 0, path, glyph, size)) and glyph > least:
        glyph -= 1
    room = max(1, min(LINES, (size - 2 * MARGIN) // _height(path, glyph)))
    lines = [first or "a"] + [
        _line(n, row, path, glyph, size) for row in range(1, _pick(n, "lines", range(1, room + 1)))
    ]
    ground = _pick(n, "ground", ("plain", "photograph"))
    return lines, {"font": " ".join(_font(path, glyph).getname()[:2]), "glyph": str(glyph), "ground": ground}


def _line(n: int, row: int, path: str, glyph: int, size: int) -> str:
    """One to three words, as many as fit; "" where none does."""
    font, room, line = _font(path, glyph), size - 2 * MARGIN, ""
    for place in range(_pick(n, f"words of {row}", (1, 2, 3))):
        for attempt in range(12):
            word = _pick(n, f"word {row} {place} {attempt}", WORDS)
            word = (
                word.capitalize() if _pick(n, f"capital {row} {place}", (False, False, False, True)) else word
            )
            if font.getlength(longer := f"{line} {word}".strip()) <= room and (
                line or len(word) > 2 or attempt > 8
            ):
                line = longer
                break
    return line


def draw(n: int, background: Colour, fonts: Sequence[str], least: int, most: int, size: int) -> np.ndarray:
    """Picture n -> (size, size, 3) uint8."""
    lines, attributes = written(n, fonts, least, most, size)
    path, glyph = _pick(n, "font", fonts), int(attributes["glyph"])
    font, height = _font(path, glyph), _height(path, glyph)
    dark = _pick(n, "dark letters", (True, False))
    picture = (
        _photograph(n, size, pale=dark)
        if attributes["ground"] == "photograph"
        else Image.new(
            "RGB",
            (size, size),
            tuple(_pick(n, f"ground {c}", range(190, 256) if dark else range(0, 66)) for c in "rgb"),
        )
    )
    ink = tuple(_pick(n, f"ink {c}", range(0, 50) if dark else range(206, 256)) for c in "rgb")
    width = max(font.getlength(line) for line in lines)
    left, top = (
        MARGIN + _pick(n, what, range(max(1, int(size - 2 * MARGIN - used) + 1)))
        for what, used in (("left", width), ("top", height * len(lines)))
    )
    canvas = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        canvas.text((left, top + row * height + height // 2), line, fill=ink, font=font, anchor="lm")
    return np.array(picture)


def _photograph(n: int, size: int, pale: bool) -> Image.Image:
    """A crop of a photograph with less contrast, blended with white (`pale`) or black: size x size."""
    pixels = _photographs()[_pick(n, "photograph", range(len(PHOTOGRAPHS)))]
    side = _pick(n, "crop", range(min(size, 320), 401))
    top, left = (_pick(n, f"crop {axis}", range(pixels.shape[axis] - side + 1)) for axis in (0, 1))
    crop = Image.fromarray(pixels[top : top + side, left : left + side]).resize(
        (size, size), Image.Resampling.LANCZOS
    )
    return Image.blend(
        Image.new("RGB", (size, size), (255,) * 3 if pale else (0,) * 3), crop, _pick(n, "shade", SHADES)
    )


@cache
def _photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name) for name in PHOTOGRAPHS]


# ------------------------------------------------------------------------------------------------------ fonts


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
    usable = [paths[name] for name in sorted(paths) if _usable(paths[name])]
    bundled = [""] if features.check("freetype2") else []
    if not usable and not bundled:
        raise ConfigError(
            "text-images need Pillow with FreeType, and this Pillow has none; pip install --force-reinstall "
            "pillow"
        )
    return (*bundled, *usable)


def _usable(path: str) -> bool:
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
def _font(path: str, glyph: int) -> ImageFont.FreeTypeFont:
    """The font at `glyph` pixels an em, with the basic layout of Pillow: other libraries may change
    spacing."""
    return (
        ImageFont.truetype(path, glyph, layout_engine=ImageFont.Layout.BASIC)
        if path
        else ImageFont.load_default(glyph)
    )


def _height(path: str, glyph: int) -> int:
    """Height of a line in pixels."""
    return sum(_font(path, glyph).getmetrics())


def _pick(n: int, what: str, options: Sequence[Option]) -> Option:
    """One of the options, by a hash of n and of `what`, the name of the choice."""
    digest = hashlib.blake2b(f"text-images/{n}/{what}".encode(), digest_size=8).digest()
    return options[int.from_bytes(digest, "little") % len(options)]
