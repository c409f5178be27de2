"""Crops of the ten colour photographs inside scikit-image and scikit-learn: real pixels, without a download.

Crop n (its photograph, corner and side) depends on n alone. Sides are log-uniform between the requested size
and HELD_OUT of the photograph's shorter side; the crop is then shrunk by a Lanczos filter.

One corner of every photograph, HELD_OUT of each side, is held out. A held-out crop lies inside it, a training
crop entirely outside, so they share no pixel. Places of one colour, such as the black round the retina, would
give equal crops in both splits: other places are taken."""

import math
from collections.abc import Iterator
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from ...system.errors import ConfigError
from ...system.seeds import uniforms
from ..images import Colour, fit, read_image
from ..items import Item, Source

# name -> package, file, height, width, licence
PHOTOS = {
    "astronaut": ("skimage", "data/astronaut.png", 512, 512, "NASA, public domain"),
    "cat": ("skimage", "data/chelsea.png", 300, 451, "Stefan van der Walt, CC0"),
    "coffee": ("skimage", "data/coffee.png", 400, 600, "Rachel Michetti, CC0"),
    "motorcycle": (
        "skimage",
        "data/motorcycle_left.png",
        500,
        741,
        "Middlebury 2014 stereo benchmark, no licence stated",
    ),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg", 872, 1000, "NASA, public domain"),
    "retina": ("skimage", "data/retina.jpg", 1411, 1411, "Mikael Häggström, CC0"),
    "rocket": ("skimage", "data/rocket.jpg", 427, 640, "SpaceX, public domain"),
    "tissue": ("skimage", "data/ihc.png", 512, 512, "CMMI, no known copyright restrictions"),
    "palace": ("sklearn", "datasets/images/china.jpg", 427, 640, "danielbuechele, CC BY 2.0"),
    "flower": ("sklearn", "datasets/images/flower.jpg", 427, 640, "vultilion, CC BY 2.0"),
}
NAMES = tuple(PHOTOS)
HELD_OUT = 0.45  # of each side: a fifth of the area
SHARE = 0.1  # of the crops that are held out
POINTS, PLAIN = 16, 2  # rows and columns of a crop that are looked at; levels apart where it has one colour
SIZES = (8, int(HELD_OUT * min(min(height, width) for _, _, height, width, _ in PHOTOS.values())))


def photos(*, count: int = 20_000, size: int = 64) -> Source:
    """Source of `count` crops of size x size pixels.

    Raises ConfigError where a number is out of range or a package is not installed."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(
            f"the size of photos is {size}; allowed: {SIZES[0]} to {SIZES[1]}; choose another --size"
        )
    if count < 2:
        raise ConfigError(f"the count of photos is {count}; allowed: at least 2; choose another --count")
    try:
        versions = {package: version(package) for package in ("scikit-image", "scikit-learn")}
    except PackageNotFoundError as error:
        raise ConfigError(
            f"photos need '{error.name}', which is not installed; pip install 'rawmm[photos]'"
        ) from None
    by = " and ".join(f"{package} {number}" for package, number in versions.items())
    licence = "; ".join(f"{name}: {licence}" for name, (*_, licence) in PHOTOS.items())
    return Source(
        items=partial(_items, count, size),
        open=partial(_pixels, size=size),
        count=count,
        resizes=False,
        state=f"{count} photos of {size} pixels, none of one colour, from {by}",
        card={"source": f"crops of photographs inside {by}", "licence": licence, "labels": list(NAMES)},
    )


def _items(count: int, size: int, start: int) -> Iterator[Item]:
    for n in range(start, count):
        name, held_out, *_ = crop(n, size)
        yield Item(f"photos/{n}", n, (name,), NAMES.index(name), split="held_out" if held_out else "train")


def crop(n: int, size: int) -> tuple[str, bool, int, int, int]:
    """Crop n -> the photograph's name, whether it is held out, and its square: top, left, side in pixels."""
    which, share, scale = uniforms("photos", n, count=3)
    name = NAMES[int(which * len(NAMES))]
    held_out = share < SHARE
    _, _, height, width, _ = PHOTOS[name]
    side = round(size * (HELD_OUT * min(height, width) / size) ** scale)
    top, left, bottom, right = area = held_out_area(name)
    for attempt in range(10_000):
        down, across = uniforms("photos", n, "place", attempt, count=2)
        if held_out:
            row, column = (
                top + int(down * (bottom - top - side + 1)),
                left + int(across * (right - left - side + 1)),
            )
        else:
            row, column = int(down * (height - side + 1)), int(across * (width - side + 1))
            if overlap((row, column, row + side, column + side), area):
                continue
        if not _plain(_photo(name)[row : row + side, column : column + side]):
            return name, held_out, row, column, side
    raise AssertionError(f"no place for crop {n}")  # never: a square of this side fits beside the area


def _plain(pixels: np.ndarray) -> bool:
    """Whether a square has one colour, by POINTS of its rows and columns."""
    step = max(1, len(pixels) // POINTS)
    points = pixels[::step, ::step].astype(int)
    return bool((points.max((0, 1)) - points.min((0, 1))).max() <= PLAIN)


def held_out_area(name: str) -> tuple[int, int, int, int]:
    """Rectangle (top, left, bottom, right) that is held out; the corner changes from photograph to
    photograph."""
    _, _, height, width, _ = PHOTOS[name]
    tall, wide, corner = math.ceil(HELD_OUT * height), math.ceil(HELD_OUT * width), NAMES.index(name) % 4
    top, left = (height - tall if corner in (2, 3) else 0), (width - wide if corner in (1, 3) else 0)
    return top, left, top + tall, left + wide


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two rectangles (top, left, bottom, right) share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _pixels(n: int, background: Colour, size: int) -> np.ndarray:
    """Crop n -> (size, size, 3) uint8."""
    name, _, top, left, side = crop(n, size)
    return fit(Image.fromarray(_photo(name)[top : top + side, left : left + side]), size)


@lru_cache(maxsize=len(PHOTOS))
def _photo(name: str) -> np.ndarray:
    """The whole photograph, (H, W, 3) uint8. The packages are located but not imported."""
    package, file, *_ = PHOTOS[name]
    return read_image(Path(find_spec(package).origin).parent / file)
