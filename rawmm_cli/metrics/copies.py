"""Copies: how near drawings are to known pictures, beside how near unseen real pictures are.

    distance    root of the mean square difference to the nearest known picture, in levels of 255; 0: the same
                to the bit. With shifts: the least over all shifts of so many pixels, of what then overlaps
    nearer      chance that a drawing is nearer than a real picture: the U statistic of Mann and Whitney, on
                which the test for data-copying of Meehan et al. 2020 (2004.05675) stands. 0.5: alike

Drawings may be nearer without being copies: plain or blurred ones are near to everything. One that is near to
a single picture and far from the others is a copy; people should look at the nearest."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

COARSE = 8  # side to which pictures are shrunk to find the nearest shifted one


def nearest(pictures: Tensor, known: Iterable[Tensor], shift: int = 0) -> Tensor:
    """Distance (n,) of pictures (n, 3, H, W) uint8 to the nearest one of batches (m, 3, H, W) uint8.

    With a shift, candidates are found on means of squares, which are never farther apart than the pictures:
    the nearest of each batch at each shift. Then they are compared pixel by pixel."""
    least = torch.full((len(pictures),), torch.inf, dtype=torch.float64)
    square = max(1, min(pictures.shape[2:]) // COARSE) if shift else 1
    offsets = [(down, right) for down in range(-shift, shift + 1) for right in range(-shift, shift + 1)]
    for batch in known:
        for offset in offsets:
            ours, theirs = _overlap(pictures, *offset), _overlap(batch, *(-n for n in offset))
            rows = _closest(_means(ours, square), _means(theirs, square))
            least = torch.minimum(least, _error(ours, theirs[rows]))
    return least.sqrt()


def identical(pictures: Tensor, known: Iterable[Tensor]) -> Tensor:
    """Whether each of (n, 3, H, W) uint8 is the same to the bit as one of batches (m, 3, H, W) uint8."""
    seen = {_digest(picture) for batch in known for picture in batch}
    return torch.tensor([_digest(picture) in seen for picture in pictures])


def _digest(picture: Tensor) -> bytes:
    return hashlib.blake2b(picture.contiguous().numpy().tobytes(), digest_size=16).digest()


def _overlap(pictures: Tensor, down: int, right: int) -> Tensor:
    """What is left of pictures that are moved by so many pixels, inside of where they were."""
    height, width = pictures.shape[2:]
    rows, columns = (slice(max(0, -by), side - max(0, by)) for by, side in ((down, height), (right, width)))
    return pictures[:, :, rows, columns]


def _means(pictures: Tensor, square: int) -> Tensor:
    """(n, 3, H, W) -> means of squares, flat."""
    return F.avg_pool2d(pictures.float(), square).flatten(1) if square > 1 else pictures.float().flatten(1)


def _closest(one: Tensor, other: Tensor) -> Tensor:
    """Row (n,) of the nearest of (m, d) to each of (n, d)."""
    return (other.square().sum(1) - 2 * one @ other.T).argmin(1)


def _error(one: Tensor, other: Tensor) -> Tensor:
    """Mean square difference (n,)."""
    return (one.float() - other.float()).square().flatten(1).mean(1, dtype=torch.float64)


def nearer(drawn: Tensor, real: Tensor) -> Tensor:
    """Share of the distances (m,) of real pictures above each distance (n,) of a drawing; equal ones count a
    half. The mean is the chance that a drawing is nearer than a real picture."""
    order = real.sort().values
    below, up_to = (torch.searchsorted(order, drawn, right=right) for right in (False, True))
    return 1 - (below + up_to).double() / (2 * len(real))
