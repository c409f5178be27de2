"""Every setting of a model, of its training and of its sampling, validated. No torch here: a wrong key costs
no start-up time.

Amounts of training are counted in documents, not in steps, so that they mean the same at any batch size.
Settings of a type `Auto` may be `auto`: `automatic.py` has the rules by which they follow from the set."""

from typing import Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from .baselines import Baseline, check
from .choices import LISTS, Grid, Order, Precision, Solver
from .data import Data, TextTokenizer
from .fields import (
    AUTO,
    Amount,
    Auto,
    BelowOne,
    Chance,
    Count,
    Depth,
    Each,
    Positive,
    Seconds,
    Settings,
    Share,
    Size,
    Trackers,
    Weight,
    Whole,
    Width,
    Workers,
)
from .heads import DiffusionHead, Head
from .together import check_lists, check_reads, check_strided, goes_with, misfit
from .tokens import ImageCodec, RawCodec


class GAU(Settings):
    """Gated attention units."""

    kind: Literal["gau"] = "gau"
    width: Size = 128
    depth: Depth = 8
    key: Size = Field(64, multiple_of=8, description="size of queries and keys")
    expansion: Size = Field(2, description="width of the gated values, in widths")


class Transformer(Settings):
    """Multi-head attention and SwiGLU."""

    kind: Literal["transformer"] = "transformer"
    width: Size = 128
    depth: Depth = 4
    heads: Size = 4
    hidden: Size = Field(344, description="width of the SwiGLU layer")
    condition: Literal["none", "modulation"] = Field(
        "none", description="modulation: the head's condition modulates the layers (head.time: modulation)"
    )
    skips: bool = Field(False, description="layers of the first half are joined to those of the last (U-ViT)")
    isolated_layers: Whole = Field(0, description="first layers in which a picture sees itself alone")
    strided: bool = Field(
        False,
        description="a code sees, of its picture, a row's length before it and its column (1904.10509)",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> "Transformer":
        if self.width % self.heads or (self.width // self.heads) % 8:
            raise ValueError(f"width {self.width} / heads {self.heads} must be a multiple of 8")
        if self.isolated_layers > self.depth:
            raise ValueError(
                f"backbone.isolated_layers = {self.isolated_layers} is more than backbone.depth = "
                f"{self.depth}; allowed: 0 to {self.depth}, which isolates pictures in all layers"
            )
        if self.skips and self.depth < 3:
            raise ValueError(
                f"backbone.skips = true joins layers around a middle one, and backbone.depth = {self.depth}; "
                "allowed: 3 or more"
            )
        return self


class Loss(Settings):
    """Weights of the two losses."""

    text: Weight = 1.0
    image: Weight = 4.0


class EMA(Settings):
    """The average of the weights, counted in documents."""

    kind: Literal["half_life", "power"] = Field(
        "half_life", description="power: the width can be chosen after training"
    )
    half_life: Positive = Field(1e6, description="documents after which a weight counts half")
    ramp: Positive = Field(0.05, description="early on the half-life is this share of the documents seen")
    widths: tuple[Width, Width] = Field(
        (0.05, 0.1), strict=False, description="power: relative widths of the two averages kept"
    )
    snapshots: Amount = Field(32, description="power: so often in a run both averages are kept on disk")

    @model_validator(mode="after")
    def _widths_differ(self) -> "EMA":
        if self.widths[0] == self.widths[1]:
            raise ValueError(
                f"train.ema.widths = {list(self.widths)} are the same; give two different ones, as in "
                f"[0.05, 0.1]"
            )
        return self


class Train(Settings):
    """The run."""

    documents: Auto[Count] = Field(100_000, description="length of the run")
    time: Seconds | None = Field(
        None, description="seconds that the command takes instead; the learning rate falls with it"
    )
    batch: Auto[Amount] = Field(128, description="documents a step, over all ranks")
    accumulate: Amount = Field(1, description="micro-batches a step, to save memory")
    recompute: bool = Field(False, description="activation checkpointing: layers run twice, to save memory")
    parallel: Literal["none", "ddp", "fsdp"] = Field("ddp", description="how several ranks share the model")
    timeout: Seconds = Field(600.0, description="seconds that ranks and data workers are waited for")
    workers: Auto[Workers] = Field(
        "auto", description="processes of each rank that make batches ahead; auto: none where a CPU trains"
    )
    length: Auto[Count] = Field(64, description="positions in a row")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: hidden matrices by Muon, the rest by AdamW"
    )
    learning_rate: Positive = 2e-3
    muon_learning_rate: Positive = 0.02
    betas: tuple[BelowOne, BelowOne] = Field((0.9, 0.95), strict=False)
    weight_decay: Weight = 0.0
    warmup: Auto[Whole] = Field(4_000, description="documents until the full learning rate")
    decay: Share = Field(
        0.4, description="last share of the run, in which the learning rate falls to 0; 0: constant"
    )
    clip: Positive = Field(1.0, description="largest norm of the gradient")
    ema: EMA = EMA()
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of matmuls; auto: bf16 where the hardware has it"
    )
    mask: Literal["dense", "flex"] = Field(
        "dense", description="of attention; flex skips empty blocks of long rows"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="torch.compile the layers; auto: where it works, if there is time"
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of each rank, 0: its share of the cores")
    skip_nonfinite: Whole = Field(
        0, description="steps in a row that may be skipped where the loss is not finite"
    )
    trackers: Trackers = Field(
        ("auto",),
        strict=False,
        description="where scalars go besides records.jsonl; auto: TensorBoard where installed",
    )
    seed: int = Field(0, ge=0, lt=2**63)
    log_every: Auto[Count] = Field(2_000, description="documents between records")
    sample_every: Auto[Count] = Field(25_000, description="documents between sample sheets")
    save_every: Auto[Count] = Field(50_000, description="documents between checkpoints")
    keep: Count = Field(2, description="checkpoints that stay")


class Sample(Settings):
    """Defaults of drawing and writing."""

    steps: int = Field(10, ge=1, le=1000)
    solver: Solver = "euler"
    grid: Grid = Field("uniform", description="times of the steps")
    guidance: Auto[Weight] = 2.0
    interval: tuple[Share, Share] = Field(
        (0.0, 1.0), strict=False, description="times inside which guidance acts"
    )
    rescale: Share = Field(0.0, description="share by which guided pictures get back their contrast")
    order: Order = Field("confidence", description="in which masked codes become known")
    order_temperature: Weight = Field(
        4.5, description="of the noise on confidence, which ends at 0; 0: the most certain code first"
    )
    rising: bool = Field(
        True, description="scales: guidance is none at the coarsest and rises to the finest, as in VAR"
    )
    code_temperature: Each[Weight] = Field(
        1.0, description="of codes that are drawn: 1 as learned, 0 always the likeliest; scales: or a list"
    )
    code_top_k: Each[Whole] = Field(
        0, description="codes are drawn from so many of the likeliest; 0: from all; scales: or a list"
    )
    code_top_p: Each[Chance] = Field(
        1.0, description="codes are drawn from the likeliest, of this probability together; scales: or a list"
    )
    top_p: Chance = Field(1.0, description="text is drawn from the likeliest tokens, of this chance together")
    precision: Precision = Field(
        "auto", description="of the network while it draws; auto: bf16 on a GPU that has it, else fp32"
    )
    max_text: Auto[Amount] = Field(64, description="tokens written at most")
    context: Auto[Amount] = Field(1024, description="longest document, in positions")


class Config(Settings):
    """All settings of a run. `codec`, `head`, `backbone` and `baseline` are chosen by their `kind`."""

    data: Data = Data()
    text_tokenizer: TextTokenizer = TextTokenizer()
    codec: ImageCodec = RawCodec()
    head: Head = DiffusionHead()
    backbone: Annotated[Union[GAU, Transformer], Field(discriminator="kind")] = GAU()
    baseline: Baseline = Field(None, description="a network that knows no sequence, in place of the head")
    loss: Loss = Loss()
    train: Train = Train()
    sample: Sample = Sample()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Config":
        size, codec = self.data.size, self.codec
        if AUTO != size and codec.known:
            codec.check_divides(size)
        if not goes_with(self.head, codec, codec.kind):
            raise ValueError(misfit(self.head, codec))
        check_lists({f"sample.{name}": getattr(self.sample, name) for name in LISTS}, self.head, codec)
        self._check_condition()
        check_reads(self.head, self.data.read)
        check_strided(self.head, self.backbone)
        check(self)
        if self.sample.interval[0] > self.sample.interval[1]:
            raise ValueError(
                f"sample.interval = {list(self.sample.interval)} runs backwards; allowed: low <= high"
            )
        if AUTO in (size, self.train.length) or not codec.known:
            return self
        needed = self.positions(size, size) + 4  # <bos>, <image>, </image>, <eos>
        if self.train.length < needed:
            cut = f" in patches of {codec.stride}" * (codec.kind == "raw" and self.baseline is None)
            raise ValueError(
                f"train.length = {self.train.length} is too short for one picture of {size} px{cut}: it "
                f"needs {needed} and the caption's bytes; set train.length={needed + 60}"
            )
        return self

    def _check_condition(self) -> None:
        gives, takes = self.head.modulates, getattr(self.backbone, "condition", "none") == "modulation"
        if gives and self.backbone.kind != "transformer":
            raise ValueError(
                f"head.time = modulation modulates layers, and those of backbone.kind = {self.backbone.kind} "
                "cannot be; allowed: backbone.kind=transformer backbone.condition=modulation"
            )
        if gives and not takes:
            raise ValueError(
                "head.time = modulation modulates layers, and backbone.condition = none; set "
                "backbone.condition=modulation"
            )
        if takes and not gives:
            other = " head.kind=diffusion" if self.head.kind != "diffusion" else ""
            raise ValueError(
                "backbone.condition = modulation needs a head that gives one; set" + other + " "
                "head.time=modulation, or backbone.condition=none"
            )

    def positions(self, height: Any, width: Any) -> Any:
        """Positions of a picture of H x W pixels in the sequence; sides may be numpy arrays."""
        if self.baseline is not None:
            return 0 * height + 1
        line_ends = height // self.codec.stride if getattr(self.head, "line_ends", False) else 0
        return self.codec.tokens(height, width) * self.positions_each + self.head.before + line_ends

    def positions_of(self, areas: Any) -> Any:
        """Positions of pictures of so many pixels, without line ends, 0 where there is none; `areas` may be a
        numpy array."""
        if self.baseline is not None:
            return 1 * (areas > 0)
        return self.codec.of_area(areas) * self.positions_each + (areas > 0) * self.head.before

    @property
    def drawn_by(self) -> str:
        """What draws pictures, as messages call it."""
        part = "head" if self.baseline is None else "baseline"
        return f"whose {part} is {getattr(self, part).kind}"

    @property
    def positions_each(self) -> int:
        """Positions of a token."""
        return getattr(self.codec, "codes_each", 1) if self.head.apart else 1
