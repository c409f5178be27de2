"""The power spectrum of a set of pictures: how much they differ from each other at each frequency, and what
noise leaves visible of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

LOWEST = 128  # frequencies of each side that are looked at; the power above them is next to nothing


@dataclass(frozen=True)
class Spectrum:
    """power: variances over the pictures, (modes,) fp64, of as many independent numbers of a picture. Pixels
    run from -1 to 1. values: all numbers of a picture, 3 x side x side; those without a power here have
    none."""

    power: np.ndarray
    values: int

    def hidden(self, noise: float) -> float:
        """The share of what tells the pictures apart that the best linear denoiser cannot see through noise
        of this standard deviation, 0 to 1: P noise^2 / (P + noise^2) summed over all powers P, over their sum
        (Wiener 1949)."""
        return float((self.power * noise**2 / (self.power + noise**2)).sum() / self.power.sum())

    def visible_to(self, share: float) -> float:
        """The noise that hides this share, 0 < share < 1: `hidden`'s inverse."""
        low, high = 1e-6, 1e6
        while high / low > 1 + 1e-9:
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.hidden(middle) < share else (low, middle)
        return low


def spectrum(pictures: Iterable[np.ndarray], side: int) -> Spectrum | None:
    """The spectrum of pictures (H, W, 3) uint8, each resized to side x side. None where they are all the
    same, or fewer than two.

    Cosine transform (DCT-II, orthonormal), a covariance of the three colours at each frequency, and its
    eigenvalues: the colours of a grey picture are one number, not three. Resizing keeps the lowest
    frequencies."""
    kept = min(side, LOWEST)
    total, products, count = np.zeros((kept, kept, 3)), np.zeros((kept, kept, 3, 3)), 0
    for picture in pictures:
        height, width = picture.shape[:2]
        low = np.zeros((kept, kept, 3))
        rows, columns = _cosines(height, kept), _cosines(width, kept)
        part = np.einsum("vw,uwc->uvc", columns, np.tensordot(rows, picture / 127.5 - 1, 1), optimize=True)
        low[: len(rows), : len(columns)] = part * side / (height * width) ** 0.5
        total += low
        products += low[..., :, None] * low[..., None, :]
        count += 1
    if count < 2:
        return None
    mean = total / count
    covariance = (products / count - mean[..., :, None] * mean[..., None, :]) * (count / (count - 1))
    power = np.linalg.eigvalsh(covariance).clip(0).ravel()
    return Spectrum(power, 3 * side * side) if power.sum() > 1e-9 else None


@cache
def _cosines(length: int, kept: int) -> np.ndarray:
    """The first `kept` rows, or all there are, of the orthonormal DCT-II of this length."""
    angle = np.pi / length * np.outer(np.arange(min(length, kept)), np.arange(length) + 0.5)
    rows = np.cos(angle) * (2 / length) ** 0.5
    rows[0] *= 0.5**0.5
    return rows
