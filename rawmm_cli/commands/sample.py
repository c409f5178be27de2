"""`rawmm sample`: continue a prompt; where the model opens a picture, draw it."""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import RUNS, Device, Json, Model, Run, RunsDir, emit, notify, printable, use_cpu, writable_folder

SOLVERS = ("euler", "heun", "dpm2m", "ab2", "ancestral", "sde_dpm2m")
GRIDS = ("uniform", "shifted", "quantiles", "tuned")
PRECISIONS = ("fp32", "bf16")
TASKS = ("continue", "caption")
PREVIEWS = ("auto", "none", "blocks", "kitty", "iterm", "sixel")
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
        str, typer.Option(help="continue, or caption: read the pictures and write, greedily.")
    ] = "continue",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Samples, each with a seed of its own.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    steps: Annotated[
        Optional[int],
        typer.Option(
            min=1, max=1000, help="Denoising steps. [default: the model's, 10]", rich_help_panel=DRAW
        ),
    ] = None,
    guidance: Annotated[
        Optional[float],
        typer.Option(
            min=0, help="Classifier-free guidance, 1 is none. [default: the model's]", rich_help_panel=DRAW
        ),
    ] = None,
    rescale: Annotated[
        Optional[float],
        typer.Option(
            min=0, max=1, help="Share by which guided pictures get back their contrast.", rich_help_panel=DRAW
        ),
    ] = None,
    solver: Annotated[
        Optional[str],
        typer.Option(help=f"{', '.join(SOLVERS)}. [default: the model's]", rich_help_panel=DRAW),
    ] = None,
    grid: Annotated[
        Optional[str],
        typer.Option(
            help=f"Times of the steps: {', '.join(GRIDS)} (by `rawmm tune-sampler`).", rich_help_panel=DRAW
        ),
    ] = None,
    precision: Annotated[
        Optional[str],
        typer.Option(help="Of the network while it draws: fp32, or bf16, faster.", rich_help_panel=DRAW),
    ] = None,
    size: Annotated[
        Optional[int],
        typer.Option(
            min=1, max=4096, help="Side of what is drawn. [default: as learned]", rich_help_panel=DRAW
        ),
    ] = None,
    inpaint: Annotated[
        Optional[Path],
        typer.Option(
            "--inpaint",
            metavar="MASK",
            help="Draw anew where this picture is white; --image is the picture that is painted in.",
            rich_help_panel=DRAW,
        ),
    ] = None,
    strength: Annotated[
        Optional[float],
        typer.Option(help="Vary --image: from 0, as it is, to 1, all anew.", rich_help_panel=DRAW),
    ] = None,
    max_pictures: Annotated[
        Optional[int],
        typer.Option(min=0, max=100, help="Pictures drawn at most. [default: 1]", rich_help_panel=DRAW),
    ] = None,
    max_text: Annotated[
        Optional[int],
        typer.Option(
            min=1, max=100_000, help="Tokens written at most. [default: the model's]", rich_help_panel=WRITE
        ),
    ] = None,
    temperature: Annotated[
        Optional[float],
        typer.Option(
            min=0, help="Of written text. [default: 1; where pictures are read, 0]", rich_help_panel=WRITE
        ),
    ] = None,
    top_p: Annotated[
        Optional[float],
        typer.Option(help="Write only the likeliest tokens, of this chance together.", rich_help_panel=WRITE),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Write the likeliest: temperature 0.", rich_help_panel=WRITE)
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.", rich_help_panel=SHOW)] = Path(
        "samples"
    ),
    gif: Annotated[
        bool, typer.Option("--gif", help="Also a GIF of the denoising.", rich_help_panel=SHOW)
    ] = False,
    preview: Annotated[
        str, typer.Option(help=f"In the terminal: {', '.join(PREVIEWS)}.", rich_help_panel=SHOW)
    ] = "auto",
    device: Device = "auto",
    runs_dir: RunsDir = RUNS,
    json: Json = False,
):
    """Continue a prompt: the model writes text, draws the pictures it opens, and writes on."""
    given = {
        "steps": steps,
        "guidance": guidance,
        "rescale": rescale,
        "solver": solver,
        "grid": grid,
        "size": size,
        "precision": precision,
        "max_pictures": max_pictures,
        "max_text": max_text,
        "temperature": 0.0 if greedy else temperature,
        "top_p": top_p,
    }
    request = Request(prompt, run, model, image or [], task, count, seed, given, inpaint, strength, out, gif)
    screen = Screen(preview, live=count == 1, may_draw=max_pictures != 0)
    result = execute(request, device, runs_dir, None if json else screen)
    if json:
        return emit(result)
    screen.rest(result)


class Request:
    """What is asked for. given: settings of `Sampling` that the person chose, else None. Raises ConfigError,
    before torch is imported, where options do not fit."""

    def __init__(
        self,
        prompt="",
        run=None,
        model=None,
        image=(),
        task="continue",
        count=1,
        seed=0,
        given=None,
        inpaint=None,
        strength=None,
        out=Path("samples"),
        gif=False,
    ):
        import math

        from ..config.explain import nearest
        from ..core.text_tokenizer import checked_prompt
        from ..system.errors import ConfigError

        self.prompt, self.run, self.model, self.image, self.task, self.count = (
            prompt,
            run,
            model,
            list(image),
            task,
            count,
        )
        self.seed, self.inpaint, self.strength, self.out, self.gif = seed, inpaint, strength, out, gif
        self.given = {name: value for name, value in (given or {}).items() if value is not None}
        checked_prompt(prompt, limit=100_000)
        for name, value, allowed in (
            ("solver", self.given.get("solver", "euler"), SOLVERS),
            ("task", task, TASKS),
            ("grid", self.given.get("grid", "uniform"), GRIDS),
            ("precision", self.given.get("precision", "fp32"), PRECISIONS),
        ):
            if value not in allowed:
                raise ConfigError(
                    f"unknown {name} '{value}'{nearest(value, allowed)}; allowed: {', '.join(allowed)}"
                )
        for name in ("guidance", "temperature", "rescale"):
            if not math.isfinite(self.given.get(name, 0)):
                raise ConfigError(f"--{name} = {self.given[name]}; allowed: a number of at least 0")
        if not 0 < self.given.get("top_p", 1) <= 1:
            raise ConfigError(f"--top-p = {self.given['top_p']}; allowed: more than 0, at most 1")
        if strength is not None and not 0 < strength <= 1:
            raise ConfigError(f"--strength = {strength}; allowed: more than 0, at most 1")
        if task == "caption" and not self.reads:
            raise ConfigError(
                "--task caption needs a picture to read; give --image FILE, or {image:FILE} in the prompt"
            )
        if self.paints and len(self.image) != 1:
            raise ConfigError(
                f"--inpaint and --strength work on one picture; given with --image: {len(self.image)}; give "
                f"one"
            )
        if self.paints and (task == "caption" or "size" in self.given):
            raise ConfigError(
                "--inpaint and --strength draw in the size of --image; leave out --task caption and --size"
            )

    @property
    def reads(self) -> bool:
        """Whether there are pictures to read."""
        return bool(self.image) or re.search(r"(?<!\{)\{image:[^{}]*\}", self.prompt) is not None

    @property
    def paints(self) -> bool:
        """Whether --image is drawn on, not read."""
        return self.inpaint is not None or self.strength is not None


def execute(request: Request, device: str, runs_dir: Path, screen=None) -> dict:
    """The work of `sample` -> {"samples": [{"number", "items"}], "items": all of them, ...}."""
    started = time.perf_counter()
    use_cpu()
    from ..data import images
    from ..runs import models
    from ..sampling import files as drawn
    from ..system import machine
    from ..system.seeds import key

    folder = models.find(runs_dir, request.run, request.model)
    loaded = models.load(folder, machine.device(device), notify)
    ready = time.perf_counter()
    settings = settings_of(request, loaded)
    if warning := machine.precision_warning(settings.precision, machine.device(device)):
        notify(warning)
    document, canvas, settings = _begin(request, loaded, settings)
    writable_folder(request.out, "output folder")
    watcher = drawn.Watcher() if request.gif else None
    keys = [key(request.seed, "sample", n) for n in range(request.count)]
    done = _documents(loaded.model, document, canvas, keys, settings, screen, watcher)
    generated = time.perf_counter()
    facts = {
        "prompt": request.prompt,
        "seed": request.seed,
        "steps": settings.steps,
        "solver": settings.solver,
        "grid": settings.grid if isinstance(settings.grid, str) else "tuned",
        "guidance": settings.guidance,
    }
    stem = (
        f"{loaded.name}-{images.slug(request.prompt) if request.prompt.strip() else 'sample'}-{request.seed}"
    )
    start = len(document) - (1 if canvas else 0)
    files = drawn.write(
        loaded.model.tokenizer,
        done,
        start,
        request.out,
        stem,
        facts | {"model": loaded.name, "model_hash": loaded.hash, "settings": _everything(settings, request)},
        watcher and watcher.all(),
    )
    ended = time.perf_counter()
    return {
        "model": loaded.name,
        "model_hash": loaded.hash,
        "documents": loaded.documents,
        **facts,
        "temperature": settings.temperature,
        "samples": files.samples,
        "items": [item for entry in files.samples for item in entry["items"]],
        "sheet": files.sheet,
        "gif": files.gif,
        "seconds": {
            name: round(after - before, 6)
            for name, before, after in (
                ("start", started, ready),
                ("generate", ready, generated),
                ("write", generated, ended),
                ("total", started, ended),
            )
        },
    }


def _everything(settings, request: Request) -> str:
    """All that a picture hangs on and the other facts do not say, as JSON."""
    import json
    from dataclasses import asdict

    inputs = {
        "images": list(map(str, request.image)),
        "inpaint": request.inpaint and str(request.inpaint),
        "strength": request.strength,
        "task": request.task,
    }
    return json.dumps(
        asdict(settings) | {name: value for name, value in inputs.items() if value}, sort_keys=True
    )


def settings_of(request: Request, loaded):
    """The model's own settings (`generate.Sampling`) with what the person chose over them."""
    from ..config import build
    from ..runs import models
    from ..system.errors import ConfigError

    given, reads = dict(request.given), request.reads
    usual, side = build.sampling(loaded.config), given.pop("size", None)
    defaults = {
        "temperature": 0.0 if reads or request.task == "caption" else 1.0,
        "max_pictures": 0 if request.task == "caption" else 1,
    }
    settings = replace(usual, **defaults | given)
    if side is not None and (side, side) != usual.size:
        patch = loaded.config.codec.patch
        try:
            loaded.model.codec.grid(side, side)
        except ValueError as error:
            raise ConfigError(f"--size {side}: {error}; choose a multiple of {patch}") from None
        check_room(loaded.model, (side, side), settings.context, f"--size {side}")
        settings = replace(settings, size=(side, side), learned=usual.size)
    return models.tuned(loaded, settings, request.given)


def _begin(request: Request, loaded, settings):
    """-> the document to go on from, what is drawn on, and the settings for it."""
    import torch

    from ..core.generate import Canvas
    from ..core.text_tokenizer import IMAGE
    from ..data.images import read_image
    from ..sampling import prompt
    from ..system.errors import ConfigError, DataError

    model, learned = loaded.model, loaded.config.data.size if loaded.config.data.stretch else None
    if not request.paints:
        return (
            prompt.document(model, request.prompt, request.image, settings.context, learned),
            None,
            settings,
        )
    pixels, mask = prompt.pixels(request.image[0], model), None
    if request.inpaint is not None:
        found = read_image(request.inpaint)
        if found.shape[:2] != tuple(pixels.shape[1:]):
            raise DataError(
                f"mask {request.inpaint} has {found.shape[1]}x{found.shape[0]} pixels and {request.image[0]} "
                f"{pixels.shape[2]}x{pixels.shape[1]}; allowed: the same; make the mask as large as the "
                f"picture"
            )
        mask = torch.from_numpy(found.mean(-1) >= 128)
        if not mask.any():
            raise DataError(
                f"mask {request.inpaint} is black all over: nothing would be drawn; make white what shall "
                f"be drawn"
            )
    size, strength = tuple(pixels.shape[1:]), 1.0 if request.strength is None else request.strength
    if strength < model.head.clamp:
        raise ConfigError(
            f"--strength = {strength:g}; allowed: {model.head.clamp:g} to 1; so little noise was hardly "
            f"trained on "
            "(head.clamp)"
        )
    settings = replace(settings, size=size, learned=settings.size if size != settings.size else None)
    rows, columns = model.codec.grid(*size)
    check_room(model, size, settings.context, f"--image {request.image[0]}")
    document = prompt.document(
        model, request.prompt, [], settings.context - rows * columns - 2
    )  # <image>, </image>
    return [*document, IMAGE], Canvas(pixels, mask, strength), settings


def check_room(model, size: tuple[int, int], context: int, what: str) -> None:
    """Raises ConfigError where a picture of (H, W) does not fit into the context."""
    import math

    from ..system.errors import ConfigError

    rows, columns = model.codec.grid(*size)
    if rows * columns + 3 > context:  # <bos>, <image>, </image>
        most = math.isqrt(context - 3) * model.codec.patch
        raise ConfigError(
            f"{what}: a picture of {size[1]}x{size[0]} pixels needs {rows * columns + 3:,} positions, and "
            f"the "
            f"context of this model is {context:,} (sample.context); allowed: as much as {most}x{most}"
        )


def _documents(model, document, canvas, keys: list[int], settings, screen, watcher) -> list:
    """The documents, whole."""
    from ..core.generate import CHUNK, draw, generate
    from ..core.text_tokenizer import END_IMAGE

    chunks = [keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK)]
    if canvas is not None:
        return [
            [*document, picture, END_IMAGE]
            for part in chunks
            for picture in draw(model, [document] * len(part), part, settings, watcher, canvas)
        ]
    told = screen and screen.begin(model.tokenizer)  # of one sample alone
    return [
        made
        for part in chunks
        for made in generate(model, [document] * len(part), part, settings, told, watcher)
    ]


class Screen:
    """What a person sees: text as it is written, pictures where the terminal can show them, then the names of
    the files."""

    def __init__(self, preview: str, live: bool, may_draw: bool = True):
        from ..config.explain import nearest
        from ..system.errors import ConfigError

        if preview not in PREVIEWS:
            raise ConfigError(
                f"unknown preview '{preview}'{nearest(preview, PREVIEWS)}; allowed: {', '.join(PREVIEWS)}"
            )
        self.preview, self.live, self.may_draw = preview, live, may_draw
        self.words, self.shown, self.column = [], "", 0

    def begin(self, tokenizer):
        """-> what `generate` tells of every token and picture."""
        self.decode = tokenizer.decode
        return self._told if self.live else None

    def _told(self, number: int, item) -> None:
        if not isinstance(item, int):
            self.words, self.shown = [], ""
            return
        self.words.append(item)
        text = self.decode(self.words)
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            self._say(printable(text)[len(printable(self.shown)) :])
            self.shown = text

    def _say(self, text: str) -> None:
        if text:
            typer.echo(text, nl=False)
            sys.stdout.flush()
            self.column = 0 if text.endswith("\n") else self.column + len(text)

    def rest(self, result: dict) -> None:
        """All that was not said yet."""
        if self.column:
            typer.echo()
        for entry in result["samples"]:
            for item in entry["items"]:
                if "image" in item:
                    self._picture(Path(item["image"]), single=len(result["samples"]) == 1)
                    typer.echo(printable(item["image"]))
                elif not self.live:
                    typer.echo(printable(item["text"]))
        if result["sheet"]:
            self._picture(Path(result["sheet"]), single=True)
            notify(f"all together: {result['sheet']}")
        if result["gif"]:
            notify(f"how they came about: {result['gif']}")
        if not result["items"]:
            notify("the model wrote nothing")
        elif self.may_draw and result["temperature"] and not any("image" in item for item in result["items"]):
            notify("the model wrote no <image> after this prompt; try a caption like those it was trained on")

    def _picture(self, path: Path, single: bool) -> None:
        """In the terminal, where stdout is one."""
        if self.preview == "none" or not single or self.preview == "auto" and not sys.stdout.isatty():
            return
        from ..data.images import read_image
        from ..pages.terminal import escapes, half_blocks, protocol

        pixels, kind = read_image(path), protocol() if self.preview == "auto" else self.preview
        if kind == "blocks":
            from rich.console import Console

            screen = Console(highlight=False, force_terminal=True)
            if (
                screen.color_system is None or screen.no_color
            ):  # TERM=dumb, NO_COLOR: blocks of one colour show nothing
                return None
            return screen.print(half_blocks(pixels, min(64, screen.width)))
        zoom = max(1, 256 // max(pixels.shape[:2]))
        typer.echo(escapes(pixels.repeat(zoom, 0).repeat(zoom, 1), kind))
