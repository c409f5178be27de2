"""`rawmm entropy-budget catalogue` and `anchors`: published figures, with sources."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Optional, Union

import typer

from ...system.figures import counted
from .. import tables
from ..common import Json
from ..screen import emit, notify
from .common import Plot

Word = Annotated[Optional[str], typer.Argument(metavar="WORD", help="Only rows that contain this word.")]


def catalogue(word: Word = None, plot: Plot = None, json: Json = False) -> None:
    """Published tokenizers with L, V, bits and reported quality; their bits against the words that TokBench
    still reads after them."""
    from ...information import catalogue as published

    if plot:
        from ...pages import budget as page

        page.check(plot)
    rows, text = published.matching(published.tokenizers(), word), published.text_survival()
    if plot:
        page.survival(plot, text)
    if json:
        emit({"tokenizers": rows, "tokbench": asdict(text), "plot": plot and str(plot)})
        return
    _table(
        rows,
        {
            "name": "name",
            "side": "px",
            "length": "L",
            "vocabulary": "V",
            "bits": "bits",
            "bits_per_pixel": "bits/px",
            "psnr": "PSNR",
            "rfid": "rFID",
            "test": "on",
            "read": "read",
            "checkpoint": "checkpoint",
            "source": "source",
        },
    )
    typer.echo(
        f"TokBench, 256 px: bits and the words still read have a rank correlation of {text.all.spearman:.3f} "
        f"over {counted(text.all.tokenizers, 'tokenizer')}; {text.certain.spearman:.3f} over the "
        f"{text.certain.tokenizers} whose variant it names. Smaller pictures alone keep {text.resize:.0f} %."
    )
    notify(
        "PSNR and rFID come from different protocols: never rank across sources; left out of TokBench: "
        "FlexTok, TokenFlow (far below the others), UniTok, whose L or V was read nowhere"
        + (f"; drawn: {plot}" if plot else "")
    )


def anchors(word: Word = None, json: Json = False) -> None:
    """Bits a byte of pictures, as published for models and codecs, with sources. All but the assumptions are
    upper bounds of H."""
    from ...information import catalogue as published

    rows = published.matching(published.rows("anchors"), word)
    if json:
        emit({"anchors": rows})
        return
    _table(
        rows,
        {
            "name": "name",
            "bits_per_byte": "bits/byte",
            "data": "data",
            "release": "release",
            "year": "year",
            "method": "method",
            "kind": "kind",
            "read": "read",
            "source": "source",
            "note": "",
        },
    )
    notify(
        "two releases of ImageNet-32 and -64 exist and may not be compared; of a spread the upper end is "
        "shown (low: --json); read: V in the source, S in a second source"
    )


WORDS = {"name", "data", "release", "method", "kind", "read", "source", "note", "test", "checkpoint"}


def _table(rows: list[dict], columns: dict[str, str]) -> None:
    """Print rows. columns: keys of a row, with their headings."""
    cells = [[tables.number(row.get(key), partial(_cell, key)) for key in columns] for row in rows]
    numbers = [place for place, key in enumerate(columns) if key not in WORDS]
    tables.write(list(columns.values()), cells, numbers)


def _cell(key: str, value: Union[str, float]) -> str:
    if key == "vocabulary" and value >= 10**9:
        return f"2^{value.bit_length() - 1}"
    if key in ("year", "side") or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if key == "bits" else f"{value:.4g}"
