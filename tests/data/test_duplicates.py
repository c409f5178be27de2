"""Duplicates: hashes against brute force, copies of photographs that are found, different ones that are
not."""

import io
import time

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from rawmm_cli.data import duplicates
from rawmm_cli.data.duplicates import DISTANCE, NEAR, alike, near, same
from rawmm_cli.data.images import fit
from rawmm_cli.data.rows import PICTURES, look, picture_row
from rawmm_cli.data.tables import Rows

PHOTOS = load_sample_images().images  # a temple and a flower, 427 x 640


def crops(count: int) -> list[np.ndarray]:
    """Different squares of two photographs, far enough from each other."""
    made = []
    for number in range(count):
        photo, place = PHOTOS[number % 2], number // 2
        top, left = 70 * (place % 4), 110 * (place // 4)
        made.append(fit(np.ascontiguousarray(photo[top : top + 180, left : left + 180]), 64))
    return made


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", quality=quality)
    return np.array(Image.open(held))


def smaller(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def splits(train: list[np.ndarray], held_out: list[np.ndarray] = ()) -> dict[str, Rows]:
    def rows(pictures):
        table = pa.Table.from_pylist(
            [picture_row(pixels, [], source=str(n)) for n, pixels in enumerate(pictures)], PICTURES
        )
        halves = [table.slice(0, len(table) // 2), table.slice(len(table) // 2)]  # as in several files
        return Rows(lambda: halves)

    return {"train": rows(train), "held_out": rows(held_out)}


def digests(found: dict[str, Rows]) -> np.ndarray:
    return np.concatenate([rows.digests() for rows in found.values()])


def brute(looks: np.ndarray, blocks: np.ndarray) -> set[tuple[int, int]]:
    one, other = np.triu_indices(len(looks), 1)
    close = np.bitwise_count(looks[one] ^ looks[other]) <= NEAR
    close &= np.square(blocks[one].astype(float) - blocks[other]).mean(1) <= (DISTANCE + 1) ** 2
    return set(zip(one[close].tolist(), other[close].tolist()))


def found_pairs(looks: np.ndarray, blocks: np.ndarray) -> tuple[set[tuple[int, int]], bool]:
    one, other, complete = near(looks, blocks)
    pairs = [tuple(sorted(pair)) for pair in zip(one.tolist(), other.tolist())]
    assert len(set(pairs)) == len(pairs)
    return set(pairs), complete


def related(dice, count: int) -> np.ndarray:
    looks = dice.integers(0, 2**63, count, dtype=np.uint64) * 2
    for number in range(0, count // 2, 2):  # neighbours that differ in 0 to 9 bits
        bits = dice.choice(64, dice.integers(0, 10), replace=False).astype(np.uint64)
        looks[number] = looks[number + 1] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    looks[-count // 5 :] = looks[-1]  # and a crowd
    return looks


@pytest.mark.parametrize("colours", ["same", "few", "any", "steps"])
@pytest.mark.parametrize("chunk", [1 << 13, 100])
def test_pairs_are_those_of_brute_force(colours, chunk, monkeypatch):
    monkeypatch.setattr(duplicates, "CHUNK", chunk)
    dice = np.random.default_rng(0)
    looks = related(dice, 1500)
    blocks = {
        "same": np.zeros((1500, 48)),
        "few": dice.integers(0, 4, (1500, 1)) * np.full(48, 5),
        "any": dice.integers(0, 256, (1500, 48)),
        "steps": dice.integers(0, 18, (1500, 48)),
    }[colours].astype(np.uint8)
    pairs, complete = found_pairs(looks, blocks)
    assert complete and pairs == brute(looks, blocks) and len(pairs) > {"any": -1}.get(colours, 200)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few(count):
    pairs, complete = found_pairs(np.zeros(count, np.uint64), np.zeros((count, 48), np.uint8))
    assert complete and pairs == ({(0, 1)} if count == 2 else set())


@pytest.mark.parametrize("limit", ["COMPARED", "FOUND"])
def test_too_many_are_cut_and_told(limit, monkeypatch):
    monkeypatch.setattr(duplicates, limit, 1000)
    monkeypatch.setattr(duplicates, "CHUNK", 500)
    pairs, complete = found_pairs(np.zeros(300, np.uint64), np.zeros((300, 48), np.uint8))
    assert not complete and 500 < len(pairs) <= 2000


def test_a_hundred_thousand_in_seconds():
    """Random ones, and, as drawn pictures are, ones that share many bits and differ in colour; little memory
    in both."""
    dice, started = np.random.default_rng(1), time.perf_counter()
    looks, blocks = (
        dice.integers(0, 2**63, 100_000, dtype=np.uint64),
        dice.integers(0, 256, (100_000, 48), dtype=np.uint8),
    )
    assert len(found_pairs(looks, blocks)[0]) < 10
    one, _other, complete = near(looks[:8000] & np.uint64(0xFFF), blocks[:8000])
    assert complete and len(one) < 10 and time.perf_counter() - started < 30


def test_copies_cost_nothing():
    """A thousand copies of every picture are ten pictures."""
    pictures = crops(10)
    found = splits([pictures[n % 10] for n in range(3000)], [jpeg(pictures[0], 95)])
    groups, complete = alike(found, digests(found))
    assert complete and groups == [[*range(0, 3000, 10), 3000]]


def test_exact_ones():
    pictures = crops(8)
    found = splits(
        [pictures[0], pictures[1], pictures[0], pictures[2]], [pictures[3], pictures[1], pictures[0]]
    )
    assert same(digests(found)) == [[0, 2, 6], [1, 5]]
    turned = pictures[0][:32].reshape(64, 32, 3)  # the same bytes in another shape are another picture
    assert same(digests(splits([pictures[0][:32], turned]))) == []
    assert same(np.zeros((0, 2), np.uint64)) == []


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
    found = splits(pictures, [COPIES[copy](pixels) for pixels in pictures])
    groups, complete = alike(found, digests(found))
    right = [[n, 40 + n] for n in range(40)]
    assert (
        complete and sum(group in right for group in groups) >= 36 and all(group in right for group in groups)
    )


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
    assert (
        bin(look(one) ^ look(other)).count("1") <= NEAR and bin(look(one) ^ look(almost)).count("1") <= NEAR
    )
    assert alike(found, digests(found)) == ([[0, 2, 3]], True)
