"""Prompts of people: text, with pictures anywhere in it.

    a portrait of                           text to continue
    {image:a.png} and {image:b.png} are     pictures to read, in the order in which they stand
    {{image:a.png}                          the same letters as text

Pictures given beside the prompt (`--image`) stand before it.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from ..core.batch import size
from ..core.document import Document, Picture
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE, checked_prompt
from ..data.images import read_image
from ..system.errors import ConfigError, DataError

PICTURE = re.compile(r"(\{?)\{image:([^{}]*)\}")
LONGEST = 100_000  # bytes


def pieces(prompt: str) -> list[str | Path]:
    """Text and paths of pictures, in order. Raises ConfigError."""
    checked_prompt(prompt, LONGEST)
    found, at = [], 0
    for mark in PICTURE.finditer(prompt):
        if mark[1]:  # {{ is one brace
            found.append(prompt[at : mark.start()] + mark[0][1:])
        else:
            if not mark[2].strip():
                raise ConfigError(
                    "{image:} names no file; allowed: {image:PATH}, or {{image:} for these letters as text"
                )
            found += [prompt[at : mark.start()], Path(mark[2].strip())]
        at = mark.end()
    found.append(prompt[at:])
    joined: list[str | Path] = []
    for piece in filter(lambda piece: piece != "", found):
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def pixels(path: Path, model) -> Tensor:
    """A picture that the model can read -> (3, H, W) uint8. Raises DataError."""
    found = torch.from_numpy(read_image(path).transpose(2, 0, 1).copy())
    try:
        model.codec.grid(*found.shape[1:])
    except ValueError as error:
        raise DataError(
            f"{path}: {error}; crop or resize it, or read it with a run of another codec.patch"
        ) from None
    return found


def document(model, prompt: str, pictures: list[Path], context: int, learned: int | None = None) -> Document:
    """<bos>, the pictures, the prompt. learned: the side of pictures, where others take their place
    (`data.stretch`). Raises where a picture cannot be read or the whole is too long."""
    made: Document = [BOS]
    for piece in [*pictures, *pieces(prompt)]:
        if isinstance(piece, str):
            made += model.tokenizer.encode(piece)
        else:
            shown = pixels(piece, model)
            stretch = (1.0, 1.0) if learned is None else tuple(learned / side for side in shown.shape[1:])
            made += [IMAGE, Picture(shown, False, 0, stretch), END_IMAGE]
    if (needed := size(made, model.codec.grid)) > context:
        raise ConfigError(
            f"prompt and pictures need {needed:,} positions; allowed: {context:,} (sample.context); "
            "shorten the prompt or give fewer or smaller pictures"
        )
    return made
