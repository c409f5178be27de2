"""JSON files that rawmm reads back, perhaps from elsewhere: whole, and of the shape that it writes.

A shape is a type as pydantic knows it. What a shape does not name is kept and not looked at."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .disk import read_file
from .errors import RawmmError, printable

LARGEST = 256_000_000  # bytes


class Shape(BaseModel):
    """Base class of shapes: true is not 1, and NaN is no number. A type is built where it is first used."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, defer_build=True)


def read_json(path: Path, shape: Any, error: type[RawmmError], remedy: str) -> Any:
    """Contents of a JSON file of this shape, as they are. Raises `error`, with the file, what is wrong with
    it, and the remedy."""
    try:
        value = json.loads(read_file(path, LARGEST))
        _adapter(shape).validate_python(value)
        return value
    except OSError as failure:
        reason = f"cannot be read: {failure.strerror}"
    except ValidationError as failure:
        problem = failure.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        reason = (
            f"is damaged ({place + ': ' if place else ''}{problem['msg'][0].lower()}{problem['msg'][1:]})"
        )
    except (ValueError, RecursionError):
        reason = "is damaged (it is not JSON)"
    raise error(printable(f"{path} {reason}; {remedy}"))


@lru_cache(maxsize=32)
def _adapter(shape: Any) -> TypeAdapter:
    return TypeAdapter(shape)
