"""`rawmm entropy-budget` without a sub-command: L log2 V >= H, solved, printed and drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..screen import emit, notify

if TYPE_CHECKING:
    from ...information.budget import Budget, Need
    from ...information.picture_bits import Pictures


@dataclass(frozen=True)
class Origin:
    """Options that determine H, as they were typed."""

    bits: str | None = None
    size: str | None = None
    rate: str | None = None
    anchor: str | None = None


def run(length: str | None, vocabulary: str | None, origin: Origin, plot: Path | None, json: bool) -> None:
    """Solve the formula, draw and print it."""
    from ...information import budget

    if plot:
        check_plot(plot)
    need = needed(origin)
    known = numbers(length, vocabulary)
    result = budget.solve(*known, need)
    if plot:
        draw(plot, result, known)
    emit(budget.as_json(result)) if json else show(result, plot)


def check_plot(plot: Path) -> None:
    """Raise ConfigError where a plot could not be written."""
    from ...pages import budget as page

    page.check(plot)


def numbers(length: str | None, vocabulary: str | None) -> tuple[int | None, int | None]:
    """L and V as integers. Raises ConfigError where they are not."""
    from ...information import budget
    from ...information.numerals import whole

    return (
        None if length is None else whole(length, "--L", 1, budget.MOST_LENGTH, "10^100"),
        None if vocabulary is None else whole(vocabulary, "--V", 2, budget.MOST_VOCABULARY, "2^4096"),
    )


def needed(origin: Origin) -> "Need":
    """H and its origin. Raises ConfigError where H is given twice or is not a number."""
    from ...information import budget, catalogue
    from ...information.numerals import fraction, sides
    from ...system.errors import ConfigError

    options = {"--H": origin.bits, "--bits-per-byte": origin.rate, "--anchor": origin.anchor}
    named = [name for name, value in options.items() if value is not None]
    if len(named) > 1 or (origin.bits is not None and origin.size is not None):
        both = " and ".join([*named, "--size"][:2])
        raise ConfigError(
            f"{both} both determine H; allowed: --H alone, or --size with one of --bits-per-byte and --anchor"
        )
    if origin.bits is not None:
        return budget.Need(fraction(origin.bits, "--H", budget.MOST_BITS, "up to 10^100"))
    pixels = sides(origin.size) if origin.size is not None else (budget.SIDE, budget.SIDE)
    if origin.rate is not None:
        rate = fraction(origin.rate, "--bits-per-byte", 8, "up to 8, the bits of a byte")
        row = {"name": "given", "bits_per_byte": budget.number(rate), "kind": "assumed"}
    else:
        row = catalogue.anchor("post" if origin.anchor is None else origin.anchor)
        rate = fraction(str(row["bits_per_byte"]), "bits_per_byte", 8, "up to 8")
    return budget.Need(rate * 3 * pixels[0] * pixels[1], row, rate, pixels)


def draw(
    plot: Path, result: "Budget", known: tuple[int | None, int | None], measured: "Pictures | None" = None
) -> None:
    """Plot log2 V against L. known: L and V as the user gave them; with both, their point is marked."""
    from ...information import budget, catalogue
    from ...pages import budget as page

    rate = float(result.need.rate or budget.RATE)
    if measured:
        rate = measured.summary.bound.bits_per_pixel / 3
    page.needed(
        plot,
        rate,
        result.need.sides,
        result.bits_needed,
        catalogue.tokenizers(),
        (result.length, result.log2_vocabulary) if result.length and result.log2_vocabulary else None,
        bound=result.need.bounded,
    )


def show(result: "Budget", plot: Path | None) -> None:
    """Print plain lines: importing rich for a table would be slow."""
    from ...information import catalogue
    from ...information.numerals import amount

    anchor, sides, bits = result.need.anchor, result.need.sides, amount(result.bits_needed)
    if anchor["name"] == "images":
        bits = amount(round(result.bits_needed))
        typer.echo(f"H <= {bits} bits a picture on average, by {anchor['by']}: an upper bound")
    elif sides:
        rate, sign = amount(float(result.need.rate)), "<=" if result.need.bounded else "="
        typer.echo(f"H {sign} {sides[1]} x {sides[0]} x 3 bytes x {rate} bits = {bits} bits")
    else:
        typer.echo(f"H = {bits} bits, as given")
    if "source" in anchor:
        release = f" ({anchor['release']} release)" if anchor.get("release") else ""
        of = f"{anchor['method']}, {anchor['data']}{release}"
        typer.echo(f"anchor {anchor['name']}: {of}; {catalogue.KINDS[anchor['kind']]}; {anchor['source']}")
    for line in result.says:
        typer.echo(line)
    if plot:
        notify(f"drawn: {plot}")
