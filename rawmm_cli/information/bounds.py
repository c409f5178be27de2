"""How many bits pictures hold at most: what lossless codecs make of their pixels.

    order-0    entropy of the picture's own 256 levels, all channels together: an estimate, no bound (the
               table of levels is free)
    PNG, WebP  Pillow's encoders                        upper bounds of H: each file was decoded again and
                                                        compared
    JPEG XL, JPEG-LS  imagecodecs' (the extra `codecs`)     the same

A length is a bound from above and never from below: that a smaller budget is impossible cannot be shown this
way. Codecs get the decoded pixels, never a file: JPEG XL would store a JPEG's own coefficients in fewer bits.
Grey pictures are one channel. Files of small pictures are mostly header: they are also coded as mosaics, many
in one file. No torch here, so that workers start fast."""

import io
import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import ImageError, fit, read_image
from ..system.errors import RankError
from ..system.figures import counted

METHODS = ("order-0", "PNG", "WebP", "JPEG XL", "JPEG-LS")
BOUNDS = METHODS[1:]
INSTALL = "pip install 'rawmm[codecs]'"
SLOW = 1 << 20  # pixels in all, up to which WebP searches as long as it can
SMALL, TILES = 128, 256  # px: pictures that also go into mosaics; of how many each
QUANTILES = {"p05": 5, "median": 50, "p95": 95}
WORKERS = 2


def missing(rows: list[dict]) -> list[str]:
    """The methods that gave a file of no picture: not installed, broken, or none that came back exact. rows:
    of `summed`."""
    return [name for name in BOUNDS if name not in {row["method"] for row in rows}]


def channels(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> the same, or (H, W) where it is grey: all three equal everywhere."""
    return pixels[..., 0] if (pixels[..., :1] == pixels[..., 1:]).all() else pixels


def lengths(pixels: np.ndarray, slow: bool) -> dict[str, float | None]:
    """(H, W) or (H, W, 3) uint8 -> bits by method; None where a codec is not there, cannot take it, or did
    not give it back."""
    coders = {"PNG": _png, "WebP": _webp_slow if slow else _webp, "JPEG XL": _jpegxl, "JPEG-LS": _jpegls}
    found: dict[str, float | None] = {"order-0": entropy(pixels) * pixels.size}
    for name, coder in coders.items():
        found[name] = None
        with suppress(Exception):  # no codec, a broken one, or a side that it does not take
            data, back = coder(pixels)
            found[name] = 8.0 * len(data) if np.array_equal(back, pixels) else None
    return found


def entropy(pixels: np.ndarray) -> float:
    """Bits a byte of the levels that occur."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    share = counts[counts > 0] / pixels.size
    return float(-(share * np.log2(share)).sum()) + 0.0


def _png(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "PNG", optimize=True)


def _webp(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "WEBP", lossless=True, exact=True, method=4, quality=75)


def _webp_slow(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    return _pillow(pixels, "WEBP", lossless=True, exact=True, method=6, quality=100)


def _pillow(pixels: np.ndarray, kind: str, **settings) -> tuple[bytes, np.ndarray]:
    """The file, and what it shows."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    with Image.open(io.BytesIO(file.getvalue())) as picture:
        back = np.asarray(picture)
    return file.getvalue(), back if back.ndim == pixels.ndim else channels(back)


def _jpegxl(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    from imagecodecs import jpegxl_decode, jpegxl_encode

    data = jpegxl_encode(pixels, lossless=True, effort=7, numthreads=1)
    return data, jpegxl_decode(data, numthreads=1).reshape(pixels.shape)


def _jpegls(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    from imagecodecs import jpegls_decode, jpegls_encode

    data = bytes(jpegls_encode(pixels, out=2 * pixels.nbytes + 4096))  # room for noise, which grows
    return data, jpegls_decode(data).reshape(pixels.shape)


# ------------------------------------------------------------------------------------- pictures, by processes


def measure(source: Path | np.ndarray, size: int | None, slow: tuple[bool, bool]) -> dict:
    """A file, or (H, W, 3) pixels -> {"own": entry, "sized": entry, or None where it is smaller}, or
    {"reason": why not}.

    entry: {"height", "width", "channels", "bits": by method, "tile": the pixels of a small picture}. slow:
    WebP's, of both."""
    try:
        pixels = read_image(source) if isinstance(source, Path) else source
    except ImageError as error:
        return {"reason": error.reason}
    found = {"own": _entry(pixels, slow[0]), "sized": None}
    if size and min(pixels.shape[:2]) >= size:
        found["sized"] = (
            found["own"] if pixels.shape[:2] == (size, size) else _entry(fit(pixels, size), slow[1])
        )
    return found


def _entry(pixels: np.ndarray, slow: bool) -> dict:
    values = channels(pixels)
    return {
        "height": len(values),
        "width": values.shape[1],
        "channels": 1 if values.ndim == 2 else 3,
        "bits": lengths(values, slow),
        "tile": values if max(values.shape[:2]) <= SMALL else None,
    }


def mosaic(tiles: list[np.ndarray]) -> dict[str, float | None]:
    """Pictures of one shape, side by side in one file, nearly a square, its last row filled with black ->
    bits by method."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    blank = [np.zeros_like(tiles[0])] * (rows * columns - len(tiles))
    grid = np.stack([*tiles, *blank]).reshape(rows, columns, *tiles[0].shape)
    return lengths(np.ascontiguousarray(np.concatenate(np.concatenate(grid, 1), 1)), slow=False)


def over(function: Callable, tasks: Iterable[tuple], workers: int = WORKERS) -> Iterator:
    """function(*task) of all tasks, in their order, by processes; but one alone is done here. Where the
    caller stops (Ctrl-C, an error), what they do is not waited for. Raises RankError where one dies."""
    tasks = iter(tasks)
    first = list(islice(tasks, 2))
    if len(first) < 2:
        yield from (function(*task) for task in first)
        return
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker) as pool:
        waiting = deque(pool.submit(function, *task) for task in [*first, *islice(tasks, 2 * workers)])
        try:
            while waiting:
                yield waiting[0].result()
                waiting.popleft()
                waiting.extend(pool.submit(function, *task) for task in islice(tasks, 1))
        except BrokenProcessPool:
            raise RankError(
                "a process that compresses pictures died, perhaps for lack of memory; give smaller ones"
            ) from None
        finally:
            if waiting:
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# ----------------------------------------------------------------------------------------------------- in sum


def summed(entries: list[dict]) -> dict:
    """Entries of `measure` at one scale -> bits a byte by method and of the best of each picture, its 8 bits
    a byte among them, with quantiles; mosaics; bound: the least that is known of the mean, in bits a picture
    and a byte."""
    bytes_ = [entry["height"] * entry["width"] * entry["channels"] for entry in entries]
    best = [
        min([8.0 * count, *(bits for name in BOUNDS if (bits := entry["bits"][name]) is not None)])
        for entry, count in zip(entries, bytes_)
    ]
    rows = []
    for name in METHODS:
        known = [
            (entry["bits"][name], count)
            for entry, count in zip(entries, bytes_)
            if entry["bits"][name] is not None
        ]
        if known:
            kind = "estimate" if name == "order-0" else "upper bound"
            spread = _spread([bits / count for bits, count in known])
            rows.append({"method": name, "kind": kind, "pictures": len(known), **spread})
    mosaics = _mosaics(entries)
    bound = {"bits": sum(best) / len(best), "by": "the best file of each picture, or its bytes as they are"}
    if mosaics:  # the pictures that are in no mosaic keep their own
        own = sum(bits for n, bits in enumerate(best) if n not in mosaics["of"])
        together = (own + mosaics["best"] * sum(bytes_[n] for n in mosaics["of"])) / len(best)
        if together < bound["bits"]:
            bound = {"bits": together, "by": "files that small pictures share"}
    area = sum(entry["height"] * entry["width"] for entry in entries)
    bound |= {
        "bits_per_byte": bound["bits"] * len(best) / sum(bytes_),
        "bits_per_pixel": bound["bits"] * len(best) / area,
    }
    return {
        "pictures": len(entries),
        "grey": sum(entry["channels"] == 1 for entry in entries),
        "rows": rows,
        "best": _spread([bits / count for bits, count in zip(best, bytes_)]),
        "best_bits": _spread(best),
        "each_best_bits": best,
        "mosaic": mosaics and {key: mosaics[key] for key in mosaics if key != "of"},
        "bound": bound,
    }


def _spread(values: list[float]) -> dict:
    return {
        "mean": float(np.mean(values)),
        **{name: float(np.percentile(values, share)) for name, share in QUANTILES.items()},
    }


def _mosaics(entries: list[dict]) -> dict | None:
    """Small pictures of one shape in common files, and which these are; None where there are fewer than 4 of
    every shape."""
    shapes: dict[tuple, list[int]] = {}
    for n, entry in enumerate(entries):
        if entry["tile"] is not None:
            shapes.setdefault(entry["tile"].shape, []).append(n)
    groups = [
        some[at : at + TILES]
        for some in shapes.values()
        if len(some) >= 4
        for at in range(0, len(some), TILES)
    ]
    if not groups:
        return None
    found = list(over(mosaic, (([entries[n]["tile"] for n in group],) for group in groups)))
    of = {n for group in groups for n in group}
    values = sum(entries[n]["tile"].size for n in of)
    totals = {
        name: sum(bits[name] for bits in found)
        for name in BOUNDS
        if all(bits[name] is not None for bits in found)
    }
    by = {name: bits / values for name, bits in totals.items()}
    return {
        "pictures": len(of),
        "files": len(groups),
        "bits_per_byte": by,
        "best": min([8.0, *by.values()]),
        "of": of,
    }


def verdict(best: list[float], capacity: float) -> list[str]:
    """What a budget of `capacity` bits a picture means for pictures whose best codes have `best` bits."""
    fits = sum(bits <= capacity for bits in best)
    said = (
        [
            f"{fits:,} of {counted(len(best), 'picture')} fit into {capacity:,.0f} bits: for them a "
            f"lossless code of this size "
            "exists (proven: the file is one)."
        ]
        if fits
        else []
    )
    if fits < len(best):
        least = min(bits for bits in best if bits > capacity)
        said.append(
            f"For {len(best) - fits:,} no code so small was found: the best files have {least:,.0f} bits or "
            f"more. This "
            "does not prove that there is none: files are upper bounds of H."
        )
    return said
