"""Text before and after codecs: read by OCR, and compared. What is read on a picture stands in `Before.text`
and `Measures.text`."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np
from torch import Tensor

from ..metrics.text import plain, readable, survival, words
from .files import array
from .measure import After, Before
from .results import Clean, PictureResult

AGAIN = 16  # pictures that are read twice, to measure how often the engine gives the same text
ReadTexts = Callable[[list[np.ndarray]], list[str]]  # (H, W, 3) uint8 each -> texts


class Texts:
    """Reads text before and after codecs. The first AGAIN originals are read twice, to measure how reliable
    the engine is."""

    def __init__(self, reader: ReadTexts) -> None:
        self.reader, self.read_twice = reader, 0

    def before(self, images: Tensor, before: list[Before]) -> list[Before]:
        """Originals (n, 3, H, W) of a batch, read."""
        count, twice = len(images), max(0, min(len(images), AGAIN - self.read_twice))
        pictures = [array(picture) for picture in chain(images, images[:twice])]
        texts = [plain(text) for text in self.reader(pictures)]
        self.read_twice += twice
        second = [*texts[count:], *[None] * (count - twice)]
        return [
            replace(one, text=text, again=None if other is None else other == text)
            for one, text, other in zip(before, texts, second)
        ]

    def after(
        self, backs: dict[str, Tensor], after: dict[str, list[After]], before: list[Before], written: list
    ) -> dict[str, list[After]]:
        """Reconstructions of a batch by codec, read. written: the texts that are known to be on the
        originals, None where they are not."""
        pictures = [array(picture) for picture in chain(*backs.values())]
        texts, read = iter([plain(text) for text in self.reader(pictures)]), {}
        for word in backs:
            read[word] = [
                replace(one, measures=replace(one.measures, **_survival(next(texts), original.text, known)))
                for one, original, known in zip(after[word], before, written)
            ]
        return read


def _survival(text: str, original: str, written: str | None) -> dict:
    """Fields of `Measures` for the text after a codec. original: the text before it."""
    fields = {"text": text}
    if readable(original):
        fields |= {"text_survival": survival(text, original), "word_survival": words(text, original)}
    if written is not None:
        clean = _clean(text, written)
        fields |= {"right_letters": clean.survival, "right_words": clean.words}
    return fields


def with_text(result: PictureResult, text: str | None) -> PictureResult:
    """The result of a picture with the text that is read on it."""
    if text is None:
        return result
    return replace(result, text=text, clean=None if result.written is None else _clean(text, result.written))


def _clean(text: str, written: str) -> Clean:
    return Clean(survival(text, written), words(text, written) if written.split() else None)
