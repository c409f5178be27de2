"""How usual a picture is to a model.

A picture is described by numbers: means and deviations of hidden vectors over its positions, read clean, in
several layers, and the same of its pixels by frequency. The pictures of training give their distribution: a
Gaussian along the directions in which they vary most, one variance for all the others (probabilistic
principal components, Tipping and Bishop 1999). A picture is as far away as it is unlikely there (Mahalanobis
distance, Lee et al. 2018, arXiv 1807.03888). One is the median of unseen pictures of the same data, and
about one in 100 of them is beyond the threshold."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
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
RANK = 128  # directions with a variance of their own, at most
FOLDS = 5  # of a cross-validation, where fewer pictures than MANY are unseen
MANY, FEWEST = 50, 20  # distances whose quantile is the threshold, and that give one at all
PASS = 1 / 100  # share of own pictures beyond the threshold, about
LEAST = 0.01  # deviation of a number: below, two pictures of one kind may differ for no reason


@torch.inference_mode()
def looks(model: RawModel, pictures: Sequence[Picture]) -> Tensor:
    """Numbers that describe pictures, each read alone: (M, K) fp32 on the CPU."""
    documents: list[Document] = [[BOS, IMAGE, picture, END_IMAGE] for picture in pictures]
    rows = []
    for part in batches([size(document, model.blocks) for document in documents]):
        longest = max(size(documents[n], model.blocks) for n in part)
        batch = pack([documents[n] for n in part], longest, model.blocks).to(model.words.weight.device)
        of = batch.labels.document.flatten()[batch.patch_at]
        of_layers = [_moments(_shortened(hidden), of, len(part)) for hidden in _hidden(model, batch)]
        of_pixels = torch.stack([_frequencies(pictures[n].pixels) for n in part])
        rows.append(torch.cat([*(moments.cpu() for moments in of_layers), of_pixels], 1))
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


def _moments(vectors: Tensor, of: Tensor, pictures: int) -> Tensor:
    """Vectors (T, D), of the pictures `of` (T,) -> their means and deviations (M, 2 D)."""
    count = of.bincount(minlength=pictures)[:, None]
    zeros = vectors.new_zeros(pictures, vectors.shape[1])
    mean = zeros.index_add(0, of, vectors) / count
    squares = (vectors - mean[of]).square()
    return torch.cat([mean, (zeros.index_add(0, of, squares) / count).sqrt()], 1)


def _frequencies(pixels: Tensor) -> Tensor:
    """Pixels (3, H, W) uint8 -> for each frequency of squares of CELL (cosine transform) and each colour the
    mean, the logarithm of the deviation, and the mean size: (9 CELL^2,)."""
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
class Usual:
    """The distribution of the numbers of pictures of training. mean, deviation: (K,) of each number. basis:
    (k, K) directions of the standardised numbers, variances: (k,) along them, rest: in every other one.
    unit: the distance of a usual unseen picture."""

    mean: Tensor
    deviation: Tensor
    basis: Tensor
    variances: Tensor
    rest: float
    unit: float = 1.0

    def distances(self, vectors: Tensor) -> list[float]:
        """Squared Mahalanobis distance of each vector (M, K), in units."""
        away = (vectors - self.mean) / self.deviation
        along = away @ self.basis.T
        others = away.square().sum(1) - along.square().sum(1)
        return (((along.square() / self.variances).sum(1) + others / self.rest) / self.unit).tolist()

    def packed(self) -> str:
        """All of it as text: single precision, the basis in half, in base64."""
        single = torch.cat([self.mean, self.deviation, self.variances, torch.tensor([self.rest])])
        parts = single.numpy().astype("<f4").tobytes(), self.basis.numpy().astype("<f2").tobytes()
        return base64.b64encode(b"".join(parts)).decode()


def unpacked(text: str, numbers: int, unit: float) -> Usual:
    """The distribution of `numbers` numbers from `Usual.packed`. Raises ValueError where it is none."""
    data = base64.b64decode(text, validate=True)
    rank, left = divmod(len(data) - 4 * (2 * numbers + 1), 4 + 2 * numbers)
    if numbers < 1 or rank < 1 or left or unit <= 0:
        raise ValueError(f"no distribution of {numbers} numbers")
    single = torch.from_numpy(np.frombuffer(data, "<f4", 2 * numbers + rank + 1).astype(np.float32))
    basis = torch.from_numpy(np.frombuffer(data, "<f2", offset=4 * len(single)).astype(np.float32))
    mean, deviation, variances, rest = single.split([numbers, numbers, rank, 1])
    finite = all(part.isfinite().all() for part in (single, basis))
    if not finite or (torch.cat([deviation, variances, rest]) <= 0).any():
        raise ValueError("numbers that no distribution has")
    return Usual(mean, deviation, basis.view(rank, numbers), variances, rest.item(), unit)


def fitted(vectors: Tensor) -> Usual:
    """The distribution of vectors (M, K), M at least 2: as many directions as M / 4, K / 4 and RANK allow,
    rounded as they are stored."""
    count, numbers = vectors.shape
    mean, deviation = vectors.mean(0), vectors.std(0).clamp_min(LEAST)
    standard, rank = (vectors - mean) / deviation, max(1, min(RANK, numbers // 4, count // 4))
    _, sizes, directions = torch.linalg.svd(standard, full_matrices=False)
    variances = (sizes.square() / (count - 1)).clamp_min(1e-3)
    rest = max((variances[rank:].sum() / max(1, numbers - rank)).item(), 1e-3)
    usual = Usual(mean, deviation, directions[:rank], variances[:rank], rest)
    return unpacked(usual.packed(), numbers, 1.0)


def own_distances(usual: Usual, learned: Tensor, unseen: Tensor) -> list[float]:
    """Distances of the model's own pictures: of unseen vectors (M, K); where these are fewer than MANY,
    also of those of training (N, K) by cross-validation, enlarged where unseen ones are farther away."""
    apart = usual.distances(unseen)
    if len(apart) >= MANY or len(learned) < FEWEST:
        return apart
    folds = [torch.arange(len(learned)) % FOLDS == n for n in range(FOLDS)]
    crossed = [one for fold in folds for one in fitted(learned[~fold]).distances(learned[fold])]
    larger = max(1.0, float(np.median(apart) / np.median(crossed))) if len(apart) >= FOLDS else 1.0
    return apart + [one * larger / usual.unit for one in crossed]


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
