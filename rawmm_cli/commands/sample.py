"""`rawmm sample`: continue a prompt; where the model opens a picture, draw it."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..config.choices import GRIDS, ORDERS, POSITIONS, SOLVERS, TUNED
from ..system.activity import doing
from .common import MOST_SEED, RUNS, Device, Json, Model, Run, RunsDir, load_model, writable_folder
from .samples import PREVIEWS, Screen
from .screen import emit, notify

if TYPE_CHECKING:
    from ..runs.models import Loaded
    from ..sampling.request import Request

DRAW, WRITE, SHOW = "Drawing", "Writing", "Output"


def sample(
    prompt: Annotated[
        str, typer.Argument(help="Text to continue; may be empty. {image:FILE} is a picture to read.")
    ] = "",
    run: Run = None,
    model: Model = None,
    image: Annotated[
        Optional[list[Path]], typer.Option("--image", help="Picture to read before the prompt; may repeat.")
    ] = None,
    task: Annotated[
        str, typer.Option(help="continue; or caption: read the pictures and write greedily.")
    ] = "continue",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Samples, each with a seed of its own.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same samples.")
    ] = 0,
    steps: Annotated[
        Optional[int],
        typer.Option(
            min=1, max=1000, help="Denoising steps. [default: the model's, 10]", rich_help_panel=DRAW
        ),
    ] = None,
    guidance: Annotated[
        Optional[float],
        typer.Option(
            min=0,
            help="Classifier-free guidance; 1: none. [default: the model's]",
            rich_help_panel=DRAW,
        ),
    ] = None,
    rescale: Annotated[
        Optional[float],
        typer.Option(
            min=0, max=1, help="Guidance rescale: 0 none, 1 restores the contrast.", rich_help_panel=DRAW
        ),
    ] = None,
    solver: Annotated[
        Optional[str],
        typer.Option(help=f"{', '.join(SOLVERS)}. [default: the model's]", rich_help_panel=DRAW),
    ] = None,
    grid: Annotated[
        Optional[str],
        typer.Option(
            help=f"Time grid: {', '.join((*GRIDS, TUNED))} (by `rawmm tune-sampler`).",
            rich_help_panel=DRAW,
        ),
    ] = None,
    order: Annotated[
        Optional[str],
        typer.Option(
            help=f"Order in which masked codes are drawn: {', '.join(ORDERS)}.", rich_help_panel=DRAW
        ),
    ] = None,
    order_temperature: Annotated[
        Optional[float],
        typer.Option(
            min=0, help="Noise of the order by confidence; 0: the most certain first.", rich_help_panel=DRAW
        ),
    ] = None,
    code_temperature: Annotated[
        Optional[str],
        typer.Option(
            metavar="NUMBER",
            help="Temperature of drawn codes; 0: the likeliest. One for each scale: 1,0.9,0.8.",
            rich_help_panel=DRAW,
        ),
    ] = None,
    code_top_k: Annotated[
        Optional[str],
        typer.Option(
            metavar="NUMBER", help="Draw codes from so many of the likeliest.", rich_help_panel=DRAW
        ),
    ] = None,
    code_top_p: Annotated[
        Optional[str],
        typer.Option(metavar="NUMBER", help="As --top-p, of drawn codes.", rich_help_panel=DRAW),
    ] = None,
    precision: Annotated[
        Optional[str],
        typer.Option(
            help="Precision while drawing: fp32, bf16, or auto (bf16 on a GPU). [default: the model's]",
            rich_help_panel=DRAW,
        ),
    ] = None,
    size: Annotated[
        Optional[str],
        typer.Option(
            help="Side of drawn pictures in pixels, 1 to 4096, or WIDTHxHEIGHT. [default: data.size]",
            rich_help_panel=DRAW,
        ),
    ] = None,
    positions: Annotated[
        Optional[str],
        typer.Option(
            help=f"How a picture of another --size takes the place of one as learned: {', '.join(POSITIONS)} "
            "(as if it had been learned). [default: linear]",
            rich_help_panel=DRAW,
        ),
    ] = None,
    inpaint: Annotated[
        Optional[Path],
        typer.Option(
            "--inpaint",
            metavar="MASK",
            help="Redraw --image where this mask is white.",
            rich_help_panel=DRAW,
        ),
    ] = None,
    strength: Annotated[
        Optional[float],
        typer.Option(
            help="Vary --image: from the model's least (head.clamp, more than 0) to 1, drawn from noise.",
            rich_help_panel=DRAW,
        ),
    ] = None,
    max_pictures: Annotated[
        Optional[int],
        typer.Option(
            min=0,
            max=100,
            help="Pictures to draw, at most. [default: 1; of a set of documents, as many as they have]",
            rich_help_panel=DRAW,
        ),
    ] = None,
    max_text: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=100_000,
            help="Tokens to write, at most. [default: the model's]",
            rich_help_panel=WRITE,
        ),
    ] = None,
    temperature: Annotated[
        Optional[float],
        typer.Option(
            min=0,
            help="Temperature of text; 0: greedy. [default: 1; where pictures are read, 0]",
            rich_help_panel=WRITE,
        ),
    ] = None,
    top_p: Annotated[
        Optional[float],
        typer.Option(
            help="Nucleus sampling: only the likeliest tokens whose probabilities sum to this.",
            rich_help_panel=WRITE,
        ),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="The same as --temperature 0.", rich_help_panel=WRITE)
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.", rich_help_panel=SHOW)] = Path(
        "samples"
    ),
    gif: Annotated[
        bool, typer.Option("--gif", help="Also write a GIF of the denoising.", rich_help_panel=SHOW)
    ] = False,
    preview: Annotated[
        str, typer.Option(help=f"Pictures in the terminal: {', '.join(PREVIEWS)}.", rich_help_panel=SHOW)
    ] = "auto",
    device: Device = "auto",
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Continue a prompt: the model writes text, draws the pictures it opens, and writes on."""
    from ..sampling.request import Request, chosen, numbers_of, sides

    settings = chosen(
        steps=steps,
        guidance=guidance,
        rescale=rescale,
        solver=solver,
        grid=grid,
        positions=positions,
        order=order,
        order_temperature=order_temperature,
        code_temperature=numbers_of(code_temperature, "--code-temperature"),
        code_top_k=numbers_of(code_top_k, "--code-top-k", whole=True),
        code_top_p=numbers_of(code_top_p, "--code-top-p"),
        size=None if size is None else sides(size, "--size"),
        precision=precision,
        max_pictures=max_pictures,
        max_text=max_text,
        temperature=0.0 if greedy else temperature,
        top_p=top_p,
    )
    request = Request((prompt,), tuple(image or ()), task, count, seed, settings, inpaint, strength)
    screen = Screen(preview, live=count == 1, may_draw=max_pictures != 0)
    started = time.perf_counter()
    loaded = load_model(runs_dir, run, model, device)
    start = time.perf_counter() - started
    if not (prompt.strip() or request.reads or json):
        offer(loaded)
    with nullcontext() if screen.live else doing("drawing"):  # text that is written live shows itself
        result = execute(loaded, request, out, gif, None if json else screen.say)
    total = time.perf_counter() - started
    result["seconds"] = {"start": round(start, 6), **result["seconds"], "total": round(total, 6)}
    if json:
        return emit(result)
    screen.rest(result)


def execute(
    loaded: "Loaded", request: "Request", out: Path, gif: bool = False, say: Callable | None = None
) -> dict:
    """Draw and write what the request says -> the object of `--json`; its seconds begin here."""
    from ..core import codes
    from ..sampling import foreign, session
    from ..system import machine

    ready = session.prepare(loaded, request)
    verdict = foreign.judge(loaded, request)
    for line in verdict.lines():
        notify(line)
    for line in codes.collapse(ready.settings.drawing):
        notify(line)
    device = loaded.model.words.weight.device
    if warning := machine.precision_warning(ready.settings.precision, device):
        notify(warning)
    writable_folder(out, "output folder")
    return ready.to_files(out, say, gif).to_json() | verdict.to_json()


def offer(loaded: "Loaded") -> None:
    """Print what the model has seen in a line, and prompts that work."""
    if not (known := loaded.seen):
        return
    names = ", ".join(one["name"] for one in known["sets"])
    notify(f"{loaded.name} has learned from {names}" + "; prompts that work:" * bool(known["prompts"]))
    for text in known["prompts"]:
        notify(f"  {text}")
