"""Drawn portraits with exact attributes and captions: as many as wanted, of any size from 32 to 256, without
a download.

python-avatars puts the parts of a portrait together as SVG, resvg draws it. Everything about portrait n (its
attributes, the shades of its colours, its captions) hangs on n alone. Values of every attribute are drawn
evenly, but for these:

    person        a man has facial hair, or hair of MEN; anybody else is a woman. So the picture tells which
    facial_hair   women have none; a man with long hair or an afro has some
    hair_colour   also of the beard or moustache; "none" where there is no hair at all

Captions are true, but may leave things out. `skin`, `eyewear`, `expression`, `clothes` and `clothes_colour`
are free."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import TypeVar

import numpy as np

from ...system.errors import ConfigError
from ..images import Colour, fit, read_image
from ..items import Item, Source

T = TypeVar("T")
SIZES = (32, 256)
FRAME = "14 8 236 236"  # x, y, width, height of what is shown of the drawing
SMOOTH = 128  # smaller pictures are drawn larger first: cleaner edges

# Values of attributes, each with the parts of python-avatars that show it. Left out: parts of a colour of
# their own (hats,
# STRAIGHT_2), parts that do not fit into the frame, and parts that look like others at 32 pixels.
HAIR = {
    "bald": ("NONE",),
    "short": ("SHORT_FLAT", "SHORT_ROUND", "CAESAR"),
    "quiff": ("QUIFF", "POMPADOUR"),
    "mohawk": ("MOHAWK",),
    "messy": ("MOWGLI",),
    "long": ("STRAIGHT_STRAND", "STRAIGHT_1"),
    "afro": ("FRO",),
    "wavy": ("CURVY",),
    "curly": ("CURLY",),
    "bob": ("BOB", "MIA_WALLACE"),
    "bun": ("BUN",),
}
MEN = ("bald", "short", "quiff", "mohawk", "messy")
WOMEN = ("wavy", "curly", "bob", "bun")
EITHER = ("long", "afro")
LENGTHS = {
    "bald": "none",
    "short": "short",
    "quiff": "short",
    "mohawk": "short",
    "messy": "short",
    "bun": "tied up",
    "bob": "medium",
    "curly": "medium",
    "afro": "medium",
    "wavy": "long",
    "long": "long",
}
FACIAL_HAIR = {
    "none": ("NONE",),
    "beard": ("BEARD_MEDIUM", "BEARD_LIGHT"),
    "moustache": ("MOUSTACHE_MAGNUM", "MOUSTACHE_FANCY"),
}
EYEWEAR = {
    "none": "NONE",
    "round glasses": "ROUND",
    "white glasses": "PRESCRIPTION_1",
    "sunglasses": "WAYFARERS",
    "eyepatch": "EYEPATCH",
}
EXPRESSIONS = {
    "smiling": ("BIG_SMILE", "HAPPY", "DEFAULT_NATURAL"),
    "serious": ("SERIOUS", "DEFAULT", "FLAT_NATURAL"),
    "sad": ("CONCERNED", "CRY", "SAD_CONCERNED_NATURAL"),
    "angry": ("GRIMACE", "DEFAULT", "ANGRY_NATURAL"),
    "surprised": ("SCREAM_OPEN", "SURPRISED", "RAISED_EXCITED_NATURAL"),
    "tongue out": ("TONGUE", "WINK", "DEFAULT_NATURAL"),
}  # mouth, eyes, eyebrows
CLOTHES = {
    "t-shirt": "SHIRT_CREW_NECK",
    "v-neck shirt": "SHIRT_V_NECK",
    "hoodie": "HOODIE",
    "sweater": "COLLAR_SWEATER",
    "jacket": "BLAZER_SHIRT",
    "overalls": "OVERALL",
}
HAIR_COLOURS = {
    "black": "1a181b",
    "brown": "54300f",
    "blonde": "f0cd5c",
    "red": "c93305",
    "grey": "a4a4aa",
    "pink": "f26aa6",
}
SKINS = {"light": "fbd7b9", "tan": "dfa06e", "brown": "b0714a", "dark": "734a38"}
CLOTHES_COLOURS = {
    "red": "d42a2a",
    "yellow": "f2c81d",
    "green": "2f9e44",
    "blue": "2f6fde",
    "purple": "7d3cc0",
    "pink": "ff8cc6",
}
NOSES = ("DEFAULT", "SMALL", "WIDE")
SHADES = tuple(0.94 + 0.01 * step for step in range(13))

HAIR_WORDS = {
    "short": "short {}hair",
    "quiff": "a {}quiff",
    "mohawk": "a {}mohawk",
    "messy": "messy {}hair",
    "long": "long {}hair",
    "wavy": "wavy {}hair",
    "curly": "curly {}hair",
    "afro": "a {}afro",
    "bob": "a {}bob",
    "bun": "{}hair in a bun",
    "bald": "a bald head",
}
CLOTHES_WORDS = {"jacket": "a dark jacket over a {}shirt", "overalls": "{}overalls"}  # others: "a {}NAME"
OPENINGS = ("a portrait of ", "a drawing of ", "a cartoon of ", "")


def portraits(*, count: int = 20_000, size: int = 64, first: int = 0) -> Source:
    """`count` portraits of size x size pixels, from number `first` on. Raises ConfigError where something is
    out of range or not installed."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(
            f"the size of portraits is {size}; allowed: {SIZES[0]} to {SIZES[1]}; choose another --size"
        )
    if count < 2:
        raise ConfigError(f"the count of portraits is {count}; allowed: at least 2; choose another --count")
    try:
        import python_avatars  # noqa: F401
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"portraits need '{error.name}', which is not installed; pip install python-avatars resvg-py"
        ) from None
    by = f"python-avatars {version('python-avatars')} and resvg-py {version('resvg-py')}"
    return Source(
        items=partial(_items, first, count),
        open=partial(draw, size=size),
        count=count,
        resizes=False,
        state=f"{count} portraits of {size} pixels from {first} on by {by}",
        card={"source": f"drawn by {by}", "licence": "MIT", "labels": [], "grammar": "portraits"},
    )


def _items(first: int, count: int, start: int) -> Iterator[Item]:
    for n in range(first + start, first + count):
        known = attributes(n)
        yield Item(f"portraits/{n}", n, captions(n, known), attributes=known)


def draw(n: int, background: Colour, size: int, known: dict[str, str] | None = None) -> np.ndarray:
    """Portrait n -> (size, size, 3) uint8. known: other attributes than it has."""
    from resvg_py import svg_to_bytes

    side = size if size >= SMOOTH else max(SMOOTH, 2 * size)
    shown = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="{FRAME}">'
        f"{_svg(n, known or attributes(n))}</svg>"
    )
    return fit(read_image(bytes(svg_to_bytes(svg_string=shown, skip_system_fonts=True)), background), size)


def _svg(n: int, known: dict[str, str]) -> str:
    """The drawing, 264 x 280, without a background."""
    import python_avatars as parts

    mouth, eyes, eyebrows = EXPRESSIONS[known["expression"]]
    hair = "#" + _shade(n, "hair colour", HAIR_COLOURS.get(known["hair_colour"], "000000"))
    return parts.Avatar(
        style=parts.AvatarStyle.TRANSPARENT,
        top=parts.HairType[_pick(n, "top", HAIR[known["hair"]])],
        facial_hair=parts.FacialHairType[_pick(n, "beard", FACIAL_HAIR[known["facial_hair"]])],
        hair_color=hair,
        facial_hair_color=hair,
        skin_color="#" + _shade(n, "skin colour", SKINS[known["skin"]]),
        mouth=parts.MouthType[mouth],
        eyes=parts.EyeType[eyes],
        eyebrows=parts.EyebrowType[eyebrows],
        nose=parts.NoseType[_pick(n, "nose", NOSES)],
        accessory=parts.AccessoryType[EYEWEAR[known["eyewear"]]],
        clothing=parts.ClothingType[CLOTHES[known["clothes"]]],
        clothing_color="#" + _shade(n, "cloth", CLOTHES_COLOURS[known["clothes_colour"]]),
    ).render()


def attributes(n: int) -> dict[str, str]:
    """What is to be seen on portrait n."""
    person = _pick(n, "person", ("woman", "man"))
    hair = _pick(n, "hair", (WOMEN if person == "woman" else MEN) + EITHER)
    beards = ("none",) if person == "woman" else tuple(FACIAL_HAIR)[hair in EITHER :]
    facial = _pick(n, "facial hair", beards)
    bare = hair == "bald" and facial == "none"
    colour = "none" if bare else _pick(n, "hair colour", tuple(HAIR_COLOURS))
    return {
        "person": person,
        "hair": hair,
        "hair_length": LENGTHS[hair],
        "hair_colour": colour,
        "facial_hair": facial,
        "skin": _pick(n, "skin", tuple(SKINS)),
        "eyewear": _pick(n, "eyewear", tuple(EYEWEAR)),
        "expression": _pick(n, "expression", tuple(EXPRESSIONS)),
        "clothes": _pick(n, "clothes", tuple(CLOTHES)),
        "clothes_colour": _pick(n, "clothes colour", tuple(CLOTHES_COLOURS)),
    }


# --------------------------------------------------------------------------------------------------- captions


def captions(n: int, known: dict[str, str]) -> tuple[str, ...]:
    """Everything; what is worn; the expression; two features."""
    person, bald = known["person"], known["hair"] == "bald"
    hair, beard, worn, skin = (
        _hair(known),
        _beard(known, coloured=bald),
        _eyewear(known),
        f"{known['skin']} skin",
    )
    clothes, plain = _clothes(known), _pick(n, "plain", (False, True))
    features = [part for part in ("" if bald else hair, beard, worn, skin) if part]
    if _pick(n, "turned", (False, True)):
        features.reverse()
    who = _who(known, "bald " if bald else "")
    everything = f"{_pick(n, 'opening', OPENINGS)}{who}with {_listed([*features, clothes])}"
    head = [part for part in ("" if bald else hair, beard) if part]
    wears = (
        f"a {'bald ' if bald else ''}{person} wearing {_listed([part for part in (clothes, worn) if part])}"
    )
    wears += f", with {_listed(head)}" if head else ""
    opening = _pick(n, "second opening", OPENINGS)
    feeling = f"{opening}{_who(known, '').rstrip(', ')} in {_clothes(known, not plain)}"
    some = [part for part in (_hair(known, not plain), _beard(known, coloured=True), worn, skin) if part]
    first = _pick(n, "first", some)
    second = _pick(n, "second", [part for part in some if part != first])
    opening, called = _pick(n, "third opening", OPENINGS), _pick(n, "called", (person, "person"))
    two = f"{opening}a {called} with {first} and {second}"
    return everything, wears, feeling, two


def _who(known: dict[str, str], adjective: str) -> str:
    """ "a smiling woman " or "a man sticking out his tongue, "."""
    if known["expression"] == "tongue out":
        whose = "her" if known["person"] == "woman" else "his"
        return f"a {adjective}{known['person']} sticking out {whose} tongue, "
    article = "an" if known["expression"] == "angry" else "a"
    return f"{article} {known['expression']} {adjective}{known['person']} "


def _hair(known: dict[str, str], coloured: bool = True) -> str:
    words = HAIR_WORDS[known["hair"]].format(f"{known['hair_colour']} " if coloured else "")
    return words.replace("a afro", "an afro")


def _beard(known: dict[str, str], coloured: bool) -> str:
    colour = f"{known['hair_colour']} " if coloured else ""
    return "" if known["facial_hair"] == "none" else f"a {colour}{known['facial_hair']}"


def _eyewear(known: dict[str, str]) -> str:
    return {"none": "", "eyepatch": "an eyepatch"}.get(known["eyewear"], known["eyewear"])


def _clothes(known: dict[str, str], coloured: bool = True) -> str:
    return CLOTHES_WORDS.get(known["clothes"], f"a {{}}{known['clothes']}").format(
        f"{known['clothes_colour']} " if coloured else ""
    )


def _listed(parts: Sequence[str]) -> str:
    """ "this, that and another"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# ---------------------------------------------------------------------------------------- captions understood


def parse(caption: str) -> dict[str, str] | None:
    """What a caption says, {attribute: value}, or None where `captions` could not have written it.

    It is only what is said: a caption without a word of glasses may stand beside a portrait with glasses."""
    opening = next(words for words in OPENINGS if caption.startswith(words))
    found = _WHO.fullmatch(caption, len(opening))
    if not found:
        return None
    said = {"person": found["person"]} if found["person"] != "person" else {}
    if found["bald"]:
        said |= {"hair": "bald", "hair_length": "none"}
    if found["expression"] or found["tongue"]:
        said["expression"] = found["expression"] or "tongue out"
    proper = found["article"] == ("an" if found["expression"] == "angry" else "a")
    theirs = found["tongue"] in (None, "her" if found["person"] == "woman" else "his")
    parts, more = (
        re.split(r", | and ", words) if words else [] for words in (found["things"], found["more"])
    )
    kinds = [
        set(_things().get(part, {"?": ""})) - {"hair_colour", "hair_length", "clothes_colour"}
        for part in (*parts, *more)
    ]
    fits = {
        "in": kinds == [{"clothes"}] and "expression" in said,
        "wearing": kinds[:1] == [{"clothes"}]
        and kinds[1 : len(parts)] in ([], [{"eyewear"}])
        and "expression" not in said,
        "with": not more and {"?"} not in kinds,
    }[found["verb"]]
    if not (proper and theirs and fits) or bool(found["comma"]) != (
        found["tongue"] is not None and found["verb"] == "with"
    ):
        return None
    for part in (*parts, *more):
        thing = _things().get(part)
        if thing is None or said.keys() & thing.keys() - {"hair_colour"}:
            return None
        if said.get("hair_colour", thing.get("hair_colour")) != thing.get(
            "hair_colour", said.get("hair_colour")
        ):
            return None
        said |= thing
    return said


_WHO = re.compile(
    r"(?P<article>an?) (?:(?P<expression>" + "|".join(sorted({*EXPRESSIONS} - {"tongue out"})) + r") )?"
    r"(?P<bald>bald )?(?P<person>woman|man|person)(?: sticking out (?P<tongue>his|her) tongue(?P<comma>,)?)? "
    r"(?P<verb>with|wearing|in) (?P<things>.+?)(?:, with (?P<more>.+))?"
)


@cache
def _things() -> dict[str, dict[str, str]]:
    """Every part of a caption -> what it says."""
    found = {f"{skin} skin": {"skin": skin} for skin in SKINS}
    found |= {words: {"eyewear": name} for name in EYEWEAR if (words := _eyewear({"eyewear": name}))}
    for colour in (None, *HAIR_COLOURS):
        known = {"hair_colour": colour} if colour else {}
        for hair in HAIR:
            words = _hair({"hair": hair, "hair_colour": colour}, colour is not None)
            found[words] = {"hair": hair, "hair_length": LENGTHS[hair]} | (known if hair != "bald" else {})
        for beard in FACIAL_HAIR:
            if words := _beard({"facial_hair": beard, "hair_colour": colour}, colour is not None):
                found[words] = {"facial_hair": beard, **known}
    for colour in (None, *CLOTHES_COLOURS):
        for kind in CLOTHES:
            words = _clothes({"clothes": kind, "clothes_colour": colour}, colour is not None)
            found[words] = {"clothes": kind} | ({"clothes_colour": colour} if colour else {})
    return found


# ------------------------------------------------------------------------------------------------- randomness


def _pick(n: int, what: str, options: Sequence[T]) -> T:
    """One of the options, by n and what is chosen alone."""
    digest = hashlib.blake2b(f"portraits/{n}/{what}".encode(), digest_size=8).digest()
    return options[int.from_bytes(digest, "little") % len(options)]


def _shade(n: int, what: str, colour: str) -> str:
    """The colour a little darker or brighter, so that hardly two portraits are the same to the bit."""
    factor = _pick(n, f"shade of {what}", SHADES)
    return bytes(min(255, round(level * factor)) for level in bytes.fromhex(colour)).hex()
