"""Evaluator: how often prompts and pictures are marked as outside of what the model has seen: its own unseen
ones, and foreign ones.

Foreign prompts are those of facts/foreign.yaml, and the model's own captions with one of NOUNS in place of
a word. A prompt is foreign where it has a word that no caption of the training has. Foreign pictures are
noise, colours, gradients, and pictures of sources that need no download, but for that of the model's own."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..config.yaml_text import parse_yaml
from ..data import images
from ..data.prepared import evenly_spaced
from ..data.sources import source
from ..runs import familiar, seen
from ..runs.models import Loaded
from ..sampling.foreign import judge_pictures
from ..system.errors import RawmmError
from ..system.seeds import random
from .subject import Subject

PROMPTS = Path(__file__).resolve().parents[1] / "facts" / "foreign.yaml"
NOUNS = "bicycle dog teapot volcano lobster guitar castle spaceship zebra hammer".split()
OTHERS = {  # sources of foreign pictures, and the sides that they can have
    "digits": None,
    "photos": (8, 128),
    "text-images": (32, 256),
    "emoji": (16, 128),
    "portraits": (32, 256),
}
EACH, NEAR = 40, 100  # pictures of a kind; own captions with another noun
FEW = 50  # own pictures and texts that a rate needs
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Marked:
    """Shares that are marked as outside: `own` of `own_count` unseen ones of the model's own data, `foreign`
    of `foreign_count`, and of each kind of these. beginnings: of the model's own captions cut at a word."""

    own: float
    own_count: int
    foreign: float
    foreign_count: int
    threshold: float
    by_kind: dict[str, float] = field(default_factory=dict)
    beginnings: float | None = None


def measure(subject: Subject) -> dict[str, Marked]:
    """Applies where what the model has seen was measured; prompts where it draws, for that asks for one."""
    held_out, loaded = subject.held_out, subject.loaded
    results = {}
    if loaded.seen.get("words") and subject.draws:
        columns = held_out.texts if held_out.holds_documents else held_out.captions
        rows = [columns[row] for row in apart(len(held_out), seen.TEXTS)]
        texts = [text for row in rows for text in row[: 1 if held_out.holds_documents else None] if text]
        vocabulary = words_of(islice(subject.train.all_texts(), seen.READ))
        results["foreign_prompts"] = of_prompts(loaded, texts, vocabulary)
    if loaded.seen.get("pictures") and not held_out.holds_documents:
        own = [held_out.image(row) for row in apart(len(held_out), seen.UNSEEN)]
        results["foreign_pictures"] = of_pictures(loaded, own, str(subject.train.card.get("source")))
    return results


def apart(count: int, most: int) -> list[int]:
    """At most `most` rows of `count`, evenly spaced, and none of those that the threshold comes from; of few
    rows the same."""
    known = set(seen.measured(count, most))
    left = [row for row in range(count) if row not in known]
    return [left[n] for n in evenly_spaced(len(left), most)] if len(left) >= FEW else sorted(known)


def words_of(texts: Iterator[str] | Sequence[str]) -> set[str]:
    """Words of texts, in lower case."""
    return {word for text in texts for word in re.findall(r"\w+", text.lower())}


# ---------------------------------------------------------------------------------------------------- prompts


def of_prompts(loaded: Loaded, own: Sequence[str], vocabulary: set[str]) -> Marked:
    """Rates of prompts. own: unseen captions of the model's own data. vocabulary: of its training."""
    threshold = loaded.seen["words"]["threshold"]

    def marked(texts: Sequence[str]) -> list[bool]:
        measured = familiar.word_bits(loaded.model, texts)
        return [max((word.bits for word in words), default=0.0) > threshold for words in measured]

    kinds = {
        kind: [text for text in texts if words_of([text]) - vocabulary]
        for kind, texts in {**foreign_prompts(), "own captions with another noun": near(own)}.items()
    }
    results = {kind: marked(texts) for kind, texts in kinds.items() if texts}
    whole = [one for result in results.values() for one in result]
    return Marked(
        own=_share(marked(own)),
        own_count=len(own),
        foreign=_share(whole),
        foreign_count=len(whole),
        threshold=round(threshold, 2),
        by_kind={kind: _share(result) for kind, result in results.items()},
        beginnings=_share(marked(beginnings(own))),
    )


def foreign_prompts() -> dict[str, list[str]]:
    """Foreign prompts by their kinds."""
    return parse_yaml(PROMPTS.read_text(encoding="utf-8"), str(PROMPTS))


def near(own: Sequence[str]) -> list[str]:
    """Captions with one of NOUNS in the place of a word."""
    changed = []
    for n, row in enumerate(evenly_spaced(len(own), NEAR)):
        words, generator = own[row].split(), random(0, "near", n)
        if words:
            words[int(generator.integers(len(words)))] = NOUNS[int(generator.integers(len(NOUNS)))]
            changed.append(" ".join(words))
    return changed


def beginnings(own: Sequence[str]) -> list[str]:
    """Each caption, cut at one of its words."""
    cut = []
    for n, text in enumerate(own):
        words = text.split(" ")
        cut.append(" ".join(words[: 1 + n % len(words)]))
    return cut


# --------------------------------------------------------------------------------------------------- pictures


def of_pictures(loaded: Loaded, own: Sequence[Tensor], origin: str) -> Marked:
    """Rates of pictures (3, H, W) uint8. own: unseen ones of the model's own data, which come from `origin`,
    as a data card says."""

    def marked(pictures: Sequence[Tensor]) -> list[bool]:
        return [one.outside for one in judge_pictures(loaded, list(pictures))]

    results = {
        kind: marked(pictures)
        for kind, pictures in foreign_pictures(loaded.config.data.size, origin)
        if pictures
    }
    whole = [one for result in results.values() for one in result]
    return Marked(
        own=_share(marked(own)),
        own_count=len(own),
        foreign=_share(whole),
        foreign_count=len(whole),
        threshold=round(loaded.seen["pictures"]["threshold"], 3),
        by_kind={kind: _share(result) for kind, result in results.items()},
    )


def foreign_pictures(size: int, origin: str = "") -> Iterator[tuple[str, list[Tensor]]]:
    """(kind, pictures (3, S, S) uint8) of every kind that can be made here and is not of `origin`."""
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 256, (2, EACH, 3, 1, 1))
    slope = np.linspace(0, 1, size)
    draw: dict[str, Callable[[int], np.ndarray]] = {
        "noise": lambda n: generator.integers(0, 256, (3, size, size)),
        "single colours": lambda n: levels[0, n] + np.zeros((3, size, size)),
        "gradients": lambda n: (
            levels[0, n] + (levels[1, n] - levels[0, n]) * slope + np.zeros((3, size, size))
        ),
    }
    for kind, make in draw.items():
        yield kind, [torch.from_numpy(make(n).astype(np.uint8)) for n in range(EACH)]
    for kind, sides in OTHERS.items():
        try:
            yield kind, _of_source(kind, size, sides, origin)
        except RawmmError:  # a font or a package is not installed
            continue


def _of_source(name: str, size: int, sides: tuple[int, int] | None, origin: str) -> list[Tensor]:
    """The first pictures of a source, [] where it is that of the model's own data."""
    options = {"size": min(max(size, sides[0]), sides[1])} if sides else {}
    if name in ("photos", "text-images", "portraits"):
        options["count"] = EACH
    other = source(name, options)
    if str(other.card["source"])[:12] == origin[:12]:
        return []
    pictures = []
    for item in islice(other.items(0), EACH):
        pixels = other.open(item.content, WHITE)
        pixels = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
        fitted = images.fit(pixels.convert("RGB"), size, "center", enlarge=True)
        pictures.append(torch.from_numpy(fitted.transpose(2, 0, 1).copy()))
    return pictures


def _share(marks: Sequence[bool]) -> float:
    return round(float(np.mean(marks)), 4) if marks else 0.0
