"""Subjects: what every evaluator is given."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..config.rules import FEW
from ..core.batch import size
from ..core.document import Document, Picture
from ..core.drawing import Sampling
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE
from ..data.prepared import Prepared, PreparedDocuments, evenly_spaced
from ..data.sets import class_captions
from ..runs.models import Loaded
from ..sampling import session
from ..sampling.request import Request

HELD_OUT = 2_000  # held-out documents that are looked at, at most
EACH = 5  # training pictures of a caption at least, where captions count as names of classes
TEXT = {"temperature", "top_p", "max_text", "max_pictures"}  # settings that change no picture


class Drawing(NamedTuple):
    """A picture (3, H, W) uint8 that was drawn from `caption`. name: the same for every model that is asked
    for the same drawings."""

    name: str
    caption: str
    pixels: Tensor


def _silent(line: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that draws and reads, data, and how much to do.

    request: the seed and the settings of drawing that win over the model's. train, held_out: splits of the
    set that the model was trained on. folder: of prepared sets; what an evaluator trains is kept there.
    per_label, prompts: drawings of each class, or of captions. keep: folder for drawings and captions that
    the report shows, or None."""

    loaded: Loaded
    request: Request
    train: Prepared | PreparedDocuments
    held_out: Prepared | PreparedDocuments
    folder: Path
    per_label: int = 100
    prompts: int = 1000
    keep: Path | None = None
    notify: Callable[[str], None] = _silent
    drawings: list[Drawing] = field(default_factory=list)  # with these settings, at most HELD_OUT of them
    shared: dict[str, Any] = field(default_factory=dict)  # what several evaluators need
    quick: bool = False  # a trial: neither reading nor what has to be learned from drawings is asked for

    @property
    def seed(self) -> int:
        """Seed of all drawings."""
        return self.request.seed

    @property
    def reads(self) -> bool:
        """Whether the model reads pictures: a baseline does not."""
        return self.loaded.config.baseline is None and not self.quick

    @property
    def settings(self) -> Sampling:
        """How pictures are drawn."""
        return session.settings_for(self.loaded, self.request)

    @property
    def draws(self) -> bool:
        """Whether the model draws pictures; else it reads them alone."""
        return self.loaded.config.head.draws

    @cached_property
    def classes(self) -> "Classes | None":
        """The classes of the set: those of its card or, where each picture has one caption of a few, its
        captions. None where it has none."""
        labels = self.train.card.get("labels") or []
        if self.train.holds_documents:
            return None
        return Classes(labels, self.train, self.held_out, False) if labels else self._of_captions()

    def _of_captions(self) -> "Classes | None":
        stated = (self.train.card.get("captions") or {}).get("different", 0)
        if self.train.card.get("grammar") or stated > FEW:
            return None
        own = [
            [list(filter(None, texts)) for texts in split.captions] for split in (self.train, self.held_out)
        ]
        names = sorted({texts[0] for texts in own[0] if len(texts) == 1})
        if not 2 <= len(names) <= min(FEW, len(self.train) / EACH):
            return None
        number = {name: n for n, name in enumerate(names)}
        splits = []
        for split, texts in zip((self.train, self.held_out), own):
            if any(len(captions) != 1 or captions[0] not in number for captions in texts):
                return None
            labelled = replace(split)
            labelled.labels = np.array([number[captions[0]] for captions in texts])
            splits.append(labelled)
        return Classes(names, *splits, True)

    def draw(self, captions: Sequence[str], stream: str, count: int = 1, **settings: Any) -> list[Document]:
        """What the model adds to each caption, `count` times; greedy unless a temperature is given."""
        every = {"temperature": 0.0, "max_pictures": 1, **self.request.settings, **settings}
        prompts = tuple((caption,) for caption in captions)
        request = replace(self.request, prompts=prompts, count=count, stream=stream, settings=every)
        documents = session.run(self.loaded, request)
        if not settings.keys() - TEXT:
            drawings = drawings_of(documents, captions, stream)
            self.drawings.extend(evenly(drawings, HELD_OUT - len(self.drawings)))
        return documents

    def drawn(self) -> list[Drawing]:
        """What was drawn by the evaluators before, in the size of `settings`; where nothing was, drawings of
        each class or of held-out captions are made."""
        if not self.drawings and self.draws and not self.train.holds_documents:
            captions = [texts[0] for texts in self.held_out.captions if texts and texts[0]]
            if self.classes is not None:
                captions = class_captions(self.classes.train, self.classes.names)
                self.draw(captions, "evaluate", self.per_label, max_text=4)
            elif captions:
                self.draw(evenly(captions, self.prompts), "evaluate", max_text=4)
        return [one for one in self.drawings if tuple(one.pixels.shape[1:]) == self.settings.size]

    def real_rows(self, split: Prepared | PreparedDocuments, most: int) -> list[int]:
        """At most `most` rows of a split whose pictures have the size of `settings`; none of documents."""
        if split.holds_documents:
            return []
        height, width = self.settings.size
        rows = ((split.heights == height) & (split.widths == width)).nonzero()[0]
        return evenly(rows.tolist(), most)

    def read(self, pictures: Sequence[Tensor], **settings: Any) -> list[str]:
        """What the model writes after each picture (3, H, W) uint8; nothing after one that fills the whole
        context. Greedy unless a temperature is given."""
        rows = [n for n, picture in enumerate(pictures) if self._has_room_after(picture)]
        documents = self.go_on([[pictures[n]] for n in rows], "caption", **settings | {"max_pictures": 0})
        written = dict(zip(rows, documents))
        decode = self.loaded.model.tokenizer.decode
        return [
            decode([item for item in written.get(n, ()) if isinstance(item, int)])
            for n in range(len(pictures))
        ]

    def go_on(
        self, prompts: Sequence[Sequence[str | Tensor]], stream: str, **settings: Any
    ) -> list[Document]:
        """What the model adds to each prompt of texts and pictures (3, H, W) uint8 to read; greedy unless a
        temperature is given."""
        settings = {"temperature": 0.0, **self.request.settings, **settings}
        request = replace(self.request, prompts=tuple(prompts), stream=stream, settings=settings)
        return session.run(self.loaded, request)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Ids of held-out pictures or documents."""
        return ids_of(self.held_out, rows)

    def _has_room_after(self, picture: Tensor) -> bool:
        document = [BOS, IMAGE, Picture(picture, False), END_IMAGE]
        return size(document, self.loaded.model.blocks) < self.settings.context


class Classes(NamedTuple):
    """Names of classes, and both splits with their labels. captions: whether the names are the captions."""

    names: list[str]
    train: Prepared
    held_out: Prepared
    captions: bool


def part(split: Prepared | PreparedDocuments, rows: Sequence[int]) -> Prepared | PreparedDocuments:
    """Some rows of a split, as a split of their own."""
    return replace(split, table=split.table.take(list(rows)), kept=None)


def drawings_of(documents: Sequence[Document], captions: Sequence[str], stream: str) -> list[Drawing]:
    """First pictures of what was drawn from each caption, as often from each; of some there may be none."""
    count = len(documents) // max(1, len(captions))
    return [
        Drawing(f"{stream} {n // count} {n % count}", captions[n // count], pixels)
        for n, document in enumerate(documents)
        if (pixels := first_picture(document)) is not None
    ]


def ids_of(split: Prepared | PreparedDocuments, rows: Sequence[int]) -> list[str]:
    """Ids of pictures or documents, made of their contents; those that are there twice are numbered."""
    digests, seen, ids = split.table["sha256"], Counter[str](), []
    for row in rows:
        name = digests[row].as_py().hex()[:16]
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids


def first_picture(document: Document) -> Tensor | None:
    """The pixels (3, H, W) of the first picture, or None."""
    return next((item.pixels for item in document if isinstance(item, Picture)), None)


def evenly(rows: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the rows, at equal distances."""
    return [rows[n] for n in evenly_spaced(len(rows), most)]
