"""Settings of heads: what it means to learn and to draw image tokens; a class a kind. No torch here.

A new kind: its class here and in `Head`, its case in `build._head` and in `build._drawing`."""

from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from .choices import Prediction, Schedule
from .fields import BelowOne, Count, Positive, Settings, Weight


class HeadSettings(Settings):
    """What all heads say of themselves: which codecs they go with, and where their tokens stand."""

    integers: ClassVar[bool]  # learns tokens that are integers; else vectors
    draws: ClassVar[bool] = True  # else pictures are only read
    paints: ClassVar[bool] = True  # draws on a picture: inside a mask, or a share of it
    apart: ClassVar[bool] = False  # the G integers of a token stand at G positions, not at one
    scales: ClassVar[bool] = False  # learns tokens of several scales; else of one grid, or of one row

    @property
    def before(self) -> int:
        """Positions of a picture before its tokens."""
        return 0

    @property
    def modulates(self) -> bool:
        """Whether it gives what layers are modulated by."""
        return False

    @property
    def ordered(self) -> bool:
        """Whether a position of a picture sees those before it alone."""
        return self.apart


class DiffusionHead(HeadSettings):
    """Noise, prediction and loss of pictures."""

    integers: ClassVar[bool] = False
    kind: Literal["diffusion"] = "diffusion"
    prediction: Prediction = Field("clean", description="what the network outputs")
    loss: Prediction = Field("velocity", description="the space in which the error is measured")
    time_mean: float = Field(0.8, description="t = sigmoid(N(time_mean, time_spread^2)); t = 1 is noise")
    time_spread: Positive = 0.8  # for pictures of any kind and size: docs/train.md, "Training times"
    noise_scale: Positive = Field(1.0, description="standard deviation of the noise; pixels run from -1 to 1")
    clamp: Positive = Field(0.05, description="t and 1 - t are at least this where they divide")
    bottleneck: Count | None = Field(None, description="patches pass through so many numbers on their way in")
    time: Literal["added", "token", "modulation", "none"] = Field(
        "added",
        description="how the noise level enters: added to patches, at a position before them, by "
        "modulated layers (backbone.condition: modulation), or not at all",
    )
    convolution: bool = Field(False, description="a 3 x 3 convolution over the whole picture at the end")

    @property
    def before(self) -> int:
        """A position for the time."""
        return int(self.time == "token")

    @property
    def modulates(self) -> bool:
        """By the time."""
        return self.time == "modulation"


class AutoregressiveHead(HeadSettings):
    """Codes one after the other, as text is written."""

    integers: ClassVar[bool] = True
    paints: ClassVar[bool] = False
    apart: ClassVar[bool] = True
    kind: Literal["autoregressive"]
    z_loss: Weight = Field(0.0, description="of log^2 Z of the predictions of codes; Chameleon: 1e-5")


class MaskedHead(HeadSettings):
    """Codes that are hidden, and said in a few steps."""

    integers: ClassVar[bool] = True
    kind: Literal["masked"]
    schedule: Schedule = Field("cosine", description="by which codes are masked, and become known")
    loss: Literal["maskgit", "bound"] = Field(
        "maskgit", description="mean over the masked codes, or a bound on the likelihood (MD4)"
    )
    smoothing: BelowOne = Field(0.0, description="share of the targets that goes to all codes; MaskGIT: 0.1")
    time: Literal["none", "added", "modulation"] = Field(
        "none", description="how the share that is masked enters"
    )

    @model_validator(mode="after")
    def _bound_is_exact(self) -> "MaskedHead":
        if self.loss == "bound" and self.smoothing:
            raise ValueError(
                f"head.smoothing = {self.smoothing:g} makes the loss no bound; set head.smoothing=0, or "
                "head.loss=maskgit"
            )
        return self


class ScalesHead(HeadSettings):
    """Codes of several scales, a scale at once (VAR)."""

    integers: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    kind: Literal["scales"]


class ReadingHead(HeadSettings):
    """Pictures are read and never drawn."""

    integers: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    kind: Literal["reading"]
    order: Literal["raster", "picture"] = Field(
        "raster", description="raster: a patch sees those before it; picture: all of its picture"
    )
    line_ends: bool = Field(True, description="a token of text behind each row of patches")

    @property
    def ordered(self) -> bool:
        """In raster order."""
        return self.order == "raster"


Head = Annotated[
    Union[DiffusionHead, AutoregressiveHead, MaskedHead, ScalesHead, ReadingHead],
    Field(discriminator="kind"),
]
