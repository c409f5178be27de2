"""How usual a text or a picture is to a model.

A text is measured by the bits of its words: -log2 of the probability of each after those before it, summed
over its tokens. A word that no caption had costs many times the bits of one that some had.

A picture is measured by the distance of its mean hidden vector, read clean, from the subspace that the
pictures of training span (principal components; the residual is what tells foreign inputs best: Wang et al.
2022, arXiv 2203.10807). One is the median of unseen pictures of the same data.

Both have a threshold that about one in 200 unseen texts and pictures of the same data is beyond."""

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.batch import assemble, pack, size
from ..core.document import Document, Picture
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE

TOKENS = 256  # of a text that are measured
TOGETHER = 8192  # positions of a batch, about
RANK = 64  # dimensions of the subspace, at most
PASS = 1 / 200  # share of own texts and pictures beyond the threshold, about
FOLDS = 5  # of a cross-validation, where fewer pictures than MANY are unseen
MANY, FEWEST = 50, 20  # distances whose quantile is the threshold, and that give one at all


class Word(NamedTuple):
    """A word of a text, with its punctuation. bits: of it after the words before it."""

    text: str
    bits: float


@torch.inference_mode()
def word_bits(model: RawModel, texts: Sequence[str]) -> list[list[Word]]:
    """Words of each text, as it begins a document, and their bits; [] of one without words."""
    encoded = [model.tokenizer.encode(text.rstrip())[:TOKENS] for text in texts]
    words: list[list[Word]] = []
    for part in _batches([len(tokens) + 1 for tokens in encoded]):
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


@torch.inference_mode()
def places(model: RawModel, pictures: Sequence[Picture]) -> Tensor:
    """Mean hidden vectors of pictures that are read, each alone: (M, D) fp32 on the CPU."""
    documents: list[Document] = [[BOS, IMAGE, picture, END_IMAGE] for picture in pictures]
    means = []
    for part in _batches([size(document, model.blocks) for document in documents]):
        batch = pack(
            [documents[n] for n in part],
            max(size(documents[n], model.blocks) for n in part),
            model.blocks,
        ).to(model.words.weight.device)
        hidden = model.read(batch).index_select(0, batch.patch_at).float()
        of = batch.labels.document.flatten()[batch.patch_at]
        sums = torch.zeros(len(part), hidden.shape[1], device=hidden.device).index_add(0, of, hidden)
        means.append((sums / of.bincount(minlength=len(part))[:, None]).cpu())
    return torch.cat(means) if means else torch.zeros(0, model.words.weight.shape[1])


def _batches(sizes: list[int]) -> Iterator[range]:
    """Consecutive numbers, as many together as fill TOGETHER positions."""
    start = 0
    while start < len(sizes):
        stop, longest = start + 1, sizes[start]
        while stop < len(sizes) and max(longest, sizes[stop]) * (stop + 1 - start) <= TOGETHER:
            longest = max(longest, sizes[stop])
            stop += 1
        yield range(start, stop)
        start = stop


@dataclass(frozen=True)
class Subspace:
    """The directions that pictures of training span. mean: (D,). basis: (k, D). unit: the distance of a usual
    unseen picture."""

    mean: Tensor
    basis: Tensor
    unit: float = 1.0

    def distances(self, vectors: Tensor) -> list[float]:
        """Squared distance of each vector (M, D) from the subspace, in units."""
        away = vectors - self.mean
        return ((away - away @ self.basis.T @ self.basis).square().sum(1) / self.unit).tolist()

    def packed(self) -> str:
        """Mean and basis as text: half precision in base64."""
        values = torch.cat([self.mean[None], self.basis]).numpy().astype("<f2")
        return base64.b64encode(values.tobytes()).decode()


def unpacked(text: str, width: int, unit: float) -> Subspace:
    """A subspace of vectors of `width` numbers from `Subspace.packed`. Raises ValueError where it is none."""
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32)
    if not len(values) or len(values) % width or not np.isfinite(values).all() or unit <= 0:
        raise ValueError(f"no vectors of {width} numbers")
    vectors = torch.from_numpy(values.reshape(-1, width))
    return Subspace(vectors[0], vectors[1:], unit)


def spanned(vectors: Tensor) -> Subspace:
    """The subspace of vectors (M, D): as many principal components as M / 4, D / 4 and RANK allow, rounded as
    they are stored."""
    mean, rank = vectors.mean(0), max(1, min(RANK, vectors.shape[1] // 4, len(vectors) // 4))
    basis = torch.linalg.svd(vectors - mean, full_matrices=False)[2][:rank]
    return unpacked(Subspace(mean, basis).packed(), vectors.shape[1], 1.0)


def own_distances(space: Subspace, learned: Tensor, unseen: Tensor) -> list[float]:
    """Distances of the model's own pictures: of unseen vectors (M, D); where these are fewer than MANY,
    also of those of training (N, D) by cross-validation, enlarged where unseen ones are farther away."""
    apart = space.distances(unseen)
    if len(apart) >= MANY or len(learned) < FEWEST:
        return apart
    folds = [torch.arange(len(learned)) % FOLDS == n for n in range(FOLDS)]
    crossed = [one for fold in folds for one in spanned(learned[~fold]).distances(learned[fold])]
    larger = max(1.0, float(np.median(apart) / np.median(crossed))) if len(apart) >= FOLDS else 1.0
    return apart + [one * larger / space.unit for one in crossed]


def most_bits(own: Sequence[float], documents: int) -> float:
    """Threshold of the bits of a word, from those of the rarest word of each of some unseen texts.

    Few texts: chances of more bits fall off as 2^-bits, so n texts give the quantile of 1 / PASS. Never below
    log2(documents): what a model is sure to have seen once costs it no more."""
    few = math.log2(max(1.0, 1 / PASS / len(own)))
    return max(float(np.quantile(own, 1 - PASS, method="higher")) + few, math.log2(max(1, documents)))


def most_distance(own: Sequence[float]) -> float:
    """Threshold of distances, from those of the model's own pictures: the quantile of PASS, extrapolated from
    the largest tenth (Weissman 1978, with Hill's exponent); of fewer than MANY that of a log-normal
    distribution (a prediction interval by Student's t)."""
    logs, n = np.log(np.maximum(np.sort(own)[::-1], 1e-3)), len(own)
    if n >= MANY:
        top = n // 10
        return math.exp(logs[top] + (logs[:top] - logs[top]).mean() * math.log(top / n / PASS))
    z, free = NormalDist().inv_cdf(1 - PASS), n - 1
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    t = z + sum(term / free**power for power, term in enumerate(terms, 1))  # Abramowitz and Stegun 26.7.5
    return math.exp(max(logs[0], logs.mean() + t * logs.std(ddof=1) * math.sqrt(1 + 1 / n)))
