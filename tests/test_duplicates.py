"""Duplicates: hashes against brute force, copies of photographs that are found, different ones that are not."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from rawmm_cli.core import duplicates
from rawmm_cli.core.duplicates import NEAR, alike, candidates, same
from rawmm_cli.core.images import fit
from rawmm_cli.core.rows import PICTURES, look, picture_row
from rawmm_cli.core.tables import Rows

PHOTOS = load_sample_images().images                    # a temple and a flower, 427 x 640


def crops(count: int) -> list[np.ndarray]:
    """Different squares of two photographs, far enough from each other."""
    made = []
    for number in range(count):
        photo, place = PHOTOS[number % 2], number // 2
        top, left = 70 * (place % 4), 110 * (place // 4)
        made.append(fit(np.ascontiguousarray(photo[top:top + 180, left:left + 180]), 64))
    return made


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", quality=quality)
    return np.array(Image.open(held))


def smaller(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def splits(train: list[np.ndarray], held_out: list[np.ndarray] = ()) -> dict[str, Rows]:
    def rows(pictures):
        table = pa.Table.from_pylist([picture_row(pixels, [], source=str(n)) for n, pixels in enumerate(pictures)], PICTURES)
        halves = [table.slice(0, len(table) // 2), table.slice(len(table) // 2)]        # as in several files
        return Rows(lambda: halves)

    return {"train": rows(train), "held_out": rows(held_out)}


def digests(found: dict[str, Rows]) -> np.ndarray:
    return np.concatenate([rows.digests() for rows in found.values()])


def test_candidates_are_those_of_brute_force():
    dice = np.random.default_rng(0)
    looks = dice.integers(0, 2 ** 63, 1500, dtype=np.uint64) * 2
    for number in range(0, 800, 2):                     # neighbours that differ in 0 to 9 bits
        bits = dice.choice(64, dice.integers(0, 10), replace=False).astype(np.uint64)
        looks[number] = looks[number + 1] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    looks[1200:1400] = looks[1200]                      # and a crowd
    pairs, complete = candidates(looks)
    one, other = np.triu_indices(len(looks), 1)
    near = np.bitwise_count(looks[one] ^ looks[other]) <= NEAR
    assert complete and pairs.tolist() == np.stack([one[near], other[near]], 1).tolist() and len(pairs) > 20_000


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few(count):
    pairs, complete = candidates(np.zeros(count, np.uint64))
    assert complete and pairs.tolist() == [[0, 1]] * (count == 2)


def test_too_many_are_cut_and_told(monkeypatch):
    monkeypatch.setattr(duplicates, "PAIRS", 1000)
    pairs, complete = candidates(np.zeros(300, np.uint64))
    assert not complete and len(pairs) == 1000 and (pairs[:, 0] < pairs[:, 1]).all()
    monkeypatch.setattr(duplicates, "PAIRS", 10 ** 6)
    monkeypatch.setattr(duplicates, "CROWD", 50)
    pairs, complete = candidates(np.zeros(300, np.uint64))
    assert not complete and 300 < len(pairs) < 300 * 299 // 2


def test_a_hundred_thousand_in_seconds():
    looks = np.random.default_rng(1).integers(0, 2 ** 63, 100_000, dtype=np.uint64)
    pairs, complete = candidates(looks)
    assert complete and len(pairs) < 10


def test_exact_ones():
    pictures = crops(8)
    found = splits([pictures[0], pictures[1], pictures[0], pictures[2]], [pictures[3], pictures[1], pictures[0]])
    assert same(digests(found)) == [[0, 2, 6], [1, 5]]
    turned = pictures[0][:32].reshape(64, 32, 3)        # the same bytes in another shape are another picture
    assert same(digests(splits([pictures[0][:32], turned]))) == []
    assert same(np.zeros((0, 2), np.uint64)) == []


COPIES = {"jpeg 90": lambda p: jpeg(p, 90), "jpeg 50": lambda p: jpeg(p, 50), "half": lambda p: smaller(p, 32),
          "two thirds": lambda p: smaller(p, 43), "brighter": lambda p: np.clip(p.astype(int) + 4, 0, 255).astype(np.uint8)}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found(copy):
    """At least nine of ten, each with its original and nothing else, in whichever split."""
    pictures = crops(40)
    found = splits(pictures, [COPIES[copy](pixels) for pixels in pictures])
    groups, complete = alike(found, digests(found))
    right = [[n, 40 + n] for n in range(40)]
    assert complete and sum(group in right for group in groups) >= 36 and all(group in right for group in groups)


def test_different_pictures_are_not():
    pictures = crops(40)
    found = splits(pictures, [np.ascontiguousarray(pixels[:, ::-1]) for pixels in pictures])
    assert alike(found, digests(found)) == ([], True)


def test_another_colour_is_another_picture():
    """Drawn pictures share their hash; their colours tell them apart. The same to the bit is no near one."""
    one = np.full((16, 16, 3), 255, np.uint8)
    one[4:12, 4:12] = (200, 30, 30)
    other = one.copy()
    other[4:12, 4:12] = (30, 30, 200)
    almost = one.copy()
    almost[5, 5] = (190, 40, 30)
    found = splits([one, other, one.copy()], [almost])
    assert bin(look(one) ^ look(other)).count("1") <= NEAR and bin(look(one) ^ look(almost)).count("1") <= NEAR
    assert alike(found, digests(found)) == ([[0, 2, 3]], True)
