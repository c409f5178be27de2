"""Settings of a codec that learns (a tokenizer of pictures), a class a kind. No torch here.

Convolutional kinds have width 128 where a position stands for `factor` pixels, and half of that at every
finer scale. A new kind: its class here and in `Learned`, its case in `build.codec`."""

from math import prod
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import Field, model_validator

from .fields import AUTO, Auto, BelowOne, CodecSettings, Depth, Settings, Share, Size

Level = Annotated[int, Field(ge=2, le=256)]
Scales = Annotated[tuple[Size, ...], Field(strict=False, min_length=1, max_length=16)]


class Table(Settings):
    """Learned codes, moving averages of the latents that they stand for."""

    codes: int = Field(1024, ge=2, le=2**18, description="codes in the codebook")
    dimension: Size = Field(16, description="of a code")
    from_data: bool = Field(
        True, description="first codes are k-means centres of the first batch, else drawn at random"
    )
    decay: BelowOne = Field(0.99, description="of the moving averages")
    restart: Share = Field(
        0.1, description="codes used less often than this share of the mean start again from data; 0: never"
    )


class Codebook(Table):
    """A table whose distances may be angles."""

    cosine: bool = Field(
        True, description="codes and latents have norm 1, so the nearest is that of the smallest angle"
    )


class VectorQuantized(Codebook):
    """The nearest code of a learned codebook (van den Oord et al. 2017, arXiv 1711.00937)."""

    kind: Literal["vq"] = "vq"
    rotation: bool = Field(
        True, description="gradients pass by a rotation instead of straight through (arXiv 2410.06424)"
    )


class FiniteScalar(Settings):
    """Numbers rounded to a few levels, no codebook (Mentzer et al. 2023, arXiv 2309.15505)."""

    kind: Literal["fsq"] = "fsq"
    levels: tuple[Level, ...] = Field(
        (8, 5, 5, 5),
        strict=False,
        min_length=1,
        max_length=16,
        description="levels of each number; their product is the vocabulary",
    )
    groups: int = Field(1, ge=1, le=64, description="tokens a position, each of its own numbers")
    even: bool = Field(
        True, description="normalised over the batch, every level is as likely; false: tanh, as in the paper"
    )

    @property
    def codes_each(self) -> int:
        """Integers of a token."""
        return self.groups

    @model_validator(mode="after")
    def _tokens_fit(self) -> "FiniteScalar":
        if prod(self.levels) > 2**24:
            raise ValueError(
                f"codec.levels = {list(self.levels)} make {prod(self.levels):,} codes; allowed: up to "
                f"{2**24:,}; use codec.groups for more tokens instead"
            )
        return self


class LookupFree(Settings):
    """The sign of each number (Yu et al. 2023, arXiv 2310.05737)."""

    kind: Literal["lfq"] = "lfq"
    bits: int = Field(10, ge=1, le=18, description="of a token; the vocabulary is 2^bits")
    groups: int = Field(1, ge=1, le=64, description="tokens a position")
    spherical: bool = Field(
        False, description="latents are projected onto the unit sphere first: BSQ (arXiv 2406.07548)"
    )

    @property
    def codes_each(self) -> int:
        """Integers of a token."""
        return self.groups


class Residual(Codebook):
    """Codebooks one after the other, each for what the ones before it left (Lee et al. 2022, arXiv
    2203.01941)."""

    kind: Literal["rvq"] = "rvq"
    cosine: bool = Field(False, description="codes and latents have norm 1, which does not suit what is left")
    quantizers: int = Field(4, ge=1, le=64, description="tokens a position")

    @property
    def codes_each(self) -> int:
        """Integers of a token."""
        return self.quantizers


class Convolutional(CodecSettings):
    """The encoder and the decoder that every kind but query shares."""

    cell: ClassVar[str] = "factor"
    factor: Size = Field(8, description="side of the square of pixels that a position stands for")
    patch: Size = Field(
        4, description="side of the first convolution's squares; factor / patch: a power of 2"
    )
    width: int = Field(
        128,
        ge=8,
        le=8192,
        multiple_of=8,
        description="channels at the coarsest scale, half at each finer one",
    )
    blocks: Depth = Field(2, description="residual blocks a scale, in the encoder and in the decoder")

    @model_validator(mode="after")
    def _scales_fit(self) -> "Convolutional":
        halvings = self.factor // self.patch
        if self.factor % self.patch or halvings & (halvings - 1):
            raise ValueError(
                f"codec.factor = {self.factor} is not codec.patch = {self.patch} times a power of 2; set "
                f"codec.patch={self.factor}, or another factor"
            )
        if self.width % (8 * halvings):
            raise ValueError(
                f"codec.width = {self.width} cannot be halved from patches of {self.patch} px to "
                f"{self.factor} px; set codec.width to a multiple of {8 * halvings}"
            )
        return self


class VQCodec(Convolutional, VectorQuantized):
    """VQ-VAE; with loss.adversary VQ-GAN."""


class FSQCodec(Convolutional, FiniteScalar):
    """FSQ."""


class LFQCodec(Convolutional, LookupFree):
    """LFQ and BSQ."""


class RVQCodec(Convolutional, Residual):
    """Residual VQ."""


class KLCodec(Convolutional):
    """A variational autoencoder: latents are vectors, not integers (Rombach et al. 2022, arXiv
    2112.10752)."""

    kind: Literal["kl"] = "kl"
    channels: Size = Field(4, description="numbers a position")


class MultiscaleCodec(Convolutional, Table):
    """Codes of several scales, each of what the coarser ones have left: VAR (Tian et al. 2024, arXiv
    2404.02905)."""

    kind: Literal["multiscale"] = "multiscale"
    codes: int = Field(256, ge=2, le=2**18, description="codes of a scale")
    scales: Auto[Scales] = Field(
        AUTO, description="their sides, rising to that of the grid; auto: that side, halved down to 1"
    )
    shared: bool = Field(
        False,
        description="all scales have one table of codes, as in VAR, where coarse scales use few of them",
    )
    blend: Share = Field(0.5, description="of a 3x3 convolution, after the codes of a scale have grown")

    def tokens(self, height: Any, width: Any) -> Any:
        """Those of all scales: on another grid they have sides in proportion."""
        rows, columns, largest = height // self.factor, width // self.factor, self.scales[-1]
        return sum(-(-rows * side // largest) * -(-columns * side // largest) for side in self.scales)

    def on(self, size: int) -> "MultiscaleCodec":
        """The same with the scales of pictures of this side. Raises ValueError where they do not fit."""
        side = size // self.factor
        if self.scales == AUTO:
            return self.model_copy(update={"scales": halved(side)})
        if sorted(set(self.scales)) != list(self.scales) or self.scales[-1] != side:
            raise ValueError(
                f"codec.scales = {list(self.scales)} do not fit pictures of {size} px, which have {side} "
                f"positions of {self.factor} px a side; allowed: rising sides that end with {side}; set "
                f"codec.scales={list(halved(side))}, or auto"
            )
        return self

    @property
    def quantizers(self) -> int:
        """Tables of codes."""
        return 1 if self.shared else len(self.scales)


def halved(side: int) -> tuple[int, ...]:
    """Sides of scales for a grid of this side: 1, ..., side / 4, side / 2, side, rounded up.

    Each scale has about a quarter of the tokens of the next, so that all together have about 4/3 of those of
    the grid (8: 1 2 4 8, 85 tokens). VAR's finer steps (1 2 3 4 6 8) would have 130."""
    sides = [side]
    while sides[0] > 1:
        sides.insert(0, -(-sides[0] // 2))
    return tuple(sides)


Quantizer = Annotated[Union[FiniteScalar, VectorQuantized, LookupFree, Residual], Field(discriminator="kind")]


class QueryCodec(CodecSettings):
    """A row of tokens, each of the whole picture (TiTok, Yu et al. 2024, arXiv 2406.07550; SEED, arXiv
    2307.08041)."""

    cell: ClassVar[str] = "patch"
    kind: Literal["query"] = "query"
    queries: Size = Field(64, description="learned vectors that read the picture, a position each")
    patch: Size = Field(8, description="side of a patch, in pixels")
    width: Size = 128
    depth: Depth = Field(3, description="layers over the patches, over the queries, and in the decoder")
    heads: Size = 4
    causal: bool = Field(False, description="query i sees only those before it")
    local: bool = Field(
        True, description="attention starts near each query's place on the picture; false: anywhere"
    )
    quantizer: Quantizer = FiniteScalar()

    def tokens(self, height: Any, width: Any) -> Any:
        """One a query, whatever the size."""
        return self.queries

    @property
    def codes_each(self) -> int:
        """Integers of a token."""
        return getattr(self.quantizer, "codes_each", 1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "QueryCodec":
        if self.width % self.heads or (self.width // self.heads) % 8:
            raise ValueError(f"width {self.width} / heads {self.heads} must be a multiple of 8")
        return self


Learned = Annotated[
    Union[VQCodec, FSQCodec, LFQCodec, RVQCodec, KLCodec, QueryCodec, MultiscaleCodec],
    Field(discriminator="kind"),
]
