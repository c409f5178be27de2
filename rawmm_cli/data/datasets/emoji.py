"""The pictures of the installed colour emoji font with their English names: a few thousand, without a
download.

Names are those of the package `emoji` (Unicode CLDR), made to read naturally: "red apple", "flag of France",
"waving hand, medium skin tone". Left out are buttons, keycaps and other signs whose name tells nothing of the
picture, and what the font does not have. Every picture is centred and drawn in one scale, so that a small
square stays small."""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...system.errors import ConfigError, DataError, printable
from ..images import WHITE, Colour, ImageError, fit
from ..items import Item, Source, state_of

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

SIZES = (16, 128)
STRIKES = (109, 160, 136, 128, 96, 72, 64, 48, 40, 32, 20)  # sizes that bitmap fonts come in; 109: Noto
ELSEWHERE = ("/System/Library/Fonts/Apple Color Emoji.ttc", "C:/Windows/Fonts/seguiemj.ttf")
HELP = "install one (Debian: apt install fonts-noto-color-emoji) or give its file with --font"
PROBES = "\U0001f600\U0001f34e\U0001f98b"  # a face, an apple, a butterfly
NOTHING = ("\U0010ffff", "\U0001f1fd\U0001f1fd")  # what no font has: no character, no flag

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
THE = re.compile(
    r"(Islands|Republic|Territor(y|ies)|Lands|Emirates|Netherlands|Nations|Kingdom|States|Philippines|Maldives|"
    r"Bahamas|Union)$|^Isle of"
)
SMALL = re.compile(
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
MANY = ("people", "women", "men", "thumbs", "palms")
PEOPLE = ("person", "man", "woman", "boy", "girl", "child", "baby")


def emoji(*, font: Path | None = None, size: int = 64) -> Source:
    """Every emoji that the font has, size x size pixels. Raises ConfigError and DataError (no font, or none
    with colours)."""
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
    named = {
        text: found
        for text, entry in EMOJI_DATA.items()
        if entry["status"] == STATUS["fully_qualified"] and (found := name(text, entry["en"].strip(":")))
    }
    texts = [text for text in named if _has(str(path), text)]
    about = f"{_opened(str(path)).getname()[0]} ({path.name})"

    def items(start: int) -> Iterator[Item]:
        for text in islice(texts, start, None):
            yield _item(text, named[text])

    made = hashlib.sha256("\n".join(f"{text} {named[text]}" for text in texts).encode()).hexdigest()
    return Source(
        items=items,
        open=partial(draw, font=str(path), size=size),
        count=len(texts),
        resizes=False,
        state=f"emoji of {size} pixels {version('emoji')} {state_of([path])} {made}",
        card={
            "source": f"{printable(about)} drawn by Pillow, names of emoji {version('emoji')}",
            "labels": [],
            "licence": "SIL OFL 1.1 (the font)" if about.startswith("Noto ") else "that of the font",
        },
    )


def _item(text: str, named: str) -> Item:
    what, tone = _parted(named)
    kind = "flag" if named.startswith("flag of ") else "emoji"
    return Item(
        "emoji/" + "-".join(f"{ord(sign):x}" for sign in text),
        text,
        captions(named),
        attributes={"name": what, "skin_tone": tone.replace(" skin tone", "") or "none", "kind": kind},
    )


def draw(text: str, background: Colour, font: str, size: int) -> np.ndarray:
    """One emoji -> (size, size, 3) uint8. Raises ImageError where the font cannot be read."""
    try:
        return fit(_drawn(font, text, background), size, enlarge=True)
    except OSError as error:
        raise ImageError(f"the font cannot be read: {error}") from None


# ------------------------------------------------------------------------------------------------------ names


def name(text: str, known: str) -> str | None:
    """A name of the package `emoji` -> a natural one; None where it is left out."""
    if LEFT_OUT.search(known):
        return None
    tones = TONE.findall(known)
    plain = TONE.sub("", known).strip("_")
    if _flag(text):
        country = re.sub(r" \(.*?\)", "", _spaced(plain)).replace(" SAR China", "").replace("&", "and")
        return f"flag of {'the ' if THE.search(country) else ''}{country}"
    if found := HAIR.fullmatch(plain):
        spoken = f"bald {found[1]}" if found[2] == "bald" else f"{found[1]} with {_a(_spaced(found[2]))}"
    elif plain.startswith("family_"):
        spoken = f"family of {_listed([_a(one) for one in plain.split('_')[1:]])}"
    elif found := re.fullmatch(r"(couple_with_heart|kiss)_(.+)", plain):
        spoken = f"{_spaced(found[1])}, {_listed(found[2].split('_'))}"
    elif re.search(r"o’clock|-thirty$", plain):
        spoken = f"clock showing {_spaced(plain)}"
    else:
        spoken = RENAMED.get(plain, _spaced(plain) + (" sign" if plain in SIGNS else ""))
    return spoken + (f", {_listed([_spaced(tone) for tone in tones])}" if tones else "")


def captions(named: str) -> tuple[str, ...]:
    """ "an emoji of a red apple", "red apple emoji", "a red apple"."""
    what, tone = _parted(named)
    return f"an emoji of {_a(named)}", f"{what} emoji{tone and f', {tone}'}", _a(named)


def _parted(named: str) -> tuple[str, str]:
    """ "waving hand, medium skin tone" -> "waving hand", "medium skin tone"."""
    what, _, tone = named.rpartition(", ")
    return (what, tone) if tone.endswith("skin tone") and what else (named, "")


def _flag(text: str) -> bool:
    """Two regional indicators, or a black flag with tags (England)."""
    return all("\U0001f1e6" <= sign <= "\U0001f1ff" for sign in text) or "\U000e007f" in text


def _a(named: str) -> str:
    """With its article; none where there are many, or what is not counted."""
    head = SMALL.split(named)[0]
    first, last = head.split()[0].lower(), head.split()[-1].lower()
    if named.startswith("flag of") or first in PEOPLE:
        return f"a {named}"
    if first in MANY or PLURAL.search(last) or last in UNCOUNTED:
        return named
    vowel = re.match(
        r"(?!one|uni|eu|ewe|u-)[aeiou]|hour|x-|OK\b|E-", named if named[:2].isupper() else named.lower()
    )
    return f"{'an' if vowel else 'a'} {named}"


def _spaced(known: str) -> str:
    return known.replace("_", " ").replace("’", "'")


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# ------------------------------------------------------------------------------------------------------- font


def _installed() -> Path:
    """The colour emoji font that fontconfig knows, or the one of macOS or Windows."""
    try:
        said = subprocess.run(
            ["fc-list", "--format", "%{file}\\n", ":color=true:charset=1f600"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    found = sorted(filter(None, said.split("\n")), key=lambda file: ("emoji" not in file.lower(), file))
    for file in (*found, *ELSEWHERE):
        if Path(file).is_file():
            return Path(file)
    raise DataError(f"no colour emoji font is installed; {HELP}")


def _check(path: Path) -> None:
    """Raises DataError where this is no font with coloured emoji."""
    shown = printable(str(path))
    if not path.is_file():
        raise DataError(f"{shown} is not a file; allowed: a colour emoji font; {HELP}")
    try:
        drawn = [_drawn(str(path), probe, WHITE).astype(int) for probe in PROBES]
    except OSError as error:
        raise DataError(
            f"{shown} cannot be read as a font ({printable(str(error))}); allowed: a colour emoji font; "
            f"{HELP}"
        ) from None
    if not any(np.ptp(pixels, axis=-1).max() > 32 for pixels in drawn):
        raise DataError(
            f"{shown} has no coloured emoji that can be drawn; allowed: a colour emoji font; {HELP}"
        )


@lru_cache(maxsize=4)
def _opened(font: str) -> "FreeTypeFont":
    """The font in a size that it has. Raises OSError."""
    from PIL import ImageFont

    for strike in STRIKES:
        try:
            return ImageFont.truetype(font, strike)
        except OSError as error:
            refused = error
    raise refused


def _drawn(font: str, text: str, background: Colour) -> np.ndarray:
    """The text in the centre of a square as wide as one emoji -> (side, side, 3) uint8."""
    from PIL import Image, ImageDraw

    opened = _opened(font)
    side = max(8, round(opened.getlength(PROBES[0])))
    left, top, right, bottom = opened.getbbox(text)
    picture = Image.new("RGB", (side, side), background)
    at = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(picture).text(at, text, font=opened, embedded_color=True)
    return np.array(picture)


def _has(font: str, text: str) -> bool:
    """Is there one picture for all of the text? Not where it falls into several, or a part of it is not
    seen."""
    opened = _opened(font)
    if opened.getlength(text) > 1.5 * opened.getlength(PROBES[0]):
        return False
    seen = _look(font, text)
    plain = text.replace("\ufe0f", "")
    return seen not in {_look(font, " "), *(_look(font, other) for other in NOTHING)} and (
        len(plain) == 1 or seen != _look(font, plain[0])
    )


@lru_cache(maxsize=8192)
def _look(font: str, text: str) -> bytes:
    return hashlib.sha256(_drawn(font, text, WHITE).tobytes()).digest()
