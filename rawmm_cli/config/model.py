"""Every setting of a model, of its training and of its sampling, validated. No torch here: a wrong key costs
no start-up time.

Amounts of training are counted in documents, not in steps, so that they mean the same at any batch size."""

import re
from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from ..core.text_tokenizer import VOCABULARY
from .choices import Grid, Precision, Prediction, Solver
from .fields import (
    Amount,
    Auto,
    BelowOne,
    CodecSettings,
    Count,
    Depth,
    Long,
    Positive,
    Seconds,
    Settings,
    Share,
    Side,
    Size,
    Trackers,
    Weight,
    Whole,
    Width,
    Workers,
)


class Streaming(Settings):
    """A source that is read while training and never written to disk. `stream: true` is short for all of
    these defaults."""

    path: str | None = Field(
        None,
        description="a folder of .parquet or .tar files, one of them, or hf:OWNER/NAME; default: "
        "the folder of data.set",
    )
    crop: Literal["center", "none"] = Field(
        "center", description="as in `rawmm prepare`; data.size is the size"
    )
    columns: str | None = Field(None, description="as in `rawmm prepare`: image=...,text=...,label=...")
    caption: str | None = Field(
        None, description="as in `rawmm prepare`: caption made of a class, with {label}"
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="share of the pictures that is never trained on"
    )
    lanes: Amount = Field(
        4, description="parts of the source that are read side by side; a multiple of the ranks"
    )


class Data(Settings):
    """What is trained on."""

    set: str = Field(
        "digits", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a folder under the data folder"
    )
    mix: dict[str, Share] = Field(
        {}, description="other sets and their shares of the documents, {name: share}"
    )
    size: Side = Field(8, description="side of the pictures to draw, in pixels")
    read: Share = Field(0.5, description="share of documents that read a picture and then write its caption")
    drop: Share = Field(0.1, description="share of captions dropped when drawing, for guidance")
    finished: Share = Field(
        0.0, description="share of drawing documents that show the picture clean, to learn what follows it"
    )
    shift: Whole = Field(0, description="pictures that are read may move by up to so many pixels")
    shift_share: Share = Field(0.3, description="share of the pictures read that move")
    stretch: bool = Field(
        False, description="pictures of other sizes take the place of one of data.size: `--size` draws them"
    )
    long: Long | None = Field(
        None,
        description="captions that do not fit into train.length with their picture; default: an error before "
        "the first step, and left out and reported in a stream",
    )
    stream: Streaming | None = Field(
        None, description="read the source while training: true, or settings of its own"
    )

    @model_validator(mode="after")
    def _mix_fits(self) -> "Data":
        if self.mix and self.stream:
            raise ValueError("data.mix cannot be combined with data.stream; allowed: one of them")
        for name in self.mix:
            if name == self.set or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(
                    f"data.mix names '{name}'; allowed: names of prepared sets other than data.set"
                )
        if sum(self.mix.values()) >= 1:
            raise ValueError(
                f"the shares of data.mix sum to {sum(self.mix.values()):g}; allowed: less than 1, the rest "
                f"is '{self.set}'"
            )
        return self


class TextTokenizer(Settings):
    """How text becomes tokens. `text_tokenizer: bpe` is short for its kind."""

    kind: Literal["bytes", "bpe"] = Field(
        "bytes", description="bpe: pieces of bytes, learned from the captions of the set"
    )
    vocabulary: int = Field(
        4096, ge=VOCABULARY, le=1_000_000, description="bpe: tokens in all; 260 are bytes and special tokens"
    )

    @property
    def size(self) -> int:
        """Tokens that the model knows."""
        return VOCABULARY if self.kind == "bytes" else self.vocabulary


class RawCodec(CodecSettings):
    """Raw patches."""

    cell: ClassVar[str] = "patch"
    kind: Literal["raw"] = "raw"
    patch: Size = Field(2, description="side of a patch, in pixels")


class DiffusionHead(Settings):
    """Noise, prediction and loss of pictures."""

    kind: Literal["diffusion"] = "diffusion"
    prediction: Prediction = Field("clean", description="what the network outputs")
    loss: Prediction = Field("velocity", description="the space in which the error is measured")
    time_mean: Auto | float = Field("auto", description="t = sigmoid(N(mean, spread^2)); t = 1 is noise")
    time_spread: Auto | Positive = Field("auto", description="auto: measured on the pictures of the set")
    noise_scale: Positive = Field(1.0, description="standard deviation of the noise; pixels run from -1 to 1")
    clamp: Positive = Field(0.05, description="t and 1 - t are at least this where they divide")
    bottleneck: Count | None = Field(None, description="patches pass through so many numbers on their way in")


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

    @model_validator(mode="after")
    def _heads_divide(self) -> "Transformer":
        if self.width % self.heads or (self.width // self.heads) % 8:
            raise ValueError(f"width {self.width} / heads {self.heads} must be a multiple of 8")
        return self


class Loss(Settings):
    """Weights of the two losses."""

    text: Weight = 1.0
    image: Auto | Weight = Field("auto", description="auto: by how even the pictures of the set are")


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

    documents: Count = Field(100_000, description="length of the run")
    time: Seconds | None = Field(
        None, description="seconds that the command takes instead; the learning rate falls with it"
    )
    batch: Amount = Field(128, description="documents a step, over all ranks")
    accumulate: Amount = Field(1, description="micro-batches a step, to save memory")
    recompute: bool = Field(False, description="activation checkpointing: layers run twice, to save memory")
    parallel: Literal["none", "ddp", "fsdp"] = Field("ddp", description="how several ranks share the model")
    timeout: Seconds = Field(600.0, description="seconds that ranks and data workers are waited for")
    workers: Auto | Workers = Field(
        "auto", description="processes of each rank that make batches ahead; auto: none where a CPU trains"
    )
    length: Count = Field(64, description="positions in a row")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: hidden matrices by Muon, the rest by AdamW"
    )
    learning_rate: Positive = 2e-3
    muon_learning_rate: Positive = 0.02
    betas: tuple[BelowOne, BelowOne] = Field((0.9, 0.95), strict=False)
    weight_decay: Weight = 0.0
    warmup: Whole = Field(4_000, description="documents until the full learning rate")
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
    log_every: Count = Field(2_000, description="documents between records")
    sample_every: Count = Field(25_000, description="documents between sample sheets")
    save_every: Count = Field(50_000, description="documents between checkpoints")
    keep: Count = Field(2, description="checkpoints that stay")


class Sample(Settings):
    """Defaults of drawing and writing."""

    steps: int = Field(10, ge=1, le=1000)
    solver: Solver = "euler"
    grid: Grid = Field("uniform", description="times of the steps")
    guidance: Weight = 2.0
    interval: tuple[Share, Share] = Field(
        (0.0, 1.0), strict=False, description="times inside which guidance acts"
    )
    rescale: Share = Field(0.0, description="share by which guided pictures get back their contrast")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="text is drawn from the likeliest tokens, of this chance together"
    )
    precision: Precision = Field(
        "auto", description="of the network while it draws; auto: bf16 on a GPU that has it, else fp32"
    )
    max_text: Amount = Field(64, description="tokens written at most")
    context: Amount = Field(1024, description="longest document, in positions")


class Config(Settings):
    """All settings of a run. `codec`, `head` and `backbone` are chosen by their `kind`."""

    data: Data = Data()
    text_tokenizer: TextTokenizer = TextTokenizer()
    codec: RawCodec = RawCodec()
    head: DiffusionHead = DiffusionHead()
    backbone: Annotated[Union[GAU, Transformer], Field(discriminator="kind")] = GAU()
    loss: Loss = Loss()
    train: Train = Train()
    sample: Sample = Sample()

    @model_validator(mode="after")
    def _patch_divides(self) -> "Config":
        size = self.data.size
        self.codec.check_divides(size)
        if self.sample.interval[0] > self.sample.interval[1]:
            raise ValueError(
                f"sample.interval = {list(self.sample.interval)} runs backwards; allowed: low <= high"
            )
        needed = self.codec.tokens(size, size) + 4  # <bos>, <image>, </image>, <eos>
        if self.train.length < needed:
            raise ValueError(
                f"train.length = {self.train.length} is too short for one picture of {size} px in patches "
                f"of {self.codec.stride}: it needs {needed} and the caption's bytes; set "
                f"train.length={needed + 60}"
            )
        return self
