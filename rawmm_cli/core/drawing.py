"""Drawing: one picture at the end of each document.

The head draws by itself (`Head.draw`); what it needs is `predict`, the network behind the documents, guided.
Every position of a document is computed once (`cache.py`); a picture that is being drawn costs only its own
positions at each step.

Next: `generate.py`, text and pictures in any order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..system.errors import ConfigError
from ..system.machine import has_bf16
from .batch import part
from .batch import size as positions
from .cache import Cache, width
from .document import Canvas, Document, Known, Picture
from .graphs import Graphs
from .model import RawModel
from .parts import Prediction
from .text_tokenizer import BOS, IMAGE

Watch = Callable[[int, Tensor, Tensor], None]  # (step, noised, clean), both (n, 3, H, W) uint8
Predict = Callable[..., Prediction]  # `Head.draw`
SMALL = 5e11  # positions of a step times weights of the model: below, a GPU waits for kernels to be launched


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
    positions: str = "linear"  # how another size takes its place (`document.Picture`); plain: it does not
    precision: str = "fp32"  # or bf16, auto (`precision`): of the network while it draws; the state is fp32
    context: int = 4096
    drawing: Any = None  # the head's own settings, as `denoising.Drawing`; None: its defaults

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
    graphs: bool = True,
) -> list[Picture]:
    """Draw one picture at the end of each document (which ends with `<image>`) -> clean pictures to be read.

    watch(step, noised, clean), both (n, 3, H, W) uint8, is called for every estimate; of one step the last
    one counts. canvas: what they are drawn on, of `sampling.size`. graphs: whether a GPU may repeat steps by
    CUDA graphs; the pictures are the same."""
    # what an earlier drawing left; taken away, as another thread may draw with this model too
    network = model.__dict__.pop("network", None) if graphs else None
    if network is None or not network.fits(documents, sampling):
        network = Network(model, documents, sampling, graphs)
    network.begin(documents, sampling)
    images = pictures_of(model, network.predict, keys, sampling, watch, canvas)
    if network.graphs is not None and network.graphs.made:
        model.__dict__["network"] = network
    return [placed(model, sampling, image, False, k) for k, image in zip(keys, images)]


def predictor(model: RawModel, documents: list[Document], sampling: Sampling, graphs: bool = True) -> Predict:
    """What the head draws with at the end of each document: the network, and guidance (`Head.draw`).

    -> predict(inputs (M, n, ...), time, share, at) -> Prediction, guided by `sampling.guidance`."""
    network = Network(model, documents, sampling, graphs)
    network.begin(documents, sampling)
    return network.predict


class Network:
    """The network behind documents, at the end of each of which a picture is drawn.

    With graphs it may begin again behind other documents, for which everything has the same shape and place.
    A copy of the model has none of its own."""

    def __init__(self, model: RawModel, documents: list[Document], sampling: Sampling, graphs: bool = True):
        prompts = self._prompts(documents, sampling)
        self.model, self.whole = model, slice(0, len(model.blocks(*sampling.size).block))
        self.cache = Cache(model, len(prompts), _longest(model, prompts), self.whole.stop)
        self.device, self.half = self.cache.device, precision(sampling.precision, self.cache.device) == "bf16"
        self.small = self._is_small()
        self.graphs = Graphs() if graphs and self.small else None
        self.shape = None if self.graphs is None else self._shape(documents, sampling)
        self.before = torch.empty(0)  # (rows, D) behind each prompt, guided ones twice

    def __reduce__(self) -> tuple:
        return type(None), ()

    def fits(self, documents: list[Document], sampling: Sampling) -> bool:
        """Whether it may begin again behind these documents."""
        return self.shape == self._shape(documents, sampling)

    def begin(self, documents: list[Document], sampling: Sampling) -> None:
        """Read the documents; what is predicted from now on stands at their ends."""
        blank = placed(self.model, sampling, torch.zeros(3, *sampling.size, dtype=torch.uint8), True)
        prompts = self._prompts(documents, sampling)
        self.count, self.guidance = len(documents), sampling.guidance
        self.cache.clear()
        with self._precision():
            # padded to one length, a small drawing has half of the kernels to launch
            parts = [prompts] if self.small else [documents, prompts[self.count :]]
            self.before = torch.cat(
                [self.cache.read(part, n * self.count) for n, part in enumerate(parts) if part]
            )
        self.batch = self.cache.picture([[*prompt, blank] for prompt in prompts])

    def predict(
        self, inputs: Tensor, time: float = 0.0, share: float = 1.0, at: slice | None = None
    ) -> Prediction:
        """What the head draws with (`Head.draw`)."""
        at = self.whole if at is None else at
        if self.guidance == 1 or (share == 0 and at == self.whole):
            alone = self._outputs(self.count, inputs, time, at)
            return Prediction(alone, alone, alone, 1.0, self.half)
        # where nothing is guided yet, what later parts of the picture see is computed all the same
        twice = inputs.repeat(2, *[1] * (inputs.ndim - 1))
        conditional, unconditional = self._outputs(2 * self.count, twice, time, at).chunk(2)
        return guide(conditional, unconditional, self.guidance, share)._replace(half=self.half)

    def _outputs(self, rows: int, inputs: Tensor, time: float, at: slice) -> Tensor:
        """Inputs (rows, n, ...) -> what the head says of the positions `at` (rows, n, ...)."""
        work, now = partial(self._compute, at), torch.full((1,), float(time), device=inputs.device)
        if self.graphs is None:
            return work(inputs, now, self.before[:rows])
        return self.graphs((at.start, at.stop), work, inputs, now, self.before[:rows])

    def _compute(self, at: slice, inputs: Tensor, time: Tensor, before: Tensor) -> Tensor:
        """The same, with time (1,) and the hidden vectors of the prompts (rows, D): what a graph repeats."""
        rows, ahead = len(inputs), int(self.model.head.reads_ahead)
        computed = slice(max(0, at.start - ahead), at.stop - ahead)
        hidden = before[:, None] if at.start < ahead else before[:, None][:, :0]  # (rows, 1 or 0, D)
        with self._precision():
            if computed.start < computed.stop:
                batch = self.cache.part(self.batch, rows, computed)
                new = self.model(batch, inputs.flatten(0, 1), time, self.cache)
                hidden = torch.cat([hidden, new.unflatten(0, (rows, -1))], 1) if ahead else new
            pictures = part(self.batch, rows, at).pictures
            out = self.model.head.output(hidden.view(-1, before.shape[1]), pictures)
        return out.float().unflatten(0, (rows, -1))

    def _precision(self) -> torch.autocast:
        """bf16 where it is wanted. Weights are cast anew each time, for they may have changed."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False)

    @staticmethod
    def _prompts(documents: list[Document], sampling: Sampling) -> list[Document]:
        empty: Document = [BOS, IMAGE]
        return [*documents, *([empty] * len(documents) if sampling.guidance != 1 else [])]

    def _is_small(self) -> bool:
        """Whether steps on a GPU are so small that launching their kernels takes longer than computing
        them."""
        weights = list(self.model.parameters())
        whole = all(type(weight) is torch.nn.Parameter for weight in weights)  # not sharded
        work = self.cache.rows * self.whole.stop * sum(weight.numel() for weight in weights)
        return self.device.type == "cuda" and whole and work < SMALL and not torch.is_grad_enabled()

    def _shape(self, documents: list[Document], sampling: Sampling) -> tuple:
        """What graphs take as it is: sizes, and where the weights lie."""
        prompts, model = self._prompts(documents, sampling), self.model
        places = tuple(tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()))
        columns = width(_longest(model, prompts), self.whole.stop)
        products = getattr(torch.backends.cuda.matmul, "fp32_precision", "")  # whether TF32
        kinds = precision(sampling.precision, self.device), products
        wide = sampling.positions in ("linear", "plain")
        return len(prompts), columns, sampling.size, wide, *kinds, places


def _longest(model: RawModel, prompts: list[Document]) -> int:
    return max(positions(prompt, model.blocks) for prompt in prompts)


def precision(setting: str, device: torch.device) -> str:
    """'auto' -> 'bf16' on a GPU that has it in hardware, else 'fp32'."""
    if setting != "auto":
        return setting
    return "bf16" if device.type == "cuda" and has_bf16(device) else "fp32"


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
    """A canvas as image tokens. Numbers stay in which no pixel of the mask has a part, and tokens whose place
    on the picture the mask does not touch, though a codec that learned may see further.

    Raises ConfigError where there is neither, as each token stands for the whole picture."""
    tokens, mask = model.codec.encode(canvas.pixels[None].to(device))[0], canvas.mask
    if mask is None:
        return Known(tokens, None, canvas.strength)
    fills = torch.stack([255 - canvas.pixels, torch.zeros_like(canvas.pixels)])
    others = model.codec.encode(torch.where(mask, fills, canvas.pixels).to(device))
    keep, outside = (others == tokens).all(0), _outside(model, mask)
    if outside is not None:
        outside = outside.to(device)[:, None]
        keep = outside.expand_as(keep) if model.codec.discrete else keep | outside
    elif not (keep.any() or mask.all()):
        raise ConfigError(
            "a part of the picture is to be drawn anew, and every token of this model's codec stands for all "
            "of it; choose a model whose tokens have places, as those of raw patches"
        )
    return Known(tokens, keep, canvas.strength)


def _outside(model: RawModel, mask: Tensor) -> Tensor | None:
    """(N,) whether a mask (H, W) leaves the place of a token alone; None where tokens are no grid of
    places."""
    (height, width), (rows, columns) = mask.shape, model.codec.grid(*mask.shape)
    if rows == 1 or rows * columns != model.codec.tokens(height, width) or height % rows or width % columns:
        return None
    places = mask.view(rows, height // rows, columns, width // columns)
    return ~places.any(3).any(1).flatten()


def placed(model: RawModel, sampling: Sampling, pixels: Tensor, draw: bool, key: int = 0) -> Picture:
    """A picture whose rows and columns stand so far apart that one of another size has the place of one as
    learned (rotary interpolation: Chen et al. 2023, arXiv 2306.15595; for pictures FiT, arXiv 2402.12376)."""
    if sampling.learned is None or sampling.positions == "plain":
        return Picture(pixels, draw, key)
    (rows, columns), learned = model.codec.grid(*sampling.size), model.codec.grid(*sampling.learned)
    stretch = learned[0] / rows, learned[1] / columns
    return Picture(pixels, draw, key, stretch, positions=sampling.positions)
