"""Duplicate pictures of a set: with identical pixels, or nearly so.

Near duplicates have almost the same perceptual hash (column `look`, 64 bits) and almost the same mean
colours (column `means`, an 8 x 8 grid). Both are needed: drawn pictures often share the whole hash and
differ in colour.

A join finds the pairs. Hashes that differ in at most NEAR bits agree in at least one of NEAR + 1 bands
(multi-index hashing, Norouzi et al. 2012), and pictures with close mean colours have a close brightness. So
rows are sorted by a band and, within it, by brightness, and each row is compared with the few that
follow."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .tables import Rows

NEAR = 6  # most differing bits of the 64
DISTANCE = 6.0  # largest root mean square difference of the mean colours, in levels of 255
COMPARED, KEPT = 400_000_000, 500_000  # most pairs that are compared, and kept
CHUNK = 1 << 13  # pairs at a time


def exact_duplicates(digests: np.ndarray) -> list[list[int]]:
    """Groups of rows with identical pixels, as sorted lists of row numbers. digests: (n, 2) uint64."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    repeats = (digests[order][1:] == digests[order][:-1]).all(1)
    runs = np.concatenate([[False], repeats, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(runs))  # begin and end of every run
    return sorted(sorted(order[begin : end + 1].tolist()) for begin, end in edges.reshape(-1, 2))


def near_duplicates(splits: dict[str, Rows], digests: np.ndarray) -> tuple[list[list[int]], bool]:
    """Groups of rows that look nearly the same, without groups of identical pixels alone.

    digests: (n, 2) uint64 of the rows of all splits. Returns sorted lists of row numbers, and whether all
    candidate pairs were compared."""
    # The first 64 bits of a digest suffice here.
    _, first, which = np.unique(digests[:, 0], return_index=True, return_inverse=True)
    hashes = np.concatenate([rows.numbers("look") for rows in splits.values()])[first]
    one, other, complete = candidate_pairs(hashes, _coarse_means(splits, len(digests))[first])
    close = _close(splits, first[one], first[other])
    parent: dict[int, int] = {}

    def root(index: int) -> int:
        while parent.setdefault(index, index) != index:
            index = parent[index]
        return index

    for pair in np.flatnonzero(close):
        a, b = sorted((root(int(one[pair])), root(int(other[pair]))))
        parent[b] = a
    groups: dict[int, list[int]] = {}
    grouped = np.isin(which, np.fromiter(parent, np.int64, len(parent)))
    for index in np.flatnonzero(grouped).tolist():  # identical copies join the group of the first
        groups.setdefault(root(int(which[index])), []).append(index)
    return sorted(groups.values()), complete


def candidate_pairs(hashes: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pairs of rows that may be near duplicates: at most NEAR bits and DISTANCE levels apart.

    hashes: (n,) uint64 perceptual hashes. means: (n, 48) uint8 mean colours of a 4 x 4 grid. Returns both
    rows of every pair, and whether these are all pairs (see COMPARED and KEPT)."""
    brightness = means.mean(1, dtype=np.float32)
    pairs, compared, kept = [(np.zeros(0, np.int32),) * 2], 0, 0
    edges = np.linspace(0, 64, NEAR + 2).astype(int)
    bands = [
        ((hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)).astype(np.int16)
        for low, high in pairwise(edges)
    ]
    for number, band in enumerate(bands):
        for one, other in _neighbours(band, brightness):
            compared += len(one)
            fits = np.bitwise_count(hashes[one] ^ hashes[other]) <= NEAR
            for earlier in bands[:number]:  # each pair once: in the first band in which it agrees
                fits &= earlier[one] != earlier[other]
            one, other = one[fits], other[fits]
            fits = _distance(means[one], means[other]) <= DISTANCE + 1  # the means are rounded
            pairs.append((one[fits].astype(np.int32), other[fits].astype(np.int32)))
            kept += int(fits.sum())
            if compared > COMPARED or kept > KEPT:
                break
        if compared > COMPARED or kept > KEPT:
            break
    one, other = (np.concatenate(side)[:KEPT] for side in zip(*pairs))
    return one, other, compared <= COMPARED and kept <= KEPT


def _neighbours(band: np.ndarray, brightness: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows that have the same value of the band and whose brightness differs by at most DISTANCE,
    about CHUNK pairs at a time."""
    order = np.lexsort((brightness, band))
    # One number for both: 1024 is more than any two brightnesses differ.
    place = band[order].astype(np.float64) * 1024 + brightness[order]
    after = np.searchsorted(place, place + DISTANCE + 1, "right") - np.arange(len(place)) - 1
    total = np.concatenate([[0], np.cumsum(after)])
    low = 0
    while low < len(after):
        high = max(low + 1, int(np.searchsorted(total, total[low] + CHUNK, "right")) - 1)
        first = np.repeat(np.arange(low, high), after[low:high])
        offset = np.arange(len(first)) - np.repeat(total[low:high] - total[low], after[low:high])
        yield order[first], order[first + 1 + offset]
        low = high


def _close(splits: dict[str, Rows], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether the mean colours of every pair of rows are at most DISTANCE apart: (n,) bool."""
    close = np.zeros(len(one), bool)
    for low in range(0, len(one), CHUNK):
        pairs = one[low : low + CHUNK], other[low : low + CHUNK]
        rows, first = np.unique(np.concatenate(pairs)), 0
        means = np.empty((len(rows), 192), np.uint8)
        for part in _means(splits):
            begin, end = np.searchsorted(rows, (first, first + len(part)))
            means[begin:end] = part[rows[begin:end] - first]
            first += len(part)
        distance = _distance(*(means[np.searchsorted(rows, side)] for side in pairs))
        close[low : low + CHUNK] = distance <= DISTANCE
    return close


def _means(splits: dict[str, Rows]) -> Iterator[np.ndarray]:
    """Mean colours of all rows, (n, 192) uint8, chunk by chunk."""
    for rows in splits.values():
        for table in rows.tables():
            for chunk in table["means"].chunks:
                means = np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, 192)
                yield means[chunk.offset : chunk.offset + len(chunk)]


def _coarse_means(splits: dict[str, Rows], count: int) -> np.ndarray:
    """Mean colours of `count` rows on a 4 x 4 grid in place of 8 x 8: (count, 48) uint8."""
    means, first = np.empty((count, 48), np.uint8), 0
    for part in _means(splits):
        grid = part.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4), dtype=np.float32)
        means[first : first + len(part)] = np.rint(grid).astype(np.uint8).reshape(-1, 48)
        first += len(part)
    return means


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Root mean square difference of rows of (n, d) uint8: (n,) float32."""
    squares = np.empty(len(one), np.float32)
    for low in range(0, len(one), CHUNK // 8):
        difference = one[low : low + CHUNK // 8].astype(np.float32) - other[low : low + CHUNK // 8]
        squares[low : low + CHUNK // 8] = np.einsum("nd,nd->n", difference, difference)
    return np.sqrt(squares / one.shape[1])
