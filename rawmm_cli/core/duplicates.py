"""Pictures that stand in a set more than once: the same to the bit, or nearly so.

Near ones are found by `look`, 64 bits of a difference hash (`rows.look`): two pictures whose bits differ in at most NEAR
places agree in at least one of NEAR + 1 bands, so only pictures that share a band are compared (multi-index hashing,
Norouzi et al. 2012). Drawn pictures often share all of their bits and differ in colour; so each candidate is confirmed by
its pixels, as means of an 8 x 8 grid.
"""

from itertools import combinations

import numpy as np
import pyarrow as pa

from .prepared import SPLITS, Pixels

NEAR = 3                                                # bits of 64 that may differ
DISTANCE = 4.0                                          # levels of 255 that means of cells may differ, root mean square
CROWD = 64                                              # of a band that more share, only neighbours in order are compared


def same(tables: dict[str, pa.Table]) -> list[list[int]]:
    """Groups of rows whose pixels are the same to the bit, numbered through both splits."""
    groups: dict[bytes, list[int]] = {}
    digests = (digest for split in SPLITS for digest in tables[split]["sha256"].to_pylist())
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def alike(tables: dict[str, pa.Table], stories: bool = False) -> list[list[int]]:
    """Groups of rows whose pictures look nearly the same but are not the same to the bit (pictures only)."""
    if stories:
        return []
    looks = np.concatenate([tables[split]["look"].to_numpy() for split in SPLITS])
    digests = [digest for split in SPLITS for digest in tables[split]["sha256"].to_pylist()]
    seen = _Thumbnails(tables)
    parent = {}

    def root(index):
        while parent.setdefault(index, index) != index:
            index = parent[index]
        return index

    for one, other in candidates(looks):
        if digests[one] != digests[other] and root(one) != root(other) and seen.distance(one, other) <= DISTANCE:
            parent[root(other)] = root(one)
    groups: dict[int, list[int]] = {}
    for index in sorted(parent):
        groups.setdefault(root(index), []).append(index)
    return sorted(group for group in groups.values() if len(group) > 1)


def candidates(looks: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (i < j) of 64-bit numbers that differ in at most NEAR bits."""
    pairs: set[tuple[int, int]] = set()
    edges = np.linspace(0, 64, NEAR + 2).astype(int)
    for low, high in zip(edges, edges[1:]):
        band = (looks >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((looks, band))
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] ^ np.uint64(1)))
        for first, last in zip(starts, [*starts[1:], len(order)]):
            crowd = order[first:last]
            if len(crowd) == 1:
                continue
            near = combinations(crowd.tolist(), 2) if len(crowd) <= CROWD else \
                ((int(crowd[n]), int(crowd[m])) for n in range(len(crowd)) for m in range(n + 1, min(n + 9, len(crowd))))
            near = np.array(list(near))
            close = np.bitwise_count(looks[near[:, 0]] ^ looks[near[:, 1]]) <= NEAR
            pairs.update(map(tuple, np.sort(near[close], 1).tolist()))
    return sorted(pairs)


class _Thumbnails:
    """8 x 8 means of pictures, made when asked for."""

    def __init__(self, tables: dict[str, pa.Table]):
        self.splits = [(Pixels(tables[split]["pixels"]), tables[split]["height"].to_numpy(), tables[split]["width"].to_numpy())
                       for split in SPLITS]
        self.made: dict[int, np.ndarray] = {}

    def distance(self, one: int, other: int) -> float:
        """Root mean square difference in levels of 255."""
        return float(np.sqrt(np.square(self._of(one) - self._of(other)).mean()))

    def _of(self, index: int) -> np.ndarray:
        if index not in self.made:
            if len(self.made) > 100_000:
                self.made.clear()
            pixels, heights, widths = self.splits[0] if index < len(self.splits[0][1]) else self.splits[1]
            at = index if pixels is self.splits[0][0] else index - len(self.splits[0][1])
            picture = pixels[at].reshape(heights[at], widths[at], 3).astype(np.float32)
            for axis in (0, 1):
                places = np.linspace(0, picture.shape[axis] - 1, 8 * max(1, picture.shape[axis] // 8)).astype(int)
                picture = picture.take(places, axis)
                shape = list(picture.shape)
                picture = picture.reshape(*shape[:axis], 8, -1, *shape[axis + 1:]).mean(axis + 1)
            self.made[index] = picture
        return self.made[index]
