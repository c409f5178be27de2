"""A comparison of codecs on one page: findings, a table to sort, bits against what they buy, pictures side by
side.

Of many pictures some are shown: the worst, those around the median, the best, and some evenly spread. The
page is complete without its script, which sorts and zooms. `scatter.py` and `cases.py` make what is shown.
Next: reconstruct.html and reconstruct.js."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..reconstruction import suite
from ..reconstruction.files import COLOURS, FULL
from ..reconstruction.results import Comparison, Row
from ..system.figures import number, short
from . import page
from .cases import LARGEST, case, counts, scale, selection
from .scatter import KINDS, TONES, scatter


class Column(NamedTuple):
    """One number of every codec: its key, its head, an explanation, how it is written."""

    key: str
    head: str
    about: str
    form: Callable[[float], str]


PERCENT = "{:.1%}".format
COLUMNS = (
    Column("tokens", "Tokens", "L: tokens of a picture, of a file its bytes, else its values", short),
    Column("vocabulary", "Vocabulary", "V: what a token can be", number),
    Column("bits", "Bits", "of a picture: L log2 V; of a file all of it, its header too", short),
    Column(
        "used_bits", "Used bits", "entropy of the codes over these pictures (Miller-Madow) times L", short
    ),
    Column("bits_per_pixel", "Bits / px", "bits by pixels; raw RGB has 24", "{:.3g}".format),
    Column("psnr", "PSNR", "dB, over all pixel values; an exact picture has no end", "{:.2f}".format),
    Column(
        "text_survival",
        "Text survival",
        "1 - normalised edit distance of what is read before and after",
        PERCENT,
    ),
    Column("word_survival", "Words", "share of words read before that are read after", PERCENT),
    Column("ssim", "SSIM", "structural similarity, 1 is the same", "{:.3f}".format),
    Column("exact_pixels", "Exact pixels", "share that is the same to the bit", PERCENT),
    Column("lossless", "Exact pictures", "share that is the same to the bit", "{:.0%}".format),
    Column(
        "sharpness",
        "Sharpness",
        "energy of edges as a share of the originals'; right ones or not",
        "{:.2f}".format,
    ),
    Column(
        "feature_distance",
        "Feature distance",
        "channels of five layers of the feature network; not LPIPS",
        "{:.3f}".format,
    ),
    Column(
        "kid",
        "KID",
        "between all originals and all that came back, on the feature network; not FID",
        "{:.4f}".format,
    ),
    Column(
        "kid_paired",
        "KID, pairs apart",
        "no picture meets what was made of it: 0 where nothing changed",
        "{:.4f}".format,
    ),
    Column("right_letters", "Letters right", "of text that is known to be written there", PERCENT),
    Column("milliseconds", "Time", "milliseconds a picture, there and back", "{:.3g}".format),
)
SPREAD = {
    "bits": short,
    "psnr": "{:.1f}".format,
    "text_survival": "{:.0%}".format,
    "ssim": "{:.2f}".format,
    "exact_pixels": "{:.0%}".format,
    "feature_distance": "{:.2f}".format,
}  # columns that show the spread over pictures, and how it is written


def write(result: Comparison, folder: Path, path: Path, count: int = 24) -> None:
    """Write the page with `count` pictures at most. folder: where the files of `files.Files` are."""
    page.write(path, render(result, folder, count))


def render(result: Comparison, folder: Path, count: int) -> str:
    """The page as text."""
    rows, each = result.rows, result.each
    chosen = selection(each, count)
    plots = [
        scatter(rows, "psnr", "PSNR", "dB", False),
        scatter(rows, "text_survival", "Text survival", "", True),
    ]
    return page.render(
        "reconstruct",
        result=result,
        columns=columns(rows),
        lines=[_line(row, columns(rows)) for row in rows],
        reported=suite.beside(rows),
        plots=[plot for plot in plots if plot],
        kinds=[(TONES[kind], KINDS[kind]) for kind in TONES if any(row.kind == kind for row in rows)],
        cases=[case(each[n], tag, rows, folder) for n, tag in chosen],
        tags=counts(chosen),
        largest=LARGEST,
        cropped=any(max(each[n].height, each[n].width) > LARGEST for n, _ in chosen),
        full=FULL,
        ramp=", ".join(f"rgb({r} {g} {b})" for r, g, b in COLOURS),
        seconds=sum(row.seconds for row in rows),
    )


def columns(rows: list[Row]) -> list[Column]:
    """The columns that some codec fills with a number."""
    values = {column: [getattr(row, column.key) for row in rows] for column in COLUMNS}
    return [column for column in COLUMNS if any(one is not None and one < math.inf for one in values[column])]


def _line(row: Row, shown: list[Column]) -> dict:
    """A codec's line of the table."""
    return {
        "name": row.name,
        "tone": TONES[row.kind],
        "cells": [_cell(row, column) for column in shown],
        "padded": row.padded,
        "tiled": row.tiled,
        "over": row.over_budget,
        "scale": scale(row.scale),
    }


def _cell(row: Row, column: Column) -> dict:
    """What is shown, what it is sorted by, and the spread over pictures."""
    value, spread = getattr(row, column.key), row.quantiles.get(column.key)
    ends = []
    if spread and column.key in SPREAD:
        ends = [_text(end, SPREAD[column.key]) for end in (spread.p05, spread.p95)]
    return {
        "text": _text(value, column.form),
        "sort": "" if value is None else "Infinity" if math.isinf(value) else repr(float(value)),
        "spread": f"{ends[0].rstrip('%')}–{ends[1]}" if ends and ends[0] != ends[1] else "",
        "doubt": column.key == "used_bits" and row.enough_codes is False,
    }


def _text(value: float | None, form: Callable[[float], str]) -> str:
    """A number as it is written; an infinite PSNR is that of exact pictures."""
    return "–" if value is None else "exact" if math.isinf(value) else form(value)
