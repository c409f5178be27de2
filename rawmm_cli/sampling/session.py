"""Sessions: a loaded model answers a request. Every command that draws or writes goes through `run`.

    documents = run(loaded, Request(("a portrait of",), count=4))

The settings are the model's own, then those that `rawmm tune-sampler` stored for this number of steps, then
the request's. What a sample becomes depends on the seed and its number alone, not on how many are drawn
beside it."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import build
from ..config.choices import GRIDS, LISTS, TUNED
from ..config.together import check_lists
from ..core import generate
from ..core.document import Canvas, Document, Picture
from ..core.drawing import Sampling, draw, precision
from ..core.heads.masked import MaskedHead
from ..core.model import RawModel
from ..core.text_tokenizer import END_IMAGE, IMAGE, BytePairs, Bytes
from ..data import images
from ..runs.abilities import check_draws, check_paints, diffusion_head
from ..runs.models import Loaded
from ..system.errors import ConfigError, DataError
from ..system.figures import counted
from ..system.seeds import key
from . import files, foreign
from .prompt import document, pixels
from .request import Request

Say = Callable[[int, str | Picture], None]
Watch = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True, eq=False)
class Session:
    """A request in the model's terms: one document and one key for each sample, in the order of the prompts.

    canvas: what is drawn on, where the request paints."""

    loaded: Loaded
    request: Request
    settings: Sampling
    prompts: list[Document]
    keys: list[int]
    canvas: Canvas | None = None

    def run(self, say: Say | None = None, watch: Watch | None = None) -> list[Document]:
        """Draw and write -> what was added to each prompt.

        say(number, text): called with all text since the last picture whenever there is more of it, and with
        every Picture that is done. watch(step, noised, clean), both (n, 3, H, W) uint8: called at every step
        of a drawing with the pictures that are drawn together."""
        added: list[Document] = []
        for first in range(0, len(self.prompts), generate.CHUNK):
            part = slice(first, first + generate.CHUNK)
            prompts, keys = self.prompts[part], self.keys[part]
            if self.canvas is not None:
                drawn = draw(self.loaded.model, prompts, keys, self.settings, watch, self.canvas)
                added += [[picture, END_IMAGE] for picture in drawn]
                continue
            listen = say and _in_text(say, self.loaded.model.tokenizer, first)
            whole = generate.generate(self.loaded.model, prompts, keys, self.settings, listen, watch)
            added += [document[len(prompt) :] for prompt, document in zip(prompts, whole)]
        return added

    def to_files(self, out: Path, say: Say | None = None, gif: bool = False) -> "Output":
        """Run a request of one prompt, and write its pictures into the folder `out`."""
        started = time.perf_counter()
        watcher = files.Watcher() if gif else None
        added = self.run(say, watcher)
        drawn = time.perf_counter()
        prompt = self.request.prompts[0]
        words = prompt if isinstance(prompt, str) else "".join(p for p in prompt if isinstance(p, str))
        facts = {"prompt": words, "seed": self.request.seed} | drawing_facts(self.settings)
        name, hash_ = self.loaded.name, self.loaded.hash
        saved = files.write(
            self.loaded.model.tokenizer,
            added,
            out,
            f"{name}-{images.slug(words) if words.strip() else 'sample'}-{self.request.seed}",
            facts | {"model": name, "model_hash": hash_, "settings": _every_setting(self)},
            watcher and watcher.all(),
        )
        ended = time.perf_counter()
        model = {"model": name, "model_hash": hash_, "documents": self.loaded.documents}
        facts = model | facts | {"temperature": self.settings.temperature}
        return Output(facts, saved, drawn - started, ended - drawn)


@dataclass(frozen=True)
class Output:
    """What a session left on disk: how it was drawn, the files, seconds of drawing and of writing."""

    facts: dict[str, Any]
    files: files.Files
    generate_seconds: float
    write_seconds: float

    def to_json(self) -> dict[str, Any]:
        """The object of `rawmm sample --json`, but for the seconds before the session."""
        return {
            **self.facts,
            "samples": self.files.samples,
            "items": [item for sample in self.files.samples for item in sample["items"]],
            "sheet": self.files.sheet,
            "gif": self.files.gif,
            "seconds": {
                "generate": round(self.generate_seconds, 6),
                "write": round(self.write_seconds, 6),
            },
        }


def run(
    loaded: Loaded, request: Request, say: Say | None = None, watch: Watch | None = None
) -> list[Document]:
    """What the model adds to each prompt, `request.count` samples of the first, then of the next.

    `prompt.passages` makes text and pictures of it. say, watch: as in `Session.run`. Raises
    ConfigError where the request does not fit this model, DataError where a picture cannot be read."""
    return prepare(loaded, request).run(say, watch)


def prepare(loaded: Loaded, request: Request) -> Session:
    """A request in the terms of this model. All that can be wrong with it is an error here, before anything
    is drawn or written."""
    if what := request.wants_drawings:
        check_draws(loaded, request.option(what))
    model, trained = loaded.model, loaded.config.data.size if loaded.config.data.stretch else None
    foreign.check_reads(loaded, request)
    if request.paints:
        canvas, pictures, end = _canvas(request, loaded), (), [IMAGE]
        settings = settings_for(loaded, request, tuple(canvas.pixels.shape[1:]))
        named = f"{request.option('images')} {_name(request.images[0])}"
        room = _positions(model, settings, named) - 1  # the prompt has <bos>
    else:
        canvas, pictures, end, room = None, request.images, [], 0
        settings = settings_for(loaded, request)
    documents = (
        [*document(model, [*pictures, *pieces], settings.context - room, trained), *end]
        for pieces in request.pieces
    )
    prompts = [prompt for prompt in documents for _ in range(request.count)]
    keys = [key(request.seed, request.stream, number) for number in range(len(prompts))]
    return Session(loaded, request, settings, prompts, keys, canvas)


def settings_for(loaded: Loaded, request: Request, size: tuple[int, int] | None = None) -> Sampling:
    """The model's settings, then the tuned ones, then the request's; `size` (height, width) wins over all.
    Raises ConfigError where they do not fit this model."""
    values = {"precision": loaded.config.sample.precision, **request.settings}
    values.pop("size", None)
    values = {
        "temperature": 0.0 if request.reads or request.task == "caption" else 1.0,
        "max_pictures": 0 if request.task == "caption" else loaded.most_pictures,
        **values,
        **_tuned(loaded, values),
        "precision": precision(values["precision"], loaded.model.words.weight.device),
    }
    usual = build.sampling(loaded.config)
    if unknown := values.keys() - usual.flat():
        name = request.option(sorted(unknown)[0])
        raise ConfigError(f"{name} is no setting of {loaded.name}, {loaded.config.drawn_by}; leave it out")
    lists = {request.option(name): values[name] for name in LISTS if name in values}
    try:
        check_lists(lists, loaded.config.head, loaded.config.codec)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if size is not None or request.size in (None, usual.size):
        return build.sampling(loaded.config, **values, size=size or usual.size)
    height, width = request.size
    asked = f"{request.option('size')} {height if height == width else f'{width}x{height}'}"
    try:
        loaded.model.blocks(height, width)
    except ValueError as error:
        order = "" if height == width else " (height x width)"
        raise ConfigError(f"{asked}: {error}{order}; choose another size") from None
    settings = build.sampling(loaded.config, **values, size=(height, width))
    _positions(loaded.model, settings, asked)
    return settings


def drawing_facts(settings: Sampling) -> dict[str, Any]:
    """How pictures were drawn, in a few words for results and metadata."""
    values = settings.flat()
    facts = {
        name: values[name] for name in ("steps", "solver", "grid", "order", "guidance") if name in values
    }
    return facts | ({"grid": TUNED} if not isinstance(facts.get("grid", ""), str) else {})


def _tuned(loaded: Loaded, values: dict[str, Any]) -> dict[str, Any]:
    """Settings that `rawmm tune-sampler` stored for this number of steps, but for those that were chosen.
    Raises ConfigError where the grid is to be the tuned one and there is none."""
    steps, wanted = values.get("steps", loaded.config.sample.steps), values.get("grid") == TUNED
    stored = loaded.tuned.get(str(steps))
    if stored is None and wanted:
        raise ConfigError(
            f"{loaded.name} has no tuned grid for {counted(steps, 'step')} (it has: "
            f"{', '.join(loaded.tuned) or 'none'}); run `rawmm tune-sampler "
            f"{loaded.folder.name} --steps {steps}`, or choose {', '.join(GRIDS)}"
        )
    if stored is None or (not wanted and {"solver", "grid"} & set(values)):
        return {}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored["settings"].items()
        if name == "grid" or name not in values
    }


def _canvas(request: Request, loaded: Loaded) -> Canvas:
    """The picture to draw on, where, and how much of it anew."""
    (picture,) = request.images
    check_paints(loaded, request.option("strength" if request.mask is None else "mask"))
    values, mask, strength = pixels(picture, loaded.model), None, 1.0
    if request.mask is not None:
        levels = images.read_image(request.mask)
        if levels.shape[:2] != tuple(values.shape[1:]):
            raise DataError(
                f"mask {request.mask} has {levels.shape[1]}x{levels.shape[0]} pixels and {_name(picture)} "
                f"{values.shape[2]}x{values.shape[1]}; allowed: the same; make the mask as large as the "
                "picture"
            )
        mask = torch.from_numpy(levels.mean(-1) >= 128)
        if not mask.any():
            raise DataError(
                f"mask {request.mask} is black all over: nothing would be drawn; make white what shall "
                "be drawn"
            )
    if request.strength is not None:
        name, strength = request.option("strength"), request.strength
        least = 0.0 if isinstance(loaded.model.head, MaskedHead) else diffusion_head(loaded, name).clamp
        if strength < least:
            raise ConfigError(
                f"{name} = {strength:g}; allowed: {least:g} to 1; so little noise was hardly trained on "
                "(head.clamp)"
            )
    return Canvas(values, mask, strength)


def _name(picture: Path | Tensor) -> str:
    return "the picture" if isinstance(picture, Tensor) else str(picture)


def _positions(model: RawModel, settings: Sampling, what: str) -> int:
    """Positions of <bos>, <image>, a picture of `settings.size` and </image>. Raises ConfigError where the
    context has not so many."""
    (height, width), context = settings.size, settings.context
    picture = model.blocks(height, width)
    if (needed := len(picture.block) + 3) > context:
        most = math.isqrt((context - 3) * picture.grid[0] * picture.grid[1] // len(picture.block))
        most *= height // picture.grid[0]
        raise ConfigError(
            f"{what}: a picture of {width}x{height} pixels needs {needed:,} positions, and the context of "
            f"this model is {context:,} (sample.context); allowed: as much as {most}x{most}"
        )
    return needed


def _in_text(say: Say, tokenizer: Bytes | BytePairs, first: int) -> Callable[[int, int | Picture], None]:
    """A listener to tokens and pictures that calls `say` with text, when its last character is whole."""
    written: dict[int, list[int]] = {}

    def listen(number: int, item: int | Picture) -> None:
        if isinstance(item, Picture):
            written.pop(number, None)
            say(first + number, item)
            return
        tokens = written.setdefault(number, [])
        tokens.append(item)
        text = tokenizer.decode(tokens)
        if text and not text.endswith("\ufffd"):
            say(first + number, text)

    return listen


def _every_setting(session: Session) -> str:
    """All that a picture depends on and the other facts do not say, as JSON."""
    request = session.request
    inputs = {
        "images": list(map(_name, request.images)),
        "inpaint": request.mask and str(request.mask),
        "strength": request.strength,
        "task": request.task,
    }
    used = {name: value for name, value in inputs.items() if value}
    return json.dumps(session.settings.flat() | used, sort_keys=True)
