"""Upper bounds of the bits of pictures: lengths of their files by lossless codecs (`lossless.py`).

A length bounds H from above, never from below: it cannot show that a smaller budget is impossible. Files of
small pictures are mostly header, so these are also coded as mosaics, many pictures in one file. No torch
here, so that worker processes start fast."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ..data.images import ImageError, fit, read_image
from ..system.figures import counted
from ..system.workers import Workers
from .lossless import BOUNDS, METHODS, channels, mosaic, smallest

SLOW = 1 << 20  # total pixels up to which WebP and JPEG XL also use their slowest settings
SMALL, TILES = 128, 256  # largest side of pictures that mosaics take, in px; pictures in a mosaic
QUANTILES = (5, 50, 95)
WORKERS = 2


@dataclass(frozen=True)
class Coded:
    """One picture at one size. channels: 1 where it is grey, else 3. bits: by method; None where the codec is
    missing, refuses the picture, or does not decode it exactly. settings: of the smallest file, by codec.
    tile: the pixels of a small picture."""

    height: int
    width: int
    channels: int
    bits: dict[str, float | None]
    settings: dict[str, str] = field(default_factory=dict)
    tile: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        """Values of 8 bits."""
        return self.height * self.width * self.channels

    @property
    def least(self) -> float:
        """Bits of the smallest file, or of the raw bytes where all files are larger."""
        return min([8.0 * self.bytes, *(self.bits[name] for name in BOUNDS if self.bits[name] is not None)])


@dataclass(frozen=True)
class Measured:
    """One picture at its own size and at the tokenizer's (None where it is smaller), or the reason why it
    cannot be read."""

    own: Coded | None = None
    sized: Coded | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Spread:
    """Mean and quantiles over pictures."""

    mean: float
    p05: float
    median: float
    p95: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Mean and quantiles of the values."""
        return cls(float(np.mean(values)), *(float(np.percentile(values, share)) for share in QUANTILES))


@dataclass(frozen=True)
class Method:
    """Bits a byte by one method, over the pictures that it could code. kind: estimate or upper bound.
    settings: how many of the smallest files have which setting, the most frequent first."""

    method: str
    kind: str
    pictures: int
    mean: float
    p05: float
    median: float
    p95: float
    settings: dict[str, int]


@dataclass(frozen=True)
class Mosaics:
    """Small pictures that share files. bits_per_byte: by method. best: the least of them, at most 8."""

    pictures: int
    files: int
    bits_per_byte: dict[str, float]
    best: float


@dataclass(frozen=True)
class Bound:
    """The lowest upper bound of the mean over pictures. bits: of a picture. by: what it is the length of."""

    bits: float
    by: str
    bits_per_byte: float
    bits_per_pixel: float


@dataclass(frozen=True)
class Summary:
    """Bounds over pictures. best: bits a byte of the smallest file of each picture; best_bits,
    each_best_bits: bits of it. `dataclasses.asdict` gives its JSON."""

    pictures: int
    grey: int
    rows: list[Method]
    best: Spread
    best_bits: Spread
    each_best_bits: list[float]
    mosaic: Mosaics | None
    bound: Bound


# ------------------------------------------------------------------------------------- pictures, by processes


def measure(source: Path | np.ndarray, size: int | None, slow: tuple[bool, bool]) -> Measured:
    """Lengths of a picture, as it is, and cropped and shrunk to `size`. source: a file, or (H, W, 3) uint8.
    slow: whether codecs use their slowest settings, at its own size and at `size`."""
    try:
        pixels = read_image(source) if isinstance(source, Path) else source
    except ImageError as error:
        return Measured(reason=error.reason)
    own = code(pixels, slow[0])
    if not size or min(pixels.shape[:2]) < size:
        return Measured(own)
    return Measured(
        own, own if pixels.shape[:2] == (size, size) else code(fit(pixels, size, "center"), slow[1])
    )


def code(pixels: np.ndarray, slow: bool) -> Coded:
    """Lengths of (H, W, 3) pixels by all methods."""
    values = channels(pixels)
    height, width = values.shape[:2]
    tile = values if max(height, width) <= SMALL else None
    files = smallest(values, slow)
    bits = {name: length for name, (length, _) in files.items()}
    settings = {name: setting for name, (_, setting) in files.items() if setting is not None}
    return Coded(height, width, 1 if values.ndim == 2 else 3, bits, settings, tile)


def over(function: Callable, tasks: Iterable[tuple], workers: int = WORKERS) -> Iterator:
    """Results of function(*task) in the order of tasks, by worker processes; a single task runs in this
    process. The workers are not waited for where the caller stops early. Raises RankError where one dies."""
    tasks = iter(tasks)
    first = list(islice(tasks, 2))
    if len(first) < 2:
        yield from (function(*task) for task in first)
        return
    with Workers(workers, "process that compresses pictures", "give smaller ones") as pool:
        yield from pool.map(function, chain(first, tasks))


# ------------------------------------------------------------------------------------------------- summaries


def missing(rows: list[Method]) -> list[str]:
    """Methods that coded no picture exactly: the codec is not installed or is broken."""
    return [name for name in BOUNDS if name not in {row.method for row in rows}]


def summed(coded: list[Coded]) -> Summary:
    """Summary of pictures at one size."""
    sizes, best = [one.bytes for one in coded], [one.least for one in coded]
    rows = [row for name in METHODS if (row := _method(name, coded))]
    mosaics, members = _mosaics(coded)
    bits, by = sum(best) / len(best), "the best file of each picture, or its bytes as they are"
    if mosaics:  # pictures in no mosaic keep their own files
        own = sum(bits for n, bits in enumerate(best) if n not in members)
        shared = (own + mosaics.best * sum(sizes[n] for n in members)) / len(best)
        if shared < bits:
            bits, by = shared, "files that small pictures share"
    area = sum(one.height * one.width for one in coded)
    return Summary(
        pictures=len(coded),
        grey=sum(one.channels == 1 for one in coded),
        rows=rows,
        best=Spread.of([bits / count for bits, count in zip(best, sizes)]),
        best_bits=Spread.of(best),
        each_best_bits=best,
        mosaic=mosaics,
        bound=Bound(bits, by, bits * len(best) / sum(sizes), bits * len(best) / area),
    )


def _method(name: str, coded: list[Coded]) -> Method | None:
    """A row of the summary; None where the method coded no picture."""
    rates = [bits / one.bytes for one in coded if (bits := one.bits[name]) is not None]
    if not rates:
        return None
    kind, spread = "estimate" if name == "order-0" else "upper bound", Spread.of(rates)
    settings = Counter(one.settings[name] for one in coded if name in one.settings)
    return Method(name, kind, len(rates), *astuple(spread), dict(settings.most_common()))


def _mosaics(coded: list[Coded]) -> tuple[Mosaics | None, set[int]]:
    """Mosaics of small pictures of the same shape, and the indices of these pictures; None where fewer than 4
    share any shape."""
    shapes: dict[tuple, list[int]] = {}
    for n, one in enumerate(coded):
        if one.tile is not None:
            shapes.setdefault(one.tile.shape, []).append(n)
    groups = [
        places[at : at + TILES]
        for places in shapes.values()
        if len(places) >= 4
        for at in range(0, len(places), TILES)
    ]
    if not groups:
        return None, set()
    members = {n for group in groups for n in group}
    slow = sum(coded[n].height * coded[n].width for n in members) <= SLOW // 4
    files = list(over(mosaic, (([coded[n].tile for n in group], slow) for group in groups)))
    values = sum(coded[n].tile.size for n in members)
    rates = {
        name: sum(bits[name] for bits in files) / values
        for name in BOUNDS
        if all(bits[name] is not None for bits in files)
    }
    return Mosaics(len(members), len(groups), rates, min([8.0, *rates.values()])), members


def verdict(best: list[float], capacity: float) -> list[str]:
    """Sentences on a budget of `capacity` bits a picture, for pictures whose smallest files have `best`
    bits."""
    fits = sum(bits <= capacity for bits in best)
    sentences = []
    if fits:
        sentences.append(
            f"{fits:,} of {counted(len(best), 'picture')} fit into {capacity:,.0f} bits: for them a lossless "
            f"code of this size exists (proven: the file is one)."
        )
    if fits < len(best):
        least = min(bits for bits in best if bits > capacity)
        sentences.append(
            f"For {len(best) - fits:,} no code so small was found: the best files have {least:,.0f} bits or "
            f"more. This does not prove that there is none: files are upper bounds of H."
        )
    return sentences
