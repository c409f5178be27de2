"""`rawmm entropy-budget model`: bits a byte of pictures and captions under a model, beside the codecs."""

from typing import TYPE_CHECKING, Annotated

import typer

from ...system.threads import use_cpu
from .. import tables
from ..common import DATA, RUNS, DataDir, Device, Json, RunsDir
from ..screen import emit, progress
from .common import MODEL, STEPS, Limit, Paths, RunOrModel, find, loaded, note_missing, note_skipped

if TYPE_CHECKING:
    from ...information.model_bits import ModelBits


def model(
    run: RunOrModel,
    paths: Paths,
    steps: Annotated[
        int, typer.Option("--steps", min=2, max=10_000, help="Steps of the ODE, four evaluations each.")
    ] = STEPS,
    limit: Limit = MODEL,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Bits a byte of pictures and of their captions under a model, beside lossless codecs."""
    locations = find(paths, data_dir, limit)
    use_cpu()
    from ...information import model_bits

    model = loaded(run, runs_dir, device)
    skipped = []
    pictures, captions = model_bits.pictures_for(model, locations, skipped)
    note_skipped(skipped)
    result = model_bits.measure(model, pictures, captions, skipped, steps, progress(len(pictures)))
    note_missing(result.codecs.rows)
    emit(model_bits.as_json(result)) if json else show(result)


def show(result: "ModelBits") -> None:
    """Print one table for pictures and text, and how far its numbers can be trusted."""
    from ...system.figures import counted

    image, codecs = result.image, result.codecs
    pictures = counted(result.pictures, "picture")
    typer.echo(f"{result.model}, {pictures} of {result.size} x {result.size} px:")
    tables.write(["bits a byte", "mean", "± s.e.", ""], _rows(result), numbers=(1, 2))
    if codecs.grey:
        typer.echo(
            f"grey: {codecs.grey:,} of them; there a pixel is one byte, for the model as for the codecs"
        )
    if image.exact:
        typer.echo(f"exact: each value of a pixel given those before it. It took {result.seconds:.0f} s.")
        return
    if image.density:
        typer.echo(
            f"exact density of values with uniform noise within their levels. It took {result.seconds:.0f} s."
        )
        return
    if image.begin is None:
        typer.echo(f"upper bound: the mean over orders of saying codes. It took {result.seconds:.0f} s.")
        return
    change = image.difference
    if change.standard_error is not None:
        typer.echo(
            f"bound minus ODE from the same noise: {change.bits_per_byte:.4f} ± {change.standard_error:.4f}"
        )
    uniform, decoded = image.solver_error["uniform"], image.solver_error["decoded"]
    typer.echo(
        f"bound and its ODE begin at t = {image.begin:g} with a decoder {image.width:.3g} times as wide as "
        f"the noise; the other ODE at t = {image.uniform_begin:g}. {counted(image.steps, 'step')}; half "
        "of them change "
        f"these by {uniform:.4f} and {decoded:.4f}. It took {result.seconds:.0f} s."
    )


def _rows(result: "ModelBits") -> list[list[str]]:
    image, behind, text = result.image, result.image_given_caption, result.text
    figures = [
        ("pictures: next value", image.exact, "exact"),
        ("pictures: density with uniform noise", image.density, "upper bound"),
        ("pictures: variational bound", image.bound, "upper bound"),
        ("pictures: ODE, uniform noise", image.uniform, "estimate"),
        ("pictures: ODE, the bound's noise", image.decoded, "estimate"),
        ("pictures given captions: next value", behind and behind.exact, "exact"),
        ("pictures given captions: density with uniform noise", behind and behind.density, "upper bound"),
        ("pictures given captions: variational bound", behind and behind.bound, "upper bound"),
    ]
    codecs = [[f"pictures: {row.method}", f"{row.mean:.4f}", "", row.kind] for row in result.codecs.rows]
    if mosaic := result.codecs.mosaic:
        codecs.append(["pictures: best as a mosaic", f"{mosaic.best:.4f}", "", "upper bound"])
    texts = [
        (f"{name}: next token", bits, bits and bits.kind)
        for name, bits in (("text", text), ("text given pictures", result.text_given_image))
    ]
    return [*_cells(figures), *codecs, *_cells(texts)]


def _cells(figures: list[tuple]) -> list[list[str]]:
    """Rows of the figures that are not None: name, mean, standard error, kind."""
    return [
        [
            name,
            f"{figure.bits_per_byte:.4f}",
            tables.number(figure.standard_error, "{:.4f}".format),
            kind,
        ]
        for name, figure, kind in figures
        if figure
    ]
