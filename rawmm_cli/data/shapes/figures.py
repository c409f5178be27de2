"""Sizes of pictures in numbers, and what fitting (`images.fit`) does to them. Sizes are (n, 2): height,
width."""

import numpy as np

from ...system.figures import counted
from ..images import fitted, multiple_of
from ..rows import Fitting

MUCH, VISIBLE = 0.1, 0.05  # shares of a picture: cut off by a crop; added to its shape
FREQUENT = 10  # sizes in a card


def size_figures(sizes: np.ndarray) -> dict:
    """How many different sizes there are, the most frequent ones as [height, width, pictures], and those of
    the smallest and largest area, None where there are no pictures."""
    both, counts = np.unique(sizes.astype(np.int64) @ [1 << 32, 1], return_counts=True)
    different = np.stack([both >> 32, both & 0xFFFFFFFF], -1)
    order, areas = np.argsort(-counts, kind="stable")[:FREQUENT], different.prod(1)
    return {
        "different": len(both),
        "frequent": [[*different[n].tolist(), int(counts[n])] for n in order],
        "smallest": different[areas.argmin()].tolist() if len(both) else None,
        "largest": different[areas.argmax()].tolist() if len(both) else None,
    }


def lost(height: int, width: int, crop: str = "center") -> float:
    """Share of a picture that the crop cuts off."""
    return 1 - min(height, width) / max(height, width) if crop == "center" else 0.0


def reshaped(height: int, width: int, fitting: Fitting) -> float:
    """By how much the whole picture becomes wider or narrower: 0.1 for a tenth."""
    size = fitting.shorter(height, width)
    if fitting.crop == "center" or size is None:
        return 0.0
    new_height, new_width = fitted(height, width, size, fitting.crop)
    ratio = new_width * height / (new_height * width)
    return max(ratio, 1 / ratio) - 1


def changed(height: int, width: int, fitting: Fitting) -> bool:
    """Whether a person would see that a picture was fitted: much is cut off, or its shape is another."""
    return lost(height, width, fitting.crop) > MUCH or reshaped(height, width, fitting) > VISIBLE


def change_figures(sizes: np.ndarray, fitting: Fitting) -> dict:
    """What fitting does to pictures of these sizes.

    pictures; cropped: those that lose anything to the crop; cropped_much: more than MUCH; lost: mean share of
    a picture, lost_most: the largest; reshaped: those that become wider or narrower by more than VISIBLE,
    reshaped_most: the largest share."""
    different, counts = np.unique(sizes, axis=0, return_counts=True)
    shares = np.array([lost(*size, fitting.crop) for size in different.tolist()])
    shapes = np.array([reshaped(*size, fitting) for size in different.tolist()])
    return {
        "pictures": len(sizes),
        "cropped": int(counts[shares > 0].sum()),
        "cropped_much": int(counts[shares > MUCH].sum()),
        "lost": round(float(shares @ counts / max(1, counts.sum())), 4),
        "lost_most": round(float(shares.max(initial=0)), 4),
        "reshaped": int(counts[shapes > VISIBLE].sum()),
        "reshaped_most": round(float(shapes.max(initial=0)), 4),
    }


def fitted_lines(card: dict) -> list[str]:
    """What fitting did to the pictures of a prepared set, for people: one thought a line; [] where each is as
    it was but for its size. card: as card.json has it."""
    change, size = card.get("originals"), card["options"].get("size")
    lines = crop_lines(change, "--crop none") + shape_lines(change, size)
    if card["size"] is None and card["options"]["crop"] == "none" and change:
        sizes = card["sizes"]
        low, high = (" x ".join(map(str, sizes[name])) for name in ("smallest", "largest"))
        lines.append(
            f"nothing is cropped: pictures have {sizes['different']:,} sizes, from {low} to {high} (height x "
            f"width); `--crop center` makes all of them {size} x {size}"
        )
    return lines


def crop_lines(change: dict | None, option: str, first: str = "") -> list[str]:
    """What the crop cuts off, [] where nothing. change: as `change_figures` gives it, None where nothing was
    fitted. option: what keeps whole pictures. first: words before the number of pictures, as `the first `."""
    if change is None:
        return []
    of = first + counted(change["pictures"], "picture")
    much, cropped, most = change["cropped_much"], change["cropped"], percent(change["lost_most"])
    if much:
        verb = "loses" if much == 1 else "lose"
        return [
            f"{much:,} of {of} {verb} more than a tenth to the crop, at most {most}; `{option}` keeps all"
        ]
    verb = "loses" if cropped == 1 else "lose"
    return [f"{cropped:,} of {of} {verb} up to {most} to the crop; `{option}` keeps all"] if cropped else []


def shape_lines(change: dict | None, size: int | None) -> list[str]:
    """How shapes change, [] where no one would see it. size: the shorter side."""
    if change is None or not (count := change["reshaped"]):
        return []
    verb = "becomes" if count == 1 else "become"
    why = f": longer sides are multiples of {multiple_of(size)}" if size else ""
    return [
        f"{count:,} of {counted(change['pictures'], 'picture')} {verb} more than a twentieth wider or "
        f"narrower, at most {percent(change['reshaped_most'])}{why}"
    ]


def percent(share: float) -> str:
    """0.337 -> 34 %."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "1 %"
