"""Every setting of a run that trains a codec, validated. No torch here.

`codec.kind` decides: with one that learns, and without `codec.run`, `CodecConfig` holds the settings, else
`config.Config` does."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from .fields import (
    Amount,
    BelowOne,
    Count,
    Positive,
    Seconds,
    Settings,
    Share,
    Side,
    Trackers,
    Weight,
    Whole,
)
from .learned import FSQCodec, Learned, MultiscaleCodec


class CodecData(Settings):
    """What is trained on: the pictures of a prepared set."""

    set: str = Field(
        "photos64", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a folder under the data folder"
    )
    size: Side = Field(64, description="side of its pictures, in pixels")
    shift: Whole = Field(0, description="pictures move by up to so many pixels")


class CodecLoss(Settings):
    """Weights of the parts of the loss; pixels run from -1 to 1. A part that the codec does not have counts
    nothing."""

    l1: Weight = Field(0.0, description="mean absolute error of pixels")
    l2: Weight = Field(1.0, description="mean squared error of pixels")
    commitment: Weight = Field(0.25, description="vq, rvq, lfq: latents stay near their codes")
    entropy: Weight = Field(0.02, description="lfq: each latent is sure of its code, and all codes are used")
    kl: Weight = Field(1e-6, description="kl: nats by which a number of the posterior differs from N(0, 1)")
    perceptual: Weight = Field(
        0.0, description="distance of features of MobileNetV2 at five depths; needs loss.features"
    )
    features: str | None = Field(
        None, description="a file of torchvision's MobileNetV2: .pth, or .safetensors"
    )
    adversary: Weight = Field(0.0, description="patch discriminator: above 0 the codec is a GAN")
    adversary_start: Whole = Field(
        0,
        description="documents until the codec hears the discriminator, which learns from the first step on",
    )
    adaptive: bool = Field(
        False, description="the adversary's weight times the ratio of the gradients of both losses"
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> "CodecLoss":
        if not self.l1 and not self.l2:
            raise ValueError("loss.l1 and loss.l2 are both 0; allowed: one of them above 0")
        if self.perceptual and not self.features:
            raise ValueError(
                f"loss.perceptual = {self.perceptual:g} needs weights; set loss.features=PATH, or "
                f"loss.perceptual=0"
            )
        return self


class HalfLife(Settings):
    """The average of the weights, counted in documents."""

    kind: Literal["half_life"] = "half_life"
    half_life: Positive = Field(20_000.0, description="documents after which a weight counts half")
    ramp: Positive = Field(0.05, description="early on the half-life is this share of the documents seen")


class CodecTrain(Settings):
    """The run. A document is a picture."""

    parallel: ClassVar[str] = "none"

    documents: Count = Field(100_000, description="length of the run")
    time: Seconds | None = Field(
        None, description="seconds that the command takes instead; the learning rate falls with it"
    )
    batch: Amount = Field(32, description="pictures a step")
    optimizer: Literal["adamw", "muon"] = Field(
        "muon", description="muon: hidden matrices by Muon, the rest by AdamW"
    )
    learning_rate: Positive = 1e-3
    muon_learning_rate: Positive = 0.02
    adversary_learning_rate: Positive = 2e-4
    betas: tuple[BelowOne, BelowOne] = Field((0.9, 0.99), strict=False)
    weight_decay: Weight = 0.0
    warmup: Whole = Field(2_000, description="documents until the full learning rate")
    decay: Share = Field(
        0.5, description="last share of the run, in which the learning rate falls to 0; 0: constant"
    )
    clip: Positive = Field(1.0, description="largest norm of the gradient")
    ema: HalfLife = HalfLife()
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of convolutions and matmuls; quantizing is in fp32"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="torch.compile encoder and decoder; auto: on a GPU, if train.time allows it"
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads, 0: all cores")
    trackers: Trackers = Field(
        ("auto",),
        strict=False,
        description="where scalars go besides records.jsonl; auto: TensorBoard where installed",
    )
    seed: int = Field(0, ge=0, lt=2**63)
    log_every: Count = Field(1_000, description="documents between records")
    sample_every: Count = Field(
        10_000, description="documents between sheets of held-out pictures and their reconstructions"
    )
    save_every: Count = Field(20_000, description="documents between checkpoints")
    keep: Count = Field(2, description="checkpoints that stay")


class CodecConfig(Settings):
    """All settings of a run that trains a codec."""

    data: CodecData = CodecData()
    codec: Learned = FSQCodec()
    loss: CodecLoss = CodecLoss()
    train: CodecTrain = CodecTrain()

    @model_validator(mode="after")
    def _pictures_divide(self) -> "CodecConfig":
        self.codec.check_divides(self.data.size)
        if isinstance(self.codec, MultiscaleCodec):
            object.__setattr__(self, "codec", self.codec.on(self.data.size))
        return self
