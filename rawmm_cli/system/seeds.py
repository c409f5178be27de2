"""Keyed randomness: numbers that are functions of a path of integers and words, as (seed, "noise", document).

Nothing is remembered between calls, so the randomness of a document is the same at any batch size, on any
number of processes and after any restart. The numbers never change: a run resumes by them."""

import hashlib

import numpy as np


def random(*path: int | str) -> np.random.Generator:
    """A random generator that depends on the integers or words in `path` alone (counter-based Philox)."""
    return np.random.Generator(np.random.Philox(key=_digest(path, 16)))


def uniforms(*path: int | str, count: int = 8) -> list[float]:
    """Up to 8 numbers from [0, 1) that depend on `path` alone; a third of the time that `random` takes."""
    digest = hashlib.blake2b("/".join(map(str, path)).encode(), digest_size=8 * count).digest()
    return [(int.from_bytes(digest[at : at + 8], "little") >> 11) * 2.0**-53 for at in range(0, 8 * count, 8)]


def key(*path: int | str) -> int:
    """A 63-bit seed that depends on `path` alone."""
    return _digest(path, 8) >> 1


def _digest(path: tuple, size: int) -> int:
    return int.from_bytes(
        hashlib.blake2b("/".join(map(str, path)).encode(), digest_size=size).digest(), "little"
    )
