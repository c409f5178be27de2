"""What every group of settings is made of: the strict base class and the types of values. No torch here."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Width = Annotated[float, Field(gt=0, le=0.25)]
Weight = Annotated[float, Field(ge=0)]
Trackers = Annotated[
    tuple[Literal["auto", "tensorboard", "wandb", "trackio"], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
]


class Settings(BaseModel):
    """Frozen and strict: unknown keys, `true` for 1 and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
