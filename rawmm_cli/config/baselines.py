"""Settings of baselines: networks that know no sequence. No torch here.

A baseline takes the place of the head's layers and of the sequence; `backbone` then reads the caption alone,
and its state at `<image>` is all that the baseline knows of it."""

from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BeforeValidator, Field, model_validator

from .choices import Guide
from .fields import AUTO, Depth, Positive, Settings, Side, Size

Multiplier = Annotated[int, Field(ge=1, le=64)]


class UNet(Settings):
    """DDPM's U-Net: it draws and does not read. `head` has its path, its loss and its times."""

    paints: ClassVar[bool] = True
    kind: Literal["unet"] = "unet"
    channels: Size = Field(64, le=4096, description="of the level with the picture's own sides")
    multipliers: Annotated[tuple[Multiplier, ...], Field(min_length=1, max_length=8)] = Field(
        (1, 2), strict=False, description="channels of each level, in `channels`; each level halves the sides"
    )
    blocks: int = Field(2, ge=1, le=64, description="residual blocks of a level on the way down")
    attention: tuple[Side, ...] = Field(
        (), strict=False, description="sides, in tokens, at which the places of a picture see each other"
    )
    groups: Size = Field(32, description="groups of channels that are normalised together")

    @model_validator(mode="after")
    def _groups_divide(self) -> "UNet":
        if self.channels % self.groups:
            raise ValueError(
                f"baseline.groups = {self.groups} does not divide baseline.channels = {self.channels}; "
                f"set baseline.groups to a divisor of it"
            )
        return self

    @property
    def stride(self) -> int:
        """Sides of a grid of tokens are multiples of this."""
        return 2 ** (len(self.multipliers) - 1)

    def levels(self, side: int) -> tuple[int, ...]:
        """Levels that attend, of a grid of this side."""
        return tuple(n for n in range(len(self.multipliers)) if side // 2**n in self.attention)

    def check(self, side: int) -> None:
        """Raises ValueError where a grid of this side does not fit."""
        if side % self.stride:
            raise ValueError(
                f"baseline.multipliers has {len(self.multipliers)} levels, and {side} x {side} tokens cannot "
                f"be halved {len(self.multipliers) - 1} times; allowed: multiples of {self.stride}"
            )
        sides = [side // 2**n for n in range(len(self.multipliers))]
        if other := [one for one in self.attention if one not in sides]:
            raise ValueError(
                f"baseline.attention = {other[0]} is the side of no level; allowed: "
                f"{', '.join(map(str, sides))}"
            )


class Flow(Settings):
    """TarFlow: it draws and has an exact likelihood, and does not read. `head` has no part in it."""

    paints: ClassVar[bool] = False
    kind: Literal["flow"] = "flow"
    blocks: int = Field(8, ge=1, le=256, description="steps of the flow, each in the other order")
    depth: Depth = Field(2, description="layers of each block")
    width: Size = 128
    heads: Size = 4
    noise: Literal["uniform", "gaussian"] = Field(
        "uniform", description="of pictures that are learned; uniform: within their levels, for bits/dim"
    )
    deviation: Positive = Field(0.1, description="gaussian: of the noise; pixels run from -1 to 1")
    guide: Guide = Field("ab", description="guidance acts on scales and shifts (ab), or on one of them")

    @model_validator(mode="after")
    def _heads_divide(self) -> "Flow":
        if self.width % self.heads:
            raise ValueError(
                f"baseline.width {self.width} must be a multiple of baseline.heads {self.heads}; set another"
            )
        return self

    def check(self, side: int) -> None:
        """Any grid fits."""


def check(config: Any) -> None:
    """Raises ValueError where a baseline does not go with the other settings of a `Config`."""
    baseline, codec, size = config.baseline, config.codec, config.data.size
    if baseline is None:
        return
    this = f"baseline.kind = {baseline.kind}"
    if codec.integers:
        raise ValueError(
            f"{this} draws vectors, and codec.kind = {codec.kind} gives integers; allowed: codec.kind=raw, "
            "shrunk, kl"
        )
    if config.head.kind != "diffusion":
        raise ValueError(
            f"{this} takes the place of a head, and head.kind = {config.head.kind} is another; allowed: "
            "head.kind=diffusion, whose path and loss a U-Net has"
        )
    if config.data.read not in (0, AUTO):
        raise ValueError(f"{this} draws and does not read pictures; set data.read=0")
    if isinstance(baseline, Flow) and config.train.precision == "bf16":
        raise ValueError(f"{this} sums log-determinants, which bf16 cannot; set train.precision=fp32 or auto")
    if isinstance(baseline, Flow) and codec.kind != "raw" and baseline.noise == "uniform":
        raise ValueError(
            f"baseline.noise = uniform lies between the levels of pixels, and codec.kind = {codec.kind} has "
            "none; set baseline.noise=gaussian"
        )
    if AUTO != size and codec.known:
        baseline.check(size // codec.stride)


Baseline = Annotated[
    Annotated[Union[UNet, Flow], Field(discriminator="kind")] | None,
    BeforeValidator(lambda value: None if value == "none" else value),
]
