"""seen.json: what a model has seen (sets, captions, words, prompts that work), and from where on a text or a
picture is outside of it (`familiar.py`).

Written beside a run when its training ends, copied by `rawmm export`, and by `rawmm evaluate` where it is
missing. It belongs to the weights of so many documents: after more training it is out of date."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..config.model import Config
from ..core.document import Picture
from ..core.model import RawModel
from ..data import prepared
from ..data.prepared import Prepared, PreparedDocuments, evenly_spaced
from ..data.sets import class_captions
from ..system import disk, manifest
from ..system.errors import CheckpointError, printable
from ..system.stored import Shape, read_json
from . import familiar, looks, prompts
from .tuned import FACTS

SEEN, FORMAT = "seen.json", 3
LEARNED = 3072  # pictures of training that are measured
UNSEEN, TEXTS = 512, 400  # unseen pictures and texts that are measured, at most two thirds of MANY and more
MANY = 150
READ = 20_000  # captions that words and prompts come from
WORDS = 24  # the most frequent ones
PICTURES_OF_STREAM = 400
DOCUMENTS = "text, or text and pictures in turn, to continue"
READING = "a picture: its caption is written"


_Unit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Own(Shape):
    threshold: float = Field(gt=0)
    own: Annotated[list[float], Field(min_length=2, max_length=2)]
    count: int = Field(ge=1)


class _Pictures(_Own):
    numbers: int = Field(0, ge=0)  # that describe a picture; format 1 has none, and 2 one text and one unit
    usual: str | Annotated[list[str], Field(min_length=2, max_length=2)] = ""
    units: list[_Unit] = Field(default_factory=lambda: [1.0, 1.0], min_length=2, max_length=2)


class _Set(Shape):
    name: str
    pictures: int | None = None
    count: dict[str, int] = Field(default_factory=dict)
    sizes: list[list[int]] = Field(default_factory=list)


class _Captions(Shape):
    different: int
    vocabulary: int
    frequent: list[Annotated[list[Any], Field(min_length=2, max_length=2)]]


class _Seen(Shape):
    format: int
    documents: int = Field(ge=0)
    sets: list[_Set]
    kinds: list[str]
    captions: _Captions | None = None
    examples: list[str] = Field(default_factory=list)
    prompts: list[str] = Field(default_factory=list)
    words: _Own | None = None
    pictures: _Pictures | None = None


def read(folder: Path, documents: int, warn: Callable[[str], None] = lambda line: None) -> dict:
    """What a model has seen, {} where that was not measured, or of weights of other documents.

    In an exported model a file whose checksum does not fit is left out, and `warn` hears of it. Raises
    CheckpointError where it has another shape than ours."""
    path, remedy = folder / SEEN, "delete it, and run `rawmm evaluate` to have it measured again"
    if not path.exists():
        return {}
    if (folder / FACTS).exists() and (problem := manifest.problem(folder, SEEN)):
        warn(f"{path} {problem}: it is left out; {remedy}")
        return {}
    known = read_json(path, _Seen, CheckpointError, remedy)
    if known["documents"] != documents or known["format"] != FORMAT:
        return {}
    if known.get("pictures"):
        try:
            usual(known["pictures"])
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged (usual: {error}); {remedy}") from None
    return known


def sets(folder: Path) -> list[dict]:
    """The sets that a model was trained on: of weights of any documents, and of files of older versions. []
    where none is known."""
    try:
        return read_json(folder / SEEN, _Seen, CheckpointError, "")["sets"]
    except CheckpointError:
        return []


def usual(known: dict) -> looks.Usual:
    """The distribution of pictures, from `seen["pictures"]`. Raises ValueError where it is none."""
    plain, logs = (looks.unpacked(text, known.get("numbers", 0)) for text in known["usual"])
    return looks.Usual(plain, logs, tuple(known["units"]))


def add(folder: Path, known: dict) -> None:
    """Keep it beside a model. In an exported one the manifest is written anew, for this file alone."""
    with disk.alone_in(folder):
        disk.sweep(folder)
        disk.write_json(folder / SEEN, known)
        if (folder / FACTS).exists():
            manifest.reseal(folder, SEEN)


def measure(
    model: RawModel, config: Config, documents: int, sets: Sequence, held_out: Prepared | PreparedDocuments
) -> dict:
    """What a model has seen, and its thresholds. documents: that it was trained on. sets: of its training, as
    `data.sets.load` gives them; held_out: of the first of them, unseen."""
    texts = list(islice((text for one in sets for text in one.all_texts() if text), READ))
    unseen = [held_out, *(prepared.load(one.folder, "held_out") for one in sets[1:])]
    words = _words(model, documents, unseen)
    offered = [] if held_out.holds_documents and not texts else _prompts(model, sets[0], texts, words)
    return {
        "format": FORMAT,
        "documents": documents,
        "sets": [_facts(one.card) for one in sets],
        "kinds": list(_kinds(config, held_out, bool(texts))),
        "captions": _captions(sets[0].card, texts) if texts else None,
        "examples": [printable(text) for text in prompts.examples(texts)],
        "prompts": offered,
        "words": words,
        "pictures": pictures(model, config, sets, unseen),
    }


def cost(config: Config) -> tuple[float, float]:
    """What `measure` is expected to take: so many training steps, and so many seconds more."""
    pictures = LEARNED + UNSEEN * (1 + len(config.data.mix))
    return (pictures + TEXTS / 4) / config.train.batch / 3, 1.0


def measured(count: int, most: int) -> list[int]:
    """Rows of `count` unseen ones that a threshold comes from: evenly spaced, at most `most`, and of MANY or
    more at most two thirds, so that some are left to see how often they are marked."""
    return evenly_spaced(count, min(most, count * 2 // 3) if count >= MANY else most)


def _facts(card: dict) -> dict:
    """A set in a few figures, from its card."""
    return {
        "name": card.get("name", ""),
        "source": card.get("source"),
        "pictures": card.get("pictures"),
        "count": card.get("count", {}),
        "sizes": card.get("sizes", {}).get("frequent", [])[:5],
    }


def _kinds(config: Config, data: Prepared | PreparedDocuments, captioned: bool) -> Iterator[str]:
    """Kinds of prompt that the documents of training have."""
    if data.holds_documents:
        yield DOCUMENTS if any(data.heights) else "text to continue"
        return
    if captioned and config.data.read < 1:
        yield "a caption or its beginning: the rest is written, then the picture is drawn"
    if config.data.read < 1:
        made_up = "a caption is made up, or none, and then a picture is drawn"
        yield f"nothing: {made_up if captioned else 'a picture is drawn'}"
    if captioned and config.data.read:
        yield READING


def reads(known: dict) -> bool | None:
    """Whether the model has learned to read pictures; None where it is not known what it has seen."""
    return any(kind in (DOCUMENTS, READING) for kind in known["kinds"]) if known else None


def _captions(card: dict, texts: list[str]) -> dict:
    """Numbers of captions and words, and the most frequent words: of the whole set where its card says."""
    if known := card.get("captions"):
        return {
            "different": known["different"],
            "vocabulary": known["vocabulary"],
            "frequent": known["frequent"][:WORDS],
        }
    counts = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
    frequent = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:WORDS]
    return {
        "different": len(set(texts)),
        "vocabulary": len(counts),
        "frequent": [list(entry) for entry in frequent],
    }


def _prompts(
    model: RawModel, data: Prepared | PreparedDocuments, texts: list[str], words: dict | None
) -> list[str]:
    """Prompts that work: captions of the classes, or an opening and varied captions; none that is marked."""
    labels = getattr(data, "labels", None) is not None and data.card.get("labels")
    offered = class_captions(data, labels) if labels else prompts.offered(texts)
    offered = [text for text in dict.fromkeys(map(printable, offered)) if text]
    if words is None:
        return offered
    bits = familiar.word_bits(model, offered)
    return [
        text
        for text, own in zip(offered, bits)
        if max((w.bits for w in own), default=0) <= words["threshold"]
    ]


def _words(model: RawModel, documents: int, unseen: Sequence[Prepared | PreparedDocuments]) -> dict | None:
    """Threshold of the bits of a word, from captions of unseen documents; None where they have none."""
    texts = [text for data in unseen for text in _texts_of(data)]
    rarest = [max(w.bits for w in words) for words in familiar.word_bits(model, texts) if words]
    if not rarest:
        return None
    return {
        "threshold": familiar.most_bits(rarest, documents),
        "own": [float(np.quantile(rarest, share)) for share in (0.5, 0.99)],
        "count": len(rarest),
    }


def _texts_of(data: Prepared | PreparedDocuments) -> list[str]:
    """Captions of evenly spaced pictures, each picture with another of its captions in turn; first texts of
    documents."""
    columns = data.texts if data.holds_documents else data.captions
    rows = [columns[row] for row in measured(len(data), TEXTS)] if len(data) else []
    whole = [[text for text in row if text] for row in rows]
    if data.holds_documents:
        return [row[0] for row in whole if row]
    return [row[n % len(row)] for n, row in enumerate(whole) if row]


def pictures(
    model: RawModel, config: Config, sets: Sequence, unseen: Sequence[Prepared | PreparedDocuments]
) -> dict | None:
    """The distribution of pictures of training, and the threshold of distances from it: the largest that the
    unseen pictures of any of the sets give. None where there are too few."""
    if config.baseline is not None:  # it reads none
        return None
    if config.data.stream:
        sets = [sets[0].first_pictures("train", PICTURES_OF_STREAM)]
    learned = [_pictures_of(data, config, lambda n: evenly_spaced(n, LEARNED // len(sets))) for data in sets]
    held_out = [_pictures_of(data, config, lambda n: measured(n, UNSEEN)) for data in unseen]
    vectors = looks.looks(model, [picture for group in learned for picture in group])
    if len(vectors) < 2 or not all(held_out):
        return None
    fitted = looks.distribution(vectors)
    groups = [looks.own_distances(fitted, vectors, looks.looks(model, group)) for group in held_out]
    if min(map(len, groups)) < looks.FEWEST or not np.median(np.concatenate(groups), 0).all():
        return None
    known, threshold, own = looks.calibrated(fitted, groups)
    return {
        "threshold": threshold,
        "own": [1.0, float(np.quantile(own, 0.99))],
        "count": len(own),
        "units": list(known.units),
        "numbers": vectors.shape[1],
        "usual": [known.plain.packed(), known.logs.packed()],
    }


def _pictures_of(data: Prepared | PreparedDocuments, config: Config, chosen: Callable) -> list[Picture]:
    """Pictures of a set, to be read: those that `chosen` takes from their number."""
    if data.holds_documents:
        places = [(row, n) for row, heights in enumerate(data.heights) for n in range(len(heights))]
    else:
        places = [(row,) for row in range(len(data))]
    return [as_read(data.image(*places[n]), config) for n in chosen(len(places))] if places else []


def as_read(pixels: Any, config: Config) -> Picture:
    """Pixels (3, H, W) uint8 as a picture that is read, where this model's training places it."""
    sides = pixels.shape[1:]
    stretch = tuple(config.data.size / side for side in sides) if config.data.stretch else (1.0, 1.0)
    return Picture(pixels, False, 0, stretch)
