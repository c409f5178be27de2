"""Requests: what a person asks a model to draw and write, checked before torch is imported.

a portrait of                           text to continue
{image:a.png} and {image:b.png} are     pictures to read, in the order in which they stand
{{image:a.png}                          the same letters as text
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.choices import GRIDS, LISTS, ORDERS, POSITIONS, PRECISIONS, SOLVERS, TASKS, TUNED
from ..config.explain import nearest
from ..core.text_tokenizer import checked_prompt
from ..system import numbers
from ..system.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

PICTURE = re.compile(r"(\{?)\{image:([^{}]*)\}")
OPEN = re.compile(r"(?<!\{)\{image:(?![^{}]*\})")  # without its closing brace
LONGEST = 100_000  # bytes of a prompt
WORDS = {
    "solver": SOLVERS,
    "grid": (*GRIDS, TUNED),
    "order": ORDERS,
    "positions": POSITIONS,
    "precision": PRECISIONS,
}
LIMITS = {  # the least and the most of each number
    "steps": (1, 1000),
    "guidance": (0, math.inf),
    "rescale": (0, 1),
    "size": (1, 4096),
    "max_pictures": (0, 100),
    "max_text": (1, 100_000),
    "temperature": (0, math.inf),
    "order_temperature": (0, math.inf),
    "code_temperature": (0, math.inf),
    "code_top_k": (0, 1 << 24),
}
ABOVE_0 = ("top_p", "code_top_p")  # probabilities, at most 1
WHOLE = ("steps", "size", "max_pictures", "max_text", "code_top_k")  # the others are real numbers
SETTINGS = (*LIMITS, *WORDS, *ABOVE_0)
OPTIONS = {"images": "image", "mask": "inpaint"}  # options whose name is not that of the argument


@dataclass(frozen=True, eq=False)
class Request:
    """Prompts to continue, and how.

    prompts: each a text in which `{image:FILE}` is a picture to read, or a sequence of pieces, taken as they
    are: text, picture files, pictures (3, H, W) uint8. images: read before every prompt, or drawn on where
    there is a mask or a strength. count: samples of each prompt. Sample number n draws the random numbers of
    (seed, stream, n). settings: values of SETTINGS that win over those of the model; size: a side, or both
    (height, width). mask: a picture that is white where `images` is drawn anew. strength: how much of it is
    drawn anew, from 0 to 1.
    options: whether messages name the options of the command line (--max-text) or the arguments (max_text).

    Raises ConfigError where something is out of range or does not fit together."""

    prompts: tuple[str | Sequence[str | Path | Tensor], ...] = ("",)
    images: tuple[Path | Tensor, ...] = ()
    task: str = "continue"
    count: int = 1
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    mask: Path | None = None
    strength: float | None = None
    stream: str = "sample"
    options: bool = True

    def __post_init__(self):
        object.__setattr__(self, "_pieces", tuple(map(pieces, self.prompts)))
        numbers.whole(self.option("count"), self.count, 1, 1_000_000)
        numbers.whole(self.option("seed"), self.seed, 0, 2**63 - 1)
        self._check_settings()
        _check_word("task", self.task, TASKS)
        if self.strength is not None:
            numbers.real(self.option("strength"), self.strength, 0, 1, above=True)
        image, mask, strength = map(self.option, ("images", "mask", "strength"))
        if self.task == "caption" and self.prompts and not self.reads:
            raise ConfigError(
                "--task caption needs a picture to read; give --image FILE, or {image:FILE} in the prompt"
            )
        if self.paints and len(self.images) != 1:
            raise ConfigError(
                f"{mask} and {strength} work on one picture; given with {image}: {len(self.images)}; give one"
            )
        if self.paints and (self.task == "caption" or "size" in self.settings):
            caption = "--task caption and " if self.options else ""
            raise ConfigError(
                f"{mask} and {strength} draw in the size of {image}; leave out {caption}{self.option('size')}"
            )

    def option(self, name: str) -> str:
        """What messages call an argument: `--max-text` on the command line, `max_text` in Python."""
        return f"--{OPTIONS.get(name, name).replace('_', '-')}" if self.options else name

    def _check_settings(self) -> None:
        for name, value in self.settings.items():
            several = isinstance(value, tuple) and (len(value) == 2 if name == "size" else name in LISTS)
            for one in value if several and value else (value,):
                self._check_setting(name, one)

    def _check_setting(self, name: str, value: Any) -> None:
        if name in WORDS:
            _check_word(name, value, WORDS[name])
        elif name in ABOVE_0:
            numbers.real(self.option(name), value, 0, 1, above=True)
        elif name in LIMITS:
            (numbers.whole if name in WHOLE else numbers.real)(self.option(name), value, *LIMITS[name])
        else:
            raise ConfigError(
                f"unknown setting '{name}'{nearest(name, list(SETTINGS))}; allowed: {', '.join(SETTINGS)}"
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of drawn pictures; None: the model's."""
        size = self.settings.get("size")
        return size if size is None or isinstance(size, tuple) else (size, size)

    @property
    def pieces(self) -> tuple[list[str | Path | Tensor], ...]:
        """Text, files and pictures of each prompt, in order."""
        return self._pieces

    @property
    def reads(self) -> bool:
        """Whether there are pictures to read."""
        return bool(self.images) or any(
            not isinstance(piece, str) for prompt in self.pieces for piece in prompt
        )

    @property
    def paints(self) -> bool:
        """Whether `images` is drawn on, not read."""
        return self.mask is not None or self.strength is not None

    @property
    def wants_drawings(self) -> str | None:
        """The argument that asks for drawings, where one does."""
        if self.mask is not None:
            return "mask"
        if self.strength is not None:
            return "strength"
        return "max_pictures" if self.settings.get("max_pictures") else None


def chosen(**options: Any) -> dict[str, Any]:
    """The options that a person gave: those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def pieces(prompt: str | Sequence[str | Path | Tensor]) -> list[str | Path | Tensor]:
    """Text and paths of pictures of a prompt, in order; a sequence of pieces stays as it is. Raises
    ConfigError."""
    if not isinstance(prompt, str):
        return list(prompt)
    checked_prompt(prompt, LONGEST)
    if mark := OPEN.search(prompt):
        raise ConfigError(
            f"'{prompt[mark.start() :][:40]}' has no closing brace; allowed: {{image:PATH}}, without braces "
            "in PATH, or {{image: for these letters as text"
        )
    parts, at = [], 0
    for mark in PICTURE.finditer(prompt):
        if mark[1]:  # {{ is one brace
            parts.append(prompt[at : mark.start()] + mark[0][1:])
        else:
            if not mark[2].strip():
                raise ConfigError(
                    "{image:} names no file; allowed: {image:PATH}, or {{image:} for these letters as text"
                )
            parts += [prompt[at : mark.start()], Path(mark[2].strip())]
        at = mark.end()
    parts.append(prompt[at:])
    joined: list[str | Path | Tensor] = []
    for part in filter(lambda part: part != "", parts):
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _check_word(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = nearest(str(value), list(allowed))
        raise ConfigError(f"unknown {name} {str(value)!r}{near}; allowed: {', '.join(allowed)}")


def numbers_of(text: str | None, option: str, whole: bool = False) -> float | tuple[float, ...] | None:
    """'0.9' -> 0.9; '1,0.9,0.8' -> (1, 0.9, 0.8), one for each scale. Raises ConfigError."""
    if text is None:
        return None
    try:
        values = tuple((int if whole else float)(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{option} = {ascii(text)[:80]}; allowed: a {'whole ' * whole}number, or one for each scale, as "
            f"{'0,50,20' if whole else '1,0.9,0.8'}"
        ) from None
    return values if len(values) > 1 else values[0]


def sides(text: str, option: str) -> int | tuple[int, int]:
    """'64' -> 64; '96x64', width x height, -> (64, 96), height and width. Raises ConfigError."""
    if not (match := re.fullmatch(r"(\d{1,20})(?:x(\d{1,20}))?", text)):
        raise ConfigError(
            f"{option} = {ascii(text)[:80]}; allowed: a whole number of pixels, or WIDTHxHEIGHT, as 96x64"
        )
    width, height = match.groups()
    return int(width) if height in (None, width) else (int(height), int(width))
