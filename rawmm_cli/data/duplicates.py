"""Pictures that stand in a set more than once: the same to the bit, or nearly so.

Near ones have almost the same `look`, 64 bits of a difference hash, and almost the same `means`, an 8 x 8
grid of colours (both of `rows.py`; drawn pictures often share all bits and differ in colour). Pairs of them
are found by a join: looks that differ in at most NEAR bits agree in at least one of NEAR + 1 bands
(multi-index hashing, Norouzi et al. 2012), and means that are close have a close mean of all. So the rows are
sorted by a band and, within it, by brightness, and each is compared with those that follow closely."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .tables import Rows

NEAR = 6  # bits of 64 that may differ
DISTANCE = 6.0  # levels of 255 that the means may differ, root mean square
COMPARED, FOUND = 400_000_000, 500_000  # pairs that are compared, and kept, at most
CHUNK = 1 << 13  # pairs at a time


def same(digests: np.ndarray) -> list[list[int]]:
    """(n, 2) digests of all rows -> groups of numbers of rows whose pixels are the same to the bit, in
    order."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    again = (digests[order][1:] == digests[order][:-1]).all(1)
    edges = np.flatnonzero(
        np.diff(np.concatenate([[False], again, [False]]).astype(np.int8))
    )  # where runs begin and end
    return sorted(sorted(order[begin : end + 1].tolist()) for begin, end in edges.reshape(-1, 2))


def alike(splits: dict[str, Rows], digests: np.ndarray) -> tuple[list[list[int]], bool]:
    """Groups of rows of a set of pictures that look nearly the same but are not all the same to the bit, and
    whether all pairs that may be alike were compared."""
    _, first, which = np.unique(
        digests[:, 0], return_index=True, return_inverse=True
    )  # 64 bits are enough here
    looks = np.concatenate([rows.numbers("look") for rows in splits.values()])[first]
    one, other, complete = near(looks, _blocks(splits, len(digests))[first])
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
    for index in np.flatnonzero(grouped).tolist():  # copies to the bit belong to the group of the first
        groups.setdefault(root(int(which[index])), []).append(index)
    return sorted(groups.values()), complete


def near(looks: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """looks (n,) uint64, blocks (n, 48) uint8 mean colours of a 4 x 4 grid -> pairs (one, other) that may be
    alike: looks differ in at most NEAR bits, blocks by at most DISTANCE; and whether these are all of
    them."""
    bright = blocks.mean(1, dtype=np.float32)
    found, compared, kept = [(np.zeros(0, np.int32),) * 2], 0, 0
    edges = np.linspace(0, 64, NEAR + 2).astype(int)
    bands = [
        ((looks >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)).astype(np.int16)
        for low, high in pairwise(edges)
    ]
    for number, band in enumerate(bands):
        for one, other in _neighbours(band, bright):
            compared += len(one)
            fits = np.bitwise_count(looks[one] ^ looks[other]) <= NEAR
            for earlier in bands[:number]:  # each pair once: in the first band in which it agrees
                fits &= earlier[one] != earlier[other]
            one, other = one[fits], other[fits]
            fits = _distance(blocks[one], blocks[other]) <= DISTANCE + 1  # the blocks are rounded
            found.append((one[fits].astype(np.int32), other[fits].astype(np.int32)))
            kept += int(fits.sum())
            if compared > COMPARED or kept > FOUND:
                break
        if compared > COMPARED or kept > FOUND:
            break
    one, other = (np.concatenate(side)[:FOUND] for side in zip(*found))
    return one, other, compared <= COMPARED and kept <= FOUND


def _neighbours(band: np.ndarray, bright: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows with the same value of the band whose brightness differs by at most DISTANCE, CHUNK or so
    at a time."""
    order = np.lexsort((bright, band))
    place = (
        band[order].astype(np.float64) * 1024 + bright[order]
    )  # 1024: more than any two brightnesses differ
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
    """Of every pair of rows: are their means close?"""
    close = np.zeros(len(one), bool)
    for low in range(0, len(one), CHUNK):
        pairs = one[low : low + CHUNK], other[low : low + CHUNK]
        wanted, first = np.unique(np.concatenate(pairs)), 0
        means = np.empty((len(wanted), 192), np.uint8)
        for part in _means(splits):
            begin, end = np.searchsorted(wanted, (first, first + len(part)))
            means[begin:end] = part[wanted[begin:end] - first]
            first += len(part)
        close[low : low + CHUNK] = (
            _distance(*(means[np.searchsorted(wanted, side)] for side in pairs)) <= DISTANCE
        )
    return close


def _means(splits: dict[str, Rows]) -> Iterator[np.ndarray]:
    """The means of all rows, (n, 192) uint8, a table after the other."""
    for rows in splits.values():
        for table in rows.tables():
            for chunk in table["means"].chunks:
                yield np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, 192)[
                    chunk.offset : chunk.offset + len(chunk)
                ]


def _blocks(splits: dict[str, Rows], count: int) -> np.ndarray:
    """The means of `count` rows as a 4 x 4 grid in place of 8 x 8, (n, 48) uint8."""
    blocks, first = np.empty((count, 48), np.uint8), 0
    for part in _means(splits):
        grid = part.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4), dtype=np.float32)
        blocks[first : first + len(part)] = np.rint(grid).astype(np.uint8).reshape(-1, 48)
        first += len(part)
    return blocks


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, d) uint8 both -> (n,) root mean squares of what they differ by."""
    squares = np.empty(len(one), np.float32)
    for low in range(0, len(one), CHUNK // 8):
        differs = one[low : low + CHUNK // 8].astype(np.float32) - other[low : low + CHUNK // 8]
        squares[low : low + CHUNK // 8] = np.einsum("nd,nd->n", differs, differs)
    return np.sqrt(squares / one.shape[1])
