"""Checks of what a caller gives to the library: models, images, texts, documents.

Each error is one line: what was given, what is allowed, what to do. `system/numbers.py` checks numbers. Next:
`library.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .system.errors import ConfigError, DataError
from .system.figures import counted

if TYPE_CHECKING:
    from torch import Tensor

    from .core.document import Document
    from .runs.models import Loaded

IMAGES = "a torch.uint8 tensor (3, H, W) or (M, 3, H, W), a file, or a list of these"


def model(value: Any) -> Loaded:
    """A loaded model. Raises ConfigError."""
    from .runs.models import Loaded

    if not isinstance(value, Loaded):
        raise ConfigError(
            f"the model is {_given(value)}; allowed: what rawmm.load returns, as rawmm.load('portraits')"
        )
    return value


def text(name: str, value: Any, empty: bool = True) -> str:
    """A string; of printable characters, where it may not be `empty`. Raises ConfigError."""
    if not isinstance(value, str) or not (empty or (value and value.isprintable())):
        advice = "; call the function once for each" if isinstance(value, (list, tuple)) else ""
        raise ConfigError(f"{name} is {_given(value)}; allowed: one string (str){advice}")
    return value


def file(name: str, value: Any) -> Path:
    """Path of a file or a folder. Raises ConfigError."""
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise ConfigError(f"{name} is {_given(value)}; allowed: a path, as str or pathlib.Path")
    return Path(value)


def images(value: Any, of: Loaded | None = None) -> list[Tensor]:
    """Images as a list of (3, H, W) uint8 on the CPU; their sides divide into patches of the model `of`.
    Raises DataError."""
    import torch

    if isinstance(value, (list, tuple, Iterator)):
        return [one for part in value for one in images(part, of)]
    if isinstance(value, (str, Path)) and str(value):
        from .data.images import read_image

        value = torch.from_numpy(read_image(value).transpose(2, 0, 1).copy())
    if not isinstance(value, torch.Tensor):
        raise DataError(f"images are {_given(value)}; allowed: {IMAGES}{_conversion(value)}")
    if value.dtype != torch.uint8 or value.ndim not in (3, 4) or value.shape[-3] != 3:
        raise DataError(
            f"images are {value.dtype} of shape {tuple(value.shape)}; allowed: torch.uint8 of shape "
            "(3, H, W) or (M, 3, H, W)"
        )
    if not all(value.shape[-2:]):
        raise DataError(f"images have the shape {tuple(value.shape)}; allowed: sides of at least 1 pixel")
    if of is not None:
        try:
            of.model.codec.grid(*value.shape[-2:])
        except ValueError as error:
            raise DataError(f"{error}; crop or resize it") from None
    return list(value.cpu()) if value.ndim == 4 else [value.cpu()]


def image(value: Any, of: Loaded | None = None) -> Tensor:
    """Exactly one image (3, H, W) uint8. Raises DataError."""
    parts = images(value, of)
    if len(parts) != 1:
        raise DataError(f"{len(parts)} images are given; allowed: one image; call the function once for each")
    return parts[0]


def stacked(value: Any, of: Loaded | None = None) -> Tensor:
    """Images of one size, at least one, as (M, 3, H, W) uint8. Raises DataError."""
    import torch

    parts = images(value, of)
    sizes = sorted({tuple(part.shape[1:]) for part in parts})
    if len(sizes) != 1:
        given = " and ".join(f"{width}x{height}" for height, width in sizes) or "none"
        raise DataError(f"images of {given} pixels are given; allowed: images of one size, at least one")
    return torch.stack(parts)


def captions(value: Any, count: int) -> list[str]:
    """One string for each of `count` images; of None, empty ones. Raises ConfigError, DataError."""
    if value is None:
        return [""] * count
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"captions is {_given(value)}; allowed: a list of strings, one an image")
    if len(value) != count:
        raise DataError(
            f"{counted(count, 'image')} and {counted(len(value), 'caption')} are given; allowed: one caption "
            "an image"
        )
    return [text("a caption", one) for one in value]


def documents(value: Any, of: Loaded) -> Sequence[Document]:
    """A batch of documents for a model. Raises DataError."""
    from .core.document import Picture

    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (int, Picture)):
        raise DataError("one document is given; allowed: a list of documents; write [document]")
    if not isinstance(value, (list, tuple)):
        raise DataError(f"documents are {_given(value)}; allowed: a list of documents, as of rawmm.drawing")
    if not value:
        raise DataError("0 documents are given; allowed: at least one")
    tokens = len(of.model.words.weight)
    for document in value:
        if not isinstance(document, (list, tuple)) or not document:
            raise DataError(
                f"a document is {_given(document)}; allowed: a list of tokens (int) and pictures, as of "
                "rawmm.drawing"
            )
        for item in document:
            if isinstance(item, Picture):
                image(item.pixels, of)
            elif type(item) is not int or not 0 <= item < tokens:
                raise DataError(
                    f"a document holds {_given(item)}; allowed: pictures, and tokens from 0 to {tokens - 1}"
                )
    return value


def _given(value: Any) -> str:
    """A value in a few words of one line."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return repr(value)[:80]
    return f"of type {type(value).__module__}.{type(value).__name__}".replace("builtins.", "")


def _conversion(value: Any) -> str:
    """How to make a tensor of an array or of an image of Pillow."""
    module = type(value).__module__.split(".")[0]
    if module == "numpy":
        return "; convert an array a of (H, W, 3) uint8 by torch.from_numpy(a).permute(2, 0, 1)"
    if module == "PIL":
        array = "numpy.array(image.convert('RGB'))"
        return f"; convert it by torch.from_numpy({array}).permute(2, 0, 1)"
    return ""
