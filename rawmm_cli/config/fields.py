"""What every group of settings is made of: the strict base class and the types of values. No torch here."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WrapValidator

from ..core.text_tokenizer import VOCABULARY

AUTO = "auto"
T = TypeVar("T")


def _auto_or(value: Any, check: Callable[[Any], Any]) -> Any:
    return value if value == AUTO else check(value)


OR_AUTO = WrapValidator(_auto_or)
Auto = Annotated[T, OR_AUTO, PlainSerializer(lambda value: value)]  # or `auto`: by the set or the machine


def _each(value: Any, check: Callable[[Any], Any]) -> Any:
    return tuple(check(one) for one in value) if isinstance(value, (list, tuple)) and value else check(value)


Each = Annotated[
    T, WrapValidator(_each), PlainSerializer(lambda value: value)
]  # or a list, one for each scale

NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"  # of runs and models: they become parts of paths
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Count = Annotated[int, Field(ge=1, le=10**15)]
Whole = Annotated[int, Field(ge=0, le=10**15)]
Workers = Annotated[int, Field(ge=0, le=256)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=8192)]  # pixels
Amount = Annotated[int, Field(ge=1, le=10_000_000)]  # of what one step, or one drawing, holds at once
Depth = Annotated[int, Field(ge=1, le=1000)]
Chance = Annotated[float, Field(gt=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, le=10**9)]
Vocabulary = Annotated[int, Field(ge=VOCABULARY, le=1_000_000)]  # tokens
Width = Annotated[float, Field(gt=0, le=0.25)]
Weight = Annotated[float, Field(ge=0)]
Long = Annotated[
    Literal["error", "cut", "leave out"],
    BeforeValidator(lambda value: "leave out" if value in ("leave-out", "leave_out") else value),
]
Trackers = Annotated[
    tuple[Literal["auto", "tensorboard", "wandb", "trackio"], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
]


class Settings(BaseModel):
    """Frozen and strict: unknown keys, `true` for 1 and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class CodecSettings(Settings):
    """A codec before it is built: which pictures it takes, and how many tokens they become; without torch."""

    cell: ClassVar[str]  # the setting of which the sides of pictures are multiples
    integers: ClassVar[bool] = False  # tokens are integers; else vectors

    @property
    def known(self) -> bool:
        """Whether sizes are known: which pictures it takes, and how many tokens they become."""
        return getattr(self, self.cell) != AUTO

    @property
    def stride(self) -> int:
        """Sides of pictures are multiples of this."""
        return getattr(self, self.cell)

    def tokens(self, height: Any, width: Any) -> Any:
        """Tokens of pictures of H x W pixels, as `core.parts.Codec.tokens`; sides may be numpy arrays."""
        return (height // self.stride) * (width // self.stride)

    def takes(self, height: Any, width: Any) -> Any:
        """Whether pictures of H x W pixels fit; sides may be numpy arrays."""
        return (height % self.stride == 0) & (width % self.stride == 0)

    def of_area(self, area: Any) -> Any:
        """Tokens of pictures of so many pixels in all, about; `area` may be a numpy array."""
        return area // self.stride**2

    def check_divides(self, size: int) -> None:
        """Raises ValueError where pictures of this side do not fit."""
        if size % self.stride:
            divisors = ", ".join(str(d) for d in range(1, size + 1) if size % d == 0)
            raise ValueError(
                f"codec.{self.cell} = {self.stride} does not divide data.size = {size}; allowed: {divisors}"
            )
