"""Duplicates: hashes against brute force, copies of photographs, and different photographs."""

import io
import time

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from rawmm_cli.data import duplicates
from rawmm_cli.data.duplicates import DISTANCE, NEAR, candidate_pairs, exact_duplicates, near_duplicates
from rawmm_cli.data.images import fit
from rawmm_cli.data.rows import PICTURES, perceptual_hash, picture_row
from rawmm_cli.data.tables import Rows

PHOTOS = load_sample_images().images  # a temple and a flower, 427 x 640


def crops(count: int) -> list[np.ndarray]:
    """Different squares of two photographs, far enough from each other."""
    squares = []
    for number in range(count):
        photo, place = PHOTOS[number % 2], number // 2
        top, left = 70 * (place % 4), 110 * (place // 4)
        squares.append(fit(np.ascontiguousarray(photo[top : top + 180, left : left + 180]), 64))
    return squares


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def smaller(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def splits(train: list[np.ndarray], held_out: list[np.ndarray] = ()) -> dict[str, Rows]:
    def rows(pictures):
        table = pa.Table.from_pylist(
            [picture_row(pixels, [], source=str(n)) for n, pixels in enumerate(pictures)], PICTURES
        )
        halves = [table.slice(0, len(table) // 2), table.slice(len(table) // 2)]  # like several files
        return Rows(lambda: halves)

    return {"train": rows(train), "held_out": rows(held_out)}


def digests(rows: dict[str, Rows]) -> np.ndarray:
    return np.concatenate([split.digests() for split in rows.values()])


def brute_force(hashes: np.ndarray, means: np.ndarray) -> set[tuple[int, int]]:
    one, other = np.triu_indices(len(hashes), 1)
    close = np.bitwise_count(hashes[one] ^ hashes[other]) <= NEAR
    close &= np.square(means[one].astype(float) - means[other]).mean(1) <= (DISTANCE + 1) ** 2
    return set(zip(one[close].tolist(), other[close].tolist()))


def pairs_of(hashes: np.ndarray, means: np.ndarray) -> tuple[set[tuple[int, int]], bool]:
    one, other, complete = candidate_pairs(hashes, means)
    pairs = [tuple(sorted(pair)) for pair in zip(one.tolist(), other.tolist())]
    assert len(set(pairs)) == len(pairs)
    return set(pairs), complete


def related(rng, count: int) -> np.ndarray:
    hashes = rng.integers(0, 2**63, count, dtype=np.uint64) * 2
    for number in range(0, count // 2, 2):  # neighbours that differ in 0 to 9 bits
        bits = rng.choice(64, rng.integers(0, 10), replace=False).astype(np.uint64)
        hashes[number] = hashes[number + 1] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    hashes[-count // 5 :] = hashes[-1]  # and many that are equal
    return hashes


@pytest.mark.parametrize("colours", ["same", "few", "any", "steps"])
@pytest.mark.parametrize("chunk", [1 << 13, 100])
def test_pairs_are_those_of_brute_force(colours, chunk, monkeypatch):
    monkeypatch.setattr(duplicates, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    hashes = related(rng, 1500)
    means = {
        "same": np.zeros((1500, 48)),
        "few": rng.integers(0, 4, (1500, 1)) * np.full(48, 5),
        "any": rng.integers(0, 256, (1500, 48)),
        "steps": rng.integers(0, 18, (1500, 48)),
    }[colours].astype(np.uint8)
    pairs, complete = pairs_of(hashes, means)
    assert complete and pairs == brute_force(hashes, means) and len(pairs) > {"any": -1}.get(colours, 200)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few(count):
    pairs, complete = pairs_of(np.zeros(count, np.uint64), np.zeros((count, 48), np.uint8))
    assert complete and pairs == ({(0, 1)} if count == 2 else set())


@pytest.mark.parametrize("limit", ["COMPARED", "KEPT"])
def test_too_many_pairs_are_cut_and_reported(limit, monkeypatch):
    monkeypatch.setattr(duplicates, limit, 1000)
    monkeypatch.setattr(duplicates, "CHUNK", 500)
    pairs, complete = pairs_of(np.zeros(300, np.uint64), np.zeros((300, 48), np.uint8))
    assert not complete and 500 < len(pairs) <= 2000


def test_a_hundred_thousand_in_seconds():
    """Random pictures, and pictures that share many bits and differ in colour, as drawn ones do."""
    rng, started = np.random.default_rng(1), time.process_time()
    hashes, means = (
        rng.integers(0, 2**63, 100_000, dtype=np.uint64),
        rng.integers(0, 256, (100_000, 48), dtype=np.uint8),
    )
    assert len(pairs_of(hashes, means)[0]) < 10
    one, _, complete = candidate_pairs(hashes[:8000] & np.uint64(0xFFF), means[:8000])
    assert complete and len(one) < 10 and time.process_time() - started < 30


def test_copies_cost_nothing():
    """300 copies of each of ten pictures take as long as ten pictures."""
    pictures = crops(10)
    rows = splits([pictures[n % 10] for n in range(3000)], [jpeg(pictures[0], 95)])
    groups, complete = near_duplicates(rows, digests(rows))
    assert complete and groups == [[*range(0, 3000, 10), 3000]]


def test_exact_duplicates():
    pictures = crops(8)
    rows = splits(
        [pictures[0], pictures[1], pictures[0], pictures[2]], [pictures[3], pictures[1], pictures[0]]
    )
    assert exact_duplicates(digests(rows)) == [[0, 2, 6], [1, 5]]
    reshaped = pictures[0][:32].reshape(64, 32, 3)  # the same bytes in another shape are another picture
    assert exact_duplicates(digests(splits([pictures[0][:32], reshaped]))) == []
    assert exact_duplicates(np.zeros((0, 2), np.uint64)) == []


COPIES = {
    "jpeg 90": lambda p: jpeg(p, 90),
    "jpeg 50": lambda p: jpeg(p, 50),
    "half": lambda p: smaller(p, 32),
    "two thirds": lambda p: smaller(p, 43),
    "brighter": lambda p: np.clip(p.astype(int) + 4, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found(copy):
    """At least nine of ten, each with its original and nothing else, in whichever split."""
    pictures = crops(40)
    rows = splits(pictures, [COPIES[copy](pixels) for pixels in pictures])
    groups, complete = near_duplicates(rows, digests(rows))
    right = [[n, 40 + n] for n in range(40)]
    assert (
        complete and sum(group in right for group in groups) >= 36 and all(group in right for group in groups)
    )


def test_different_pictures_are_not_duplicates():
    pictures = crops(40)
    rows = splits(pictures, [np.ascontiguousarray(pixels[:, ::-1]) for pixels in pictures])
    assert near_duplicates(rows, digests(rows)) == ([], True)


def test_another_colour_is_another_picture():
    """Drawn pictures share their hash and differ in colour. Identical copies alone are no near duplicates."""
    one = np.full((16, 16, 3), 255, np.uint8)
    one[4:12, 4:12] = (200, 30, 30)
    other = one.copy()
    other[4:12, 4:12] = (30, 30, 200)
    almost = one.copy()
    almost[5, 5] = (190, 40, 30)
    rows = splits([one, other, one.copy()], [almost])
    assert (
        bin(perceptual_hash(one) ^ perceptual_hash(other)).count("1") <= NEAR
        and bin(perceptual_hash(one) ^ perceptual_hash(almost)).count("1") <= NEAR
    )
    assert near_duplicates(rows, digests(rows)) == ([[0, 2, 3]], True)
