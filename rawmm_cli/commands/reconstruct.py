"""`rawmm reconstruct`: pictures through codecs and back, side by side, and what codecs lose."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.errors import ConfigError
from ..system.figures import short
from ..system.threads import use_cpu
from . import tables
from .common import DATA, RUNS, DataDir, Device, Json, Model, Run, RunsDir
from .screen import emit, notify, printable, progress

if TYPE_CHECKING:
    from ..data.pictures import Location, Skipped
    from ..metrics.mobilenet import MobileNetV2
    from ..reconstruction.choices import Choice
    from ..reconstruction.results import Comparison, Row


def reconstruct(
    paths: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="PATH...",
            help="Pictures, folders of pictures, or prepared sets (their held-out pictures).",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[
        Optional[list[str]],
        typer.Option(
            "--codec",
            help=(
                "May repeat. raw: patches of pixels. ode: the noise from which a model draws the picture. A "
                "run that trained a tokenizer, public:NAME (--suite list), hf:OWNER/NAME, "
                "python:MODULE:FACTORY. Controls: resize@N, jpeg@BITS, webp@BITS, avif@BITS, where BITS may "
                "be the word of another --codec. [default: ode]"
            ),
        ),
    ] = None,
    suite: Annotated[
        Optional[str],
        typer.Option(
            "--suite",
            help="public: all published tokenizers that are in the hub's cache or can be fetched, with their "
            "reported figures. list: what they are.",
        ),
    ] = None,
    accept_licence: Annotated[
        Optional[list[str]],
        typer.Option(
            "--accept-licence",
            help="Licence, or tokenizer, whose terms you accept; --suite list names them. May repeat.",
        ),
    ] = None,
    report: Annotated[
        Optional[Path],
        typer.Option(
            "--report",
            help="Write an HTML page, one file; the pictures go into NAME_files beside it, or into --out.",
        ),
    ] = None,
    out: Annotated[
        Optional[Path],
        typer.Option("--out", help="Folder for reconstructed pictures, error maps and results.json."),
    ] = None,
    ocr: Annotated[
        str,
        typer.Option("--ocr", help="OCR engine: auto (what is installed), tesseract, rapidocr, none."),
    ] = "auto",
    features: Annotated[
        str,
        typer.Option(
            "--features",
            help="Weights of MobileNetV2 for KID and feature distance: a file, auto (of its package, where "
            "it is installed), none.",
        ),
    ] = "auto",
    steps: Annotated[
        Optional[list[int]],
        typer.Option(
            "--steps", min=1, max=1000, help="ode: steps each way; may repeat. [default: 10, 30, 100]"
        ),
    ] = None,
    run: Run = None,
    model: Model = None,
    limit: Annotated[
        Optional[int],
        typer.Option(min=1, max=100_000, help="Pictures at most. [default: 1,000; with ode 64]"),
    ] = None,
    show: Annotated[int, typer.Option(min=1, max=200, help="Pictures on the page.")] = 24,
    data_dir: DataDir = DATA,
    device: Device = "auto",
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Encode and decode pictures with codecs, and show what each of them loses.

    Measured are bits, PSNR, SSIM, exact pixels and text.

    Where sides do not fit a codec, pictures are padded before and cropped after."""
    from ..reconstruction import suite as suites

    if suite == "list":
        return _list(json)
    words = suites.words(codec or [], suite)
    use_cpu()
    from dataclasses import replace
    from functools import cache

    from ..data import pictures
    from ..reconstruction import choices, files, results
    from ..reconstruction.ocr import INSTALL, choose
    from ..runs import models, public
    from ..system import machine

    if not paths:
        raise ConfigError(
            "no pictures are given; name files, folders or prepared sets: rawmm reconstruct PATH..."
        )
    for word in words:
        choices.check(word, words)
    words = public.prepare(words, accept_licence or [], notify, suite=suite is not None)
    engine, on = choose(ocr), machine.device(device)
    if engine is None and ocr == "auto":
        notify(f"no OCR engine is installed: text survival is left out; {', or '.join(INSTALL.values())}")
    locations = pictures.find(paths, data_dir)
    most = limit or (64 if "ode" in words else 1000)
    if len(locations) > most:
        notify(f"the first {most:,} of {len(locations):,} pictures; more with --limit")
        locations = locations[:most]
    if report:
        files.check_report(report)
        out = out or report.with_name(f"{report.stem}_files")
    if out:
        files.check_out(out, locations)
    network = _network(features, locations)
    loaded = cache(lambda: models.load(models.find(runs_dir, run, model), on, notify))
    all_steps = sorted(set(steps or [10, 30, 100]))
    chosen = choices.choices(words, runs_dir, on, loaded, all_steps, bool(run or model), notify)
    result = _run(locations, chosen, out, engine, network)
    result = replace(result, engine=engine, out=out and str(out), report=report and str(report))
    if out:
        _write(result, out, report, show)
    _note_skipped(result.skipped, out)
    emit(results.as_json(result, each=False) | suites.published(result.rows)) if json else _show(result)


def _list(json: bool) -> None:
    """Print the table of published tokenizers."""
    from ..reconstruction import suite

    if json:
        emit({"tokenizers": suite.rows()})
    else:
        heads, cells, numbers = suite.listing()
        tables.write(heads, cells, numbers=numbers)
        typer.echo(suite.LEGEND)


def _network(word: str, locations: "list[Location]") -> "MobileNetV2 | None":
    """MobileNetV2 for pictures of this size, or None where there are no weights. word: of --features."""
    from ..data import pictures
    from ..metrics import mobilenet

    path = None if word == "none" else mobilenet.weights() if word == "auto" else Path(word)
    if path is None:
        if word == "auto":
            notify(
                f"no weights of {mobilenet.NAME}: KID and feature distance are left out; {mobilenet.INSTALL}"
            )
        return None
    return mobilenet.load(path, mobilenet.SIDES[pictures.typical_side(locations) > mobilenet.SMALL])


def _run(
    locations: "list[Location]",
    chosen: "list[Choice]",
    out: Path | None,
    engine: str | None,
    network: "MobileNetV2 | None",
) -> "Comparison":
    """Reconstruct, with a line of progress every 15 seconds."""
    from contextlib import nullcontext

    from ..reconstruction import ocr, reconstruct

    if engine:
        times = (len(chosen) + 1) * len(locations)
        notify(f"{engine} reads text {times:,} times; --ocr none is faster")
    with ocr.Reader(engine) if engine else nullcontext() as reader:
        return reconstruct.run(locations, chosen, out, reader, network, progress(len(locations), every=15))


def _write(result: "Comparison", out: Path, report: Path | None, show: int) -> None:
    """Write results.json, and the page."""
    from .. import __version__
    from ..data import pictures
    from ..pages import reconstruct as page
    from ..reconstruction import results, suite
    from ..system import disk

    contents = {"rawmm": __version__, **results.as_json(result), **suite.published(result.rows)}
    with disk.room_for(f"the results in {out}"):
        disk.write_json(out / pictures.RESULTS, contents)
        if report:
            page.write(result, out, report, show)


def _note_skipped(skipped: "list[Skipped]", out: Path | None) -> None:
    """Name the first skipped files."""
    for one in skipped[:5]:
        notify(f"left out {one.file}: {one.reason}")
    if len(skipped) > 5:
        notify(f"left out {len(skipped) - 5:,} more" + (f": {out}/results.json" if out else ""))


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


def _show(result: "Comparison") -> None:
    """Print a table of the columns that have a number, reported figures and the findings."""
    from ..reconstruction import suite

    names = [name for name in COLUMNS if any(_filled(row, name) for row in result.rows)]
    heads = ["codec", *(COLUMNS[name][0] for name in names)]
    rows = [[row.name, *(_cell(row, name) for name in names)] for row in result.rows]
    tables.write(heads, rows, numbers=range(1, len(heads)))
    if reported := suite.beside(result.rows):
        typer.echo("Reported on other pictures, each by its own protocol:")
        tables.write(*reported[:2], numbers=reported[2])
    for line in result.findings:
        typer.echo(printable(line))
    for name, path in (("report", result.report), ("files", result.out)):
        if path:
            notify(f"{name}: {path}")


def _filled(row: "Row", name: str) -> bool:
    """Whether a cell makes its column worth showing: it has a finite number."""
    value = getattr(row, name)
    return value is not None and value != float("inf")


def _cell(row: "Row", name: str) -> str:
    value = getattr(row, name)
    return "exact" if value == float("inf") else tables.number(value, COLUMNS[name][1])
