"""`rawmm entropy-budget`: what a tokenizer must carry, what it carries, and what pictures hold."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import DATA, RUNS, DataDir, Device, Json, RunsDir, emit, notify, printable

group = typer.Typer(invoke_without_command=True, no_args_is_help=False)
Word = Annotated[Optional[str], typer.Argument(metavar="WORD", help="Only rows in which this word stands.")]
Plot = Annotated[Optional[Path], typer.Option("--plot", metavar="OUT.png", help="Draw it into this file.")]


@group.callback()
def entropy_budget(
    context: typer.Context,
    length: Annotated[
        Optional[str], typer.Option("--L", help="Tokens of a picture, as 256 or 16x16.")
    ] = None,
    vocabulary: Annotated[
        Optional[str], typer.Option("--V", help="Codes of a token, as 16384 or 2^14.")
    ] = None,
    bits: Annotated[
        Optional[str],
        typer.Option("--H", help="Bits that a picture holds. [default: from the size, at 3 bits a byte]"),
    ] = None,
    size: Annotated[
        Optional[str],
        typer.Option(
            "--size", help="Side of the pictures in pixels, or width x height, as 640x480. [default: 64]"
        ),
    ] = None,
    rate: Annotated[
        Optional[str],
        typer.Option("--bits-per-byte", help="Bits that a byte of a picture holds. [default: 3]"),
    ] = None,
    anchor: Annotated[
        Optional[str],
        typer.Option("--anchor", help="The same by name: `rawmm entropy-budget anchors` lists them."),
    ] = None,
    images: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--images",
            metavar="PATH",
            help=(
                "Pictures, folders, or prepared sets (their held-out pictures); may repeat. H is then what "
                "lossless codecs make of them "
                "at --size, an upper bound."
            ),
        ),
    ] = None,
    model: Annotated[
        Optional[str],
        typer.Option(
            "--model",
            metavar="RUN",
            help=(
                "With --images: bits a byte that this run, or model, needs for the pictures, and for their "
                "captions."
            ),
        ),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="With --model: send the pictures through its input and back instead, bit "
            "for bit; exit code 1 names the first difference.",
        ),
    ] = False,
    codec: Annotated[
        Optional[str],
        typer.Option(
            "--codec",
            metavar="WORD",
            help=(
                "With --images: bits of this tokenizer's codes, and what comes back; a run, hf:OWNER/NAME, "
                "python:MODULE:FACTORY."
            ),
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option("--steps", min=2, max=10_000, help="--model: steps of the ODE, four evaluations each."),
    ] = 16,
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1, max=1_000_000, help="Pictures at most. [default: 1,000; with --model 32; with --audit all]"
        ),
    ] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    device: Device = "auto",
    plot: Plot = None,
    json: Json = False,
):
    """Count the bits: a tokenizer of L tokens over V codes can be lossless only if L log2 V >= H.

    Any two of --L, --V, --H give the third. Without --H it is that of a picture of 64 x 64 x 3 bytes at 3
    bits a byte, or, with --images, what your own pictures hold at most."""
    if context.invoked_subcommand:
        _alone(context)
        return
    from ..information import budget

    given = {"--H": bits, "--bits-per-byte": rate, "--anchor": anchor}
    _together(context, images, model, codec, audit)
    if model or codec:
        from . import budget_data

        side = None if size is None else _square(budget.sides(size))
        found = budget_data.find(images, data_dir, limit or (None if audit else 32 if model else 1000))
        if codec:
            budget_data.codec(found, codec, side, runs_dir, device, json)
        else:
            (
                budget_data.audit(found, model, runs_dir, device, json)
                if audit
                else budget_data.model(found, model, runs_dir, device, steps, json)
            )
        return
    if plot:
        from ..pages import budget as budget_plot

        budget_plot.check(plot)
    if images:
        _no_other(given)
    found, pixels = _needed(given, size)
    known = [
        None if length is None else budget.whole(length, "--L", 1, budget.MOST_LENGTH, "10^100"),
        None if vocabulary is None else budget.whole(vocabulary, "--V", 2, budget.MOST_VOCABULARY, "2^4096"),
    ]
    seen = _seen(images, data_dir, limit or 1000, pixels) if images else None
    if seen:
        found, pixels = _measured(seen), pixels if seen["sized"] else None
    result = {**budget.solve(*known, found["bits"]), **_picture(found, pixels)}
    if budget.bounded(result):  # too little for an upper bound of H may be enough for H
        result["lossless_possible"] = result["lossless_possible"] or None
    result["says"] = budget.sentences(result)
    if seen:
        _judge(result, seen)
    if plot:
        _draw(plot, result, pixels, known)
    emit(result) if json else _tell(result, plot)


def _alone(context: typer.Context) -> None:
    """Raises ConfigError where options of the group stand before a command of it."""
    from ..system.errors import ConfigError

    given = [
        name
        for name, value in context.params.items()
        if value not in (None, False, [], ()) and context.get_parameter_source(name).name == "COMMANDLINE"
    ]
    if given:
        raise ConfigError(
            f"entropy-budget {context.invoked_subcommand} takes its options behind its name; see `rawmm "
            f"entropy-budget {context.invoked_subcommand} --help`"
        )


def _together(context: typer.Context, images, model, codec, audit: bool) -> None:
    """Raises ConfigError where an option is empty, does nothing beside the others, or one is missing."""
    from ..system.errors import ConfigError

    options = {one.name: one.opts[0] for one in context.command.params}
    given = {
        name: options[name]
        for name in context.params
        if context.get_parameter_source(name).name == "COMMANDLINE"
    }
    for name, option in given.items():
        if context.params[name] == "":
            raise ConfigError(f"{option} is empty; leave it out, or give it a value")
    if model and codec:
        raise ConfigError("--model and --codec are both given; allowed: one of them")
    if audit and not model:
        raise ConfigError(
            "--audit needs the model whose input is to be audited; add --model RUN, as --model portraits"
        )
    owner = (
        "--codec" if codec else "--audit" if audit else "--model" if model else "--images" if images else None
    )
    if owner and not images:
        raise ConfigError(f"{owner} needs pictures; add --images PATH")
    formula, looks = ["length", "vocabulary", "bits", "rate", "anchor", "plot"], ["runs_dir", "device"]
    useless = {
        "--codec": [*formula, "steps"],
        "--audit": [*formula, "size", "steps"],
        "--model": [*formula, "size"],
        "--images": [*looks, "steps"],
        None: [*looks, "steps", "limit", "data_dir"],
    }[owner]
    for name in useless:
        if name in given:
            raise ConfigError(
                f"{owner} takes no {given[name]}; see `rawmm entropy-budget --help`"
                if owner
                else f"{given[name]} does nothing without --images PATH; leave it out, or add them"
            )


def _needed(given: dict, size: str | None) -> tuple[dict, tuple[int, int] | None]:
    """H and where it comes from -> ({"bits", "rate", "anchor"}, (height, width) or None). Raises
    ConfigError."""
    from ..information import budget, catalogue
    from ..system.errors import ConfigError

    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1 or given["--H"] is not None and size is not None:
        both = " and ".join([*named, *["--size"] * (size is not None)][:2])
        raise ConfigError(
            f"{both} both say what H is; allowed: --H alone, or --size with one of --bits-per-byte and "
            f"--anchor"
        )
    if given["--H"] is not None:
        bits = budget.fraction(given["--H"], "--H", budget.MOST_BITS, "up to 10^100")
        return {
            "bits": bits,
            "rate": None,
            "anchor": {"name": "given", "bits_per_byte": None, "kind": "assumed"},
        }, None
    pixels = budget.sides(size) if size is not None else (budget.SIDE, budget.SIDE)
    if given["--bits-per-byte"] is not None:
        rate = budget.fraction(
            given["--bits-per-byte"], "--bits-per-byte", 8, "up to 8: more a byte cannot hold"
        )
        row = {"name": "given", "bits_per_byte": budget.number(rate), "kind": "assumed"}
    else:
        row = catalogue.anchor("post" if given["--anchor"] is None else given["--anchor"])
        rate = budget.fraction(str(row["bits_per_byte"]), "bits_per_byte", 8, "up to 8")
    return {"bits": rate * 3 * pixels[0] * pixels[1], "rate": rate, "anchor": row}, pixels


def _no_other(given: dict) -> None:
    from ..system.errors import ConfigError

    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"--images and {name} both say what H is; allowed: one of them")


def _seen(images: list[Path], data_dir: Path, limit: int, pixels: tuple[int, int]) -> dict:
    """What the user's pictures hold at most. Raises ConfigError where they cannot be made so, DataError where
    there are none."""
    from . import budget_data

    size = _square(pixels)
    return budget_data.images(budget_data.find(images, data_dir, limit), size)


def _square(pixels: tuple[int, int]) -> int:
    """The side. Raises ConfigError where there are two."""
    from ..system.errors import ConfigError

    if pixels[0] != pixels[1]:
        raise ConfigError(
            f"--size is {pixels[1]}x{pixels[0]}; with --images allowed: one number, as they are cropped to a "
            "square"
        )
    return pixels[0]


def _measured(seen: dict) -> dict:
    """H of the user's pictures: the least bound of their mean, at the tokenizer's size where any is so
    large."""
    from fractions import Fraction

    scale = seen["sized"] or seen["own"]
    row = {
        "name": "images",
        "bits_per_byte": scale["bound"]["bits_per_byte"],
        "by": scale["bound"]["by"],
        "kind": "codec",
        "pictures": scale["pictures"],
        "scale": "sized" if seen["sized"] else "own",
    }
    return {"bits": Fraction(scale["bound"]["bits"]), "rate": None, "anchor": row}


def _judge(result: dict, seen: dict) -> None:
    """The pictures, and how many of them the budget would carry, into the result."""
    from ..information import bounds

    scale = seen["sized"] or seen["own"]
    result["images"] = seen
    if result["capacity_bits"] is not None:
        result["says"] = result["says"][:1] + bounds.verdict(scale["each_best_bits"], result["capacity_bits"])
        result["lossless_possible"] = max(scale["each_best_bits"]) <= result["capacity_bits"] or None


def _picture(found: dict, pixels: tuple[int, int] | None) -> dict:
    """The part of the result that says where H comes from."""
    from ..information import budget

    shape = (
        {}
        if pixels is None
        else {"height": pixels[0], "width": pixels[1], "bytes": 3 * pixels[0] * pixels[1]}
    )
    return {
        "anchor": found["anchor"],
        "bits_per_byte": found["rate"] and budget.number(found["rate"]),
        "size": shape or None,
    }


def _draw(plot: Path, result: dict, pixels: tuple[int, int] | None, known: list) -> None:
    from ..information import budget, catalogue
    from ..pages import budget as budget_plot

    own = (
        (result["length"], result["log2_vocabulary"])
        if result["length"] and result["log2_vocabulary"]
        else None
    )
    seen = result.get("images")
    rate = result["bits_per_byte"] or float(budget.RATE)
    if seen:
        rate = (seen["sized"] or seen["own"])["bound"]["bits_per_pixel"] / 3
    budget_plot.needed(
        plot, rate, pixels, result["bits_needed"], catalogue.tokenizers(), own, bound=budget.bounded(result)
    )


def _tell(result: dict, plot: Path | None) -> None:
    """Plain lines: a table would load what makes this slow."""
    from ..information import budget, catalogue

    anchor, size = result["anchor"], result["size"]
    if "images" in result:
        from .budget_data import tell_images

        tell_images(result["images"])
        typer.echo(
            f"H <= {budget.amount(round(result['bits_needed']))} bits a picture on average, by "
            f"{anchor['by']}: an upper "
            "bound"
        )
    elif size:
        typer.echo(
            f"H {'<=' if budget.bounded(result) else '='} {size['width']} x {size['height']} x 3 bytes x "
            f"{budget.amount(result['bits_per_byte'])} bits = {budget.amount(result['bits_needed'])} bits"
        )
    else:
        typer.echo(f"H = {budget.amount(result['bits_needed'])} bits, as given")
    if "source" in anchor:
        of = f"{anchor['method']}, {anchor['data']}" + (
            f" ({anchor['release']} release)" if anchor.get("release") else ""
        )
        typer.echo(f"anchor {anchor['name']}: {of}; {catalogue.KINDS[anchor['kind']]}; {anchor['source']}")
    for line in result["says"]:
        typer.echo(line)
    if plot:
        notify(f"drawn: {plot}")


@group.command()
def anchors(word: Word = None, json: Json = False):
    """Bits a byte of pictures, as models and codecs measured it, with sources. All but assumptions are upper
    bounds of H."""
    from ..information import catalogue

    found = catalogue.matching(catalogue.rows("anchors"), word)
    if json:
        emit({"anchors": found})
        return
    _table(
        found,
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
        "shown (low: "
        "--json); read: V in the source, S in a second source"
    )


@group.command("catalogue")
def show_catalogue(word: Word = None, plot: Plot = None, json: Json = False):
    """Published tokenizers with L, V, bits and what they reported, and their bits against the words that
    TokBench still reads."""
    from ..information import catalogue

    if plot:
        from ..pages import budget as budget_plot

        budget_plot.check(plot)
    found, text = catalogue.matching(catalogue.tokenizers(), word), catalogue.text_survival()
    if plot:
        budget_plot.survival(plot, text)
    if json:
        emit({"tokenizers": found, "tokbench": text, "plot": plot and str(plot)})
        return
    _table(
        found,
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
    every, certain = text["all"], text["certain"]
    typer.echo(
        f"TokBench, 256 px: bits and the words still read have a rank correlation of "
        f"{every['spearman']:.3f} over "
        f"{every['tokenizers']} tokenizers; {certain['spearman']:.3f} over the {certain['tokenizers']} "
        f"whose variant "
        f"it names. Smaller pictures alone keep {text['resize']:.0f} %."
    )
    notify(
        "PSNR and rFID come from different protocols: never rank across sources; left out of TokBench: "
        "FlexTok, TokenFlow "
        "(far below the others), UniTok, whose L or V was read nowhere" + (f"; drawn: {plot}" if plot else "")
    )


def _table(rows: list[dict], columns: dict[str, str]) -> None:
    """Rows on stdout."""
    from rich.console import Console
    from rich.table import Table

    def cell(name: str, value) -> str:
        if value is None:
            return "–"
        if name == "vocabulary" and value >= 10**9:
            return f"2^{value.bit_length() - 1}"
        if name in ("year", "side") or isinstance(value, str):
            return printable(str(value))
        return (
            f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if name == "bits" else f"{value:.4g}"
        )

    table = Table(box=None, header_style="bold", padding=(0, 1))
    words = {"name", "data", "release", "method", "kind", "read", "source", "note", "test", "checkpoint"}
    for name, head in columns.items():
        table.add_column(
            head, justify="left" if name in words else "right", no_wrap=name in ("name", "bits_per_byte")
        )
    for row in rows:
        table.add_row(*(cell(name, row.get(name, "" if name == "note" else None)) for name in columns))
    console = Console(highlight=False, markup=False)
    console.width = console.width if console.is_terminal else 220
    console.print(table)
