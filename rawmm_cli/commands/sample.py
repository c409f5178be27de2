"""`rawmm sample`: continue a prompt; where the model opens a picture, draw it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import RUNS, Device, Json, RunsDir, emit, notify, printable, use_cpu, writable_folder


def sample(
    prompt: Annotated[str, typer.Argument(help="Text to continue; may be empty.")] = "",
    run: Annotated[Optional[str], typer.Option("--run", help="Name under the runs folder, or a path. "
                                                             "[default: the newest]")] = None,
    image: Annotated[Optional[list[Path]], typer.Option("--image", help="Picture to read before the prompt; may be repeated. "
                                                                        "The model then writes instead of drawing.")] = None,
    steps: Annotated[Optional[int], typer.Option(min=1, max=1000, help="Denoising steps. [default: the preset's, 10]")] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Samples, each with a seed of its own.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    guidance: Annotated[Optional[float], typer.Option(min=0, help="Classifier-free guidance, 1 is none. "
                                                                  "[default: the preset's]")] = None,
    solver: Annotated[Optional[str], typer.Option(help="euler, heun or dpm2m. [default: the preset's]")] = None,
    temperature: Annotated[Optional[float], typer.Option(min=0, help="Of written text, 0 is greedy. "
                                                                     "[default: 1; with --image 0]")] = None,
    max_pictures: Annotated[Optional[int], typer.Option(min=0, max=100, help="Pictures drawn at most in one sample. "
                                                                             "[default: 1; with --image 0]")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("samples"),
    device: Device = "auto", runs_dir: RunsDir = RUNS, json: Json = False,
):
    """Continue a prompt: the model writes text, draws the pictures it opens, and writes on."""
    given = {"steps": steps, "guidance": guidance, "solver": solver, "temperature": temperature,
             "max_pictures": max_pictures}
    result = execute(prompt, run, image or [], given, count, seed, out, device, runs_dir)
    if json:
        return emit(result)
    for entry in result["samples"]:
        for item in entry["items"]:
            typer.echo(printable(item["text"] if "text" in item else item["image"]))
    if result["sheet"]:
        notify(f"all together: {result['sheet']}")
    if not result["items"]:
        notify("the model wrote nothing")
    elif not image and not any("image" in item for item in result["items"]):
        notify("the model wrote no <image> after this prompt; try a caption like those it was trained on")


def execute(prompt, run, image, given, count, seed, out, device, runs_dir) -> dict:
    """The work of `sample` -> {"samples": [{"number", "items"}], "items": all of them, ...}.

    given: steps, guidance, solver, temperature and max_pictures where the person chose them, else None."""
    import math

    from ..core.config import nearest
    from ..core.errors import ConfigError
    from ..core.text_tokenizer import checked_prompt

    checked_prompt(prompt, limit=100_000)
    given = {name: value for name, value in given.items() if value is not None}
    solver, names = given.get("solver", "euler"), ["euler", "heun", "dpm2m", "ab2", "ancestral", "sde_dpm2m"]
    if solver not in names:
        raise ConfigError(f"unknown solver '{solver}'{nearest(solver, names)}; allowed: {', '.join(names)}")
    for name in ("guidance", "temperature"):
        if not math.isfinite(given.get(name, 0)):
            raise ConfigError(f"--{name} = {given[name]}; allowed: a number of at least 0")
    use_cpu()
    from ..core import build, checkpoint
    from ..core.evaluate import in_chunks
    from ..core.noise import key
    from ..core.preview import sampling

    folder = checkpoint.find_run(runs_dir, run)
    started = time.perf_counter()
    model, config, state = checkpoint.load_model(folder, build.device(device), notify)
    loaded = time.perf_counter()
    settings = replace(sampling(config), **{"max_pictures": 0 if image else 1, "temperature": 0.0 if image else 1.0} | given)
    document = _prompt(model, prompt, image, settings.context)
    writable_folder(out, "output folder")
    done = list(in_chunks(model, [document] * count, [key(seed, "sample", n) for n in range(count)], settings))
    facts = {"prompt": prompt, "seed": seed, "steps": settings.steps, "solver": settings.solver, "guidance": settings.guidance}
    samples, sheet = _write(model.tokenizer.decode, done, len(document), out, folder.name, facts)
    return {"run": folder.name, "documents": state["documents"], **facts, "temperature": settings.temperature,
            "samples": samples, "items": [item for entry in samples for item in entry["items"]], "sheet": sheet,
            "seconds": {"load": round(loaded - started, 3), "generate": round(time.perf_counter() - loaded, 3)}}


def _prompt(model, prompt: str, image: list[Path], context: int) -> list:
    """<bos>, the pictures to read, the prompt. Raises where a picture does not divide or the whole is too long."""
    import torch

    from ..core.document import Picture
    from ..core.errors import ConfigError, DataError
    from ..core.images import read_image
    from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE

    document, positions = [BOS], 1 + len(model.tokenizer.encode(prompt))
    for path in image:
        pixels = torch.from_numpy(read_image(path).transpose(2, 0, 1).copy())
        try:
            rows, columns = model.codec.grid(*pixels.shape[1:])
        except ValueError as error:
            raise DataError(f"{path}: {error}; crop or resize it, or read it with a run of another codec.patch") from None
        document += [IMAGE, Picture(pixels, False), END_IMAGE]
        positions += rows * columns + 2
    if positions > context:
        raise ConfigError(f"prompt and pictures need {positions:,} positions; allowed: {context:,} (sample.context); "
                          "shorten the prompt or give fewer or smaller pictures")
    return document + model.tokenizer.encode(prompt)


def _write(decode, documents, start: int, out: Path, run: str, facts: dict) -> tuple[list[dict], str | None]:
    """Save every drawn picture; more than one also as a contact sheet -> (samples, path of the sheet)."""
    from ..core import images

    text = {name: str(value) for name, value in facts.items()} | {"run": run}
    stem = f"{run}-{images.slug(facts['prompt']) or 'sample'}-{facts['seed']}"
    samples, drawn = [], []
    for number, document in enumerate(documents):
        items, words = [], []
        for item in [*document[start:], None]:
            if isinstance(item, int):
                words.append(item)
                continue
            if written := decode(words):
                items.append({"text": written})
            words = []
            if item is not None:
                path = out / f"{stem}-{number:03d}{f'-{len(items)}' if any('image' in i for i in items) else ''}.png"
                images.save_png(item.pixels, path, **text, number=str(number))
                items.append({"image": str(path), "size": list(item.pixels.shape[1:])})
                drawn.append(item.pixels)
        samples.append({"number": number, "items": items})
    if len(drawn) < 2:
        return samples, None
    sheet = out / f"{stem}-sheet.png"
    columns = max(1, round(len(drawn) ** 0.5))
    images.save_png(images.grid(drawn, columns, zoom=max(1, 64 // max(drawn[0].shape[1:]))), sheet, **text)
    return samples, str(sheet)
