"""Generate: prompt document -> text and pictures, in any order.

The model writes text until `<image>`; then the head draws the picture; the finished picture takes its place,
clean, and the model writes on. `reference.py` says the same in fewer words, without a cache, and is what this
must equal.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..system.errors import ConfigError
from ..system.seeds import key, random
from ..system.threads import threads_for
from .batch import size as positions
from .cache import Cache
from .document import Document, Picture
from .drawing import Sampling, Watch, draw
from .model import RawModel
from .text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, LINE_END

CHUNK = 128  # documents generated together
Listen = Callable[[int, int | Picture], None]  # (number of the prompt, token or picture)


@torch.inference_mode()
def generate(
    model: RawModel,
    prompts: list[Document],
    keys: list[int],
    sampling: Sampling,
    listen: Listen | None = None,
    watch: Watch | None = None,
) -> list[Document]:
    """Continue each prompt until `<eos>`, `max_text` written tokens or the end of the context -> the whole
    documents.

    keys: one seed a prompt. What a prompt becomes depends on its own key, never on the others in the batch.
    listen(number of the prompt, token or Picture) is called for everything that is added; watch: as in
    `draw`."""
    work = Work(model, prompts, sampling)
    while True:
        _write(model, work, keys, listen)
        drawing = [i for i, document in enumerate(work.documents) if document[-1] == IMAGE]
        if not drawing:
            return work.documents
        seeds = [key(keys[i], "picture", pictures(work.documents[i])) for i in drawing]
        drawn = draw(model, [work.documents[i] for i in drawing], seeds, sampling, watch)
        for i, picture in zip(drawing, drawn):
            work.documents[i] += [picture, END_IMAGE]
            if listen:
                listen(i, picture)


def in_chunks(
    model: RawModel, prompts: list[Document], keys: list[int], sampling: Sampling
) -> Iterator[Document]:
    """`generate`, CHUNK documents at a time."""
    for start in range(0, len(prompts), CHUNK):
        yield from generate(model, prompts[start : start + CHUNK], keys[start : start + CHUNK], sampling)


class Work:
    """Documents while they are continued, and what may still be added to each."""

    def __init__(self, model: RawModel, prompts: list[Document], sampling: Sampling):
        if not all(prompts):
            raise ConfigError("an empty prompt document; allowed: at least <bos>")
        self.model, self.sampling = model, sampling
        self.documents = [[_read(item) for item in prompt] for prompt in prompts]
        self.before, self.written = [pictures(prompt) for prompt in prompts], [0] * len(prompts)
        self.room = len(model.blocks(*sampling.size).block) + 2  # <image>, the picture, </image>

    def size(self, i: int) -> int:
        """Positions of a document."""
        return positions(self.documents[i], self.model.blocks)

    def writes(self, i: int) -> bool:
        """Whether the model goes on writing text here."""
        document = self.documents[i]
        return (
            document[-1] not in (IMAGE, EOS)
            and self.written[i] < self.sampling.max_text
            and self.size(i) < self.sampling.context
        )

    def full(self, i: int) -> bool:
        """Whether no further picture may be opened."""
        return (
            pictures(self.documents[i]) - self.before[i] >= self.sampling.max_pictures
            or self.size(i) + self.room > self.sampling.context
        )

    def add(self, i: int, token: int) -> None:
        """Append a token that was written."""
        self.documents[i].append(token)
        self.written[i] += 1


def _write(model: RawModel, work: Work, keys: list[int], listen: Listen | None) -> None:
    """Write the text of every document up to its next `<image>`."""
    rows = [i for i in range(len(work.documents)) if work.writes(i)]
    if not rows:
        return
    left = max(
        min(work.sampling.max_text - work.written[i], work.sampling.context - work.size(i)) for i in rows
    )
    cache = Cache(model, len(rows), max(work.size(i) for i in rows) + left)
    with threads_for(len(rows), cache.device):
        _write_with(cache, model, work, rows, keys, listen)


def _write_with(
    cache: Cache, model: RawModel, work: Work, rows: list[int], keys: list[int], listen: Listen | None
) -> None:
    while unfinished := [i for i in rows if work.writes(i)]:
        if 2 * len(unfinished) <= len(rows):  # the others wait for a picture, or have ended
            cache.keep([rows.index(i) for i in unfinished])
            rows = unfinished
        hidden = cache.read([work.documents[i] for i in rows])
        logits = model.text_out(hidden).float().cpu()
        places = [n for n, i in enumerate(rows) if i in set(unfinished)]
        seeds = [key(keys[i], "text", work.written[i]) for i in unfinished]
        tokens = choose(logits[places], [work.full(i) for i in unfinished], seeds, work.sampling)
        for i, token in zip(unfinished, tokens):
            work.add(i, token)
            if listen:
                listen(i, token)


def choose(logits: Tensor, no_picture: list[bool], keys: list[int], sampling: Sampling) -> list[int]:
    """Logits (n, V) -> a token for each; `<image>` is not allowed where `no_picture`.

    top_p: nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751)."""
    scores = logits.double().numpy()
    scores[:, [BOS, END_IMAGE, LINE_END]] = -np.inf
    scores[np.array(no_picture), IMAGE] = -np.inf
    if sampling.temperature == 0:
        return scores.argmax(-1).tolist()
    with np.errstate(under="ignore"):
        probabilities = np.exp((scores - scores.max(-1, keepdims=True)) / sampling.temperature)
    probabilities /= probabilities.sum(-1, keepdims=True)
    tokens = []
    for row, k in zip(probabilities, keys):
        if sampling.top_p < 1:
            order = np.argsort(-row, kind="stable")
            row[order[np.cumsum(row[order]) - row[order] >= sampling.top_p]] = 0  # the likeliest always stays
        total = row.cumsum()
        tokens.append(int(np.searchsorted(total, random(k).random() * total[-1], side="right")))
    return tokens


def _read(item: int | Picture) -> int | Picture:
    """A prompt's picture as one that is read."""
    return replace(item, draw=False) if isinstance(item, Picture) and item.draw else item


def pictures(document: Document) -> int:
    """How many pictures a document has."""
    return sum(isinstance(item, Picture) for item in document)
