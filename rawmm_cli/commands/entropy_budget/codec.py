"""`rawmm entropy-budget codec`: bits of a tokenizer's codes, beside raw pixels."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ...system.threads import use_cpu
from .. import tables
from ..common import DATA, RUNS, DataDir, Device, Json, RunsDir
from ..screen import emit, notify, progress
from .common import IMAGES, Limit, Paths, find, note_missing, note_skipped, square

if TYPE_CHECKING:
    from ...reconstruction.code_bits import CodecBits, Row

ALLOWED = "a run that trained a tokenizer, public:NAME, hf:OWNER/NAME, python:MODULE:FACTORY"
PIXELS = ("raw", "ode", "resize", "jpeg", "webp", "avif")  # codecs of `reconstruct` that have no codes


def codec(
    word: Annotated[str, typer.Argument(metavar="WORD", help=f"The tokenizer: {ALLOWED}.")],
    paths: Paths,
    size: Annotated[
        Optional[str],
        typer.Option(
            "--size", help="Crop pictures to squares and shrink them to this side. [default: own sizes]"
        ),
    ] = None,
    limit: Limit = IMAGES,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Bits of a tokenizer's codes (nominal, used, conditional) and how exactly it reconstructs pictures."""
    side = None if size is None else square(size)
    locations = find(paths, data_dir, limit)
    use_cpu()
    from ...reconstruction import code_bits, code_model
    from ...reconstruction.choices import choices
    from ...system import machine

    _check(word, runs_dir)
    choice = choices([word], runs_dir, machine.device(device), None, [], warn=notify)[0]
    learning = progress(code_model.STEPS, what="steps of a model over the codes")
    result = code_bits.measure(choice, locations, side, progress(len(locations)), learning)
    note_skipped(result.skipped)
    note_missing(result.bounds.rows)
    emit(code_bits.as_json(result)) if json else show(result)


def _check(word: str, runs_dir: Path) -> None:
    """Raise ConfigError where a word names no tokenizer."""
    from ...reconstruction.choices import EXTERNAL, run_of
    from ...runs import models
    from ...system.errors import ConfigError

    if word.split("@")[0] in PIXELS:
        raise ConfigError(f"codec {word} has no codes whose bits could be counted; allowed: {ALLOWED}")
    if word.startswith(EXTERNAL):
        return
    if word in models.shipped() and not (runs_dir / word).exists():
        raise ConfigError(
            f"codec {word} is a model that draws and reads, not a tokenizer; allowed: {ALLOWED}"
        )
    run_of(word, runs_dir, ALLOWED, ())


def show(result: "CodecBits") -> None:
    """Print a table, and how far its numbers can be trusted."""
    from ...system.figures import counted

    heads = [
        "",
        "tokens",
        "of",
        "nominal",
        "used",
        "conditional",
        "perplexity, dead",
        "of best bound",
        "exact",
        "PSNR",
    ]
    typer.echo(f"{counted(result.bounds.pictures, 'picture')}; bits a picture:")
    rows = [_cells(result.codec), _cells(result.raw)]
    tables.write(heads, rows, numbers=range(1, len(heads)))
    bound, codes = result.bounds.bound, result.codec.codes
    typer.echo(
        f"raw: used is order-0 entropy, conditional an upper bound of H ({bound.bits:,.0f} bits on average, "
        f"by {bound.by}). Bits of codes are not bits of pixels: they bound what codes can say of a picture."
    )
    if codes.conditional_missing:
        typer.echo(f"conditional bits are left out: {codes.conditional_missing}")
    if not codes.enough_codes:
        typer.echo("used bits are a rough estimate: fewer than 10 codes for each entry of the vocabulary")


def _cells(row: "Row") -> list[str]:
    from ...system.figures import short

    codes, bits = row.codes, (row.nominal_bits, row.used_bits, row.conditional_bits)
    return [
        row.codec,
        short(row.tokens),
        short(row.vocabulary),
        *(tables.number(one, short) for one in bits),
        f"{short(2**codes.entropy)}, {short(codes.dead_codes)}" if codes else tables.MISSING,
        f"{row.share:.2%}",
        f"{row.exact_rate:.1%}",
        f"{row.psnr:.2f}" if math.isfinite(row.psnr) else "exact",
    ]
