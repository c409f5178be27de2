"""The documents that both sides train on: a label of one token, then a picture of 28 x 28 pixels in three
equal channels.

Real digits (scikit-learn's 1,797 of 8 x 8), every pixel three times as large, in a black frame of two pixels.
The peer's process reads them from a file, rawmm from a prepared set. `fingerprint` checks that they are
equal."""

import hashlib
from pathlib import Path

import numpy as np

from .settings import CHANNELS, SIZE


def enlarge(digits: np.ndarray) -> np.ndarray:
    """(N, 8, 8) uint8 -> (N, 28, 28, 3) uint8."""
    large = digits.repeat(3, 1).repeat(3, 2)  # (N, 24, 24)
    frame = (SIZE - large.shape[1]) // 2
    return np.pad(large, ((0, 0), (frame, frame), (frame, frame)))[..., None].repeat(CHANNELS, -1)


def make() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (1797, 28, 28, 3) uint8, and labels (1797,) from 0 to 9."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return enlarge(np.rint(data.images * (255 / 16)).astype(np.uint8)), data.target.astype(np.int64)


def save(path: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    """Write an .npz file for the peer's process."""
    np.savez(path, pictures=pictures, labels=labels)


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the file of `save` -> pictures, labels."""
    with np.load(path, allow_pickle=False) as file:
        return file["pictures"], file["labels"]


def fingerprint(documents) -> str:
    """SHA-256 over (picture (H, W, 3) uint8, label) pairs, in order."""
    digest = hashlib.sha256()
    for picture, label in documents:
        digest.update(np.ascontiguousarray(picture, dtype=np.uint8).tobytes())
        digest.update(str(int(label)).encode())
    return digest.hexdigest()[:16]
