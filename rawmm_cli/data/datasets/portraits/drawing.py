"""Drawn portraits of any size from 32 to 256, with exact attributes and captions.

python-avatars puts the parts of a portrait together as SVG, resvg draws it. Everything about portrait n (its
attributes, the shades of its colours, its captions) depends on n alone."""

from collections.abc import Iterator
from functools import partial
from importlib.metadata import version

import numpy as np

from ....system.errors import ConfigError
from ...images import Colour, fit, read_image
from ...items import Item, Source
from .attributes import (
    CLOTHES,
    CLOTHES_COLOURS,
    EXPRESSIONS,
    EYEWEAR,
    FACIAL_HAIR,
    HAIR,
    HAIR_COLOURS,
    NOSES,
    SKINS,
    attributes_of,
    pick,
    shade,
)
from .captions import captions_of

SIZES = (32, 256)
FRAME = "14 8 236 236"  # the visible part of the drawing: x, y, width, height
SMOOTH = 128  # smaller pictures are drawn larger first: cleaner edges


def portraits(*, count: int = 20_000, size: int = 64, first: int = 0) -> Source:
    """Source of `count` portraits of size x size pixels, from number `first` on.

    Raises ConfigError where a number is out of range or a package is not installed."""
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
        attributes = attributes_of(n)
        yield Item(f"portraits/{n}", n, captions_of(n, attributes), attributes=attributes)


def draw(n: int, background: Colour, size: int, attributes: dict[str, str] | None = None) -> np.ndarray:
    """Portrait n -> (size, size, 3) uint8, with its own attributes or with others."""
    from resvg_py import svg_to_bytes

    side = size if size >= SMOOTH else max(SMOOTH, 2 * size)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="{FRAME}">'
        f"{_svg(n, attributes or attributes_of(n))}</svg>"
    )
    return fit(read_image(bytes(svg_to_bytes(svg_string=svg, skip_system_fonts=True)), background), size)


def _svg(n: int, attributes: dict[str, str]) -> str:
    """The drawing as SVG, 264 x 280, without a background."""
    import python_avatars as parts

    mouth, eyes, eyebrows = EXPRESSIONS[attributes["expression"]]
    hair_colour = "#" + shade(n, "hair colour", HAIR_COLOURS.get(attributes["hair_colour"], "000000"))
    return parts.Avatar(
        style=parts.AvatarStyle.TRANSPARENT,
        top=parts.HairType[pick(n, "top", HAIR[attributes["hair"]])],
        facial_hair=parts.FacialHairType[pick(n, "beard", FACIAL_HAIR[attributes["facial_hair"]])],
        hair_color=hair_colour,
        facial_hair_color=hair_colour,
        skin_color="#" + shade(n, "skin colour", SKINS[attributes["skin"]]),
        mouth=parts.MouthType[mouth],
        eyes=parts.EyeType[eyes],
        eyebrows=parts.EyebrowType[eyebrows],
        nose=parts.NoseType[pick(n, "nose", NOSES)],
        accessory=parts.AccessoryType[EYEWEAR[attributes["eyewear"]]],
        clothing=parts.ClothingType[CLOTHES[attributes["clothes"]]],
        clothing_color="#" + shade(n, "cloth", CLOTHES_COLOURS[attributes["clothes_colour"]]),
    ).render()
