"""How usual a picture is to a model.

A picture is described by numbers: means and deviations of hidden vectors over its positions, read clean, in
several layers, and the same of its pixels by frequency. The pictures of training give their distribution: a
Gaussian along the directions in which they vary most, one variance for all the others (probabilistic
principal components, Tipping and Bishop 1999). A picture is as far away as it is unlikely there (Mahalanobis
distance, Lee et al. 2018, arXiv 1807.03888).

There are two such distributions, one with the deviations as they are and one with their logarithms, and the
larger distance counts: deviations show what is rougher than the pictures of training, logarithms what is
plainer. One is the median of unseen pictures of the same data. At most ALLOWED of them are beyond the
threshold, as surely as SURE."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.batch import pack, size
from ..core.document import Batch, Document, Picture
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE
from .familiar import batches

LAYERS, MOST = 4, 128  # layers that are looked at, and numbers that a hidden vector is shortened to
CELL = 4  # side of the squares of pixels whose frequencies are looked at
FREQUENCIES = 9 * CELL**2  # numbers of these: three of each, in three colours
RANK = 128  # directions with a variance of their own, at most
FOLDS = 5  # of a cross-validation, where fewer pictures than MANY are unseen
MANY, FEW, FEWEST = (
    200,
    50,
    20,
)  # unseen pictures that are enough; distances with a tail; that give a threshold
ALLOWED, SURE = 0.02, 0.9  # share of own pictures that may be beyond the threshold, and how sure that is
PLAINER = (
    ALLOWED / 4
)  # share of them that may be beyond by logarithms alone, which what is plain shows clearly
LEAST = 0.01  # deviation of a number: below, two pictures of one kind may differ for no reason
SOFT = 0.03  # share of a usual deviation below which logarithms tell little apart


@torch.inference_mode()
def looks(model: RawModel, pictures: Sequence[Picture]) -> Tensor:
    """Numbers that describe pictures, each read alone: (M, K) fp32 on the CPU. First means of all layers,
    then as many deviations, then those of the pixels, FREQUENCIES."""
    documents: list[Document] = [[BOS, IMAGE, picture, END_IMAGE] for picture in pictures]
    rows = []
    for part in batches([size(document, model.blocks) for document in documents]):
        longest = max(size(documents[n], model.blocks) for n in part)
        batch = pack([documents[n] for n in part], longest, model.blocks).to(model.words.weight.device)
        of = batch.labels.document.flatten()[batch.patch_at]
        of_layers = [_moments(_shortened(hidden), of, len(part)) for hidden in _hidden(model, batch)]
        means, deviations = (torch.cat(numbers, 1).cpu() for numbers in zip(*of_layers))
        of_pixels = torch.stack([_frequencies(pictures[n].pixels) for n in part])
        rows.append(torch.cat([means, deviations, of_pixels], 1))
    return torch.cat(rows) if rows else torch.zeros(0, 0)


def _hidden(model: RawModel, batch: Batch) -> list[Tensor]:
    """Hidden vectors of the pictures of a batch behind some layers, evenly spaced, and at the end: (T, D)
    each."""
    layers, kept = model.backbone.layers, []
    chosen = sorted({round(n) for n in np.linspace(0, len(layers) - 1, LAYERS)})
    hooks = [layers[n].register_forward_hook(lambda _, inputs, output: kept.append(output)) for n in chosen]
    try:
        last = model.read(batch)
    finally:
        for hook in hooks:
            hook.remove()
    flat = [*(hidden.flatten(0, 1) for hidden in kept), last]
    return [hidden.index_select(0, batch.patch_at).float() for hidden in flat]


def _shortened(hidden: Tensor) -> Tensor:
    """Hidden vectors (T, D) -> (T, MOST) by a fixed random projection where they are longer."""
    width = hidden.shape[1]
    if width <= MOST:
        return hidden
    projection = torch.randn(width, MOST, generator=torch.Generator().manual_seed(0)) / math.sqrt(MOST)
    return hidden @ projection.to(hidden.device)


def _moments(vectors: Tensor, of: Tensor, pictures: int) -> tuple[Tensor, Tensor]:
    """Vectors (T, D), of the pictures `of` (T,) -> their means and deviations, (M, D) each."""
    count = of.bincount(minlength=pictures)[:, None]
    zeros = vectors.new_zeros(pictures, vectors.shape[1])
    mean = zeros.index_add(0, of, vectors) / count
    squares = (vectors - mean[of]).square()
    return mean, (zeros.index_add(0, of, squares) / count).sqrt()


def _frequencies(pixels: Tensor) -> Tensor:
    """Pixels (3, H, W) uint8 -> for each frequency of squares of CELL (cosine transform) and each colour the
    mean, the logarithm of the deviation, and the mean size: (FREQUENCIES,)."""
    n = torch.arange(CELL)
    cosines = torch.cos(math.pi / CELL * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / CELL)
    cosines[0] /= math.sqrt(2)
    right, below = (max(0, CELL - side) for side in (pixels.shape[2], pixels.shape[1]))
    values = F.pad(pixels[None].cpu().float() / 127.5 - 1, (0, right, 0, below), mode="replicate")[0]
    squares = values.unfold(1, CELL, CELL).unfold(2, CELL, CELL)  # (3, rows, columns, CELL, CELL)
    parts = (cosines @ squares @ cosines.T).flatten(1, 2).flatten(2)  # (3, squares, CELL^2)
    deviation = parts.std(1, correction=0).clamp_min(1e-3).log()
    return torch.stack([parts.mean(1), deviation, parts.abs().mean(1)]).flatten()


@dataclass(frozen=True)
class Gaussian:
    """A distribution of numbers of pictures. mean, deviation: (K,) of each number. basis: (k, K) directions
    of the standardised numbers, variances: (k,) along them, rest: in every other one."""

    mean: Tensor
    deviation: Tensor
    basis: Tensor
    variances: Tensor
    rest: float

    def distances(self, vectors: Tensor) -> Tensor:
        """Squared Mahalanobis distance (M,) of each vector (M, K)."""
        away = (vectors - self.mean) / self.deviation
        along = away @ self.basis.T
        others = (away.square().sum(1) - along.square().sum(1)).clamp_min(0)
        return (along.square() / self.variances).sum(1) + others / self.rest

    def packed(self) -> str:
        """All of it as text: single precision, the basis in steps of its largest number / 127, in base64."""
        step = self.basis.abs().amax(1) / 127
        single = torch.cat([self.mean, self.deviation, self.variances, torch.tensor([self.rest]), step])
        steps = (self.basis / step[:, None]).round().numpy().astype(np.int8)
        return base64.b64encode(single.numpy().astype("<f4").tobytes() + steps.tobytes()).decode()


def unpacked(text: str, numbers: int) -> Gaussian:
    """The distribution of `numbers` numbers from `Gaussian.packed`. Raises ValueError where it is none."""
    data = base64.b64decode(text, validate=True)
    rank, left = divmod(len(data) - 4 * (2 * numbers + 1), 8 + numbers)
    if numbers < 1 or rank < 1 or left:
        raise ValueError(f"no distribution of {numbers} numbers")
    single = torch.from_numpy(np.frombuffer(data, "<f4", 2 * (numbers + rank) + 1).astype(np.float32))
    steps = torch.from_numpy(np.frombuffer(data, np.int8, offset=4 * len(single)).astype(np.float32))
    mean, deviation, variances, rest, step = single.split([numbers, numbers, rank, 1, rank])
    if not single.isfinite().all() or (torch.cat([deviation, variances, rest, step]) <= 0).any():
        raise ValueError("numbers that no distribution has")
    return Gaussian(mean, deviation, steps.view(rank, numbers) * step[:, None], variances, rest.item())


def fitted(vectors: Tensor) -> Gaussian:
    """The distribution of vectors (M, K), M at least 2: as many directions as M / 4, K / 4 and RANK allow,
    rounded as they are stored."""
    count, numbers = vectors.shape
    mean, deviation = vectors.mean(0), vectors.std(0).clamp_min(LEAST)
    standard, rank = (vectors - mean) / deviation, max(1, min(RANK, numbers // 4, count // 4))
    wide = numbers > count  # the smaller of both products has the same sizes
    sizes, vectors_of = torch.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
    directions = F.normalize((standard.T @ vectors_of if wide else vectors_of)[:, -rank:].T, dim=1).flip(0)
    variances = sizes[-rank:].flip(0) / (count - 1)
    others = (standard.square().sum() / (count - 1) - variances.sum()).item()
    rest = max(others / max(1, numbers - rank), 1e-3)
    exact = Gaussian(mean, deviation, directions, variances.clamp_min(1e-3), rest)
    return unpacked(exact.packed(), numbers)


@dataclass(frozen=True)
class Usual:
    """Both distributions of pictures of training, and the unit of the distance from each."""

    plain: Gaussian
    logs: Gaussian
    units: tuple[float, float] = (1.0, 1.0)

    def each(self, vectors: Tensor) -> list[tuple[float, float]]:
        """Both distances of each vector (M, K), in units."""
        of_logs = self.logs.distances(with_logs(vectors, self.plain.mean))
        both = torch.stack([self.plain.distances(vectors), of_logs], 1) / torch.tensor(self.units)
        return [(plain, logs) for plain, logs in both.tolist()]

    def distances(self, vectors: Tensor) -> list[float]:
        """The larger distance of each vector (M, K)."""
        return [max(both) for both in self.each(vectors)]


def with_logs(vectors: Tensor, usual: Tensor) -> Tensor:
    """Vectors (M, K) with logarithms of the deviations, in shares of the `usual` ones (K,)."""
    half = max(0, vectors.shape[1] - FREQUENCIES) // 2
    where = slice(half, 2 * half)
    changed = vectors.clone()
    changed[:, where] = (vectors[:, where] / usual[where].clamp_min(1e-6) + SOFT).log()
    return changed


def distribution(vectors: Tensor) -> Usual:
    """Both distributions of the vectors (M, K) of pictures of training, without units."""
    plain = fitted(vectors)
    return Usual(plain, fitted(with_logs(vectors, plain.mean)))


def own_distances(usual: Usual, learned: Tensor, unseen: Tensor) -> list[tuple[float, float]]:
    """Both distances of the model's own pictures, without units: of unseen vectors (M, K); where these are
    fewer than MANY, also of those of training (N, K) by cross-validation, enlarged where unseen ones are
    farther away."""
    apart = usual.each(unseen)
    if len(apart) >= MANY or len(learned) < FEWEST:
        return apart
    folds = [torch.arange(len(learned)) % FOLDS == n for n in range(FOLDS)]
    crossed = [both for fold in folds for both in distribution(learned[~fold]).each(learned[fold])]
    larger = np.ones(2)
    if len(apart) >= FOLDS:
        larger = np.maximum(np.median(apart, 0) / np.median(crossed, 0), 1)
    return apart + [(plain, logs) for plain, logs in (np.array(crossed) * larger).tolist()]


def calibrated(
    usual: Usual, groups: Sequence[Sequence[tuple[float, float]]]
) -> tuple[Usual, float, list[float]]:
    """A distribution with units, the threshold of its distances, and those of the model's own pictures.
    groups: both distances of own pictures, of each set; of each of the sets at most ALLOWED are beyond.

    The units are such that ALLOWED of the one distance and PLAINER of the other are beyond the same place,
    and that the median is one. With as many of both, varied photographs hide what is foreign."""
    edges = [
        max(most_distance([both[n] for both in group], allowed) for group in groups)
        for n, allowed in enumerate((ALLOWED, PLAINER))
    ]
    larger = [[max(plain / edges[0], logs / edges[1]) for plain, logs in group] for group in groups]
    one = float(np.median([distance for group in larger for distance in group]))
    own = [[distance / one for distance in group] for group in larger]
    threshold = max(most_distance(group) for group in own)
    units = edges[0] * one, edges[1] * one
    return replace(usual, units=units), threshold, [distance for group in own for distance in group]


def most_distance(own: Sequence[float], allowed: float = ALLOWED) -> float:
    """Threshold of distances, from those of the model's own pictures: an upper bound of their quantile of
    `allowed`, about as surely as SURE. The quantile is extrapolated from the largest tenth (Weissman 1978,
    with Hill's exponent, and its asymptotic error, enlarged for few); of fewer than FEW the bound is that of
    a log-normal distribution (a prediction interval by Student's t, of half of `allowed`)."""
    logs, n = np.log(np.maximum(np.sort(own)[::-1], 1e-3)), len(own)
    if n >= FEW:
        top = n // 10
        exponent, farther = (logs[:top] - logs[top]).mean(), math.log(top / n / allowed)
        error = exponent * math.sqrt((1 + farther**2) / top) * (1 + 1 / math.sqrt(top))
        return math.exp(logs[top] + exponent * farther + NormalDist().inv_cdf(SURE) * error)
    z, free = NormalDist().inv_cdf(1 - allowed / 2), n - 1
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    t = z + sum(term / free**power for power, term in enumerate(terms, 1))  # Abramowitz and Stegun 26.7.5
    return math.exp(max(logs[0], logs.mean() + t * logs.std(ddof=1) * math.sqrt(1 + 1 / n)))
