"""How much a step has to do: rows, pictures and positions, counted on the data or estimated without any."""

from dataclasses import dataclass
from functools import cached_property

from ..config.model import Config
from ..core import flops
from ..core.model import RawModel
from ..data import sets
from ..data.loader import WINDOW, steps_of
from ..data.prepared import Prepared


@dataclass(frozen=True)
class Step:
    """A step of a run over all its ranks. pictures: that it holds. patches: their positions. predicted:
    tokens of text. fill: share of the positions with data. source: 'data' or 'estimate'. precision: of
    matmuls. The model is on the meta device."""

    config: Config
    model: RawModel
    rows: int
    pictures: int
    patches: int
    predicted: int
    fill: float
    source: str
    ranks: int
    precision: str

    @property
    def positions(self) -> float:
        """Positions of a rank."""
        return self.rows / self.ranks * self.config.train.length

    @property
    def micro_rows(self) -> int:
        """Rows that a rank works on at a time."""
        return -(-self.rows // (self.ranks * self.config.train.accumulate))

    @property
    def micro_share(self) -> float:
        """Share of the step's rows that a rank works on at a time."""
        return self.micro_rows / max(self.rows, 1)

    @property
    def width(self) -> int:
        """Width of the residual stream, D."""
        return self.model.words.embedding_dim

    @property
    def outputs(self) -> int:
        """Numbers that the head says of a position: those of a vector, or a logit for every code."""
        codec = self.model.codec
        return codec.vocabulary if codec.discrete else codec.values

    @property
    def layers(self) -> int:
        """Layers of the backbone."""
        return len(self.model.backbone.layers)

    @property
    def compiled(self) -> bool:
        """Whether layers are compiled, where that works."""
        return self.config.train.compile != "no"

    @property
    def share(self) -> float:
        """Share of weights, gradients, optimizer and averages that a rank holds."""
        return 1 / self.ranks if self.config.train.parallel == "fsdp" else 1.0

    @cached_property
    def parameters(self) -> int:
        """Parameters of the model."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def work(self) -> int:
        """FLOPs of the step, over all ranks."""
        length = self.config.train.length
        return flops.step(self.model, self.rows, length, self.pictures, self.patches, self.predicted)

    @property
    def scores(self) -> float:
        """FLOPs of attention's two products on a rank, forward and backward: part of `work`."""
        return 3 * 2 * self.positions * self.config.train.length * self.model.backbone.work().pair

    @cached_property
    def beside(self) -> float:
        """Bytes that the network of a baseline keeps on a rank for its backward pass."""
        if self.config.baseline is None:
            return 0.0
        return self.model.head.kept() * self.pictures * self.micro_share

    @cached_property
    def optimizer_bytes(self) -> int:
        """Bytes of the optimizer's state: AdamW keeps two fp32 numbers a parameter, Muon one."""
        hidden = sum(m.weight.numel() for m in flops.hidden(self.model))
        muon = self.config.train.optimizer == "muon"
        return 8 * self.parameters - 4 * hidden if muon else 8 * self.parameters


def step(config: Config, model: RawModel, data: Prepared | None, ranks: int, precision: str) -> Step:
    """The step of these settings: means over a window of the data, or an estimate for pictures without
    captions."""
    counts = _estimated(config, model) if data is None else _counted(config, model, data)
    return Step(config, model, *counts, ranks, precision)


def _estimated(config: Config, model: RawModel) -> tuple[int, int, int, int, float, str]:
    train, size = config.train, config.data.size
    patches = len(model.blocks(size, size).block)
    a_row = max(1, train.length // (patches + 4))  # <bos>, <image>, </image>, <eos>; no caption
    rows = -(-train.batch // a_row)
    filled = (patches + 4) * train.batch / (rows * train.length)
    return rows, train.batch, train.batch * patches, 2 * train.batch, filled, "estimate"


def _counted(config: Config, model: RawModel, data: Prepared) -> tuple[int, int, int, int, float, str]:
    train = config.train
    model.tokenizer = sets.tokenizer(config, data)
    steps = steps_of(config, data, model)
    micro = [batch for seen in range(0, WINDOW * train.batch, train.batch) for batch in steps[seen]]
    mean = lambda of: round(sum(of(batch) for batch in micro) / WINDOW)  # noqa: E731
    filled = sum(batch.filled for batch in micro) / sum(batch.tokens.numel() for batch in micro)
    return (
        mean(lambda b: len(b.tokens)),
        mean(lambda b: len(b.pictures.drawn)),
        mean(lambda b: len(b.patch_at)),
        mean(lambda b: len(b.predict)),
        filled,
        "data",
    )
