"""Drawing: one picture at the end of each document.

The head draws by itself (`Head.draw`); what it needs is `predict`, the network behind the documents, guided.
Every position of a document is computed once (`cache.py`); a picture that is being drawn costs only its own
positions at each step.

Next: `generate.py`, text and pictures in any order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .batch import part
from .batch import size as positions
from .cache import Cache
from .document import Canvas, Document, Known, Picture
from .model import RawModel
from .parts import Prediction
from .text_tokenizer import BOS, IMAGE

Watch = Callable[[int, Tensor, Tensor], None]  # (step, noised, clean), both (n, 3, H, W) uint8
Predict = Callable[..., Prediction]  # `Head.draw`


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

    -> predict(inputs (M, n, ...), time, share, at) -> Prediction, guided by `sampling.guidance`."""
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

    def predict(inputs: Tensor, time: float = 0.0, share: float = 1.0, at: slice = whole) -> Prediction:
        if not guided or (share == 0 and at == whole):
            alone = output(count, inputs, time, at)
            return Prediction(alone, alone, alone, 1.0)
        # where nothing is guided yet, what later parts of the picture see is computed all the same
        twice = inputs.repeat(2, *[1] * (inputs.ndim - 1))
        conditional, unconditional = output(2 * count, twice, time, at).chunk(2)
        return guide(conditional, unconditional, sampling.guidance, share)

    return predict


def guide(conditional: Tensor, unconditional: Tensor, guidance: float, share: float) -> Prediction:
    """Outputs behind the prompt and behind none -> the guided one. share: how far guidance acts, 1 is all."""
    scale = guidance if share == 1 else 1 + share * (guidance - 1)
    guided = conditional if scale == 1 else unconditional + scale * (conditional - unconditional)
    return Prediction(guided, conditional, unconditional, scale)


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
