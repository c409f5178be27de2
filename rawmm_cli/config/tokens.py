"""Settings of what turns pictures into the tokens of a model: raw patches, sub-pixels, or a codec that was
trained and is frozen inside the model. No torch here."""

from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import Field

from .fields import AUTO, Auto, CodecSettings, Positive, Side, Size
from .learned import Learned, QueryCodec

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class RawCodec(CodecSettings):
    """Raw patches."""

    cell: ClassVar[str] = "patch"
    kind: Literal["raw"] = "raw"
    patch: Auto[Size] = Field(2, description="side of a patch, in pixels")


class ShrunkCodec(CodecSettings):
    """Raw patches of a picture with fewer pixels: what a tokenizer should be better than."""

    kind: Literal["shrunk"] = "shrunk"
    factor: Size = Field(2, description="times that the sides of a picture are shorter inside")
    patch: Size = Field(4, description="side of a patch, in pixels of the shrunk picture")

    @property
    def known(self) -> bool:
        """Always."""
        return True

    @property
    def stride(self) -> int:
        """A patch, in pixels of the picture."""
        return self.factor * self.patch

    def check_divides(self, size: int) -> None:
        """Raises ValueError where pictures of this side do not fit."""
        if size % self.stride:
            raise ValueError(
                f"codec.factor = {self.factor} times codec.patch = {self.patch} does not divide data.size = "
                f"{size}; set codec.factor, codec.patch or data.size"
            )


class SubpixelsCodec(CodecSettings):
    """A pixel a token, its red, green and blue value a code each: integers, and nothing is lost."""

    integers: ClassVar[bool] = True
    codes_each: ClassVar[int] = 3
    kind: Literal["subpixels"] = "subpixels"

    @property
    def known(self) -> bool:
        """Always: there is nothing to choose."""
        return True

    @property
    def stride(self) -> int:
        """Pictures may have any size."""
        return 1

    def tokens(self, height: Any, width: Any) -> Any:
        """One a pixel."""
        return height * width

    def of_area(self, area: Any) -> Any:
        """One a pixel."""
        return area


class FrozenCodec(CodecSettings):
    """A codec that was trained, by its run. All but its kind and its run follow from that run."""

    integers: ClassVar[bool] = True
    kind: Literal["vq", "fsq", "lfq", "rvq", "query", "multiscale"]
    run: str = Field(description="the run of a codec, beside the model's, or its folder")
    hash: Auto[Hash] = Field(AUTO, description="SHA-256 of its weights")
    size: Auto[Side] = Field(AUTO, description="side of the pictures that it learned")
    learned: Auto[Learned] = Field(AUTO, description="its own settings")

    @property
    def known(self) -> bool:
        """Whether its run was looked at: without that it has no size and no tokens."""
        return self.learned != AUTO

    @property
    def stride(self) -> int:
        """Sides of pictures are multiples of this."""
        return self.size if isinstance(self.learned, QueryCodec) else self.learned.stride

    def takes(self, height: Any, width: Any) -> Any:
        """Whether pictures of H x W pixels fit."""
        if isinstance(self.learned, QueryCodec):
            return (height == self.size) & (width == self.size)
        return super().takes(height, width)

    @property
    def wanted(self) -> str:
        """Which pictures it takes, in words."""
        if isinstance(self.learned, QueryCodec):
            return f"the codec of run {self.run} takes {self.size}x{self.size} only, the size that it learned"
        return f"the codec of run {self.run} takes sides that are multiples of {self.stride}"

    def tokens(self, height: Any, width: Any) -> Any:
        """As those of the codec itself."""
        return self.learned.tokens(height, width)

    def of_area(self, area: Any) -> Any:
        """As those of pictures of the size that it learned."""
        return area * self.tokens(self.size, self.size) // self.size**2

    @property
    def codes_each(self) -> int:
        """Integers of a token, G."""
        return getattr(self.learned, "codes_each", 1)

    def check_divides(self, size: int) -> None:
        """Raises ValueError where pictures of this side do not fit."""
        if self.known and not self.takes(size, size):
            raise ValueError(f"data.size = {size} does not fit: {self.wanted}; set data.size or codec.run")


class FrozenLatents(FrozenCodec):
    """A trained codec whose tokens are vectors, of deviation 1 inside the model."""

    integers: ClassVar[bool] = False
    kind: Literal["kl"]  # type: ignore[assignment]
    deviation: Auto[Positive] = Field(
        AUTO, description="of its numbers over the training set: they are divided by it"
    )


ImageCodec = Annotated[
    Union[RawCodec, ShrunkCodec, SubpixelsCodec, FrozenCodec, FrozenLatents], Field(discriminator="kind")
]
