"""What of a request lies outside of what its model has seen: words of the prompt, and pictures that are read.

Thresholds come from the model's own unseen captions and pictures (`runs/seen.py`); without them nothing is
marked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.document import Picture
from ..runs import abilities, familiar, looks, seen
from ..runs.familiar import Word
from ..runs.models import Loaded
from ..system.errors import CheckpointError, ConfigError
from ..system.figures import counted, short
from .prompt import pixels
from .request import Request

NAMED, OFFERED = 3, 3  # words outside, and prompts that work, in one line


@dataclass(frozen=True)
class Text:
    """Words of a prompt. own: bits of the rarest word of the model's own captions: their median and nearly
    their most."""

    words: list[Word]
    threshold: float
    own: tuple[float, float]

    @property
    def outside(self) -> list[Word]:
        """Words beyond the threshold, in order."""
        return [word for word in self.words if word.bits > self.threshold]


@dataclass(frozen=True)
class Seen:
    """distance: of a picture that is read, in that of a usual unseen one. own: nearly the most of those."""

    distance: float
    threshold: float
    own: float

    @property
    def outside(self) -> bool:
        """Whether it is beyond the threshold."""
        return self.distance > self.threshold


@dataclass(frozen=True)
class Verdict:
    """What of a request is outside of what `model` has seen. text: None where it has none, or several between
    pictures, or the model's captions were not measured. pictures: [] where they were not measured.
    measured: whether anything was. prompts: that work."""

    model: str
    text: Text | None
    pictures: list[Seen]
    measured: bool
    prompts: list[str]

    @property
    def outside(self) -> bool | None:
        """Whether any of it is outside; None where that is not known."""
        if not self.measured:
            return None
        return bool(self.text and self.text.outside) or any(one.outside for one in self.pictures)

    def reasons(self) -> list[str]:
        """Why the prompt and the pictures are outside, a line each."""
        reasons = []
        if self.text and (words := self.text.outside):
            named = ", ".join(f"'{word.text}' ({word.bits:.0f} bits)" for word in words[:NAMED])
            more = f" and {counted(len(words) - NAMED, 'more word')}" if len(words) > NAMED else ""
            usual = "the rarest word of its own captions takes {:.0f} to {:.0f}".format(*self.text.own)
            reasons.append(f"{named}{more}; {usual}")
        if beyond := [one for one in self.pictures if one.outside]:
            far = max(beyond, key=lambda one: one.distance)
            which = "the picture" if len(self.pictures) == 1 else counted(len(beyond), "picture")
            away = f"distance {short(round(far.distance, 1))}, of its own 1 to {far.own:.1f}"
            reasons.append(f"{which} ({away})")
        return reasons

    def lines(self) -> list[str]:
        """One line about what is outside, or about nothing being measured; [] where all is inside."""
        if not self.measured:
            return [
                f"what {self.model} has seen was not measured, so nothing is marked as outside of it; "
                "`rawmm evaluate` measures it"
            ]
        if not self.outside:
            return []
        why, offer = "; ".join(self.reasons()), f"; try: {self.offer()}" * bool(self.prompts)
        return [f"outside of what {self.model} has seen: {why}; what it makes of it means little{offer}"]

    def offer(self) -> str:
        """A few prompts that work, in one line."""
        return ", ".join(f'"{text}"' for text in self.prompts[:OFFERED])

    def to_json(self) -> dict[str, Any]:
        """`outside`, and how it was found."""
        text = self.text and {
            "outside": bool(self.text.outside),
            "bits": round(max((word.bits for word in self.text.words), default=0.0), 2),
            "threshold": round(self.text.threshold, 2),
            "words": [{"word": word.text, "bits": round(word.bits, 2)} for word in self.text.words],
        }
        pictures = [
            {
                "outside": one.outside,
                "distance": round(one.distance, 3),
                "threshold": round(one.threshold, 3),
            }
            for one in self.pictures
        ]
        return {
            "outside": self.outside,
            "prompt_familiarity": text,
            "picture_familiarity": pictures,
            "prompts": self.prompts,
        }


def summary(loaded: Loaded) -> dict[str, Any] | None:
    """What a model has seen, in what people read; None where it was not measured."""
    if not loaded.seen:
        return None
    names = ("sets", "kinds", "captions", "examples", "prompts")
    measured = {name: loaded.seen.get(name) is not None for name in ("words", "pictures")}
    return {name: loaded.seen.get(name) for name in names} | {"measured": measured}


def check_reads(loaded: Loaded, request: Request) -> None:
    """Raise ConfigError where a picture is to be read by a model that has never learned to, or cannot."""
    if request.reads and not request.paints:
        abilities.check_reads(loaded, request.option("images"))
    if request.task == "caption" and seen.reads(loaded.seen) is False:
        without = "with data.read = 0" if loaded.seen["captions"] else "from pictures without captions"
        raise ConfigError(
            f"{loaded.name} cannot read pictures: it has learned {without}; leave out "
            f"{request.option('task')} caption, or train on pictures with captions and data.read=0.5"
        )


def judge(loaded: Loaded, request: Request) -> Verdict:
    """What of a request is outside, of its first prompt. Raises DataError where a picture cannot be read."""
    known, pieces = loaded.seen, request.pieces[0] if request.pieces else []
    texts = [piece for piece in pieces if isinstance(piece, str)]
    read = [*request.images, *(piece for piece in pieces if not isinstance(piece, str))]
    return Verdict(
        model=loaded.name,
        text=judge_text(loaded, texts[0]) if len(texts) == 1 else None,
        pictures=judge_pictures(loaded, read),
        measured=bool(known.get("words") or known.get("pictures")),
        prompts=known.get("prompts", []),
    )


def judge_text(loaded: Loaded, text: str) -> Text | None:
    """Words of a prompt, measured; None where it has none, or the model's own were not measured."""
    known = loaded.seen.get("words")
    if not known or not text.strip():
        return None
    (words,) = familiar.word_bits(loaded.model, [text])
    return Text(words, known["threshold"], tuple(known["own"]))


def judge_pictures(loaded: Loaded, pictures: list[Path | Tensor]) -> list[Seen]:
    """Pictures that are read, measured; [] where the model's own were not measured."""
    known = loaded.seen.get("pictures")
    if not known or not pictures:
        return []
    read: list[Picture] = [seen.as_read(pixels(one, loaded.model), loaded.config) for one in pictures]
    usual = seen.usual(known)
    vectors = looks.looks(loaded.model, read)
    if vectors.shape[1] != known["numbers"]:
        raise CheckpointError(
            f"{loaded.folder / seen.SEEN} is of another model: {known['numbers']} numbers describe a "
            f"picture, not {vectors.shape[1]}; delete it, and run `rawmm evaluate` to have it measured again"
        )
    return [Seen(distance, known["threshold"], known["own"][1]) for distance in usual.distances(vectors)]
