"""What a person says after --codec -> a way for pictures to go there and back. The one place that knows all
the words.

raw                     patches of pixels, of the model that is named, else of one pixel: exact
ode                     the noise that a model draws as this picture; one for each number of steps
NAME, runs/NAME         a run that trained a tokenizer
hf:OWNER/NAME[/FOLDER]  a tokenizer of diffusers or transformers
python:MODULE:FACTORY   one of your own
resize@N                down to N x N pixels and up again
jpeg@BITS webp@ avif@   a file of at most so many bits a picture, or of as many as another --codec has:
                        jpeg@NAME
"""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..codecs.raw import RawPatches
from ..config.explain import nearest
from ..runs.codec import open_codec
from ..system.errors import ConfigError, DataError
from . import controls

WORDS = ("raw", "ode", "resize@32", "jpeg@4096", "webp@4096", "avif@4096")
ALLOWED = (
    "raw, ode, a run that trained a tokenizer, hf:OWNER/NAME, python:MODULE:FACTORY, resize@N, jpeg@BITS, "
    "webp@BITS, "
    "avif@BITS"
)
STRIDES = range(1, 1025)  # what a side may have to be a multiple of


@dataclass(frozen=True)
class Trip:
    """(n, 3, H, W) uint8 that came back. bits, tokens: of each picture. codes: (n, L), where there are some.
    padded: the sides that pictures were given, where they had to be. tiles: into how many they were cut.
    over: which files are larger than they may be. seconds: there and back, of all."""

    back: Tensor
    tokens: list[int]
    bits: list[float | None]
    codes: Tensor | None = None
    padded: tuple[int, int] | None = None
    tiles: int = 1
    over: list[bool] | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Choice:
    """One --codec. kind: raw, ode, tokenizer, resize or file. go: pictures (n, 3, H, W) uint8 -> Trip. bits:
    sides -> nominal bits. name: what people read in place of the word; a run by its folder's name."""

    word: str
    kind: str
    go: Callable[[Tensor], Trip]
    bits: Callable[[int, int], float | None] = lambda height, width: None
    vocabulary: int | None = None
    steps: int = 0
    budget: str | None = None
    name: str = ""


def choices(
    words: list[str],
    runs: Path,
    device: torch.device,
    loaded: Callable[[], Any],
    steps: list[int],
    named: bool = False,
    warn=lambda line: None,
) -> list[Choice]:
    """All words, in their order. loaded: loads the model that `ode` (and `raw`, where one was `named`) goes
    through, called at most once. Raises ConfigError, CheckpointError."""
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise ConfigError(f"--codec {twice} is given twice; allowed: every codec once")
    for word in words:
        check(word, words)
    made: dict[str, Any] = {}
    for word in sorted(words, key=lambda word: _file(word) is not None):  # files may need the bits of others
        if word == "ode":
            made[word] = [_ode(loaded(), number) for number in steps]
        elif word == "raw":
            codec = loaded().model.codec if named or "ode" in words else RawPatches(1)
            made[word] = [
                Choice(word, "raw", partial(through, codec, device=device), partial(_bits, codec), 256)
            ]
        elif word.startswith("resize@"):
            made[word] = [_resize(word)]
        elif _file(word):
            made[word] = [_written(word, made)]
        else:
            made[word] = [_tokenizer(word, runs, device, warn)]
    found = [choice for word in words for choice in made[word]]
    return [
        replace(choice, name=name) for choice, name in zip(found, names([choice.word for choice in found]))
    ]


def names(words: list[str]) -> list[str]:
    """--codec words as people read them: runs/fsq-f8 is fsq-f8, jpeg@runs/fsq-f8 is jpeg@fsq-f8; as they are
    where two would be the same."""

    def short(word: str) -> str:
        kind = _file(word)
        head, rest = (f"{kind}@", word[len(kind) + 1 :]) if kind else ("", word)
        return head + (rest if rest.startswith(("hf:", "python:")) else Path(rest).name or rest)

    found = [short(word) for word in words]
    return [word if found.count(name) > 1 else name for word, name in zip(words, found)]


def check(word: str, words: list[str]) -> None:
    """Raises ConfigError where a word cannot be one, before anything is loaded."""
    name, at, amount = word.partition("@")
    if (
        name == "resize"
        or _file(word)
        or at
        and not word.startswith(("hf:", "python:"))
        and not Path(word).exists()
    ):
        if name not in ("resize", *controls.FORMATS):
            raise ConfigError(
                f"unknown codec '{word}'{nearest(name, ['resize', *controls.FORMATS])}; allowed: {ALLOWED}"
            )
        number = re.fullmatch(r"[1-9]\d{0,11}", amount)
        if name == "resize" and not number:
            raise ConfigError(
                f"--codec {word}: '{amount}' is no number of pixels; allowed: resize@N with N from 1, as "
                f"resize@32"
            )
        others = [one for one in words if not _file(one) and one not in ("ode", amount)]
        if name != "resize" and not number and (amount not in words or _file(amount) or amount == "ode"):
            raise ConfigError(
                f"--codec {word}: '{amount}' is neither a number of bits nor another --codec that has bits"
                f"{nearest(amount, others)}; allowed: {name}@4096, or "
                f"{name}@WORD beside --codec WORD"
            )


def _file(word: str) -> str | None:
    """The format of jpeg@..., None of other words."""
    name, at, _ = word.partition("@")
    return name if name in controls.FORMATS else None


# --------------------------------------------------------------------------------------------- there and back


def fitted(grid: Callable, height: int, width: int) -> tuple[int, int]:
    """The least sides, at or above these and multiples of one number, that a codec takes. Raises ValueError
    where it takes none."""
    for stride in STRIDES:
        sides = -(-height // stride) * stride, -(-width // stride) * stride
        try:
            grid(*sides)
            return sides
        except ValueError as error:
            problem = error
    raise problem


def laid(grid: Callable, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(sides that a picture is padded to, sides of the tiles it is then cut into: one, but where a codec
    takes smaller pictures alone)."""
    try:
        sides = fitted(grid, height, width)
        return sides, sides
    except ValueError:
        tile = fitted(grid, 1, 1)
        return (-(-height // tile[0]) * tile[0], -(-width // tile[1]) * tile[1]), tile


@torch.inference_mode()
def through(codec, images: Tensor, device: torch.device) -> Trip:
    """Pictures through a codec's tokens. Where their sides do not fit, their edges are repeated to the right
    and below, and what came of that is cut off again; where they are too large, they go through in tiles,
    each on its own."""
    height, width = images.shape[2:]
    sides, tile = laid(codec.grid, height, width)
    wide = (
        images
        if sides == (height, width)
        else F.pad(images.float(), (0, sides[1] - width, 0, sides[0] - height), mode="replicate").to(
            torch.uint8
        )
    )
    rows, columns = sides[0] // tile[0], sides[1] // tile[1]
    tokens = codec.encode(rearrange(wide, "m c (r h) (q w) -> (m r q) c h w", r=rows, q=columns).to(device))
    back = rearrange(
        codec.decode(tokens, codec.grid(*tile)[0]), "(m r q) c h w -> m c (r h) (q w)", r=rows, q=columns
    )
    codes = rearrange(tokens, "(m t) l -> m (t l)", t=rows * columns).cpu() if codec.discrete else None
    tiles, count, bits = rows * columns, len(images), codec.bits(*tile)
    return Trip(
        back[:, :, :height, :width].cpu(),
        [tiles * codec.length(*tile)] * count,
        [bits and tiles * bits] * count,
        codes,
        sides if sides != (height, width) else None,
        tiles,
    )


def _bits(codec, height: int, width: int) -> float | None:
    sides, tile = laid(codec.grid, height, width)
    bits = codec.bits(*tile)
    return bits and bits * (sides[0] // tile[0]) * (sides[1] // tile[1])


class _Inverted:
    """The model's ODE in the shape of a codec."""

    discrete, vocabulary = False, None

    def __init__(self, loaded, steps: int):
        self.model, self.config, self.steps = loaded.model, loaded.config, steps
        self.grid, self.length = loaded.model.codec.grid, loaded.model.codec.length

    def bits(self, height: int, width: int) -> None:
        """Noise is real numbers."""

    def encode(self, images: Tensor) -> Tensor:
        """Both ways at once: the prompt is read but once."""
        from ..core.inversion import ode

        (height, width), data, context = images.shape[2:], self.config.data, self.config.sample.context
        rows, columns = self.grid(height, width)
        if rows * columns + 2 > context:  # <bos>, <image>
            raise DataError(
                f"--codec ode: a picture of {width}x{height} pixels needs {rows * columns + 2:,} positions, "
                f"and the "
                f"context of this model is {context:,} (sample.context); make it smaller"
            )
        return ode(self.model, images, self.steps, learned=data.size if data.stretch else None)[0]

    def decode(self, back: Tensor, rows: int) -> Tensor:
        """What came back already."""
        return back


def _ode(loaded, steps: int) -> Choice:
    return Choice(
        f"ode@{steps}",
        "ode",
        partial(through, _Inverted(loaded, steps), device=torch.device("cpu")),
        steps=steps,
    )


def _tokenizer(word: str, runs: Path, device: torch.device, warn) -> Choice:
    """A run, or a tokenizer of somebody else."""
    codec = open_codec(word if word.startswith(("hf:", "python:")) else str(run_of(word, runs)), device, warn)
    return Choice(
        word, "tokenizer", partial(through, codec, device=device), partial(_bits, codec), codec.vocabulary
    )


def run_of(word: str, runs: Path, allowed: str = ALLOWED, words: tuple[str, ...] = WORDS[:2]) -> Path:
    """The folder of a run. Raises ConfigError, with what else is allowed, where there is none."""
    named, folder = Path(word), runs / word
    run = named if "/" in word or (named / "config.yaml").is_file() else folder
    if not (run / "config.yaml").is_file():
        known = [path.parent.name for path in sorted(runs.glob("*/config.yaml"))]
        raise ConfigError(f"unknown codec '{word}'{nearest(run.name, [*words, *known])}; allowed: {allowed}")
    return run


def _resize(word: str) -> Choice:
    size = int(word.partition("@")[2])

    def length(height: int, width: int) -> int:
        high, wide = controls.sides(size, height, width)
        return 3 * high * wide

    def go(images: Tensor) -> Trip:
        values = length(*images.shape[2:])
        return Trip(controls.resized(images, size), [values] * len(images), [8.0 * values] * len(images))

    return Choice(word, "resize", go, lambda height, width: 8.0 * length(height, width), 256)


def _written(word: str, made: dict[str, list[Choice]]) -> Choice:
    """A file of as many bits as a number says, or another codec has."""
    kind, _, amount = word.partition("@")

    def budget(height: int, width: int) -> float:
        bits = float(amount) if amount not in made else made[amount][0].bits(height, width)
        if bits is None:
            raise ConfigError(
                f"--codec {word}: {amount} has no number of bits (its tokens are real numbers); "
                f"allowed: {kind}@BITS"
            )
        return bits

    def go(images: Tensor) -> Trip:
        most = budget(*images.shape[2:])
        with ThreadPoolExecutor(
            os.cpu_count()
        ) as threads:  # Pillow's encoders of WebP and AVIF let others run
            files = list(threads.map(lambda image: controls.file(image, kind, most), images))
        bits = [found for _, found in files]
        return Trip(
            torch.stack([back for back, _ in files]),
            [found // 8 for found in bits],
            bits,
            over=[found > most for found in bits],
        )

    return Choice(word, "file", go, budget, 256, budget=amount)
