"""`rawmm reconstruct`: pictures through codecs and back, side by side, and what codecs lose."""

from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.errors import ConfigError, Stopped
from ..system.figures import counted
from ..system.threads import use_cpu
from . import tables
from .common import DATA, RUNS, DataDir, Device, Json, Model, Run, RunsDir
from .screen import emit, notify, printable, steady

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..data.pictures import Location, Skipped
    from ..metrics.mobilenet import MobileNetV2
    from ..reconstruction.choices import Choice
    from ..reconstruction.results import Comparison


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
        typer.Option("--suite", help="public: published tokenizers, cached or fetched. list: what they are."),
    ] = None,
    accept_licence: Annotated[
        Optional[list[str]],
        typer.Option("--accept-licence", help="Licence whose terms you accept (--suite list). May repeat."),
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
    size: Annotated[
        Optional[int],
        typer.Option(
            min=8,
            max=16_384,
            help="Shrink pictures whose longer side is larger to this many pixels; nothing is cropped. "
            "[default: as they are]",
        ),
    ] = None,
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

    Where sides do not fit a codec, pictures are padded before and cropped after.

    Ctrl-C ends with a page of what is done; the same command goes on, and does nothing twice."""
    from ..reconstruction import suite as suites

    if suite == "list":
        return _list(json)
    words = suites.words(codec or [], suite)
    use_cpu()
    from functools import cache

    from ..data import pictures
    from ..reconstruction import choices, files, results
    from ..reconstruction.ocr import INSTALL, choose
    from ..runs import models, public
    from ..system import machine
    from ..system.distributed import ALONE
    from ..training.signals import signals

    if not paths:
        raise ConfigError("no pictures are given; name files, folders or prepared sets")
    for word in words:
        choices.check(word, words)
    words = public.prepare(words, accept_licence or [], notify, suite=suite is not None)
    engine, on = choose(ocr), machine.device(device)
    if engine is None and ocr == "auto":
        notify(f"no OCR engine is installed: text survival is left out; {', or '.join(INSTALL.values())}")
    locations, notes = pictures.first(paths, data_dir, limit or (64 if "ode" in words else 1000), size)
    if report:
        files.check_report(report)
        out = out or report.with_name(f"{report.stem}_files")
    if out:
        files.check_out(out, locations)
    loaded = cache(lambda: models.load(models.find(runs_dir, run, model), on, notify))
    all_steps, named = sorted(set(steps or [10, 30, 100])), bool(run or model)

    def opened() -> "list[Choice]":
        return choices.choices(words, runs_dir, on, loaded, all_steps, named, notify)

    known = choices.known(words, runs_dir) if out and not named else None
    task = Task(locations, notes, known, opened, _network(features, locations), engine, size, on.type)
    with signals(ALONE) as caught:
        result = _run(task, out, lambda: bool(caught.arrived))
    result = replace(result, engine=engine, out=out and str(out), report=report and str(report))
    if out and result.each:
        _write(result, out, report, show)
    _note_skipped(result.skipped, out)
    if result.each:
        emit(results.as_json(result, each=False) | suites.published(result.rows)) if json else _show(result)
    if result.missing:
        raise _stopped(result, caught.arrived)


@dataclass(frozen=True)
class Task:
    """What to reconstruct. notes: which pictures these are. known: choices that are not loaded, with keys, or
    None. opened: loads the choices. device: its type."""

    locations: "list[Location]"
    notes: tuple[str, ...]
    known: "list[Choice] | None"
    opened: "Callable[[], list[Choice]]"
    network: "MobileNetV2 | None"
    engine: str | None
    size: int | None
    device: str


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


def _run(task: Task, out: Path | None, stop: "Callable[[], bool]") -> "Comparison":
    """Reconstruct what is not kept in `out`, with progress. stop: whether a signal came."""
    from contextlib import nullcontext

    from ..reconstruction import ocr, reconstruct
    from ..reconstruction.kept import Kept

    hashes = reconstruct.digests(task.locations) if out else None
    features = task.network and task.network.name
    settings = {"ocr": task.engine, "size": task.size, "device": task.device, "features": features}

    def keeping(chosen: "list[Choice]") -> Kept:
        return Kept(out, {one.word: one.key() for one in chosen}, settings)

    chosen, kept = task.known, keeping(task.known) if task.known else None
    each = reconstruct.recalled(task.locations, chosen, hashes, kept) if kept else None
    whole = each is not None and reconstruct.complete(each, chosen)
    if not whole:
        chosen = task.opened()
        if out and not kept:
            kept = keeping(chosen)
            each = reconstruct.recalled(task.locations, chosen, hashes, kept)
        for line in task.notes:
            notify(line)
        if task.engine:
            times = (len(chosen) + 1) * len(task.locations)
            notify(f"{task.engine} reads text up to {times:,} times; --ocr none is faster")
    reader = ocr.Reader(task.engine) if task.engine and not whole else nullcontext(task.engine and str)
    with reader as read, steady(len(task.locations), "pictures") as progress:
        plan = reconstruct.Plan(out, read, task.network, task.size, kept, progress, stop)
        result = reconstruct.run(task.locations, chosen, plan, each)
    return replace(result, notes=task.notes)


def _stopped(result: "Comparison", number: int) -> Stopped:
    """The error after a signal. number: of the signal."""
    done = len(result.each)
    page = "; the page shows them" if result.report and done else ""
    after = (
        "the same command goes on" if result.out else "with --out or --report the same command would go on"
    )
    return Stopped(
        f"stopped by {Signals(number).name} with {done:,} of {counted(done + result.missing, 'picture')} "
        f"through every codec{page}; {after}",
        number,
    )


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


def _show(result: "Comparison") -> None:
    """Print a table of the columns that have a number, reported figures and the findings."""
    from ..reconstruction import suite, table

    heads, cells, numbers = table.measured(result.rows)
    tables.write(heads, cells, numbers=numbers)
    if reported := suite.beside(result.rows):
        typer.echo("Reported on other pictures, each by its own protocol:")
        tables.write(*reported[:2], numbers=reported[2])
    for line in result.findings:
        typer.echo(printable(line))
    for name, path in (("report", result.report), ("files", result.out)):
        if path:
            notify(f"{name}: {path}")
