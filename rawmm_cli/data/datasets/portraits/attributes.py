"""What a drawn portrait can show: the values of every attribute, and which of them portrait n has.

Everything depends on n alone. The values of an attribute are equally likely, with these exceptions:

    person        a man has facial hair, or hair of MEN; everyone else is a woman. So the picture tells which
    facial_hair   women have none; a man with long hair or an afro always has some
    hair_colour   also the colour of the beard or moustache; "none" where there is no hair at all

`skin`, `eyewear`, `expression`, `clothes` and `clothes_colour` are independent of everything else."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Option = TypeVar("Option")

# Values of attributes, each with the parts of python-avatars that show it.
# Left out: parts with a colour of their own (hats, STRAIGHT_2), parts that do not fit into the frame, and
# parts that look like others at 32 pixels.
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


def attributes_of(n: int) -> dict[str, str]:
    """Attributes of portrait n, {name: value}: what is to be seen on it."""
    person = pick(n, "person", ("woman", "man"))
    hair = pick(n, "hair", (WOMEN if person == "woman" else MEN) + EITHER)
    beards = ("none",) if person == "woman" else tuple(FACIAL_HAIR)[hair in EITHER :]
    facial = pick(n, "facial hair", beards)
    bare = hair == "bald" and facial == "none"
    colour = "none" if bare else pick(n, "hair colour", tuple(HAIR_COLOURS))
    return {
        "person": person,
        "hair": hair,
        "hair_length": LENGTHS[hair],
        "hair_colour": colour,
        "facial_hair": facial,
        "skin": pick(n, "skin", tuple(SKINS)),
        "eyewear": pick(n, "eyewear", tuple(EYEWEAR)),
        "expression": pick(n, "expression", tuple(EXPRESSIONS)),
        "clothes": pick(n, "clothes", tuple(CLOTHES)),
        "clothes_colour": pick(n, "clothes colour", tuple(CLOTHES_COLOURS)),
    }


def pick(n: int, what: str, options: Sequence[Option]) -> Option:
    """One of the options, by a hash of n and of `what`, the name of the choice."""
    digest = hashlib.blake2b(f"portraits/{n}/{what}".encode(), digest_size=8).digest()
    return options[int.from_bytes(digest, "little") % len(options)]


def shade(n: int, what: str, colour: str) -> str:
    """The colour (six hexadecimal digits) a little darker or brighter, so that few are identical."""
    factor = pick(n, f"shade of {what}", SHADES)
    return bytes(min(255, round(level * factor)) for level in bytes.fromhex(colour)).hex()
