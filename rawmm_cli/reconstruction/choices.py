"""Words after --codec, and the round trips that they stand for. The only file that knows all of them.

raw                     patches of pixels, those of --run or --model, else of one pixel: exact
ode                     the noise from which a model draws the picture; one for each number of steps
NAME, runs/NAME         a run that trained a tokenizer
public:NAME             a published tokenizer, of facts/suite.yaml
hf:OWNER/NAME[/FOLDER]  a tokenizer of diffusers or transformers
python:MODULE:FACTORY   a codec of the user's own
resize@N                down to N x N pixels and up again
jpeg@BITS webp@ avif@   a file of at most BITS bits a picture, which is shrunk first where that is better;
                        or as many bits as another --codec has: jpeg@NAME
"""

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codecs.raw import RawPatches
from ..config.explain import nearest
from ..runs.abilities import diffusion_head
from ..runs.codec import open_codec
from ..runs.models import Loaded
from ..runs.public import PREFIX
from ..system.errors import CheckpointError, ConfigError
from . import controls, keys
from .in_turn import InTurn
from .round_trip import Inverted, Trip, nominal_bits, through

EXTERNAL = ("hf:", "python:", PREFIX)  # beginnings of words that are no runs
WORDS = ("raw", "ode", "resize@32", "jpeg@4096", "webp@4096", "avif@4096")
ALLOWED = (
    "raw, ode, a run that trained a tokenizer, public:NAME, hf:OWNER/NAME, python:MODULE:FACTORY, resize@N, "
    "jpeg@BITS, webp@BITS, avif@BITS"
)


@dataclass(frozen=True)
class Choice:
    """One --codec.

    kind: raw, ode, tokenizer, resize or file. go: the round trip of pictures (n, 3, H, W) uint8. bits:
    nominal bits of a picture, by height and width. budget: of a file, what limits its bits, a number or the
    word of another --codec. name: what is printed for the word; of a run the name of its folder. key:
    computes what tells the codec from any other (`keys.py`). lock: held during a round trip, where threads
    must take turns. release: of a codec that has its own pass through the pictures, lets it go after; None
    where it stays."""

    word: str
    kind: str
    go: Callable[[Tensor], Trip]
    bits: Callable[[int, int], float | None] = lambda height, width: None
    vocabulary: int | None = None
    steps: int = 0
    budget: str | None = None
    name: str = ""
    key: Callable[[], str] = lambda: ""
    lock: AbstractContextManager = field(default_factory=nullcontext)
    release: Callable[[], None] | None = None


def choices(
    words: list[str],
    runs: Path,
    device: torch.device,
    loaded: Callable[[], Loaded] | None,
    steps: list[int],
    named: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> list[Choice]:
    """Choices of all words, in order; `ode` gives one for each of `steps`.

    loaded: loads the model of `ode`, and that of `raw` where the user `named` one. Raises ConfigError,
    CheckpointError."""
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise ConfigError(f"--codec {twice} is given twice; allowed: each codec once")
    for word in words:
        check(word, words)
    opened: dict[str, list[Choice]] = {}
    files_last = sorted(words, key=lambda word: _format(word) is not None)  # they may need bits of the others
    for word in files_last:
        if word == "ode":
            opened[word] = [_ode(loaded(), number) for number in steps]
        elif word == "raw":
            opened[word] = [_raw(loaded().model.codec if named or "ode" in words else RawPatches(1), device)]
        elif word.startswith("resize@"):
            opened[word] = [_resize(word)]
        elif _format(word):
            opened[word] = [_file(word, opened)]
        else:
            try:
                opened[word] = [_tokenizer(word, runs, device, warn, _in_turn(word, words))]
            except CheckpointError as error:
                if not _dispensable(word, words, opened):
                    raise
                warn(f"left out, {error}")
    turns = threading.Lock()  # on a GPU, for the model's ODE, and in code of the user's own
    return named_as_words(
        [
            replace(choice, lock=turns)
            if device.type != "cpu" or choice.kind == "ode" or choice.word.startswith("python:")
            else choice
            for word in words
            for choice in opened.get(word, [])
        ]
    )


def _raw(codec: RawPatches, device: torch.device) -> Choice:
    return replace(_of_codec("raw", "raw", codec, device, 256), key=lambda: f"raw {codec.patch}")


def _tokenizer(
    word: str, runs: Path, device: torch.device, warn: Callable[[str], None], in_turn: bool = False
) -> Choice:
    """A tokenizer; in_turn: one that is checked now, and loaded again for its pass."""
    name = word if word.startswith(EXTERNAL) else str(run_of(word, runs))
    codec = InTurn(partial(open_codec, name, device, warn), device)
    choice = Choice(word, "tokenizer", codec.go, codec.bits, codec.get().vocabulary)
    key = partial(_key, word, runs, codec.get, choice.go)
    if not in_turn:
        return replace(choice, key=key)
    codec.release()
    return replace(choice, key=partial(codec.releasing, key), release=codec.release)


def _in_turn(word: str, words: list[str]) -> bool:
    """Whether a codec is one of several published ones, which are loaded one at a time."""
    return word.startswith(PREFIX) and sum(other.startswith(PREFIX) for other in words) > 1


def _dispensable(word: str, words: list[str], opened: dict[str, list[Choice]]) -> bool:
    """Whether others can go on without a codec that cannot be loaded: a published one among several, whose
    bits no image file has."""
    left = [
        other
        for other in words
        if other != word and (other in opened or words.index(other) > words.index(word))
    ]
    needed = any(other.endswith(f"@{word}") for other in words)
    return word.startswith(PREFIX) and bool(left) and not needed


def known(words: list[str], runs: Path) -> list[Choice] | None:
    """Choices that are not loaded, for results that are kept; None where one has no key before it is loaded.
    They have no round trip, bits or vocabulary."""
    if (each := keys.on_disk(words, partial(run_of, runs=runs))) is None:
        return None

    def choice(word: str) -> Choice:
        name, at, amount = word.partition("@")
        kind = "file" if _format(word) else "resize" if at and name == "resize" else "tokenizer"
        kind = "raw" if word == "raw" else kind
        budget = amount if kind == "file" else None
        return Choice(word, kind, _not_loaded, budget=budget, key=lambda: each[word])

    return named_as_words([choice(word) for word in words])


def _not_loaded(images: Tensor) -> Trip:
    raise AssertionError("this codec is not loaded")


def _key(word: str, runs: Path, codec: Callable[[], Any], go: Callable[[Tensor], Trip]) -> str:
    """Key of a tokenizer: that on disk, or that of its weights."""
    on_disk = keys.on_disk([word], partial(run_of, runs=runs))
    return on_disk[word] if on_disk else keys.of_loaded(codec(), go)


def named_as_words(chosen: list[Choice]) -> list[Choice]:
    """The choices with their names."""
    each = names([choice.word for choice in chosen])
    return [replace(choice, name=name) for choice, name in zip(chosen, each)]


def names(words: list[str]) -> list[str]:
    """Short names of --codec words: fsq-f8 for runs/fsq-f8, jpeg@fsq-f8 for jpeg@runs/fsq-f8. Words whose
    short names would be the same stay as they are."""

    def short(word: str) -> str:
        kind = _format(word)
        head, rest = (f"{kind}@", word[len(kind) + 1 :]) if kind else ("", word)
        return head + (rest if rest.startswith(EXTERNAL) else Path(rest).name or rest)

    shortened = [short(word) for word in words]
    return [word if shortened.count(name) > 1 else name for word, name in zip(words, shortened)]


def check(word: str, words: list[str]) -> None:
    """Raise ConfigError where a word cannot be a codec, before anything is loaded. words: all words."""
    name, at, amount = word.partition("@")
    path = word.startswith(EXTERNAL) or Path(word).exists()
    if name not in ("resize", *controls.FORMATS):
        if at and not path:
            near = nearest(name, ["resize", *controls.FORMATS])
            raise ConfigError(f"unknown codec '{word}'{near}; allowed: {ALLOWED}")
        return
    if re.fullmatch(r"[1-9]\d{0,11}", amount):
        return
    if name == "resize":
        raise ConfigError(
            f"codec {word}: '{amount}' is not a number of pixels; allowed: resize@N with N from 1, as "
            f"resize@32"
        )
    if amount not in words or _format(amount) or amount == "ode":
        others = [one for one in words if not _format(one) and one not in ("ode", amount)]
        raise ConfigError(
            f"codec {word}: '{amount}' is neither a number of bits nor another --codec that has bits"
            f"{nearest(amount, others)}; allowed: {name}@4096, or {name}@WORD together with --codec WORD"
        )


def _format(word: str) -> str | None:
    """Format of an image file: jpeg for jpeg@...; None for other words."""
    name = word.partition("@")[0]
    return name if name in controls.FORMATS else None


def _of_codec(word: str, kind: str, codec: Any, device: torch.device, vocabulary: int | None) -> Choice:
    go, bits = partial(through, codec, device=device), partial(nominal_bits, codec)
    return Choice(word, kind, go, bits, vocabulary)


def _ode(loaded: Loaded, steps: int) -> Choice:
    diffusion_head(loaded, "--codec ode")
    go = partial(through, Inverted(loaded, steps), device=torch.device("cpu"))
    key = partial(keys.of_model, loaded, steps)
    return Choice(f"ode@{steps}", "ode", go, steps=steps, key=key)


def run_of(word: str, runs: Path, allowed: str = ALLOWED, words: tuple[str, ...] = WORDS[:2]) -> Path:
    """Folder of a run, by its path or its name. Raises ConfigError where there is none. allowed, words: what
    the message suggests besides runs."""
    named, folder = Path(word), runs / word
    run = named if "/" in word or (named / "config.yaml").is_file() else folder
    if not (run / "config.yaml").is_file():
        known = [path.parent.name for path in sorted(runs.glob("[!.]*/config.yaml"))]
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

    return Choice(
        word, "resize", go, lambda height, width: 8.0 * length(height, width), 256, key=lambda: word
    )


def _file(word: str, opened: dict[str, list[Choice]]) -> Choice:
    """An image file of at most as many bits as `word` says, or as another codec has."""
    kind, _, amount = word.partition("@")

    def budget(height: int, width: int) -> float:
        bits = float(amount) if amount not in opened else opened[amount][0].bits(height, width)
        if bits is None:
            raise ConfigError(
                f"codec {word}: {amount} has no number of bits (its tokens are real numbers); "
                f"allowed: {kind}@BITS"
            )
        return bits

    def go(images: Tensor) -> Trip:
        most = budget(*images.shape[2:])
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow's encoders release the global lock
            files = list(threads.map(lambda image: controls.file(image, kind, most), images))
        return Trip(
            back=torch.stack([file.back for file in files]),
            tokens=[file.bits // 8 for file in files],
            bits=[file.bits for file in files],
            over=[file.bits > most for file in files],
            scales=[file.scale for file in files],
        )

    def key() -> str:
        return keys.of_file(kind, opened[amount][0].key() if amount in opened else amount)

    return Choice(word, "file", go, budget, 256, budget=amount, key=key)
