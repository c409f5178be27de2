"""The pictures of the installed colour emoji font with their English names: a few thousand, without a
download.

Names come from the package `emoji` (Unicode CLDR), rewritten to read naturally: "red apple", "flag of
France", "waving hand, medium skin tone". Buttons, keycaps and other signs whose name does not describe the
picture are left out, and so are emoji that the font lacks. Every picture is centred and drawn at one scale,
so that a small square stays small."""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...system.errors import ConfigError, DataError, printable
from ..images import WHITE, Colour, ImageError, fit
from ..items import Item, Source, state_of

SIZES = (16, 128)
STRIKES = (109, 160, 136, 128, 96, 72, 64, 48, 40, 32, 20)  # sizes of bitmap fonts; 109: Noto
SYSTEM_FONTS = ("/System/Library/Fonts/Apple Color Emoji.ttc", "C:/Windows/Fonts/seguiemj.ttf")
HELP = "install one (Debian: apt install fonts-noto-color-emoji) or give its file with --font"
PROBES = "\U0001f600\U0001f34e\U0001f98b"  # a face, an apple, a butterfly
MISSING = ("\U0010ffff", "\U0001f1fd\U0001f1fd")  # in no font: no character, no flag

LEFT_OUT = re.compile(
    r"button|keycap|^(BACK|END|ON!|SOON|TOP)_arrow$|^input_|^(circled_M|part_alternation_mark|information|"
    r"registered|copyright|trade_mark|ZZZ|ATM_sign|Japanese_symbol_for_beginner|water_closet|Aries|Taurus|Gemini|Cancer|"
    r"Leo|Virgo|Libra|Scorpio|Sagittarius|Capricorn|Aquarius|Pisces|Ophiuchus)$"
)
TONE = re.compile(r"_((?:medium-light|medium-dark|light|medium|dark)_skin_tone)")
RENAMED = {
    "rolling_on_the_floor_laughing": "face rolling on the floor laughing",
    "star-struck": "star-struck face",
    "divide": "division sign",
    "multiply": "multiplication sign",
    "locked": "locked padlock",
    "camping": "camping tent",
    "unlocked": "unlocked padlock",
    "children_crossing": "sign of children crossing",
    "dizzy": "dizzy star",
    "breast-feeding": "breast-feeding woman",
}
SIGNS = (
    "plus",
    "minus",
    "prohibited",
    "radioactive",
    "biohazard",
    "om",
    "warning",
    "hundred_points",
    "no_entry",
    "no_smoking",
    "no_littering",
    "no_one_under_eighteen",
    "no_bicycles",
    "no_pedestrians",
    "no_mobile_phones",
)
HAIR = re.compile(r"(person|man|woman)_((?:blond|curly|red|white)_hair|beard|bald)$")
ARTICLE = re.compile(
    r"(Islands|Republic|Territor(y|ies)|Lands|Emirates|Netherlands|Nations|Kingdom|States|Philippines|Maldives|"
    r"Bahamas|Union)$|^Isle of"
)
PREPOSITION = re.compile(
    r" (with|without|of|in|on|over|behind|at|facing|holding|wearing"
    r"|showing|savoring|and|from|under|for|to)\b|,"
)
PLURAL = re.compile(r"(?<![suioa'])s$|(skis|people|women|men)$")
UNCOUNTED = frozenset(
    "bacon bread broccoli butter claim coal construction control cooking coral corn cream custard dango "
    "dizzy dna fencing fire "
    "flatbread fog foggy food garlic ginger hockey ice lacrosse laughing litter luggage meat milk money oden "
    "pong polish polo popcorn rice sake salt selfies snow soap spaghetti sushi tennis thread toast traffic "
    "water wireless "
    "wood yarn hair badminton bowling away claus".split()
)
PLURALS = ("people", "women", "men", "thumbs", "palms")
PEOPLE = ("person", "man", "woman", "boy", "girl", "child", "baby")


def emoji(*, font: Path | None = None, size: int = 64) -> Source:
    """Source of every emoji that the font has, size x size pixels.

    Raises ConfigError where the size is out of range or the package is missing, DataError where there is no
    font with coloured emoji."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(
            f"the size of emoji is {size}; allowed: {SIZES[0]} to {SIZES[1]}; choose another --size"
        )
    try:
        from emoji import EMOJI_DATA, STATUS
    except ImportError:
        raise ConfigError(
            "the source emoji needs 'emoji', which is not installed; pip install emoji"
        ) from None
    path = _installed() if font is None else Path(font)
    _check(path)
    names = {
        text: natural
        for text, entry in EMOJI_DATA.items()
        if entry["status"] == STATUS["fully_qualified"] and (natural := name(text, entry["en"].strip(":")))
    }
    texts = [text for text in names if _has(str(path), text)]
    font_name = f"{_open(str(path)).getname()[0]} ({path.name})"

    def items(start: int) -> Iterator[Item]:
        for text in islice(texts, start, None):
            yield _item(text, names[text])

    digest = hashlib.sha256("\n".join(f"{text} {names[text]}" for text in texts).encode()).hexdigest()
    return Source(
        items=items,
        open=partial(draw, font=str(path), size=size),
        count=len(texts),
        resizes=False,
        state=f"emoji of {size} pixels {version('emoji')} {state_of([path])} {digest}",
        card={
            "source": f"{printable(font_name)} drawn by Pillow, names of emoji {version('emoji')}",
            "labels": [],
            "licence": "SIL OFL 1.1 (the font)" if font_name.startswith("Noto ") else "that of the font",
        },
    )


def _item(text: str, name: str) -> Item:
    plain, tone = _without_tone(name)
    kind = "flag" if name.startswith("flag of ") else "emoji"
    return Item(
        "emoji/" + "-".join(f"{ord(character):x}" for character in text),
        text,
        captions(name),
        attributes={"name": plain, "skin_tone": tone.replace(" skin tone", "") or "none", "kind": kind},
    )


def draw(text: str, background: Colour, font: str, size: int) -> np.ndarray:
    """One emoji -> (size, size, 3) uint8. Raises ImageError where the font cannot be read."""
    try:
        return fit(_drawn(font, text, background), size, "center", enlarge=True)
    except OSError as error:
        raise ImageError(f"the font cannot be read: {error}") from None


# ------------------------------------------------------------------------------------------------------ names


def name(text: str, cldr: str) -> str | None:
    """A natural name for an emoji whose name in the package `emoji` is `cldr`; None where it is left out."""
    if LEFT_OUT.search(cldr):
        return None
    tones = TONE.findall(cldr)
    plain = TONE.sub("", cldr).strip("_")
    if _is_flag(text):
        country = re.sub(r" \(.*?\)", "", _spaced(plain)).replace(" SAR China", "").replace("&", "and")
        return f"flag of {'the ' if ARTICLE.search(country) else ''}{country}"
    if match := HAIR.fullmatch(plain):
        person, hair = match[1], match[2]
        natural = f"bald {person}" if hair == "bald" else f"{person} with {_with_article(_spaced(hair))}"
    elif plain.startswith("family_"):
        natural = f"family of {_listed([_with_article(member) for member in plain.split('_')[1:]])}"
    elif match := re.fullmatch(r"(couple_with_heart|kiss)_(.+)", plain):
        natural = f"{_spaced(match[1])}, {_listed(match[2].split('_'))}"
    elif re.search(r"o’clock|-thirty$", plain):
        natural = f"clock showing {_spaced(plain)}"
    else:
        natural = RENAMED.get(plain, _spaced(plain) + (" sign" if plain in SIGNS else ""))
    return natural + (f", {_listed([_spaced(tone) for tone in tones])}" if tones else "")


def captions(name: str) -> tuple[str, ...]:
    """Captions for a name: "an emoji of a red apple", "red apple emoji", "a red apple"."""
    plain, tone = _without_tone(name)
    return f"an emoji of {_with_article(name)}", f"{plain} emoji{tone and f', {tone}'}", _with_article(name)


def _without_tone(name: str) -> tuple[str, str]:
    """Split "waving hand, medium skin tone" -> "waving hand", "medium skin tone"."""
    plain, _, tone = name.rpartition(", ")
    return (plain, tone) if tone.endswith("skin tone") and plain else (name, "")


def _is_flag(text: str) -> bool:
    """Whether the text is two regional indicators, or a black flag with tags (England)."""
    return all("\U0001f1e6" <= character <= "\U0001f1ff" for character in text) or "\U000e007f" in text


def _with_article(name: str) -> str:
    """The name with "a" or "an"; without an article where it is plural or uncountable."""
    head = PREPOSITION.split(name)[0]
    first, last = head.split()[0].lower(), head.split()[-1].lower()
    if name.startswith("flag of") or first in PEOPLE:
        return f"a {name}"
    if first in PLURALS or PLURAL.search(last) or last in UNCOUNTED:
        return name
    vowel = re.match(
        r"(?!one|uni|eu|ewe|u-)[aeiou]|hour|x-|OK\b|E-", name if name[:2].isupper() else name.lower()
    )
    return f"{'an' if vowel else 'a'} {name}"


def _spaced(cldr: str) -> str:
    return cldr.replace("_", " ").replace("’", "'")


def _listed(parts: list[str]) -> str:
    """The parts as an enumeration: "this, that and another"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# ------------------------------------------------------------------------------------------------------- font


def _installed() -> Path:
    """The colour emoji font that fontconfig lists, or that of macOS or Windows. Raises DataError."""
    try:
        listing = subprocess.run(
            ["fc-list", "--format", "%{file}\\n", ":color=true:charset=1f600"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        listing = ""
    fonts = sorted(filter(None, listing.split("\n")), key=lambda file: ("emoji" not in file.lower(), file))
    for file in (*fonts, *SYSTEM_FONTS):
        if Path(file).is_file():
            return Path(file)
    raise DataError(f"no colour emoji font is installed; {HELP}")


def _check(path: Path) -> None:
    """Raise DataError unless this is a font with coloured emoji."""
    shown_path = printable(str(path))
    if not path.is_file():
        raise DataError(f"{shown_path} is not a file; allowed: a colour emoji font; {HELP}")
    try:
        drawn = [_drawn(str(path), probe, WHITE).astype(int) for probe in PROBES]
    except OSError as error:
        raise DataError(
            f"{shown_path} cannot be read as a font ({printable(str(error))}); allowed: a colour emoji font; "
            f"{HELP}"
        ) from None
    if not any(np.ptp(pixels, axis=-1).max() > 32 for pixels in drawn):
        raise DataError(
            f"{shown_path} has no coloured emoji that can be drawn; allowed: a colour emoji font; {HELP}"
        )


@lru_cache(maxsize=4)
def _open(font: str) -> ImageFont.FreeTypeFont:
    """The font at the first of STRIKES that it has. Raises OSError."""
    for strike in STRIKES:
        try:
            return ImageFont.truetype(font, strike)
        except OSError as error:
            last = error
    raise last


def _drawn(font: str, text: str, background: Colour) -> np.ndarray:
    """The text in the centre of a square as wide as one emoji: (side, side, 3) uint8."""
    typeface = _open(font)
    side = max(8, round(typeface.getlength(PROBES[0])))
    left, top, right, bottom = typeface.getbbox(text)
    picture = Image.new("RGB", (side, side), background)
    corner = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(picture).text(corner, text, font=typeface, embedded_color=True)
    return np.array(picture)


def _has(font: str, text: str) -> bool:
    """Whether the font has one picture for the whole text: it neither falls into several pictures, nor does a
    part of it stay invisible."""
    typeface = _open(font)
    if typeface.getlength(text) > 1.5 * typeface.getlength(PROBES[0]):
        return False
    digest = _digest(font, text)
    plain = text.replace("\ufe0f", "")
    return digest not in {_digest(font, " "), *(_digest(font, missing) for missing in MISSING)} and (
        len(plain) == 1 or digest != _digest(font, plain[0])
    )


@lru_cache(maxsize=8192)
def _digest(font: str, text: str) -> bytes:
    return hashlib.sha256(_drawn(font, text, WHITE).tobytes()).digest()
