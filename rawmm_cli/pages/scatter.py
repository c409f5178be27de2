"""Bits against what they buy: codecs in, dots, axes and labels of an SVG out (reconstruct.html draws
them)."""

import math

from ..reconstruction.results import Row
from ..system.figures import short
from .axes import Frame, Scale, axis

FRAME = Frame(560, 320, 46, 546, 20, 284, ticks=6, points=0)
ROOF = 26  # pixels between what is exact, on a line of its own at the top, and the highest number
TONES = {"tokenizer": "blue", "raw": "green", "ode": "violet", "resize": "amber", "file": "orange"}
KINDS = {
    "tokenizer": "tokenizers",
    "raw": "raw patches",
    "ode": "noise by the ODE",
    "resize": "fewer pixels",
    "file": "image files",
}
RADIUS, LETTER, LINE = 6, 10.5, 17  # pixels: of a dot, of a letter of a label, from label to label
Box = tuple[float, float, float, float]  # left, top, right, bottom


def scatter(rows: list[Row], key: str, title: str, unit: str, share: bool) -> dict | None:
    """Bits (logarithmic) against the number `key`: dots, ticks and labels; None where fewer than two codecs
    have both. share: the number is a part of 1. What is infinite (exact) stands on a line of its own at
    the top. Image files that do not meet their budget are left out."""
    within = [row for row in rows if not row.over_budget]
    known = [(row, value) for row in within if row.bits and (value := getattr(row, key)) is not None]
    values = [value for _, value in known if math.isfinite(value)]
    if len(known) < 2 or not values:
        return None
    bits = [row.bits for row, _ in known]
    left, right, x_ticks = axis(min(bits) / 1.5, max(bits) * 1.5, FRAME.ticks, log=True)
    low, high, y_ticks = axis(min(values), max(values), FRAME.ticks)
    if share:
        low, high, y_ticks = 0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]
    top = FRAME.top + ROOF if len(values) < len(known) else FRAME.top
    x = Scale(left, right, FRAME.left, FRAME.right, log=True)
    y = Scale(low, high, FRAME.bottom, top)

    def height(value: float) -> float:
        return FRAME.top if math.isinf(value) else y(value)

    dots = [
        {
            "name": row.name,
            "tone": TONES[row.kind],
            "x": x(row.bits),
            "y": height(value),
            "title": f"{row.name}: {row.bits:,.0f} bits, {_value(value, unit, share)}",
        }
        for row, value in sorted(known, key=lambda one: (height(one[1]), one[0].bits))
    ]
    return {
        "title": title,
        "unit": unit,
        "frame": FRAME,
        "dots": labelled(dots),
        "exact": FRAME.top if top > FRAME.top else None,
        "x_ticks": [(x(tick), short(tick)) for tick in x_ticks],
        "y_ticks": [(y(tick), f"{tick:.0%}" if share else short(tick)) for tick in y_ticks],
        "missing": [row.name for row in within if all(row is not one for one, _ in known)],
        "over": [row.name for row in rows if row.over_budget],
    }


def _value(value: float, unit: str, share: bool) -> str:
    return "exact" if math.isinf(value) else f"{value:.1%}" if share else f"{value:.2f} {unit}"


def labelled(dots: list[dict]) -> list[dict]:
    """The dots with a place for the name of each, where it hides no other name and no other dot."""
    taken = [(dot["x"] - RADIUS, dot["y"] - RADIUS, dot["x"] + RADIUS, dot["y"] + RADIUS) for dot in dots]
    placed = []
    for number, dot in enumerate(dots):
        others = [box for m, box in enumerate(taken) if m != number]
        x, y, side, box = _free_place(dot, others)
        place = {"label_x": round(x, 1), "label_y": round(y + 4, 1), "anchor": "start" if side > 0 else "end"}
        placed.append(dot | place | {"far": abs(y - dot["y"]) > 10})
        taken.append(box)
    return placed


def _free_place(dot: dict, taken: list[Box]) -> tuple[float, float, int, Box]:
    """The place nearest to the dot for its name -> (x, y, 1 right of it or -1 left, the box that it fills);
    right beside it where no place is free."""
    width = LETTER * len(dot["name"])
    sides = (1, -1) if dot["x"] + 12 + width < FRAME.right else (-1, 1)
    for down in sorted(range(-7 * LINE, 7 * LINE + 1, LINE), key=abs):
        for side in sides:
            x, y = dot["x"] + 10 * side, dot["y"] + down
            box = (min(x, x + side * width), y - 8, max(x, x + side * width), y + 8)
            inside = box[0] >= FRAME.left and box[2] <= FRAME.width and 4 <= y <= FRAME.bottom - 4
            if inside and not any(_overlap(box, other) for other in taken):
                return x, y, side, box
    return dot["x"] + 10, dot["y"], 1, (0, 0, 0, 0)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
