"""Pictures of a comparison of codecs: which ones the page shows, and the original, what came back and the
error map of each."""

import base64
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from ..reconstruction.files import places
from ..reconstruction.results import PictureResult, Row
from ..system.figures import fraction
from .page import data_uri
from .scatter import TONES

LARGEST = 256  # pixels; of larger pictures the part that lost most is shown
EXACT = 120.0  # dB that stand for an exact picture, where pictures are ranked
TAGS = ("worst", "median", "best", "spread")
Box = tuple[int, int, int, int]  # left, top, right, bottom


def selection(each: list[PictureResult], count: int) -> list[tuple[int, str]]:
    """(index into `each`, tag) of the pictures that are shown, from the worst to the best by mean PSNR over
    codecs: all of up to `count`; of more a quarter each of the worst, those around the median and the best,
    and others evenly spread."""
    if len(each) <= count:
        return [(n, "") for n in range(len(each))]
    ranked = sorted(
        range(len(each)),
        key=lambda n: fmean(EXACT if one.exact else one.psnr for one in each[n].codecs.values()),
    )
    quarter = count // 4
    middle = (len(each) - quarter) // 2
    tags = {
        **dict.fromkeys(range(middle, middle + quarter), "median"),
        **dict.fromkeys(range(quarter), "worst"),
        **dict.fromkeys(range(len(each) - quarter, len(each)), "best"),
    }
    rest = [rank for rank in range(len(each)) if rank not in tags]
    spread = count - len(tags)
    tags |= {rest[(2 * n + 1) * len(rest) // (2 * spread)]: "spread" for n in range(spread)}
    return [(ranked[rank], tags[rank]) for rank in sorted(tags)]


def counts(chosen: list[tuple[int, str]]) -> dict[str, int]:
    """How many pictures each tag has; {} where all are shown."""
    return {tag: sum(one == tag for _, one in chosen) for tag in TAGS} if chosen[0][1] else {}


def case(result: PictureResult, tag: str, rows: list[Row], folder: Path) -> dict:
    """One picture: the original, and of each codec what came back, the error map, and what was read."""
    name = f"{result.name}.png"
    files = {
        codec: (folder / place / name, folder / place / "errors" / name)
        for codec, place in places([row.codec for row in rows]).items()
    }
    box = worst_part(result.height, result.width, [errors for _, errors in files.values()])
    return {
        "name": result.name,
        "height": result.height,
        "width": result.width,
        "tag": tag,
        "box": box,
        "original": _part(folder / "original" / name, box),
        "text": result.text,
        "written": result.written,
        "codecs": [_codec(result, row, *files[row.codec], box) for row in rows],
        "sides": (box[2] - box[0], box[3] - box[1]) if box else (result.width, result.height),
    }


def _codec(result: PictureResult, row: Row, back: Path, errors: Path, box: Box | None) -> dict:
    """The reconstruction of a picture by one codec."""
    measures = result.codecs[row.codec]
    return {
        "name": row.name,
        "tone": TONES[row.kind],
        "back": _part(back, box),
        "errors": _part(errors, box),
        "psnr": "exact" if measures.exact else f"{measures.psnr:.1f} dB",
        "bits": measures.bits,
        "over": measures.over_budget,
        "scale": scale(measures.scale),
        "padded": measures.padded,
        "tiles": measures.tiles,
        "text": measures.text,
        "mark": "" if not result.text else "same" if measures.text == result.text else "changed",
    }


def scale(value: float | None) -> str:
    """To which share of its sides a picture was shrunk, in words; nothing where it was not."""
    return "" if value in (None, 1) else f"{fraction(value)} of its sides"


def worst_part(height: int, width: int, maps: list[Path]) -> Box | None:
    """The square of a large picture whose error maps are the brightest; None for other pictures."""
    if max(height, width) <= LARGEST:
        return None
    high, wide = min(LARGEST, height), min(LARGEST, width)
    total = np.zeros((height + 1, width + 1))
    for path in maps:
        with Image.open(path) as picture:
            total[1:, 1:] += np.square(np.asarray(picture, dtype=float))
    total = total.cumsum(0).cumsum(1)  # sums over all pixels above and to the left: a square's in four terms

    def lost(at: tuple[int, int]) -> float:
        top, left = at
        bottom, right = top + high, left + wide
        return total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]

    tops, lefts = (
        sorted({*range(0, side - part + 1, max(1, part // 4)), side - part})
        for side, part in ((height, high), (width, wide))
    )
    top, left = max(((top, left) for top in tops for left in lefts), key=lost)
    return left, top, left + wide, top + high


def _part(path: Path, box: Box | None) -> str:
    """A PNG file, or a part of it, as a data URI."""
    if box is None:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    with Image.open(path) as picture:
        return data_uri(picture.crop(box))
