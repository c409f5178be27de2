"""Generate: prompt document -> text and pictures, in any order.

The model writes text until `<image>`; then the head draws the picture; the finished picture takes its place,
clean, and the model writes on. Every position is computed once (`cache.py`); a picture that is being drawn
costs only its own positions at each step. `reference.py` says the same in fewer words and is what this must
equal.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..system.errors import ConfigError
from ..system.seeds import key, random
from ..system.threads import threads_for
from .batch import part
from .batch import size as positions
from .cache import Cache
from .document import Canvas, Document, Known, Picture
from .model import RawModel
from .text_tokenizer import BOS, END_IMAGE, EOS, IMAGE

CHUNK = 128  # documents generated together
Listen = Callable[[int, int | Picture], None]  # (number of the prompt, token or picture)
Watch = Callable[[int, Tensor, Tensor], None]  # (step, noised, clean), both (n, 3, H, W) uint8
Predict = Callable[..., tuple[Tensor, Tensor]]  # `Head.draw`


@dataclass(frozen=True)
class Sampling:
    """How to write, and what the head draws by. guidance: 1 is none; temperature: of text, 0 is greedy."""

    guidance: float = 1.0
    temperature: float = 0.0
    top_p: float = 1.0  # tokens are drawn from the likeliest ones, of this chance together
    max_text: int = 64
    max_pictures: int = 1
    size: tuple[int, int] = (8, 8)  # height and width of what is drawn
    learned: tuple[int, int] | None = None  # size that was learned, where another is drawn
    precision: str = "fp32"  # or bf16: of the network while it draws; the state is fp32
    context: int = 4096
    drawing: Any = None  # the head's own settings, as `heads.diffusion.Drawing`; None: its defaults

    def changed(self, **settings: Any) -> "Sampling":
        """The same with other settings: those of this class, and by their names those of the head.

        Raises TypeError for a setting that neither of them has."""
        own = {name: settings.pop(name) for name in list(settings) if hasattr(self, name)}
        drawing = replace(self.drawing, **settings) if settings else self.drawing
        return replace(self, **{"drawing": drawing} | own)

    def flat(self) -> dict:
        """All settings by their names, the head's among them."""
        own = asdict(self)
        return own | (own.pop("drawing") or {})


@torch.inference_mode()
def generate(
    model: RawModel,
    prompts: list[Document],
    keys: list[int],
    sampling: Sampling,
    told: Listen | None = None,
    watch: Watch | None = None,
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
        drawn = draw(model, [work.documents[i] for i in drawing], seeds, sampling, watch)
        for i, picture in zip(drawing, drawn):
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
        self.room = len(model.blocks(*sampling.size).block) + 2  # <image>, the picture, </image>

    def size(self, i: int) -> int:
        """Positions of a document."""
        return positions(self.documents[i], self.model.blocks)

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


def _write(model: RawModel, work: Work, keys: list[int], told: Listen | None) -> None:
    """Let every document have its text, as far as the next `<image>`."""
    rows = [i for i in range(len(work.documents)) if work.writes(i)]
    if not rows:
        return
    left = max(
        min(work.sampling.max_text - work.written[i], work.sampling.context - work.size(i)) for i in rows
    )
    cache = Cache(model, len(rows), max(work.size(i) for i in rows) + left)
    with threads_for(len(rows), cache.device):
        _write_with(cache, model, work, rows, keys, told)


def _write_with(
    cache: Cache, model: RawModel, work: Work, rows: list[int], keys: list[int], told: Listen | None
) -> None:
    while open_ones := [i for i in rows if work.writes(i)]:
        if 2 * len(open_ones) <= len(rows):  # the others have their picture to wait for, or are done
            cache.keep([rows.index(i) for i in open_ones])
            rows = open_ones
        hidden = cache.read([work.documents[i] for i in rows])
        logits = model.text_out(hidden).float().cpu()
        places = [n for n, i in enumerate(rows) if i in set(open_ones)]
        seeds = [key(keys[i], "text", work.written[i]) for i in open_ones]
        tokens = choose(logits[places], [work.full(i) for i in open_ones], seeds, work.sampling)
        for i, token in zip(open_ones, tokens):
            work.add(i, token)
            if told:
                told(i, token)


def choose(logits: Tensor, no_picture: list[bool], keys: list[int], sampling: Sampling) -> list[int]:
    """Logits (n, V) -> a token for each; `<image>` is not allowed where `no_picture`.

    top_p: nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751)."""
    scores = logits.double().numpy()
    scores[:, [BOS, END_IMAGE]] = -np.inf
    scores[np.array(no_picture), IMAGE] = -np.inf
    if sampling.temperature == 0:
        return scores.argmax(-1).tolist()
    with np.errstate(under="ignore"):
        chances = np.exp((scores - scores.max(-1, keepdims=True)) / sampling.temperature)
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
    watch: Watch | None = None,
    canvas: Canvas | None = None,
) -> list[Picture]:
    """Draw one picture at the end of each document (which ends with `<image>`) -> clean pictures to be read.

    watch(step, noised, clean), both (n, 3, H, W) uint8, is called for every estimate; of one step the last
    one counts. canvas: what they are drawn on, of `sampling.size`."""
    predict = predictor(model, documents, sampling)
    images = pictures_of(model, predict, keys, sampling, watch, canvas)
    return [Picture(image, False, k, stretched(model, sampling)) for k, image in zip(keys, images)]


def predictor(model: RawModel, documents: list[Document], sampling: Sampling) -> Predict:
    """What the head draws with at the end of each document: the network, and guidance (`Head.draw`).

    -> predict(inputs (M, n, ...), time, share, at) -> (guided, unguided), each (M, n, ...) fp32.
    Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598): the prediction behind no prompt, and
    from there `guidance` times the way to that behind the prompt."""
    count, guided = len(documents), sampling.guidance != 1
    blank = Picture(torch.zeros(3, *sampling.size, dtype=torch.uint8), True, 0, stretched(model, sampling))
    prompts = [*documents, *([[BOS, IMAGE]] * count if guided else [])]
    whole = slice(0, len(model.blocks(*sampling.size).block))
    cache = Cache(model, len(prompts), max(positions(p, model.blocks) for p in prompts), whole.stop)
    before = cache.read(documents)  # (M, D)
    if guided:
        before = torch.cat([before, cache.read(prompts[count:], count)])
    batch = cache.picture([[*document, blank] for document in prompts])
    ahead, half = int(model.head.reads_ahead), sampling.precision == "bf16"

    def output(rows: int, inputs: Tensor, time: float, at: slice) -> Tensor:
        computed = slice(max(0, at.start - ahead), at.stop - ahead)
        hidden = before[:rows, None] if at.start < ahead else before[:rows, None][:, :0]  # (rows, 1 or 0, D)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
            if computed.start < computed.stop:
                now = torch.full((1,), float(time), device=inputs.device)
                new = model(cache.part(batch, rows, computed), inputs.flatten(0, 1), now, cache)
                hidden = torch.cat([hidden, new.unflatten(0, (rows, -1))], 1) if ahead else new
            out = model.head.output(hidden.view(-1, before.shape[1]), part(batch, rows, at).pictures).float()
        return out.unflatten(0, (rows, -1))

    def predict(
        inputs: Tensor, time: float = 0.0, share: float = 1.0, at: slice = whole
    ) -> tuple[Tensor, Tensor]:
        if not guided or (share == 0 and at == whole):
            plain = output(count, inputs, time, at)
            return plain, plain
        twice = inputs.repeat(2, *[1] * (inputs.ndim - 1))
        plain, other = output(2 * count, twice, time, at).chunk(2)
        if share == 0:  # what later parts of the picture see must be computed behind no prompt, too
            return plain, plain
        return guide(plain, other, sampling.guidance, share), plain

    return predict


def guide(output: Tensor, other: Tensor, guidance: float, share: float) -> Tensor:
    """Outputs behind the prompt and behind none -> the guided one. share: how far guidance acts."""
    return other + (guidance if share == 1 else 1 + share * (guidance - 1)) * (output - other)


def pictures_of(
    model: RawModel,
    predict: Predict,
    keys: list[int],
    sampling: Sampling,
    watch: Watch | None = None,
    canvas: Canvas | None = None,
) -> Tensor:
    """Let the head draw M pictures -> (M, 3, H, W) uint8."""
    grid, device = model.codec.grid(*sampling.size), model.words.weight.device

    def decode(tokens: Tensor) -> Tensor:
        images = model.codec.decode(tokens, grid[0]).cpu()
        return images if canvas is None or canvas.mask is None else canvas.pixels.where(~canvas.mask, images)

    learned = sampling.learned and model.codec.grid(*sampling.learned)
    known = None if canvas is None else known_tokens(model, canvas, device)
    show = None if watch is None else lambda step, state, clean: watch(step, decode(state), decode(clean))
    return decode(model.head.draw(predict, keys, grid, sampling.drawing, learned, known, show))


def known_tokens(model: RawModel, canvas: Canvas, device: torch.device) -> Known:
    """A canvas as image tokens. What stays is what no pixel of the mask has a part in."""
    tokens, keep = model.codec.encode(canvas.pixels[None].to(device))[0], None
    if canvas.mask is not None:
        other = torch.where(canvas.mask, 255 - canvas.pixels, canvas.pixels)
        keep = model.codec.encode(other[None].to(device))[0] == tokens
    return Known(tokens, keep, canvas.strength)


def stretched(model: RawModel, sampling: Sampling) -> tuple[float, float]:
    """How far rows and columns stand apart, so that a picture of another size has the place of one as learned
    (rotary interpolation: Chen et al. 2023, arXiv 2306.15595; for pictures FiT, arXiv 2402.12376)."""
    if sampling.learned is None:
        return 1.0, 1.0
    (rows, columns), learned = model.codec.grid(*sampling.size), model.codec.grid(*sampling.learned)
    return learned[0] / rows, learned[1] / columns


def _read(item: int | Picture) -> int | Picture:
    """Pictures of a prompt are there to be read."""
    return replace(item, draw=False) if isinstance(item, Picture) and item.draw else item


def pictures(document: Document) -> int:
    """How many pictures a document has."""
    return sum(isinstance(item, Picture) for item in document)
