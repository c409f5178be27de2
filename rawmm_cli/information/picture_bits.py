"""The budget for the user's pictures: upper bounds of their bits, at their own sizes and at the tokenizer's.

Next: `bounds.py`, how they are measured; `likelihood.py`, bits under a model; `code_bits.py`, bits of a
tokenizer's codes."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

from ..data import pictures
from ..data.pictures import Location, Skipped
from . import bounds
from .bounds import Coded, Summary
from .budget import Budget, Need


@dataclass(frozen=True)
class PictureBits:
    """One picture: its name, its file, and its bits at both sizes (None where it is smaller)."""

    name: str
    file: str
    own: Coded
    sized: Coded | None


@dataclass(frozen=True)
class Pictures:
    """Upper bounds of the bits of pictures. sized: None where all pictures are smaller than `size`.
    slow_webp: whether WebP and JPEG XL used their slowest settings too. missing: methods that coded no
    picture."""

    own: Summary
    sized: Summary | None
    size: int | None
    slow_webp: dict[str, bool]
    skipped: list[Skipped]
    missing: list[str]
    each: list[PictureBits]

    @property
    def summary(self) -> Summary:
        """Summary from which H is taken: at the tokenizer's size, unless all pictures are smaller."""
        return self.sized or self.own


def measure(
    locations: list[Location], size: int | None, progress: Callable[[int], None] = lambda done: None
) -> Pictures:
    """Bounds of pictures, as they are, and cropped and shrunk to `size`. progress: called with the number of
    pictures done. Raises DataError where none can be read."""
    slow = pictures.area(locations) <= bounds.SLOW, bool(size) and len(locations) * size * size <= bounds.SLOW
    skipped, own, sized, each = [], [], [], []
    results = bounds.over(bounds.measure, _tasks(locations, size, slow))
    for n, (location, result) in enumerate(zip(locations, results)):
        progress(n + 1)
        if result.reason:
            skipped.append(Skipped(location.file, result.reason))
            continue
        own.append(result.own)
        sized += [result.sized] if result.sized else []
        without = [scale and replace(scale, tile=None) for scale in (result.own, result.sized)]
        each.append(PictureBits(location.name, location.file, *without))
    if not each:
        raise pictures.none_left(skipped)
    summaries = bounds.summed(own), bounds.summed(sized) if sized else None
    modes = {"own": slow[0], "sized": slow[1]}
    return Pictures(*summaries, size, modes, skipped, bounds.missing(summaries[0].rows), each)


def _tasks(locations: list[Location], size: int | None, slow: tuple[bool, bool]) -> Iterator[tuple]:
    for location in locations:
        pixels = location.store
        if location.row is not None:
            pixels = location.store.image(location.row).permute(1, 2, 0).numpy()
        yield pixels, size, slow


def need(measured: Pictures) -> Need:
    """H of the pictures: the lowest bound of their mean."""
    bound, sized = measured.summary.bound, measured.sized is not None
    anchor = {
        "name": "images",
        "bits_per_byte": bound.bits_per_byte,
        "by": bound.by,
        "kind": "codec",
        "pictures": measured.summary.pictures,
        "scale": "sized" if sized else "own",
    }
    return Need(Fraction(bound.bits), anchor, sides=(measured.size, measured.size) if sized else None)


def judge(budget: Budget, measured: Pictures) -> Budget:
    """The budget with a verdict on the pictures themselves: how many of them it is enough for."""
    if budget.capacity_bits is None:
        return budget
    best = measured.summary.each_best_bits
    says = budget.says[:1] + bounds.verdict(best, budget.capacity_bits)
    return replace(budget, lossless_possible=max(best) <= budget.capacity_bits or None, says=says)


def as_json(measured: Pictures) -> dict:
    """The object `images` of `rawmm entropy-budget images --json`."""
    result = asdict(measured)
    for one in result["each"]:
        for scale in ("own", "sized"):
            if one[scale]:
                del one[scale]["tile"]
    return result
