"""The parts of `rawmm entropy-budget` that look at data: pictures, codecs and models."""

import time
from pathlib import Path

import typer

from .common import emit, notify, printable, use_cpu


def progress(total: int, every: float = 10.0, what: str = "pictures"):
    """-> told(done): a line now and then of how far the work is."""
    said = time.monotonic()

    def told(done: int) -> None:
        nonlocal said
        if time.monotonic() - said > every and 0 < done < total:
            said = time.monotonic()
            notify(f"{done:,} of {total:,} {what}")

    return told


def find(paths: list[Path], data_dir: Path, limit: int | None) -> list[tuple]:
    """The pictures that are named, at most `limit` of them, where there is one."""
    from ..data import pictures

    found = pictures.find(paths, data_dir)
    if limit and len(found) > limit:
        notify(f"the first {limit:,} of {len(found):,} pictures; more with --limit")
    return found[:limit]


def images(found: list[tuple], size: int) -> dict:
    """What the pictures hold at most."""
    from ..information import picture_bits as budget_data

    result = budget_data.of_images(found, size, progress(len(found)))
    _left_out(result["skipped"])
    _missing(result["own"]["rows"])
    return result


def _missing(rows: list[dict]) -> None:
    """Says which codecs gave nothing."""
    from ..information import bounds

    if names := bounds.missing(rows):
        notify(
            f"{' and '.join(names)} left out: imagecodecs is not there, is broken, or gave no picture back; "
            f"{bounds.INSTALL}"
        )


def model(found: list[tuple], word: str, runs_dir: Path, device: str, steps: int, json: bool) -> None:
    """Bits a byte of a model, pictures and text, beside the codecs."""
    use_cpu()
    import torch

    from ..information import bounds, model_bits

    loaded = _loaded(word, runs_dir, device)
    skipped: list[dict] = []
    pictures, captions = model_bits.pictures_for(loaded, found, skipped)
    _left_out(skipped)
    images = torch.stack([one.pixels for one in pictures])
    began, said = time.perf_counter(), progress(len(images))
    result = {
        "model": loaded.name,
        "model_hash": loaded.hash,
        "pictures": len(images),
        "size": loaded.config.data.size,
        "image": model_bits.of_pictures(loaded, images, [""] * len(images), steps, told=said),
        "image_given_caption": None,
        "text": model_bits.of_texts(loaded, None, captions),
        "text_given_image": model_bits.of_texts(loaded, [one.pixels for one in pictures], captions),
    }
    if all(captions):
        result["image_given_caption"] = model_bits.of_pictures(
            loaded, images, captions, steps, told=said, ways=("bound",)
        )
    arrays = [one.pixels.permute(1, 2, 0).contiguous().numpy() for one in pictures]
    slow = images[:, 0].numel() <= bounds.SLOW
    entries = []
    for measured in bounds.over(bounds.measure, ((array, None, (slow, slow)) for array in arrays)):
        entries.append(measured["own"])
        said(len(entries))
    result["codecs"] = bounds.summed(entries)
    _missing(result["codecs"]["rows"])
    result |= {"skipped": skipped, "seconds": round(time.perf_counter() - began, 1)}
    emit(result) if json else _tell_model(result)


def _loaded(word: str, runs_dir: Path, device: str):
    """A model inside the package, the folder of one or of a run, or a run by its name."""
    from ..runs import models
    from ..system import machine

    folder = word in models.shipped() or (Path(word) / "config.yaml").is_file()
    where = models.find(runs_dir, None if folder else word, word if folder else None)
    return models.load(where, machine.device(device), notify)


def _left_out(skipped: list[dict]) -> None:
    for one in skipped[:5]:
        notify(f"left out {one['file']}: {one['reason']}")
    if len(skipped) > 5:
        notify(f"left out {len(skipped) - 5:,} more: --json names them")


def _tell_model(result: dict) -> None:
    """One table of both modalities, and what the numbers are worth."""
    from ..information.model_bits import WORDS
    from ..system.figures import counted

    image, given, rows = result["image"], result["image_given_caption"], []

    def add(name: str, found: dict | None, kind: str) -> None:
        if found:
            error = found["standard_error"]
            rows.append(
                [name, f"{found['bits_per_byte']:.4f}", "–" if error is None else f"{error:.4f}", kind]
            )

    add(f"pictures: {WORDS['bound']}", image["bound"], "upper bound")
    add(f"pictures: {WORDS['uniform']}", image["uniform"], "estimate")
    add(f"pictures: {WORDS['decoded']}", image["decoded"], "estimate")
    add("pictures given captions: variational bound", given and given["bound"], "upper bound")
    for row in result["codecs"]["rows"]:
        rows.append([f"pictures: {row['method']}", f"{row['mean']:.4f}", "", row["kind"]])
    if result["codecs"]["mosaic"]:
        rows.append(
            ["pictures: best as a mosaic", f"{result['codecs']['mosaic']['best']:.4f}", "", "upper bound"]
        )
    for name, found in (("text", result["text"]), ("text given pictures", result["text_given_image"])):
        add(f"{name}: next token", found, found and found["kind"])
    typer.echo(
        f"{result['model']}, {counted(result['pictures'], 'picture')} of {result['size']} x "
        f"{result['size']} px:"
    )
    table(["bits a byte", "mean", "± s.e.", ""], rows)
    if grey := result["codecs"]["grey"]:
        typer.echo(f"grey: {grey:,} of them; there a pixel is one byte, for the model as for the codecs")
    change, solver = image["difference"], image["solver_error"]
    if change["standard_error"] is not None:
        typer.echo(
            f"bound minus ODE from the same noise: {change['bits_per_byte']:.4f} ± "
            f"{change['standard_error']:.4f}"
        )
    typer.echo(
        f"bound and its ODE begin at t = {image['begin']:g} with a decoder {image['width']:.3g} times as "
        f"wide as the "
        f"noise; the other ODE at t = {image['uniform_begin']:g}. {image['steps']} steps; half of them "
        f"change these by "
        f"{solver['uniform']:.4f} and {solver['decoded']:.4f}. It took {result['seconds']:.0f} s."
    )


def audit(found: list[tuple], word: str, runs_dir: Path, device: str, json: bool) -> None:
    """The input path, bit for bit."""
    use_cpu()
    from ..information import audit as checking
    from ..system.figures import counted

    result = checking.audit(_loaded(word, runs_dir, device), found)
    _left_out(result["skipped"])
    if json:
        emit(result)
        return
    pictures, sizes = counted(result["pictures"], "picture"), counted(len(result["sizes"]), "size")
    typer.echo(
        f"lossless: {pictures} of {sizes}, {result['values']:,} values, and {result['made']} made "
        "ones of every mode came out of the model's input bit for bit"
    )
    for name, what in (
        (
            "converted",
            "hold more than 8-bit RGB (16 bits, alpha, CMYK), were made that when read, and are exact "
            "from there on",
        ),
        ("not_admitted", "cannot enter as they are (--json names them)"),
    ):
        if result[name]:
            typer.echo(f"{len(result[name]):,} {what}")
    layer = result["first_layer"]
    typer.echo(
        f"the first layer keeps {layer['rank']:,} of the {layer['values']:,} values of a patch apart (rank)"
    )


def codec(found: list[tuple], word: str, size: int | None, runs_dir: Path, device: str, json: bool) -> None:
    """Bits of a tokenizer's codes, beside raw pixels."""
    use_cpu()
    from ..reconstruction import choices as codec_spec
    from ..reconstruction import code_bits
    from ..runs import models
    from ..system import machine
    from ..system.errors import ConfigError

    allowed = "a run that trained a tokenizer, hf:OWNER/NAME, python:MODULE:FACTORY"
    if word.split("@")[0] in ("raw", "ode", "resize", "jpeg", "webp", "avif"):
        raise ConfigError(f"--codec {word} has no codes whose bits could be counted; allowed: {allowed}")
    if not word.startswith(("hf:", "python:")):
        if word in models.shipped() and not (runs_dir / word).exists():
            raise ConfigError(
                f"--codec {word} is a model that draws and reads, not a tokenizer; allowed: {allowed}"
            )
        codec_spec.run_of(word, runs_dir, allowed, ())
    choice = codec_spec.choices([word], runs_dir, machine.device(device), None, [], warn=notify)[0]
    skipped: list[dict] = []
    learned = progress(code_bits.STEPS, what="steps of a model over the codes")
    result = {
        **code_bits.of_codec(choice, found, size, skipped, progress(len(found)), learned),
        "skipped": skipped,
    }
    _left_out(skipped)
    _missing(result["bounds"])
    emit(result) if json else _tell_codec(result)


def _tell_codec(result: dict) -> None:
    from ..system.figures import counted, short

    def cells(row: dict) -> list[str]:
        bits = [row["nominal_bits"], row["used_bits"], row["conditional_bits"]]
        codes = f"{short(row['perplexity'])}, {short(row['dead_codes'])}" if "perplexity" in row else "–"
        return [
            row["codec"],
            short(row["tokens"]),
            short(row["vocabulary"]),
            *("–" if one is None else short(one) for one in bits),
            codes,
            f"{row['share']:.2%}",
            f"{row['exact_rate']:.1%}",
            "exact" if row["psnr"] is None else f"{row['psnr']:.2f}",
        ]

    row = result["rows"][0]
    typer.echo(f"{counted(result['pictures'], 'picture')}; bits a picture:")
    table(
        [
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
        ],
        [cells(one) for one in result["rows"]],
    )
    best = f"{result['best_bound_bits']:,.0f} bits on average, by {result['best_bound_by']}"
    typer.echo(
        f"raw: used is order-0 entropy, conditional an upper bound of H ({best}). "
        "Bits of codes are not bits of pixels: a code says at most so many bits of its picture."
    )
    if row["conditional_missing"]:
        typer.echo(f"conditional bits are left out: {row['conditional_missing']}")
    if not row["enough_codes"]:
        typer.echo("used bits are a guess: fewer than 10 codes for each entry of the vocabulary")


def tell_images(result: dict) -> None:
    """A table for each scale."""
    from ..system.figures import counted

    own = "at its own size" if result["own"]["pictures"] == 1 else "at their own sizes"
    for scale, name in (("own", own), ("sized", f"at {result['size']} x {result['size']} px")):
        found = result[scale]
        if scale == "own" and result["sized"] and found["rows"] == result["sized"]["rows"]:
            continue  # all are of that size
        if found is None:
            if result["size"]:
                typer.echo(f"no picture is as large as {result['size']} x {result['size']} px")
            continue
        grey = f", {found['grey']:,} of them grey (one channel)" if found["grey"] else ""
        typer.echo(f"{counted(found['pictures'], 'picture')} {name}{grey}; bits a byte:")
        rows = [*found["rows"], {"method": "best", "kind": "upper bound", **found["best"]}]
        table(
            ["", "mean", "p05", "median", "p95", ""],
            [
                [row["method"], *(f"{row[key]:.3f}" for key in ("mean", "p05", "median", "p95")), row["kind"]]
                for row in rows
            ],
        )
        if found["mosaic"]:
            listed = ", ".join(
                f"{name} {value:.3f}" for name, value in found["mosaic"]["bits_per_byte"].items()
            )
            files = counted(found["mosaic"]["files"], "file")
            typer.echo(f"  as mosaics, {found['mosaic']['pictures']:,} small pictures in {files}: {listed}")


def table(heads: list[str], rows: list[list[str]]) -> None:
    """Rows on stdout; all but the first column to the right."""
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None, header_style="bold", padding=(0, 1))
    for n, head in enumerate(heads):
        made.add_column(head, justify="left" if n == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*map(printable, row))
    console = Console(highlight=False, markup=False)
    console.width = console.width if console.is_terminal else 160
    console.print(made)
