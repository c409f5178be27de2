"""How usual a text is to a model. `looks.py` does pictures.

A text is measured by the bits of its words: -log2 of the probability of each after those before it, summed
over its tokens. A word that no caption had costs many times the bits of one that some had.

It has a threshold that about one in 200 unseen texts of the same data is beyond."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..core.batch import assemble
from ..core.document import Document
from ..core.model import RawModel
from ..core.text_tokenizer import BOS

TOKENS = 256  # of a text that are measured
TOGETHER = 8192  # positions of a batch, about
PASS = 1 / 200  # share of own texts beyond the threshold, about


class Word(NamedTuple):
    """A word of a text, with its punctuation. bits: of it after the words before it."""

    text: str
    bits: float


@torch.inference_mode()
def word_bits(model: RawModel, texts: Sequence[str]) -> list[list[Word]]:
    """Words of each text, as it begins a document, and their bits; [] of one without words."""
    encoded = [model.tokenizer.encode(text.rstrip())[:TOKENS] for text in texts]
    words: list[list[Word]] = []
    for part in batches([len(tokens) + 1 for tokens in encoded]):
        documents: list[Document] = [[BOS, *encoded[n]] for n in part]
        length = max(map(len, documents))
        rows = [[n] for n in range(len(documents))]
        batch = assemble(documents, rows, length, model.blocks).to(model.words.weight.device)
        hidden = model.read(batch)
        for row, document in enumerate(documents):
            at = torch.arange(row * length, row * length + len(document) - 1, device=hidden.device)
            scores = model.text(hidden, at).log_softmax(-1)
            tokens = torch.tensor(document[1:], dtype=torch.long, device=hidden.device)
            bits = -scores.gather(1, tokens[:, None])[:, 0] / math.log(2)
            words.append(_words(model, document[1:], bits.tolist()))
    return words


def _words(model: RawModel, tokens: Document, bits: list[float]) -> list[Word]:
    """Tokens joined to words: a new one begins at every white space."""
    groups: list[tuple[list, list[float]]] = []
    for token, cost in zip(tokens, bits):
        starts = model.tokenizer.decode([token])[:1].isspace()
        if not groups or (starts and model.tokenizer.decode(groups[-1][0]).strip()):
            groups.append(([], []))
        groups[-1][0].append(token)
        groups[-1][1].append(cost)
    return [Word(model.tokenizer.decode(group).strip(), sum(costs)) for group, costs in groups]


def batches(sizes: list[int]) -> Iterator[range]:
    """Consecutive numbers, as many together as fill TOGETHER positions."""
    start = 0
    while start < len(sizes):
        stop, longest = start + 1, sizes[start]
        while stop < len(sizes) and max(longest, sizes[stop]) * (stop + 1 - start) <= TOGETHER:
            longest = max(longest, sizes[stop])
            stop += 1
        yield range(start, stop)
        start = stop


def most_bits(own: Sequence[float], documents: int) -> float:
    """Threshold of the bits of a word, from those of the rarest word of each of some unseen texts.

    Few texts: chances of more bits fall off as 2^-bits, so n texts give the quantile of 1 / PASS. Never below
    log2(documents): what a model is sure to have seen once costs it no more."""
    few = math.log2(max(1.0, 1 / PASS / len(own)))
    return max(float(np.quantile(own, 1 - PASS, method="higher")) + few, math.log2(max(1, documents)))
