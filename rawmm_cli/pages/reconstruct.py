"""A comparison of codecs on one page: findings, a table to sort, bits against what they buy, pictures side by
side.

The page stands alone, like report.html, whose style it shares: pictures are inside (base64 PNG), it loads
nothing and is complete without its script, which sorts and zooms. Words, names and texts that were read are
hostile input: all goes through Jinja's autoescape, and the page's Content-Security-Policy allows no request.
Of many pictures some are shown: the worst, those around the median, the best, and some evenly spread. Next:
reconstruct.html, with reconstruct.css and reconstruct.js."""

import base64
import hashlib
import io
import math
import os
from pathlib import Path
from statistics import fmean

import jinja2
import numpy as np
from PIL import Image

from ..reconstruction.reconstruct import COLOURS, FULL, places
from ..system.figures import duration, number, short
from .curves import axis

LARGEST = 256  # pixels; of larger pictures the part that lost most is shown
TONES = {"tokenizer": "blue", "raw": "green", "ode": "violet", "resize": "amber", "file": "orange"}
KINDS = {
    "tokenizer": "tokenizers",
    "raw": "raw patches",
    "ode": "noise by the ODE",
    "resize": "fewer pixels",
    "file": "image files",
}
EXACT = 120.0  # dB that stand for an exact picture, where pictures are ranked
COLUMNS = (
    ("tokens", "Tokens", "L: tokens of a picture, of a file its bytes, else its values", short),
    ("vocabulary", "Vocabulary", "V: what a token can be", number),
    ("bits", "Bits", "of a picture: L log2 V; of a file all of it, its header too", short),
    ("used_bits", "Used bits", "entropy of the codes over these pictures (Miller-Madow) times L", short),
    ("bits_per_pixel", "Bits / px", "bits by pixels; raw RGB has 24", "{:.3g}".format),
    ("psnr", "PSNR", "dB, over all pixel values; an exact picture has no end", "{:.2f}".format),
    (
        "text_survival",
        "Text survival",
        "1 - normalised edit distance of what is read before and after",
        "{:.1%}".format,
    ),
    ("word_survival", "Words", "share of words read before that are read after", "{:.1%}".format),
    ("ssim", "SSIM", "structural similarity, 1 is the same", "{:.3f}".format),
    ("exact_pixels", "Exact pixels", "share that is the same to the bit", "{:.1%}".format),
    ("lossless", "Exact pictures", "share that is the same to the bit", "{:.0%}".format),
    (
        "sharpness",
        "Sharpness",
        "energy of edges as a share of the originals'; right ones or not",
        "{:.2f}".format,
    ),
    (
        "feature_distance",
        "Feature distance",
        "channels of five layers of the feature network; not LPIPS",
        "{:.3f}".format,
    ),
    (
        "kid",
        "KID",
        "between all originals and all that came back, on the feature network; not FID",
        "{:.4f}".format,
    ),
    (
        "kid_paired",
        "KID, pairs apart",
        "no picture meets what was made of it: 0 where nothing changed",
        "{:.4f}".format,
    ),
    ("right_letters", "Letters right", "of text that is known to be written there", "{:.1%}".format),
    ("milliseconds", "Time", "milliseconds a picture, there and back", "{:.3g}".format),
)
SPREAD = ("bits", "psnr", "text_survival", "ssim", "exact_pixels", "feature_distance")  # columns that show it
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 320, 46, 546, 20, 284


def write(result: dict, folder: Path, path: Path, show: int = 24) -> None:
    """Write the page in one go. folder: where the files of `reconstruct.Files` are."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render(result, folder, show), encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def render(result: dict, folder: Path, show: int) -> str:
    """The page as text."""
    here = Path(__file__)
    template, script = (
        here.with_name(f"reconstruct.{end}").read_text(encoding="utf-8") for end in ("html", "js")
    )
    style = "".join(
        here.with_name(f"{name}.css").read_text(encoding="utf-8") for name in ("report", "reconstruct")
    )
    jinja = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters |= {"number": number, "duration": duration}
    rows, each = result["rows"], result["each"]
    chosen = selection(each, show)
    plots = [
        plot(rows, *given)
        for given in (("psnr", "PSNR", "dB", False), ("text_survival", "Text survival", "", True))
    ]
    page = jinja.from_string(template).render(
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        result=result,
        columns=columns(rows),
        lines=[_line(row, rows) for row in rows],
        plots=list(filter(None, plots)),
        kinds=[(TONES[kind], KINDS[kind]) for kind in TONES if any(row["kind"] == kind for row in rows)],
        cases=[_case(each[n], tag, rows, folder) for n, tag in chosen],
        tags=_counted(chosen),
        largest=LARGEST,
        cropped=any(max(each[n]["height"], each[n]["width"]) > LARGEST for n, _ in chosen),
        full=FULL,
        ramp=", ".join(f"rgb({r} {g} {b})" for r, g, b in COLOURS),
        seconds=sum(row["seconds"] for row in rows),
    )
    return page.encode("utf-8", "replace").decode()


# ------------------------------------------------------------------------------------------------------ table


def columns(rows: list[dict]) -> list[tuple[str, str, str]]:
    """(key, head, explanation) of the columns that some codec fills."""
    return [
        (key, head, about) for key, head, about, _ in COLUMNS if any(row.get(key) is not None for row in rows)
    ]


def _line(row: dict, rows: list[dict]) -> dict:
    """A codec's cells: what is shown, what they are sorted by, and the spread over pictures."""
    how, cells = {key: form for key, _, _, form in COLUMNS}, []
    for key, _, _ in columns(rows):
        value, spread = row.get(key), row["quantiles"].get(key)
        exact = key == "psnr" and value is None
        ends = (
            [_end(spread[name], key, how[key]) for name in ("p05", "p95")] if spread and key in SPREAD else []
        )
        cells.append(
            {
                "text": "exact" if exact else "–" if value is None else how[key](value),
                "sort": "Infinity" if exact else "" if value is None else repr(float(value)),
                "spread": f"{ends[0]} to {ends[1]}" if ends and ends[0] != ends[1] else "",
                "doubt": key == "used_bits" and row.get("enough_codes") is False,
            }
        )
    return {
        "name": row["name"],
        "tone": TONES[row["kind"]],
        "cells": cells,
        "padded": row["padded"],
        "tiled": row["tiled"],
        "over": row["over_budget"],
    }


def _end(value: float | None, key: str, how) -> str:
    return ("exact" if key == "psnr" else "–") if value is None else how(value)


# ------------------------------------------------------------------------------------------------------ plots


def plot(rows: list[dict], key: str, title: str, unit: str, share: bool) -> dict | None:
    """Bits (logarithmic) against a number: dots, ticks and labels of an SVG; None where fewer than two codecs
    have both. What is exact stands on a line of its own at the top."""
    known = [row for row in rows if row["bits"] and (row.get(key) is not None or key == "psnr")]
    values = [row[key] for row in known if row[key] is not None]
    if len(known) < 2 or not values:
        return None
    bits = [row["bits"] for row in known]
    left, right, x_ticks = axis(min(bits) / 1.5, max(bits) * 1.5, 6, log=True)
    low, high, y_ticks = (
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]) if share else axis(min(values), max(values), 6)
    )
    roof = TOP + 26 if len(values) < len(known) else TOP

    def x(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * math.log(value / left) / math.log(right / left), 1)

    def y(value: float | None) -> float:
        return TOP if value is None else round(BOTTOM - (BOTTOM - roof) * (value - low) / (high - low), 1)

    dots = [
        {
            "name": row["name"],
            "tone": TONES[row["kind"]],
            "x": x(row["bits"]),
            "y": y(row[key]),
            "said": f"{row['name']}: {row['bits']:,.0f} bits, "
            + ("exact" if row[key] is None else f"{row[key]:.1%}" if share else f"{row[key]:.2f} {unit}"),
        }
        for row in sorted(known, key=lambda row: (y(row[key]), row["bits"]))
    ]
    _label(dots)
    return {
        "title": title,
        "unit": unit,
        "dots": dots,
        "exact": TOP if roof > TOP else None,
        "x_ticks": [(x(tick), short(tick)) for tick in x_ticks],
        "y_ticks": [(y(tick), f"{tick:.0%}" if share else short(tick)) for tick in y_ticks],
        "missing": [row["name"] for row in rows if row not in known],
    }


def _label(dots: list[dict]) -> None:
    """A place beside each dot where its word hides no other word and no other dot, as letters 15 px high
    are."""
    taken = [(dot["x"] - 6, dot["y"] - 6, dot["x"] + 6, dot["y"] + 6) for dot in dots]
    for n, dot in enumerate(dots):
        wide, best = 9.5 * len(dot["name"]), None
        for down in sorted(range(-119, 120, 17), key=abs):
            for side in (1, -1) if dot["x"] + 12 + wide < RIGHT else (-1, 1):
                near, y = dot["x"] + 10 * side, dot["y"] + down
                box = (min(near, near + side * wide), y - 8, max(near, near + side * wide), y + 8)
                clear = (
                    box[0] >= LEFT
                    and box[2] <= WIDTH
                    and 4 <= y <= BOTTOM - 4
                    and not any(
                        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
                        for m, other in enumerate(taken)
                        if m != n
                    )
                )
                if clear and best is None:
                    best = near, y, side, box
        near, y, side, box = best or (dot["x"] + 10, dot["y"], 1, (0, 0, 0, 0))
        dot |= {
            "label_x": round(near, 1),
            "label_y": round(y + 4, 1),
            "anchor": "start" if side > 0 else "end",
            "far": abs(y - dot["y"]) > 10,
        }
        taken.append(box)


# --------------------------------------------------------------------------------------------------- pictures


def selection(each: list[dict], show: int) -> list[tuple[int, str]]:
    """(place in `each`, why): all of a few; of many a quarter each of the worst, those around the median and
    the best by mean PSNR over codecs, and others evenly spread. From the worst to the best."""
    if len(each) <= show:
        return [(n, "") for n in range(len(each))]
    ranked = sorted(
        range(len(each)),
        key=lambda n: fmean(EXACT if one["exact"] else one["psnr"] for one in each[n]["codecs"].values()),
    )
    quarter = show // 4
    middle = (len(each) - quarter) // 2
    tags = {
        **dict.fromkeys(range(middle, middle + quarter), "median"),
        **dict.fromkeys(range(quarter), "worst"),
        **dict.fromkeys(range(len(each) - quarter, len(each)), "best"),
    }
    rest = [rank for rank in range(len(each)) if rank not in tags]
    spread = show - len(tags)
    tags |= {rest[(2 * n + 1) * len(rest) // (2 * spread)]: "spread" for n in range(spread)}
    return [(ranked[rank], tags[rank]) for rank in sorted(tags)]


def _counted(chosen: list[tuple[int, str]]) -> dict[str, int]:
    return (
        {tag: sum(one == tag for _, one in chosen) for tag in ("worst", "median", "best", "spread")}
        if chosen[0][1]
        else {}
    )


def _case(entry: dict, tag: str, rows: list[dict], folder: Path) -> dict:
    """One picture: the original, what came back, error maps, what was read."""
    names = places([row["codec"] for row in rows])
    files = {
        word: (folder / place / f"{entry['name']}.png", folder / place / "errors" / f"{entry['name']}.png")
        for word, place in names.items()
    }
    box = _worst_part(entry, [errors for _, errors in files.values()])
    shown = []
    for row in rows:
        known, (back, errors) = entry["codecs"][row["codec"]], files[row["codec"]]
        same = known.get("text") == entry.get("text")
        shown.append(
            {
                "name": row["name"],
                "tone": TONES[row["kind"]],
                "back": _uri(back, box),
                "errors": _uri(errors, box),
                "psnr": "exact" if known["exact"] else f"{known['psnr']:.1f} dB",
                "bits": known["bits"],
                "over": known.get("over_budget", False),
                "padded": known.get("padded"),
                "tiles": known.get("tiles"),
                "text": known.get("text"),
                "mark": "" if not entry.get("text") else "same" if same else "changed",
            }
        )
    return {
        "name": entry["name"],
        "height": entry["height"],
        "width": entry["width"],
        "tag": tag,
        "box": box,
        "original": _uri(folder / "original" / f"{entry['name']}.png", box),
        "text": entry.get("text"),
        "written": entry.get("written"),
        "shown": shown,
        "sides": (box[2] - box[0], box[3] - box[1]) if box else (entry["width"], entry["height"]),
    }


def _worst_part(entry: dict, maps: list[Path]) -> tuple[int, int, int, int] | None:
    """Of a large picture the square (left, top, right, bottom) whose error maps are the brightest; None of
    others."""
    height, width = entry["height"], entry["width"]
    if max(height, width) <= LARGEST:
        return None
    high, wide = min(LARGEST, height), min(LARGEST, width)
    total = np.zeros((height + 1, width + 1))
    for path in maps:
        with Image.open(path) as picture:
            total[1:, 1:] += np.square(np.asarray(picture, dtype=float))
    total = total.cumsum(0).cumsum(1)
    tops, lefts = (
        sorted({*range(0, side - part + 1, max(1, part // 4)), side - part})
        for side, part in ((height, high), (width, wide))
    )
    top, left = max(
        ((top, left) for top in tops for left in lefts),
        key=lambda at: (
            total[at[0] + high, at[1] + wide]
            - total[at[0], at[1] + wide]
            - total[at[0] + high, at[1]]
            + total[at]
        ),
    )
    return left, top, left + wide, top + high


def _uri(path: Path, box) -> str:
    """A PNG file, or a part of it, as a data URI."""
    with Image.open(path) as picture:
        data = io.BytesIO()
        (picture.crop(box) if box else picture).save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
