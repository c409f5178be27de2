"""Evaluator of sets whose captions a grammar wrote (drawn portraits): does a drawing have the attributes that
its caption names, and does a caption name those of the picture that was read?

A caption is parsed; its attributes are compared with what judges (`judges.py`) see in the drawing, or with
what the real picture was drawn from. All prompts and pictures are new: no portrait in the training set has
the same attributes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from ..core.text_tokenizer import IMAGE
from ..data import prepared
from ..data.datasets.portraits import drawing
from ..data.datasets.portraits.attributes import attributes_of
from ..data.datasets.portraits.captions import captions_of, parse
from ..data.prepare import Options, prepare
from ..data.prepared import Prepared
from ..runs import sheets
from ..sampling.session import drawing_facts
from . import judges
from .judges import Judges, kid, pixels
from .results import Values
from .subject import Subject, first_picture

FRESH, FIRST = 10_000, 10_000_000  # portraits that the judges are trained on and checked with; the first
PROMPTS, TRIALS = 20_000_000, 30_000_000  # the first portrait that is a prompt; of a trial
NEAR = 300  # drawings whose nearest training portrait is searched
OPENING = "a portrait of"
JUDGES = "portraits-judge-{}"  # the set of real portraits of a size; its folder holds the judges


@dataclass(frozen=True)
class Drawn:
    """accuracy: mean over the attributes that the judges know reliably (None where there are none) of the
    share of captions whose value they see; by_attribute: each share; judges: their own accuracy on real
    portraits. Then how many prompts were left without a picture, and how pictures were drawn."""

    accuracy: float | None
    by_attribute: dict[str, float]
    not_counted: list[str]
    without_picture: int
    count: int
    size: int
    steps: int | None
    solver: str | None
    guidance: float
    judges: dict[str, float]
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Read:
    """accuracy: mean over the attributes of by_attribute, the share of pictures whose caption has the right
    value. parsed: share of captions that the grammar can write; exact: share without a wrong attribute."""

    accuracy: float | None
    by_attribute: dict[str, float]
    not_counted: list[str]
    count: int
    parsed: float
    exact: float
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Looks:
    """Drawings beside real portraits. kid: on the judges' features. corners: mean difference of the upper
    corners from white, in levels of 255. nearest: distance to the nearest training portrait."""

    kid: float
    corners: dict[str, float]
    nearest: dict[str, dict[str, float]] | None = None


@dataclass(frozen=True)
class Written:
    """Captions that the model makes up after `prompt`: share that the grammar can write, and how many are
    different."""

    prompt: str
    parsed: float
    different: int


def measure(subject: Subject) -> dict[str, Drawn | Read | Looks | Written]:
    """Applies where a grammar wrote the captions, and there are no classes."""
    train = subject.train
    if train.holds_documents or train.card.get("labels") or not train.card.get("grammar"):
        return {}
    size = subject.settings.size[0]
    numbers = unseen(train, subject.prompts, TRIALS if subject.quick else PROMPTS)
    truth = [attributes_of(n) for n in numbers]
    if not subject.draws:
        return read(subject, numbers, truth)
    judge, real = judged(subject.folder, size, notify=subject.notify)
    captions = [captions_of(n, known)[n % 4] for n, known in zip(numbers, truth)]
    drawn = [first_picture(d) for d in subject.draw(captions, "attributes", max_text=48)]
    results = {"text_to_image": match(subject, judge, captions, drawn)}
    if looks := compare_looks(judge, [picture for picture in drawn if picture is not None], real, train):
        results["looks"] = looks
    if subject.reads and size == int(train.heights[0]):  # the model was trained to read pictures of this size
        results |= read(subject, numbers, truth)
        results["written"] = write(subject)
    if subject.keep is not None:
        blank = torch.zeros(3, size, size, dtype=torch.uint8)
        pictures = [blank if picture is None else picture for picture in drawn[: sheets.READ]]
        sheets.keep_drawn(subject.keep, pictures, 8, captions[: sheets.READ])
    return results


def judged(
    folder: Path, size: int, workers: int = 2, notify: Callable[[str], None] = lambda line: None
) -> tuple[Judges, Prepared]:
    """Judges of portraits of `size` pixels, and real portraits that they were not trained on; both are made
    once and kept in `folder`. Of several processes that want them one makes them."""
    name = folder / JUDGES.format(size)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name.name}.judges"):
        return _judged(name, size, workers, notify)


def _judged(name: Path, size: int, workers: int, notify: Callable[[str], None]) -> tuple[Judges, Prepared]:
    if not (name / "card.json").exists():
        notify(f"drawing {FRESH:,} fresh portraits of {size} px for the judges")
        source = drawing.portraits(count=FRESH, size=size, first=FIRST)
        prepare(source, name, Options(held_out=0.2, workers=workers))
    held_out = prepared.load(name, "held_out")
    judge = judges.load(name / "judges")
    if judge is None:
        notify("training the judges")
        judge = judges.learn(prepared.load(name, "train"), held_out)
        judges.save(judge, name / "judges")
    return judge, held_out


def unseen(train: Prepared | None, count: int, first: int = PROMPTS) -> list[int]:
    """Numbers of `count` portraits, from `first` on, whose attributes together are those of no
    portrait in `train`."""
    known = set() if train is None else {_combination(train.attributes(n)) for n in range(len(train))}
    numbers, number = [], first
    while len(numbers) < count:
        if _combination(attributes_of(number)) not in known:
            numbers.append(number)
        number += 1
    return numbers


def _combination(attributes: dict[str, str]) -> tuple:
    return tuple(sorted(attributes.items()))


def match(subject: Subject, judge: Judges, captions: Sequence[str], drawn: Sequence[Tensor | None]) -> Drawn:
    """Attributes of the captions against what the judges see in the drawings; None is wrong in everything."""
    blank = torch.zeros(3, judge.size, judge.size, dtype=torch.uint8)
    seen, _ = judge(torch.stack([blank if picture is None else picture for picture in drawn]))
    right: dict[str, dict[int, bool]] = {name: {} for name in judge.values}
    for n, caption in enumerate(captions):
        for name, value in parse(caption).items():
            right[name][n] = drawn[n] is not None and seen[name][n] == value
    ids = [f"{n} {caption}" for n, caption in enumerate(captions)]
    facts = drawing_facts(subject.settings)
    return Drawn(
        *_shares(right, judge.reliable),
        without_picture=sum(picture is None for picture in drawn),
        count=len(captions),
        size=subject.settings.size[0],
        steps=facts.get("steps"),
        solver=facts.get("solver"),
        guidance=facts["guidance"],
        judges={name: round(accuracy, 4) for name, accuracy in judge.accuracy.items()},
        values={"accuracy": _values(right, judge.reliable, ids)},
    )


def read(subject: Subject, numbers: Sequence[int], truth: Sequence[dict[str, str]]) -> dict[str, Read]:
    """Portraits by their numbers, read greedily and at temperature 1: greedy is one way to say it."""
    size, white = subject.settings.size[0], (255, 255, 255)
    pictures = [torch.from_numpy(drawing.draw(n, white, size).transpose(2, 0, 1).copy()) for n in numbers]
    results, captions = {}, []
    for name, temperature in (("image_to_text", 0.0), ("image_to_text_sampled", 1.0)):
        captions = subject.read(pictures, max_text=64, temperature=temperature)
        results[name] = match_captions(captions, truth)
    if subject.keep is not None:
        truths = [", ".join(known.values()) for known in truth[: sheets.READ]]
        right = [fits(text, known) for text, known in zip(captions, truth)]
        sheets.keep_read(subject.keep, zip(range(sheets.READ), pictures, truths, captions, right))
    return results


def match_captions(captions: Sequence[str], truth: Sequence[dict[str, str]]) -> Read:
    """Captions against what the pictures were drawn from; one that cannot be parsed is wrong in
    everything."""
    right: dict[str, dict[int, bool]] = {name: {} for name in truth[0]}
    parsed = [parse(caption) for caption in captions]
    for n, (attributes, known) in enumerate(zip(parsed, truth)):
        for name, value in (known if attributes is None else attributes).items():
            right[name][n] = attributes is not None and value == known[name]
    exact = [fits(caption, known) for caption, known in zip(captions, truth)]
    ids = [f"{n} {', '.join(known.values())}" for n, known in enumerate(truth)]
    return Read(
        *_shares(right, list(right)),
        count=len(captions),
        parsed=sum(attributes is not None for attributes in parsed) / len(parsed),
        exact=sum(exact) / len(parsed),
        values={"accuracy": _values(right, list(right), ids), "exact": Values(ids, exact)},
    )


def fits(caption: str, known: dict[str, str]) -> bool:
    """Whether a caption can be parsed and names no wrong attribute."""
    attributes = parse(caption)
    return attributes is not None and all(known[name] == value for name, value in attributes.items())


def _shares(
    right: dict[str, dict[int, bool]], counted: Sequence[str]
) -> tuple[float | None, dict, list[str]]:
    """Mean share of what is counted (None where nothing is), the share of each, and what is not counted."""
    shares = {name: float(np.mean(list(of.values()))) for name, of in right.items() if of}
    reliable = [share for name, share in shares.items() if name in counted]
    return (
        float(np.mean(reliable)) if reliable else None,
        {name: round(share, 4) for name, share in shares.items()},
        [name for name in shares if name not in counted],
    )


def _values(right: dict[str, dict[int, bool]], counted: Sequence[str], ids: Sequence[str]) -> Values:
    """Numbers of single prompts or pictures whose mean is that of the shares: each attribute counts the more,
    the fewer name it."""
    known = [right[name] for name in counted if right.get(name)]
    values = [
        sum(of[n] * len(ids) / len(of) for of in known if n in of) / max(1, len(known))
        for n in range(len(ids))
    ]
    return Values(ids, values) if known else Values([], [])


def compare_looks(judge: Judges, drawn: Sequence[Tensor], real: Prepared, train: Prepared) -> Looks | None:
    """How drawings differ from real portraits as pictures; None of fewer than two drawings."""
    if len(drawn) < 2:
        return None
    pictures, others, near = torch.stack(list(drawn)), pixels(real, range(len(real))), None
    if int(train.heights[0]) == judge.size:
        known = pixels(train, range(len(train)))
        near = {"drawn": nearest(pictures[:NEAR], known), "real": nearest(others[:NEAR], known)}
    return Looks(
        kid=kid(judge(pictures)[1], judge(others)[1]),
        corners={"drawn": corners(pictures), "real": corners(others)},
        nearest=near,
    )


def corners(pictures: Tensor) -> float:
    """Mean absolute difference from white, in levels of 255, of the two upper corners (an eighth of the
    side)."""
    side = max(1, pictures.shape[-1] // 8)
    upper = pictures[..., :side, :].float()
    return float(torch.cat([255 - upper[..., :side], 255 - upper[..., -side:]]).mean())


def nearest(pictures: Tensor, known: Tensor) -> dict[str, float]:
    """Distance of each picture to the nearest of the known ones (root mean square, levels of 255): its
    quantiles."""
    flat, distances = pictures.flatten(1).float(), []
    norms = flat.square().sum(1)
    for part in known.split(2000):
        other = part.flatten(1).float()
        distances.append((norms[:, None] + other.square().sum(1) - 2 * flat @ other.T).min(1).values)
    least = (torch.stack(distances).min(0).values.clamp_min(0) / flat.shape[1]).sqrt()
    quantiles = {"min": 0, "p05": 0.05, "median": 0.5}
    return {name: round(float(least.quantile(q)), 3) for name, q in quantiles.items()}


def write(subject: Subject) -> Written:
    """Captions that the model makes up at temperature 1, up to its picture."""
    quick = {"steps": 1, "grid": "uniform", "guidance": 1.0}  # the picture itself is not looked at
    quick = {name: value for name, value in quick.items() if name in subject.settings.flat()}
    added = subject.draw([OPENING], "written", subject.prompts, temperature=1.0, max_text=64, **quick)
    decode, captions = subject.loaded.model.tokenizer.decode, []
    for document in added:
        end = document.index(IMAGE) if IMAGE in document else len(document)
        captions.append(OPENING + decode(document[:end]))
    parsed = sum(parse(text) is not None for text in captions)
    return Written(OPENING, parsed / len(captions), len(set(captions)))
