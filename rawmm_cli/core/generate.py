"""Generate: prompt document -> text and pictures, in any order.

The model writes text until `<image>`; then all patches of the picture are drawn in parallel by a solver; the
finished picture takes its place, clean, and the model writes on. Every position is computed once
(`cache.py`); a picture that is being drawn costs only its own positions at each step. `reference.py` says the
same in fewer words and is what this must equal.

Next: `solvers.py`, the walk from noise to a picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..system import machine
from ..system.errors import ConfigError
from ..system.seeds import key, random
from .batch import size as positions
from .cache import Cache
from .document import Batch, Document, Picture
from .model import RawModel
from .solvers import SOLVERS, grid
from .text_tokenizer import BOS, END_IMAGE, EOS, IMAGE

CHUNK = 128  # documents generated together


@dataclass(frozen=True)
class Sampling:
    """How to draw and write. guidance 1 is none; interval: guide only at times inside it; temperature 0 is
    greedy."""

    steps: int = 10
    solver: str = "euler"
    grid: str | tuple[float, ...] = "uniform"  # the times of the steps: a name (`solvers.py`), or themselves
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0  # share by which guided pictures get back the contrast of unguided ones
    temperature: float = 0.0
    top_p: float = 1.0  # tokens are drawn from the likeliest ones, of this chance together
    max_text: int = 64
    max_pictures: int = 1
    size: tuple[int, int] = (8, 8)  # of what is drawn
    learned: tuple[int, int] | None = (
        None  # size that was learned, where it is another: positions are stretched
    )
    precision: str = "fp32"  # or bf16: of the network while it denoises; the state is fp32
    context: int = 4096


@dataclass(frozen=True)
class Canvas:
    """A picture that is there before the drawing begins. pixels (3, H, W) uint8; mask (H, W) bool: only this
    is drawn, what lies outside stays to the bit; strength: the time from which it is drawn anew, 1 is from
    noise alone."""

    pixels: Tensor
    mask: Tensor | None = None
    strength: float = 1.0


@torch.inference_mode()
def generate(
    model: RawModel, prompts: list[Document], keys: list[int], sampling: Sampling, told=None, watch=None
) -> list[Document]:
    """Continue each prompt until `<eos>`, `max_text` written tokens or the end of the context -> the whole
    documents.

    keys: one seed a prompt. What a prompt becomes depends on its own key, never on the others in the batch.
    told(number of the prompt, token or Picture) is called for everything that is added; watch: as in
    `draw`."""
    work = Work(model, prompts, sampling)
    while True:
        _write(model, work, keys, told)
        drawing = [i for i, document in enumerate(work.documents) if document[-1] == IMAGE]
        if not drawing:
            return work.documents
        seeds = [key(keys[i], "picture", pictures(work.documents[i])) for i in drawing]
        for i, picture in zip(
            drawing, draw(model, [work.documents[i] for i in drawing], seeds, sampling, watch)
        ):
            work.documents[i] += [picture, END_IMAGE]
            if told:
                told(i, picture)


def in_chunks(
    model: RawModel, prompts: list[Document], keys: list[int], sampling: Sampling
) -> Iterator[Document]:
    """`generate`, CHUNK documents at a time."""
    for start in range(0, len(prompts), CHUNK):
        yield from generate(model, prompts[start : start + CHUNK], keys[start : start + CHUNK], sampling)


class Work:
    """Documents as they grow, and what may still come to each."""

    def __init__(self, model: RawModel, prompts: list[Document], sampling: Sampling):
        if not all(prompts):
            raise ConfigError("an empty prompt document; allowed: at least <bos>")
        self.model, self.sampling = model, sampling
        self.documents = [[_read(item) for item in prompt] for prompt in prompts]
        self.given, self.written = [pictures(prompt) for prompt in prompts], [0] * len(prompts)
        self.room = int(np.prod(model.codec.grid(*sampling.size))) + 2  # <image>, the picture, </image>

    def size(self, i: int) -> int:
        """Positions of a document."""
        return positions(self.documents[i], self.model.codec.grid)

    def writes(self, i: int) -> bool:
        """Whether text comes next."""
        document = self.documents[i]
        return (
            document[-1] not in (IMAGE, EOS)
            and self.written[i] < self.sampling.max_text
            and self.size(i) < self.sampling.context
        )

    def full(self, i: int) -> bool:
        """Whether no picture may be opened any more."""
        return (
            pictures(self.documents[i]) - self.given[i] >= self.sampling.max_pictures
            or self.size(i) + self.room > self.sampling.context
        )

    def add(self, i: int, token: int) -> None:
        """A token that was written."""
        self.documents[i].append(token)
        self.written[i] += 1


def _write(model: RawModel, work: Work, keys: list[int], told) -> None:
    """Let every document have its text, as far as the next `<image>`."""
    rows = [i for i in range(len(work.documents)) if work.writes(i)]
    if not rows:
        return
    left = max(
        min(work.sampling.max_text - work.written[i], work.sampling.context - work.size(i)) for i in rows
    )
    cache = Cache(model, len(rows), max(work.size(i) for i in rows) + left)
    with machine.threads_for(len(rows), cache.device):
        _write_with(cache, model, work, rows, keys, told)


def _write_with(cache: Cache, model: RawModel, work: Work, rows: list[int], keys: list[int], told) -> None:
    while open_ones := [i for i in rows if work.writes(i)]:
        if 2 * len(open_ones) <= len(rows):  # the others have their picture to wait for, or are done
            cache.keep([rows.index(i) for i in open_ones])
            rows = open_ones
        hidden = cache.read([work.documents[i] for i in rows])
        logits = model.text_out(hidden).float().cpu()
        places = [n for n, i in enumerate(rows) if i in set(open_ones)]
        tokens = choose(
            logits[places],
            [work.full(i) for i in open_ones],
            [key(keys[i], "text", work.written[i]) for i in open_ones],
            work.sampling,
        )
        for i, token in zip(open_ones, tokens):
            work.add(i, token)
            if told:
                told(i, token)


def choose(logits: Tensor, no_picture: list[bool], keys: list[int], sampling: Sampling) -> list[int]:
    """Logits (n, V) -> a token for each; `<image>` is not allowed where `no_picture`.

    top_p: nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751)."""
    logits = logits.double().numpy()
    logits[:, [BOS, END_IMAGE]] = -np.inf
    logits[np.array(no_picture), IMAGE] = -np.inf
    if sampling.temperature == 0:
        return logits.argmax(-1).tolist()
    with np.errstate(under="ignore"):
        chances = np.exp((logits - logits.max(-1, keepdims=True)) / sampling.temperature)
    chances /= chances.sum(-1, keepdims=True)
    found = []
    for row, k in zip(chances, keys):
        if sampling.top_p < 1:
            order = np.argsort(-row, kind="stable")
            row[order[np.cumsum(row[order]) - row[order] >= sampling.top_p]] = 0  # the likeliest always stays
        total = row.cumsum()
        found.append(int(np.searchsorted(total, random(k).random() * total[-1], side="right")))
    return found


@torch.inference_mode()
def draw(
    model: RawModel,
    documents: list[Document],
    keys: list[int],
    sampling: Sampling,
    watch=None,
    canvas: Canvas | None = None,
) -> list[Picture]:
    """Draw one picture at the end of each document (which ends with `<image>`) -> clean pictures to be read.

    watch(step, noised, clean), both (n, 3, H, W) uint8, is called for every estimate; of one step the last
    one counts. canvas: what they are drawn on, of `sampling.size`."""
    count, (rows, columns), stretch = len(keys), model.codec.grid(*sampling.size), stretched(model, sampling)
    patches, guided = rows * columns, sampling.guidance != 1
    blank = Picture(torch.zeros(3, *sampling.size, dtype=torch.uint8), True, 0, stretch)
    told = [*documents, *([[BOS, IMAGE]] * count if guided else [])]
    cache = Cache(
        model, len(told), max(positions(document, model.codec.grid) for document in told), desk=patches
    )
    cache.read(documents)
    if guided:
        cache.read(told[count:], count)
    both = cache.picture([[*document, blank] for document in told])
    alone, half = both.first(count) if guided else both, sampling.precision == "bf16"

    def estimate(batch: Batch, z: Tensor, t: float) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16, enabled=half):
            return _clean(model, batch, cache, z, t)

    def denoise(z: Tensor, t: float) -> Tensor:
        if not (guided and sampling.interval[0] <= t <= sampling.interval[1]):
            return estimate(alone, z, t)
        clean, other = estimate(both, z.repeat(2, 1), t).chunk(2)
        return guide(clean, other, sampling, patches)

    found = paint(model, denoise, keys, sampling, cache.device, watch, canvas)
    return [Picture(image, False, k, stretch) for k, image in zip(keys, found)]


def paint(
    model: RawModel,
    denoise,
    keys: list[int],
    sampling: Sampling,
    device,
    watch=None,
    canvas: Canvas | None = None,
) -> Tensor:
    """Walk from noise to pictures (n, 3, H, W) uint8. denoise(z (T, P), t) -> clean (T, P), guided
    already."""
    count, (rows, columns) = len(keys), model.codec.grid(*sampling.size)
    times, given, keep = step_times(model, sampling, canvas.strength if canvas else 1.0), None, None
    if canvas:
        given = model.codec.encode(canvas.pixels[None].to(device)).repeat(count, 1, 1).flatten(0, 1)
        if canvas.mask is not None:
            outside = torch.where(canvas.mask, 0, 255).to(torch.uint8).expand(1, 3, -1, -1)
            keep = model.codec.encode(outside.to(device)).repeat(count, 1, 1).flatten(0, 1) > 0

    def estimate(z: Tensor, t: float) -> Tensor:
        clean = denoise(z, t)
        if keep is not None:  # the walk there then ends at what is given
            clean = torch.where(keep, given, clean)
        if watch:
            watch(times.index(t), decode(z), decode(clean))
        return clean

    def decode(clean: Tensor) -> Tensor:
        images = model.codec.decode(clean.clamp(-1, 1).unflatten(0, (count, -1)), rows).cpu()
        return images if keep is None else torch.where(canvas.mask, images, canvas.pixels)

    begin = given if canvas and canvas.strength < 1 else None
    return decode(
        model.head.generate(
            estimate, keys, [rows * columns] * count, SOLVERS[sampling.solver], times, device, begin
        )
    )


def step_times(model: RawModel, sampling: Sampling, strength: float = 1.0) -> list[float]:
    """The grid of the settings, from `strength` down. A picture larger than learned says more of itself
    through the same noise: its times are shifted by the ratio of the sides (Hoogeboom et al. 2023, arXiv
    2301.11093).

    No step begins below the head's `clamp`, where it has hardly learned and its estimate is worse than what
    it is given: times that would are drawn towards noise, all alike, and the last step goes from there to
    0."""
    times = grid(sampling.grid, sampling.steps, model.head)
    if sampling.learned is not None:
        more = float(np.prod(sampling.size) / np.prod(sampling.learned)) ** 0.5
        times = [more * t / (1 + (more - 1) * t) for t in times]
    times = [t * strength for t in times]
    first, last, least = times[0], times[-2], model.head.clamp
    if last >= least:
        return times
    if first <= least:
        return [first, 0.0]
    return [first - (first - t) * (first - least) / (first - last) for t in times[:-1]] + [0.0]


def stretched(model: RawModel, sampling: Sampling) -> tuple[float, float]:
    """How far rows and columns stand apart, so that a picture of another size has the place of one as learned
    (rotary interpolation: Chen et al. 2023, arXiv 2306.15595; for pictures FiT, arXiv 2402.12376)."""
    if sampling.learned is None:
        return 1.0, 1.0
    return tuple(a / b for a, b in zip(model.codec.grid(*sampling.learned), model.codec.grid(*sampling.size)))


def _clean(model: RawModel, batch: Batch, cache: Cache, z: Tensor, t: float) -> Tensor:
    """z (T, P) at time t -> clean patches (T, P) of pictures whose documents the cache holds."""
    time = torch.full((1,), float(t), device=z.device)
    output = model.patches(model(batch, z, time, cache), batch).float()
    return model.head.clean(output, z, time[batch.pictures.picture_of])


def guide(clean: Tensor, other: Tensor, sampling: Sampling, patches: int) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) on the clean estimate (T, P).

    rescale: pictures get back this share of the contrast that they had unguided (Lin et al. 2023, arXiv
    2305.08891)."""
    guided = other + sampling.guidance * (clean - other)
    if sampling.rescale:
        spread = [x.unflatten(0, (-1, patches)).std((1, 2), keepdim=True) for x in (clean, guided)]
        ratio = 1 + sampling.rescale * (spread[0] / spread[1].clamp_min(1e-6) - 1)
        guided = guided * ratio.expand(-1, patches, -1).flatten(0, 1)
    return guided


def _read(item):
    """Pictures of a prompt are there to be read."""
    return replace(item, draw=False) if isinstance(item, Picture) and item.draw else item


def pictures(document: Document) -> int:
    """How many pictures a document has."""
    return sum(isinstance(item, Picture) for item in document)
