"""Results as a table of words: headings, cells, and which columns are numbers."""

from collections.abc import Callable, Collection

from ..system.figures import short
from .results import Row

Table = tuple[list[str], list[list[str]], Collection[int]]  # headings, cells, columns of numbers
MISSING = "–"
COLUMNS = {
    "tokens": ("tokens", short),
    "vocabulary": ("of", short),
    "bits": ("bits", short),
    "used_bits": ("used", short),
    "bits_per_pixel": ("bits/px", "{:.3g}".format),
    "psnr": ("PSNR", "{:.2f}".format),
    "text_survival": ("text", "{:.1%}".format),
    "word_survival": ("words", "{:.1%}".format),
    "ssim": ("SSIM", "{:.4f}".format),
    "exact_pixels": ("exact px", "{:.1%}".format),
    "lossless": ("exact", "{:.0%}".format),
    "sharpness": ("sharp", "{:.2f}".format),
    "feature_distance": ("feature", "{:.4f}".format),
    "kid_paired": ("KID, pairs apart", "{:.4f}".format),
    "milliseconds": ("ms", "{:.3g}".format),
}  # fields of a row, with their headings and number formats


def measured(rows: list[Row]) -> Table:
    """A row for each codec, of the columns that have a number."""
    names = [name for name in COLUMNS if any(_filled(row, name) for row in rows)]
    heads = ["codec", *(COLUMNS[name][0] for name in names)]
    cells = [[row.name, *(_cell(row, name) for name in names)] for row in rows]
    return heads, cells, range(1, len(heads))


def number(value: float | None, form: Callable[[float], str]) -> str:
    """The number as `form` writes it, or a dash for None."""
    return MISSING if value is None else form(value)


def _filled(row: Row, name: str) -> bool:
    """Whether a cell makes its column worth showing: it has a finite number."""
    value = getattr(row, name)
    return value is not None and value != float("inf")


def _cell(row: Row, name: str) -> str:
    value = getattr(row, name)
    return "exact" if value == float("inf") else number(value, COLUMNS[name][1])
