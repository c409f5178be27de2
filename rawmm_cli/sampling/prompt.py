"""Prompts as documents, and documents as text and pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..core.batch import size
from ..core.document import Document, Picture
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE, BytePairs, Bytes
from ..data.images import read_image
from ..system.errors import ConfigError, DataError


def pixels(picture: Path | Tensor, model: RawModel) -> Tensor:
    """A picture that the model can read, from a file or (3, H, W) uint8 -> (3, H, W) uint8. Raises
    DataError."""
    values = picture
    if not isinstance(picture, Tensor):
        values = torch.from_numpy(read_image(picture).transpose(2, 0, 1).copy())
    try:
        model.codec.grid(*values.shape[1:])
    except ValueError as error:
        where = "" if isinstance(picture, Tensor) else f"{picture}: "
        which = "codec.patch" if hasattr(model.codec, "patch") else "codec"
        raise DataError(
            f"{where}{error}; crop or resize it, or read it with a run of another {which}"
        ) from None
    return values


def document(
    model: RawModel, pieces: Sequence[str | Path | Tensor], context: int, trained: int | None = None
) -> Document:
    """<bos>, then text and pictures to read, in order.

    trained: the side of the pictures that others take the place of (`data.stretch`), or None where each
    keeps its own. Raises where a picture cannot be read or the whole is longer than `context` positions."""
    items: Document = [BOS]
    for piece in pieces:
        if isinstance(piece, str):
            items += model.tokenizer.encode(piece)
        else:
            read = pixels(piece, model)
            stretch = (1.0, 1.0) if trained is None else tuple(trained / side for side in read.shape[1:])
            items += [IMAGE, Picture(read, False, 0, stretch), END_IMAGE]
    if (needed := size(items, model.blocks)) > context:
        raise ConfigError(
            f"prompt and pictures need {needed:,} positions; allowed: {context:,} (sample.context); "
            "shorten the prompt or give fewer or smaller pictures"
        )
    return items


def passages(tokenizer: Bytes | BytePairs, items: Document) -> list[str | Tensor]:
    """Text between pictures, and the pictures (3, H, W) uint8, in order; empty text is left out."""
    parts: list[str | Tensor] = []
    tokens: list[int] = []
    for item in [*items, None]:
        if isinstance(item, int):
            tokens.append(item)
            continue
        if text := tokenizer.decode(tokens):
            parts.append(text)
        tokens = []
        if item is not None:
            parts.append(item.pixels)
    return parts
