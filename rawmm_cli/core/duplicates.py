"""Pictures that stand in a set more than once: the same to the bit, or nearly so.

Near ones are found by `look`, 64 bits of a difference hash (`rows.look`): two pictures whose bits differ in at most NEAR
places agree in at least one of NEAR + 1 bands, so only pictures that share a band are compared (multi-index hashing,
Norouzi et al. 2012). Drawn pictures often share all of their bits and differ in colour; so each candidate is confirmed by
its pixels, as means of an 8 x 8 grid.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np
from PIL import Image

from .tables import Rows

NEAR = 6                                                # bits of 64 that may differ
DISTANCE = 6.0                                          # levels of 255 that means of cells may differ, root mean square
PAIRS = 5_000_000                                       # that are compared by their pixels, at most
CROWD = 2048                                            # pictures that share a band and are compared with each other
CHUNK = 50_000                                          # pairs compared at a time


def same(digests: np.ndarray) -> list[list[int]]:
    """(n, 2) digests of all rows -> groups of numbers of rows whose pixels are the same to the bit, in order."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    new = np.ones(len(order), bool)
    new[1:] = (digests[order][1:] != digests[order][:-1]).any(1)
    groups = np.split(order, np.flatnonzero(new)[1:]) if len(order) else []
    return sorted(sorted(group.tolist()) for group in groups if len(group) > 1)


def alike(splits: dict[str, Rows], digests: np.ndarray) -> tuple[list[list[int]], bool]:
    """Groups of rows of a set of pictures that look nearly the same but are not the same to the bit, and whether all pairs
    that may be alike were compared."""
    looks = np.concatenate([rows.numbers("look") for rows in splits.values()])
    pairs, complete = candidates(looks)
    pairs = pairs[(digests[pairs[:, 0]] != digests[pairs[:, 1]]).any(1)]
    where, shown = _means(splits, np.unique(pairs))
    parent: dict[int, int] = {}

    def root(index: int) -> int:
        while parent.setdefault(index, index) != index:
            index = parent[index]
        return index

    for first in range(0, len(pairs), CHUNK):
        some = pairs[first:first + CHUNK]
        one, other = (shown[where[some[:, side]]].astype(np.float32) for side in (0, 1))
        for a, b in some[np.sqrt(np.square(one - other).mean(1)) <= DISTANCE].tolist():
            a, b = sorted((root(a), root(b)))
            parent[b] = a
    groups: dict[int, list[int]] = {}
    for index in sorted(parent):
        groups.setdefault(root(index), []).append(index)
    return sorted(group for group in groups.values() if len(group) > 1), complete


def candidates(looks: np.ndarray) -> tuple[np.ndarray, bool]:
    """(n,) uint64 -> (pairs i < j that differ in at most NEAR bits, (m, 2); whether these are all of them)."""
    found, total, complete, many = [np.zeros(0, np.int64)], 0, True, max(1, len(looks))
    edges = np.linspace(0, 64, NEAR + 2).astype(int)
    for low, high in zip(edges, edges[1:]):
        band = (looks >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for one, other, whole in _within(band, looks):
            found.append(np.minimum(one, other) * many + np.maximum(one, other))
            total, complete = total + len(one), complete and whole
            if total > 2 * PAIRS:
                break
        found = [np.unique(np.concatenate(found))]
        total = len(found[0])
        if len(found[0]) > PAIRS:
            complete = False
            break
    pairs = found[0][:PAIRS]
    return np.stack([pairs // many, pairs % many], 1), complete


def _within(band: np.ndarray, looks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Near pairs (one, other) of those that share a value of the band, some at a time, and whether these are all of them."""
    order = np.lexsort((looks, band))
    starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] ^ np.uint64(1)))
    sizes = np.diff([*starts, len(order)])
    for size in np.unique(sizes[sizes > 1]).tolist():   # groups of one size together; of a crowd only neighbours in order
        one, other = np.triu_indices(min(size, CROWD), 1)
        of = starts[sizes == size]
        steps = range(0, size, CROWD) if size > CROWD else (0,)
        for some in np.array_split(of, -(-len(of) * len(one) // (1 << 20))):
            for step in steps:
                a, b = ((some[:, None] + step + side).ravel() for side in (one, other))
                inside = b < np.repeat(some + size, len(one))
                a, b = order[a[inside]], order[b[inside]]
                close = np.bitwise_count(looks[a] ^ looks[b]) <= NEAR
                yield a[close], b[close], size <= CROWD


def _means(splits: dict[str, Rows], wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8 x 8 means of the rows with these numbers -> (place of each row among them, (n, 192) uint8)."""
    counts = [len(rows) for rows in splits.values()] if len(wanted) else [0]
    edge = counts[0]
    split = (wanted[wanted < edge], wanted[wanted >= edge] - edge)
    rows = chain(*(rows.at(some.tolist(), ("pixels", "height", "width")) for rows, some in zip(splits.values(), split)))
    shown, where = np.zeros((len(wanted), 192), np.uint8), np.zeros(sum(counts), np.int64)
    where[wanted] = np.arange(len(wanted))
    for place, row in enumerate(rows):
        picture = Image.frombytes("RGB", (row["width"], row["height"]), row["pixels"])
        shown[place] = np.asarray(picture.resize((8, 8), Image.Resampling.BOX)).ravel()
    return where, shown
