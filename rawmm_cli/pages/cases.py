"""Pictures of a comparison of codecs: which ones the page shows, and the original, what came back and the
error map of each."""

from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from ..reconstruction.files import places
from .page import data_uri
from .scatter import TONES

LARGEST = 256  # pixels; of larger pictures the part that lost most is shown
EXACT = 120.0  # dB that stand for an exact picture, where pictures are ranked
TAGS = ("worst", "median", "best", "spread")
Box = tuple[int, int, int, int]  # left, top, right, bottom


def selection(each: list[dict], count: int) -> list[tuple[int, str]]:
    """(index into `each`, tag) of the pictures that are shown, from the worst to the best by mean PSNR over
    codecs: all of up to `count`; of more a quarter each of the worst, those around the median and the best,
    and others evenly spread."""
    if len(each) <= count:
        return [(n, "") for n in range(len(each))]
    ranked = sorted(
        range(len(each)),
        key=lambda n: fmean(EXACT if one["exact"] else one["psnr"] for one in each[n]["codecs"].values()),
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


def case(entry: dict, tag: str, rows: list[dict], folder: Path) -> dict:
    """One picture: the original, and of each codec what came back, the error map, and what was read."""
    names = places([row["codec"] for row in rows])
    files = {
        codec: (folder / place / f"{entry['name']}.png", folder / place / "errors" / f"{entry['name']}.png")
        for codec, place in names.items()
    }
    box = worst_part(entry, [errors for _, errors in files.values()])
    return {
        "name": entry["name"],
        "height": entry["height"],
        "width": entry["width"],
        "tag": tag,
        "box": box,
        "original": _part(folder / "original" / f"{entry['name']}.png", box),
        "text": entry.get("text"),
        "written": entry.get("written"),
        "codecs": [_codec(entry, row, *files[row["codec"]], box) for row in rows],
        "sides": (box[2] - box[0], box[3] - box[1]) if box else (entry["width"], entry["height"]),
    }


def _codec(entry: dict, row: dict, back: Path, errors: Path, box: Box | None) -> dict:
    """What one codec made of a picture."""
    known = entry["codecs"][row["codec"]]
    same = known.get("text") == entry.get("text")
    return {
        "name": row["name"],
        "tone": TONES[row["kind"]],
        "back": _part(back, box),
        "errors": _part(errors, box),
        "psnr": "exact" if known["exact"] else f"{known['psnr']:.1f} dB",
        "bits": known["bits"],
        "over": known.get("over_budget", False),
        "padded": known.get("padded"),
        "tiles": known.get("tiles"),
        "text": known.get("text"),
        "mark": "" if not entry.get("text") else "same" if same else "changed",
    }


def worst_part(entry: dict, maps: list[Path]) -> Box | None:
    """Of a large picture the square whose error maps are the brightest; None of others."""
    height, width = entry["height"], entry["width"]
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
    with Image.open(path) as picture:
        return data_uri(picture.crop(box) if box else picture)
