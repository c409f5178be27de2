"""Evaluator of sets whose captions are written on their pictures: captions drawn, and read back by OCR.

Captions are those of held-out pictures. Each engine that is installed (`reconstruction/ocr.py`) reads the
drawings. Beside them it reads the real pictures of the same captions, which is the most that can be expected
of it, and the same pictures after the model's codec, where that loses something: the most that any model
behind it can draw. Letters and words count as in `metrics/text.py`; the shares that are compared are those of
the first engine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ..metrics.text import plain, survival, words
from ..reconstruction import ocr
from .results import LeftOut, Values
from .subject import Subject, evenly, first_picture

DRAWN = 100  # captions, at most


@dataclass(frozen=True)
class Shares:
    """Shares of what is written that was read. characters: mean of one minus the normalised edit distance.
    words: mean share of the words that are there. right: share of texts without a mistake."""

    characters: float
    words: float
    right: float


@dataclass(frozen=True)
class DrawnText:
    """characters, words, right: shares of `count` drawings, one without a picture has nothing right.
    real, codec: the same of real pictures, as they are and after the codec. by_engine: {engine: {"drawn":
    shares, "real": ..., "codec": ...}}."""

    engine: str
    characters: float
    words: float
    right: float
    count: int
    without_picture: int
    by_engine: dict[str, dict[str, dict[str, float]]]
    real: dict[str, float] | None = None
    codec: dict[str, float] | None = None
    values: dict[str, Values] = field(default_factory=dict)


def measure(subject: Subject) -> dict[str, DrawnText]:
    """Applies where captions are written on their pictures. Raises LeftOut where no engine is installed."""
    if not applies(subject):
        return {}
    engines, rows = installed()[: 1 if subject.quick else None], rows_of(subject)
    captions = [first(subject, row) for row in rows]
    drawn = [first_picture(one) for one in subject.draw(captions, "drawn text", max_text=4)]
    kinds = {"drawn": drawn, **({} if subject.quick else _real(subject, rows))}
    texts = {engine: {kind: read(engine, pictures) for kind, pictures in kinds.items()} for engine in engines}
    shares = {
        engine: {kind: asdict(shares_of(own, captions)) for kind, own in by_kind.items()}
        for engine, by_kind in texts.items()
    }
    main, ids = engines[0], subject.ids(rows)
    each = by_text(texts[main]["drawn"], captions)
    return {
        "drawn_text": DrawnText(
            engine=main,
            **shares[main]["drawn"],
            count=len(rows),
            without_picture=sum(picture is None for picture in drawn),
            real=shares[main].get("real"),
            by_engine=shares,
            codec=shares[main].get("codec"),
            values={name: Values(ids, numbers) for name, numbers in each.items()},
        )
    }


def applies(subject: Subject) -> bool:
    """Whether captions are written on the pictures, and the model draws."""
    written = subject.train.card.get("captions_are_written")
    return bool(written) and subject.draws and not subject.held_out.holds_documents


def installed() -> list[str]:
    """Engines that can be used, the preferred one first. Raises LeftOut where there is none."""
    engines = [engine for engine in ocr.ENGINES if ocr.available(engine)]
    if not engines:
        remedies = "; or ".join(ocr.INSTALL[engine] for engine in ocr.ENGINES)
        raise LeftOut(f"no OCR engine is installed to read what is drawn; {remedies}")
    return engines


def rows_of(subject: Subject, most: int = DRAWN) -> list[int]:
    """Held-out pictures whose captions are drawn."""
    rows = [row for row in range(len(subject.held_out)) if first(subject, row)]
    return evenly(rows, min(most, subject.prompts))


def first(subject: Subject, row: int) -> str:
    """The first caption of a held-out picture that has letters, or ""."""
    return next(filter(str.strip, subject.held_out.captions[row]), "")


def read(engine: str, pictures: Sequence[Tensor | None]) -> list[str]:
    """Texts on pictures (3, H, W) uint8; None has none."""
    arrays = [picture.permute(1, 2, 0).contiguous().numpy() for picture in pictures if picture is not None]
    with ocr.Reader(engine) as reader:
        texts = iter(reader(arrays))
    return ["" if picture is None else plain(next(texts)) for picture in pictures]


def by_text(texts: Sequence[str], captions: Sequence[str]) -> dict[str, list[float]]:
    """characters, words and right of each text."""
    pairs = [(text, plain(caption)) for text, caption in zip(texts, captions)]
    return {
        "characters": [survival(*pair) for pair in pairs],
        "words": [words(*pair) for pair in pairs],
        "right": [float(text == caption) for text, caption in pairs],
    }


def shares_of(texts: Sequence[str], captions: Sequence[str]) -> Shares:
    """The means of `by_text`."""
    return Shares(**{name: sum(each) / len(each) for name, each in by_text(texts, captions).items()})


@torch.inference_mode()
def _real(subject: Subject, rows: Sequence[int]) -> dict[str, list[Tensor]]:
    """Real pictures, and the same after the model's codec where that loses something."""
    model, after = subject.loaded.model, []
    device, pictures = model.words.weight.device, [subject.held_out.image(row) for row in rows]
    for picture in pictures:
        rows = model.codec.grid(*picture.shape[1:])[0]
        after.append(model.codec.decode(model.codec.encode(picture[None].to(device)), rows)[0].cpu())
    same = all(torch.equal(one, other) for one, other in zip(pictures, after))
    return {"real": pictures} | ({} if same else {"codec": after})
