"""Captions of drawn portraits, and what a caption says.

Captions are true, but may leave things out. `captions_of` writes them, `parse` reads them: both follow one
grammar, so a caption that a model wrote can be checked word by word."""

import re
from collections.abc import Sequence
from functools import cache

from .attributes import (
    CLOTHES,
    CLOTHES_COLOURS,
    EXPRESSIONS,
    EYEWEAR,
    FACIAL_HAIR,
    HAIR,
    HAIR_COLOURS,
    LENGTHS,
    SKINS,
    pick,
)

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


def captions_of(n: int, attributes: dict[str, str]) -> tuple[str, str, str, str]:
    """Four captions of portrait n: everything; what is worn; the expression; two features."""
    person, bald = attributes["person"], attributes["hair"] == "bald"
    hair, beard, eyewear, skin = (
        _hair(attributes),
        _beard(attributes, coloured=bald),
        _eyewear(attributes),
        f"{attributes['skin']} skin",
    )
    clothes, plain = _clothes(attributes), pick(n, "plain", (False, True))
    features = [part for part in ("" if bald else hair, beard, eyewear, skin) if part]
    if pick(n, "turned", (False, True)):
        features.reverse()
    who = _who(attributes, "bald " if bald else "")
    everything = f"{pick(n, 'opening', OPENINGS)}{who}with {_listed([*features, clothes])}"
    head = [part for part in ("" if bald else hair, beard) if part]
    worn = [part for part in (clothes, eyewear) if part]
    wears = f"a {'bald ' if bald else ''}{person} wearing {_listed(worn)}"
    wears += f", with {_listed(head)}" if head else ""
    opening = pick(n, "second opening", OPENINGS)
    expression = f"{opening}{_who(attributes, '').rstrip(', ')} in {_clothes(attributes, not plain)}"
    features = [_hair(attributes, not plain), _beard(attributes, coloured=True), eyewear, skin]
    features = [part for part in features if part]
    first = pick(n, "first", features)
    second = pick(n, "second", [part for part in features if part != first])
    opening, noun = pick(n, "third opening", OPENINGS), pick(n, "called", (person, "person"))
    return everything, wears, expression, f"{opening}a {noun} with {first} and {second}"


def _who(attributes: dict[str, str], adjective: str) -> str:
    """Person and expression: "a smiling woman " or "a man sticking out his tongue, "."""
    person, expression = attributes["person"], attributes["expression"]
    if expression == "tongue out":
        pronoun = "her" if person == "woman" else "his"
        return f"a {adjective}{person} sticking out {pronoun} tongue, "
    article = "an" if expression == "angry" else "a"
    return f"{article} {expression} {adjective}{person} "


def _hair(attributes: dict[str, str], coloured: bool = True) -> str:
    words = HAIR_WORDS[attributes["hair"]].format(f"{attributes['hair_colour']} " if coloured else "")
    return words.replace("a afro", "an afro")


def _beard(attributes: dict[str, str], coloured: bool) -> str:
    colour = f"{attributes['hair_colour']} " if coloured else ""
    return "" if attributes["facial_hair"] == "none" else f"a {colour}{attributes['facial_hair']}"


def _eyewear(attributes: dict[str, str]) -> str:
    return {"none": "", "eyepatch": "an eyepatch"}.get(attributes["eyewear"], attributes["eyewear"])


def _clothes(attributes: dict[str, str], coloured: bool = True) -> str:
    return CLOTHES_WORDS.get(attributes["clothes"], f"a {{}}{attributes['clothes']}").format(
        f"{attributes['clothes_colour']} " if coloured else ""
    )


def _listed(parts: Sequence[str]) -> str:
    """The parts as an enumeration: "this, that and another"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# ------------------------------------------------------------------------------------------- reading captions


def parse(caption: str) -> dict[str, str] | None:
    """What a caption says, {attribute: value}, or None where `captions_of` could not have written it.

    Only what is said counts: a caption that mentions no glasses may describe a portrait with glasses."""
    opening = next(words for words in OPENINGS if caption.startswith(words))
    match = _SENTENCE.fullmatch(caption, len(opening))
    if not match or not _is_grammatical(match):
        return None
    stated = {"person": match["person"]} if match["person"] != "person" else {}
    if match["bald"]:
        stated |= {"hair": "bald", "hair_length": "none"}
    if match["expression"] or match["tongue"]:
        stated["expression"] = match["expression"] or "tongue out"
    for part in (*_parts(match["things"]), *_parts(match["more"])):
        thing = _things().get(part)
        if thing is None or stated.keys() & thing.keys() - {"hair_colour"}:
            return None
        if stated.get("hair_colour", thing.get("hair_colour")) != thing.get(
            "hair_colour", stated.get("hair_colour")
        ):
            return None
        stated |= thing
    return stated


def _is_grammatical(match: re.Match) -> bool:
    """Whether article, pronoun, comma and the kinds of things fit the verb and each other."""
    proper = match["article"] == ("an" if match["expression"] == "angry" else "a")
    theirs = match["tongue"] in (None, "her" if match["person"] == "woman" else "his")
    comma = match["tongue"] is not None and match["verb"] == "with"
    expression = bool(match["expression"] or match["tongue"])
    parts, more = _parts(match["things"]), _parts(match["more"])
    kinds = [
        set(_things().get(part, {"?": ""})) - {"hair_colour", "hair_length", "clothes_colour"}
        for part in (*parts, *more)
    ]
    fits = {
        "in": kinds == [{"clothes"}] and expression,
        "wearing": kinds[:1] == [{"clothes"}]
        and kinds[1 : len(parts)] in ([], [{"eyewear"}])
        and not expression,
        "with": not more and {"?"} not in kinds,
    }[match["verb"]]
    return proper and theirs and fits and bool(match["comma"]) == comma


def _parts(words: str | None) -> list[str]:
    return re.split(r", | and ", words) if words else []


_SENTENCE = re.compile(
    r"(?P<article>an?) (?:(?P<expression>" + "|".join(sorted({*EXPRESSIONS} - {"tongue out"})) + r") )?"
    r"(?P<bald>bald )?(?P<person>woman|man|person)(?: sticking out (?P<tongue>his|her) tongue(?P<comma>,)?)? "
    r"(?P<verb>with|wearing|in) (?P<things>.+?)(?:, with (?P<more>.+))?"
)


@cache
def _things() -> dict[str, dict[str, str]]:
    """Every part of a caption -> what it says."""
    things = {f"{skin} skin": {"skin": skin} for skin in SKINS}
    things |= {words: {"eyewear": name} for name in EYEWEAR if (words := _eyewear({"eyewear": name}))}
    for colour in (None, *HAIR_COLOURS):
        stated = {"hair_colour": colour} if colour else {}
        for hair in HAIR:
            words = _hair({"hair": hair, "hair_colour": colour}, colour is not None)
            things[words] = {"hair": hair, "hair_length": LENGTHS[hair]} | (stated if hair != "bald" else {})
        for beard in FACIAL_HAIR:
            if words := _beard({"facial_hair": beard, "hair_colour": colour}, colour is not None):
                things[words] = {"facial_hair": beard, **stated}
    for colour in (None, *CLOTHES_COLOURS):
        for kind in CLOTHES:
            words = _clothes({"clothes": kind, "clothes_colour": colour}, colour is not None)
            things[words] = {"clothes": kind} | ({"clothes_colour": colour} if colour else {})
    return things
